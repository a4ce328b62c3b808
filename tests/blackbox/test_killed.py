"""What a kill -9 leaves of a request in flight: an `interrupted` row with the best that was known of its usage, priced at the next start."""

import json
import threading
import unittest

from harness import chat_body, wait_until
from scripted import World, http, sse

MODEL = "gpt-4o"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
SUMMED = ("requests", "input", "output", "cost_nano_usd")
PROMPT = "hello " * 5000


def delta(text, **more):
    return sse({"id": "c", "model": MODEL, "choices": [{"index": 0, "delta": {"content": text}}], **more}).encode()


class Killed(unittest.TestCase):
    def setUp(self):
        self.world = World({"server": {"workers": 1}})  # a later answer tells that earlier work is done
        self.addCleanup(self.world.close)
        self.keyhole = self.world.keyhole
        self.session = self.keyhole.session(limits=["usd=10"])
        self.end = threading.Event()
        self.addCleanup(self.end.set)

    def ask(self, case, body, path="/v1/chat/completions"):
        client = self.keyhole.client(timeout=10)
        self.addCleanup(client.close)
        client.request("POST", path, [self.world.case(case), ("content-type", "application/json")], json.dumps(body).encode(), self.session["token"])
        return client

    def pass_turns(self):
        """The one worker has looked at whatever was there before."""
        for _ in range(3):
            self.assertEqual(self.keyhole.call("GET", "/health").status, 200)

    def row_after_kill(self):
        """The one row; what the session has spent is its cost, and the roll-ups are its."""
        self.keyhole.kill()
        self.keyhole.start()
        rows = self.keyhole.rows()
        self.assertEqual(len(rows), 1)
        row = rows[0]
        self.assertEqual(row["outcome"], "interrupted")
        limit = self.keyhole.show(self.session["id"])["limits"][0]
        self.assertEqual((round(float(limit["used"]) * 1e9), float(limit["reserved"])), (row["cost_nano_usd"], 0))
        total = json.loads(self.keyhole.cli("usage", "--by", "provider", "--json").stdout)[0]
        self.assertEqual({name: total[name] for name in SUMMED}, {"requests": 1} | {name: row[name] for name in SUMMED[1:]})
        return row

    def stream(self, events, last=b"", **asked):
        """Lets the agent have all of them, then a comment, which comes by a read of its own; the answer stays open."""
        have = threading.Event()

        def speak(connection):
            connection.sendall(STREAM + b"".join(events) + last)
            have.wait(10)
            connection.sendall(b": still here\n\n")
            self.end.wait(20)
        client = self.ask(speak, chat_body(MODEL, PROMPT, stream=True, max_tokens=4000, **asked))
        wait_until(lambda: client.recv() and client.received.count(b"data:") == len(events) + bool(last), 10, "the events")
        have.set()
        wait_until(lambda: b": still here" in client.received or not client.recv(), 10, "the comment")
        return client

    def test_a_stream_that_told_no_usage_is_billed_what_the_agent_had(self):
        self.stream([delta("word ") for _ in range(3000)])
        row = self.row_after_kill()
        self.assertEqual((row["source"], row["answered_model"]), ("estimated", MODEL))
        self.assertAlmostEqual(row["output"], 3000, delta=250)
        self.assertAlmostEqual(row["input"], 5000, delta=1000)
        self.assertGreater(row["cost_nano_usd"], 0)

    def test_a_stream_of_few_words_is_billed_too(self):
        self.stream([delta("word ") for _ in range(12)])
        row = self.row_after_kill()
        self.assertEqual(row["source"], "estimated")
        self.assertAlmostEqual(row["output"], 12, delta=11)
        self.assertAlmostEqual(row["input"], 5000, delta=2600)

    def test_what_the_provider_itself_said_stays_its_own(self):
        self.stream([delta("word ") for _ in range(50)],
                    sse({"id": "c", "model": MODEL, "choices": [], "usage": {"prompt_tokens": 4321, "completion_tokens": 77, "total_tokens": 4398}}).encode(),
                    stream_options={"include_usage": True})
        row = self.row_after_kill()
        self.assertEqual((row["source"], row["input"], row["output"]), ("provider_partial", 4321, 77))

    def test_a_request_that_had_no_answer_yet_is_billed_its_input(self):
        asked = threading.Event()
        self.ask(lambda _: (asked.set(), self.end.wait(20)), chat_body(MODEL, PROMPT, max_tokens=4000))
        self.assertTrue(asked.wait(10))
        self.pass_turns()
        row = self.row_after_kill()
        self.assertEqual((row["source"], row["output"]), ("estimated", 0))
        self.assertAlmostEqual(row["input"], 5000, delta=2600)

    def test_a_provider_that_breaks_off_before_it_answers_is_still_not_billed(self):
        self.ask(lambda connection: connection.close(), chat_body(MODEL, PROMPT)).answer().read()
        wait_until(lambda: self.keyhole.rows(), 10, "its row")
        row = self.keyhole.rows()[0]
        self.assertEqual((row["outcome"], row["source"], row["input"], row["cost_nano_usd"]), ("provider_down", "none", 0, 0))

    def test_a_refusal_that_is_cut_by_the_kill_costs_nothing(self):
        told = threading.Event()

        def refuse(connection):
            connection.sendall(b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
            told.set()
            self.end.wait(20)
        self.ask(refuse, chat_body(MODEL, PROMPT))
        self.assertTrue(told.wait(10))
        self.pass_turns()
        row = self.row_after_kill()
        self.assertEqual((row["status"], row["source"], row["cost_nano_usd"]), (400, "none", 0))


if __name__ == "__main__":
    unittest.main()
