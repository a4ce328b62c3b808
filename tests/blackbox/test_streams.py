"""NOTHING_WAITS, and: a cut stream never looks whole."""

import json
import os
import select
import time
import unittest
import uuid

from harness import VERSION, BlackBox, chat_body, messages_body, wait_until

RESPONSES = {"model": "gpt-5", "input": "hi", "stream": True}
STREAMS = (("/v1/chat/completions", [], chat_body(stream=True), b"data: [DONE]"),
           ("/v1/chat/completions", [], chat_body(stream=True, stream_options={"include_usage": True}), b"data: [DONE]"),
           ("/v1/completions", [], {"model": "gpt-4o", "prompt": "once", "stream": True}, b"data: [DONE]"),
           ("/v1/responses", [], RESPONSES, b"event: response.completed"),
           ("/v1/messages", [VERSION], messages_body(stream=True), b"event: message_stop"))


class Streams(BlackBox):
    config = {"agent_gone": {"drain_seconds": 5}}

    def setUp(self):
        self.token = self.keyhole.token()

    def start(self, path, headers, body, demo, tcp=False):
        client = self.keyhole.client(tcp)
        self.addCleanup(client.close)
        client.request("POST", path, [*headers, ("x-demo", demo)], body, self.token)
        return client, client.answer()

    def test_each_event_arrives_before_the_provider_sends_the_next(self):
        for tcp in (False, True):
            for path, headers, body, last in STREAMS:
                with self.subTest(f"{path} tcp={tcp}"):
                    name = uuid.uuid4().hex
                    # The provider stops after two events until we, having read them, let it go on.
                    client, answer = self.start(path, headers, body, f"gate={name}@2", tcp)
                    self.assertEqual(answer.status, 200)
                    wait_until(lambda: self.read_available(answer).count(b"\n\n") >= 2, 10, "the first two events")
                    self.assertNotIn(last, answer.body)
                    self.provider.open_gate(name)
                    answer.read()
                    self.assertTrue(answer.whole)
                    self.assertIn(last, answer.body)

    @staticmethod
    def read_available(answer):
        client = answer.client
        if client.buffer or select.select([client.sock], [], [], 0.2)[0]:
            answer.some()
        return answer.body

    def test_the_head_arrives_before_the_first_event(self):
        name = uuid.uuid4().hex
        client, answer = self.start(*STREAMS[0][:3], f"gate={name}@0")
        self.assertEqual((answer.status, answer.get("content-type")), (200, "text/event-stream; charset=utf-8"))
        self.provider.open_gate(name)
        self.assertTrue(answer.read().whole)

    def test_a_silent_stream_is_kept(self):
        client, answer = self.start(*STREAMS[4][:3], "silence=2,silence_after=3")
        self.assertTrue(answer.read().whole)

    def test_pings_and_comments_pass(self):
        client, answer = self.start(*STREAMS[4][:3], "pings=5,comments")
        answer.read()
        self.assertEqual(answer.body.count(b"event: ping"), 5)
        self.assertIn(b": keepalive\n\n", answer.body)

    def test_a_cut_stream_never_looks_whole(self):
        for cut in ("reset_after=3", "cut_eof=3", "bad_chunk=3", "cut_clean=3"):
            for tcp in (False, True):
                for path, headers, body, last in STREAMS:
                    with self.subTest(f"{cut} {path} tcp={tcp}"):
                        client, answer = self.start(path, headers, body, cut, tcp)
                        answer.read()
                        self.assertNotEqual(answer.end, "timeout")
                        self.assertNotIn(last, answer.body)
                        # cut_clean is the provider's own orderly end, passed on as it is; the ledger knows better (next test).
                        told = b'"error"' in answer.body or b"event: error" in answer.body or b"response.failed" in answer.body
                        if not cut.startswith("cut_clean"):
                            self.assertTrue(told or not answer.whole, (answer.status, answer.end, answer.body[-200:]))
                            row = self.keyhole.row(answer.get("x-keyhole-request-id"))
                            self.assertEqual(row["outcome"], "provider_cut")

    def test_a_stream_that_the_provider_ends_early_in_good_order_is_not_entered_as_ok_with_full_usage(self):
        for path, headers, body, last in STREAMS:
            with self.subTest(path):
                client, answer = self.start(path, headers, body, "cut_clean=3")
                answer.read()
                row = self.keyhole.row(answer.get("x-keyhole-request-id"))
                self.assertNotEqual(row["source"], "provider")

    def test_a_short_body_never_looks_whole(self):
        for tcp in (False, True):
            client = self.keyhole.client(tcp)
            self.addCleanup(client.close)
            client.request("POST", "/v1/chat/completions", [("x-demo", "short_body")], chat_body(), self.token)
            answer = client.answer().read()
            self.assertFalse(answer.whole and answer.status == 200)

    def test_an_error_event_of_the_provider_passes(self):
        for path, headers, body, last in STREAMS:
            with self.subTest(path):
                client, answer = self.start(path, headers, body, "error_event=3")
                answer.read()
                self.assertIn(b'"error"', answer.body)
                self.assertNotIn(last, answer.body)
                self.assertEqual(self.keyhole.row(answer.get("x-keyhole-request-id"))["outcome"], "stream_error")

    def test_an_agent_that_leaves_is_billed_for_what_the_provider_did(self):
        for path, headers, body, last in STREAMS:
            with self.subTest(path):
                name = uuid.uuid4().hex
                # Another test's drain may still be running.
                wait_until(lambda: self.keyhole.metrics()["keyhole_drains_in_flight"] == 0, 30, "no drain but this one's")
                client, answer = self.start(path, headers, body, f"gate={name}@3")
                answer.until(b"\n\n")
                client.close()
                request_id = answer.get("x-keyhole-request-id")
                wait_until(lambda: self.keyhole.metrics()["keyhole_drains_in_flight"] > 0, what="the proxy to see that the agent left")
                self.provider.open_gate(name)  # drained: the provider's last word is heard
                row = self.keyhole.row(request_id)
                self.assertEqual((row["agent_gone"], row["source"]), (1, "provider"), dict(row))
                self.assertEqual(row["outcome"], "agent_gone")
                self.assertGreater(row["output"] + row["output_reasoning"], 0)

    def test_with_the_policy_cancel_the_provider_is_hung_up_on(self):
        token = self.keyhole.token(gone_policy="cancel")
        with self.keyhole.client() as client:
            client.request("POST", "/v1/messages", [VERSION, ("x-demo", "gate=never-opened@3")], messages_body(stream=True), token)
            answer = client.answer()
            answer.until(b"\n\n")
        request_id = answer.get("x-keyhole-request-id")
        self.provider.seen("gone", request_id)
        row = self.keyhole.row(request_id)
        self.assertEqual((row["outcome"], row["agent_gone"]), ("agent_gone", 1))
        self.assertEqual(row["source"], "provider_partial")

    def test_a_drain_is_bounded_in_time(self):
        with self.keyhole.client() as client:
            client.request("POST", "/v1/messages", [VERSION, ("x-demo", "gate=never-opened-either@3")], messages_body(stream=True), self.token)
            answer = client.answer()
            answer.until(b"\n\n")
        row = self.keyhole.row(answer.get("x-keyhole-request-id"), 20)  # drain_seconds is 5
        self.assertEqual((row["outcome"], row["source"]), ("agent_gone", "provider_partial"))

    def test_leaving_right_after_the_last_event_is_a_normal_end(self):
        # codex closes as soon as it has read response.completed; the answer's last chunk may not have come yet.
        for path, headers, body, last in STREAMS:
            with self.subTest(path):
                client, answer = self.start(path, headers, body, "")
                self.assertTrue(answer.until(last))
                client.close()
                row = self.keyhole.row(answer.get("x-keyhole-request-id"))
                self.assertEqual((row["outcome"], row["source"]), ("ok", "provider"))

    def test_a_slow_reader_holds_back_the_provider_not_memory(self):
        before = self.resident()
        clients = []
        for _ in range(4):
            client, answer = self.start("/v1/chat/completions", [], chat_body(stream=True), "words=20000,fat=2000")  # 45 MB each
            answer.until(b"\n\n")
            clients.append((client, answer))
        # Nobody reads: the provider comes to a halt with most of it unsent. Whether it has is asked of the kernel's counters.
        wait_until(lambda: self.halted(), 30, "the provider to be held back")
        self.assertLess(self.resident() - before, 40 * 1024 * 1024)
        self.assertEqual(self.provider.log("answer", client_request_id=clients[0][1].get("x-keyhole-request-id")), [])
        for client, answer in clients[:2]:
            self.assertTrue(answer.read().whole)
            self.assertGreater(len(answer.body), 40_000_000)

    def resident(self):
        with open(f"/proc/{self.keyhole.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def halted(self):
        def cpu():
            with open(f"/proc/{self.provider.process.pid}/stat") as f:
                fields = f.read().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])
        first = cpu()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            select.select([], [], [], 0.1)
        return cpu() == first

    def test_two_hundred_streams_at_once_all_arrive_whole(self):
        body = json.dumps(chat_body(stream=True)).encode()
        expected = self.direct("POST", "/v1/chat/completions", [("content-type", "application/json")], body).body
        answers = []
        clients = [self.keyhole.client(timeout=60) for _ in range(200)]
        for client in clients:
            self.addCleanup(client.close)
            client.request("POST", "/v1/chat/completions", [("content-type", "application/json"), ("x-demo", "gate=crowd@2")], body, self.token)
        wait_until(lambda: self.provider.state()["requests_now"] >= 200, 30, "200 requests at the provider")
        self.provider.open_gate("crowd")
        for client in clients:
            answers.append(client.answer().read())
        self.assertEqual({(a.status, a.whole, a.body) for a in answers}, {(200, True, expected)})
        wait_until(lambda: len(self.keyhole.rows()) and all(self.keyhole.row(a.get("x-keyhole-request-id")) for a in answers[:1]), 10)


if __name__ == "__main__":
    unittest.main()
