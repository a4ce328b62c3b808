"""BYTES_UNTOUCHED, TOKENS_EXACT, KEY_STAYS_HOME: answers in codings nobody asked for pass as they came, are metered where they can be read,
and say so in their row where they can't."""

import gzip
import json
import socket
import threading
import unittest
import zlib

from harness import Keyhole, chat_body

ANSWER = json.dumps({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}).encode()
LONG_WINDOW = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00x"  # a zstd frame that wants 2 GiB to be read


class Provider:
    """Sends one prepared answer to whatever is asked."""

    def __init__(self):
        self.coding, self.body = "", b""
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as lines:
            while lines.readline():
                length = 0
                while (line := lines.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                lines.read(length)
                coding = f"content-encoding: {self.coding}\r\n" if self.coding else ""
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{coding}content-length: {len(self.body)}\r\n\r\n"
                try:
                    connection.sendall(head.encode() + self.body)
                except OSError:
                    return


class Codings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        url = f"http://127.0.0.1:{cls.provider.listener.getsockname()[1]}/v1"
        cls.keyhole = Keyhole(None, {"providers.openai": {"base_url": url, "allow_plain_http": True}},
                              {"OPENAI_API_KEY": "sk-codings-Xq7ZrT2vWm9KpLh4NdGs6BfYc8"})
        cls.token = cls.keyhole.token()

    @classmethod
    def tearDownClass(cls):
        cls.keyhole.close()
        cls.provider.listener.close()

    def ask(self, coding, body):
        self.provider.coding, self.provider.body = coding, body
        answer = self.keyhole.call("POST", "/v1/chat/completions", [("content-type", "application/json")],
                                   json.dumps(chat_body()).encode(), self.token)
        return answer, self.keyhole.row(answer.get("x-keyhole-request-id"))

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
