"""BYTES_UNTOUCHED, TOKENS_EXACT, KEY_STAYS_HOME: answers in codings nobody asked for pass as they came, are metered where they can be read,
and say so in their row where they can't."""

import gzip
import json
import unittest
import zlib

from harness import chat_body
from scripted import World, http

ANSWER = json.dumps({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}).encode()
LONG_WINDOW = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00x"  # a zstd frame that wants 2 GiB to be read


class Codings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World()
        cls.token = cls.world.keyhole.token()

    @classmethod
    def tearDownClass(cls):
        cls.world.close()

    def ask(self, coding, body):
        answer, _ = self.world.ask("POST", "/v1/chat/completions", http(body, headers=[f"content-encoding: {coding}"]), chat_body(), self.token)
        return answer, self.world.keyhole.row(answer.get("x-keyhole-request-id"))

    def test_what_compresses_nothing_is_plain_and_what_can_be_read_is_metered(self):
        packed = gzip.compress(ANSWER)
        for coding, body in (("none", ANSWER), ("utf-8", ANSWER), ("identity", ANSWER), ("gzip, identity", packed), ("identity, gzip", packed),
                             ("deflate", zlib.compress(ANSWER))):
            with self.subTest(coding):
                answer, row = self.ask(coding, body)
                self.assertEqual((answer.status, answer.body, answer.get("content-encoding")), (200, body, coding))
                self.assertEqual((row["input"], row["output"], row["source"], row["error"]), (10, 5, "provider", ""), row)

    def test_what_cannot_be_read_passes_and_its_row_says_so(self):
        answer, row = self.ask("zstd", LONG_WINDOW)
        self.assertEqual((answer.status, answer.body), (200, LONG_WINDOW))
        self.assertEqual((row["error"], row["outcome"]), ("undecodable", "ok"), row)
        self.assertNotEqual(row["source"], "provider")

    def test_what_cannot_be_looked_through_for_the_key_does_not_pass(self):
        answer, row = self.ask("x-unheard-of", ANSWER)
        self.assertEqual((answer.status, row["error"]), (502, "unknown_coding"), row)
        bomb = gzip.compress(b"0" * (64 << 20))
        answer, row = self.ask("gzip", bomb)
        self.assertEqual(row["error"], "answer_swollen", row)
        self.assertLess(len(answer.body), len(bomb))


if __name__ == "__main__":
    unittest.main()
