"""The agent hangs up after any byte: the row always exists and says how its usage is known. Drained, it is the provider's, exactly;
with the policy `cancel` it is marked. (Every byte of the recorded streams: build/release/bin/keyhole-cuts.)"""

import contextlib
import json
import unittest
import uuid

from harness import LONG, VERSION, BlackBox, chat_body, messages_body, wait_until
from scripted import World, http

STREAMS = (("/v1/chat/completions", [], chat_body(stream=True)),
           ("/v1/chat/completions", [], chat_body(stream=True, stream_options={"include_usage": True})),
           ("/v1/completions", [], {"model": "gpt-4o", "prompt": "once", "stream": True}),
           ("/v1/responses", [], {"model": "gpt-5", "input": "hi", "stream": True}),
           ("/v1/messages", [VERSION], messages_body(stream=True)))
STEP = 7 if LONG else 97


class TornAnswers(unittest.TestCase):
    """A cut answer never looks whole, also where only its last piece could not leave."""

    def test_a_revocation_while_the_last_piece_waits_is_not_answered_in_the_middle_of_it(self):
        world = World()
        self.addCleanup(world.close)
        torn = 0
        for size in range(200_000, 320_000, 8_000):  # the kernel's buffers take all but the last piece of some of them
            session = world.keyhole.session()
            usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
            text = json.dumps({"id": "c", "model": "gpt-4o", "usage": usage, "choices": [{"message": {"content": "x" * size}}]})
            client = world.keyhole.client()
            self.addCleanup(client.close)
            asked = world.case(http(text)), ("content-type", "application/json")
            client.request("POST", "/v1/chat/completions", asked, chat_body(), session["token"])
            answer = client.answer()
            self.assertEqual(answer.status, 200)
            world.keyhole.revoke(session["id"])
            with contextlib.suppress(OSError):
                client.request("POST", "/v1/chat/completions", asked, chat_body(), session["token"])
            answer.read()
            torn += not answer.whole
            if not answer.whole:
                self.assertNotIn(b"HTTP/1.1 403", bytes(client.received))
        self.assertTrue(torn, "no answer's last piece had to wait")


class HangUp(BlackBox):
    config = {"agent_gone": {"drain_seconds": 5}}

    def leave_after(self, path, headers, body, token, count, demo):
        """Reads `count` bytes of the answer's body and closes; returns the request's id."""
        with self.keyhole.client() as client:
            client.request("POST", path, [*headers, ("x-demo", demo)], body, token)
            answer = client.answer()
            self.assertEqual(answer.status, 200)
            while len(answer.body) < count:
                if not answer.some():
                    break
            return answer.get("x-keyhole-request-id")

    def begin(self, path, headers, body, token):
        """How many bytes of the body the agent has when the provider stops after three events."""
        name = uuid.uuid4().hex
        client = self.keyhole.client()
        self.addCleanup(client.close)
        client.request("POST", path, [*headers, ("x-demo", f"gate={name}@3")], body, token)
        answer = client.answer()
        wait_until(lambda: answer.body.count(b"\n\n") >= 2 or not answer.some(), 10, "two events")
        self.provider.open_gate(name)
        return len(answer.body)

    def test_drained_an_agent_that_leaves_after_any_byte_is_billed_what_the_provider_says(self):
        token = self.keyhole.token()
        for path, headers, body in STREAMS:
            most = self.begin(path, headers, body, token)
            for count in range(0, most, STEP):
                with self.subTest(f"{path} after {count} bytes"):
                    name = uuid.uuid4().hex
                    wait_until(lambda: self.keyhole.metrics()["keyhole_drains_in_flight"] == 0, 30, "no drain but this one's")
                    request_id = self.leave_after(path, headers, body, token, count, f"gate={name}@3")
                    wait_until(lambda: self.keyhole.metrics()["keyhole_drains_in_flight"] > 0, what="the proxy to see that the agent left")
                    self.provider.open_gate(name)
                    row = self.keyhole.row(request_id)
                    said = self.provider.seen("answer", request_id)
                    self.assertEqual((row["source"], row["agent_gone"]), ("provider", 1), row)
                    self.assertIn(row["outcome"], ("agent_gone", "ok"))
                    usage = said.get("usage") or {}
                    reported = usage.get("completion_tokens", usage.get("output_tokens"))
                    if reported is not None:
                        self.assertEqual(row["output"] + row["output_reasoning"] + row["output_audio"], reported)

    def test_leaving_before_the_answer_begins_is_not_free(self):
        # The provider has the request and bills its input, whether or not anybody waits.
        token = self.keyhole.token(gone_policy="cancel", limits=["usd=5"])
        for path, headers, body in STREAMS:
            with self.subTest(path), self.keyhole.client() as client:
                before = {r["request_id"] for r in self.keyhole.rows()}
                name = uuid.uuid4().hex
                words = "word " * 20_000
                said = {"messages": [{"role": "user", "content": words}]} if "messages" in body else {k: words for k in ("input", "prompt") if k in body}
                long = {**body, **said}
                client.request("POST", path, [*headers, ("x-demo", f"gate={name}")], long, token)
                wait_until(lambda: any(name in json.dumps(e) for e in self.provider.log("request") + self.provider.log("head")), what="the provider to have the request")
                client.close()
                row = wait_until(lambda: [r for r in self.keyhole.rows() if r["request_id"] not in before], what="the row")[0]
                self.assertEqual((row["outcome"], row["source"]), ("agent_gone", "estimated"), row)
                self.assertGreater(row["input"], 10_000)
                self.assertGreater(row["cost_nano_usd"], 0)

    def test_a_prompt_in_chinese_is_counted_when_its_agent_leaves(self):
        """Three bytes a character, and no blanks for kilobytes."""
        token = self.keyhole.token(gone_policy="cancel", limits=["usd=5"])
        text = "请把下面这段文字翻译成英文，并且总结要点。\n" * 1000
        with self.keyhole.client() as client:
            client.request("POST", "/v1/chat/completions", [("x-demo", f"gate={uuid.uuid4().hex}@3")], chat_body(stream=True, text=text), token)
            answer = client.answer()
            wait_until(lambda: answer.body.count(b"\n\n") >= 2 or not answer.some(), 20, "the events before the gate")
        row = self.keyhole.row(answer.get("x-keyhole-request-id"))
        self.assertEqual((row["outcome"], row["source"]), ("agent_gone", "estimated"), row)
        self.assertGreater(row["input"], 12_000)
        self.assertLess(row["input"], 25_000)

    def test_a_long_stream_that_is_left_counts_its_prompt_as_a_short_one_does(self):
        # After a second the prompt has been counted and let go.
        token = self.keyhole.token(gone_policy="cancel")
        body = chat_body(stream=True, text="the lantern by the door " * 400)
        counted = []
        for demo, events in (("gate={}@3", 2), ("pace=400,gate={}@5", 5)):
            with self.keyhole.client(timeout=30) as client:
                client.request("POST", "/v1/chat/completions", [("x-demo", demo.format(uuid.uuid4().hex))], body, token)
                answer = client.answer()
                wait_until(lambda: answer.body.count(b"\n\n") >= events or not answer.some(), 20, "the events before the gate")
            row = self.keyhole.row(answer.get("x-keyhole-request-id"))
            self.assertEqual((row["outcome"], row["source"]), ("agent_gone", "estimated"), row)
            counted.append(row["input"])
        self.assertGreater(counted[0], 1000)
        self.assertEqual(*counted)

    def test_cancelled_the_row_is_marked_and_the_provider_is_hung_up_on(self):
        token = self.keyhole.token(gone_policy="cancel")
        plain = self.keyhole.token()
        for path, headers, body in STREAMS:
            most = self.begin(path, headers, body, plain)
            for count in range(0, most, STEP):
                with self.subTest(f"{path} after {count} bytes"):
                    request_id = self.leave_after(path, headers, body, token, count, f"gate={uuid.uuid4().hex}@3")
                    row = self.keyhole.row(request_id)
                    self.assertEqual((row["outcome"], row["agent_gone"]), ("agent_gone", 1), row)
                    self.assertIn(row["source"], ("estimated", "provider_partial"))
                    self.assertGreater(row["input"], 0)
                    self.provider.seen("gone", request_id)


if __name__ == "__main__":
    unittest.main()
