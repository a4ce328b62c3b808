"""BUDGET_HOLDS: limits are kept under any concurrency, nothing stays reserved, and a refusal ends the agent's run."""

import threading
import unittest
import uuid

from harness import VERSION, BlackBox, chat_body, messages_body, wait_until


def held(shown):
    """What a session's limits hold for requests in flight, whatever the unit."""
    return [limit.get("reserved", 0) for limit in shown.get("limits", []) if isinstance(limit, dict)]


class Budget(BlackBox):
    config = {"agent_gone": {"drain_seconds": 3}}

    def crowd(self, token, count, path="/v1/chat/completions", body=None, headers=()):
        """`count` requests at once, each on a connection of its own; their answers."""
        answers = [None] * count
        start = threading.Barrier(count)

        def one(i):
            with self.keyhole.client(timeout=60) as client:
                start.wait()
                answers[i] = client.call("POST", path, headers, body or chat_body(text=f"crowd {i}"), token)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return answers

    def nothing_is_held(self, session):
        def idle():
            shown = self.keyhole.show(session["id"])
            return not any(float(v) for v in held(shown)) and shown.get("in_flight", 0) == 0
        wait_until(idle, 15, f"nothing to be reserved: {self.keyhole.show(session['id'])}")

    def test_two_hundred_at_once_against_a_budget_of_fifty_requests(self):
        session = self.keyhole.session(limits=["requests=50"])
        answers = self.crowd(session["token"], 200)
        statuses = [a.status for a in answers]
        self.assertEqual((statuses.count(200), statuses.count(402)), (50, 150))
        for answer in answers:
            if answer.status == 402:
                self.assertEqual((answer.code, answer.get("x-should-retry"), answer.get("retry-after")), ("budget_exceeded", "false", ""))
        self.nothing_is_held(session)
        wait_until(lambda: len(self.keyhole.rows(session=session["id"])) >= 50, 15)
        self.assertEqual(len(self.keyhole.rows(session=session["id"])), 50)

    def test_two_hundred_streams_at_once_against_a_money_budget_never_overspend(self):
        session = self.keyhole.session(limits=["usd=0.05"])
        body = chat_body(stream=True, max_tokens=100)
        answers = self.crowd(session["token"], 200, body=body)
        served = [a for a in answers if a.status == 200]
        self.assertTrue(served)
        self.assertEqual({a.status for a in answers} - {200}, {402})
        self.nothing_is_held(session)
        for a in served:
            self.keyhole.row(a.get("x-keyhole-request-id"))
        rows = self.keyhole.rows(session=session["id"])
        self.assertEqual(len(rows), len(served))
        self.assertLessEqual(sum(r["cost_nano_usd"] for r in rows), 50_000_000)
        # What was held but not used is there for the next ones: the budget is used up to less than one request's demand.
        more = 0
        while self.keyhole.post("/v1/chat/completions", body, session["token"]).status == 200:
            more += 1
            self.assertLess(more, 2000)
        wait_until(lambda: len(self.keyhole.rows(session=session["id"])) == len(served) + more, 15)
        spent = sum(r["cost_nano_usd"] for r in self.keyhole.rows(session=session["id"]))
        self.assertLessEqual(spent, 50_000_000)
        self.assertGreater(spent, 50_000_000 - 3_000_000)

    def test_a_token_budget_holds(self):
        session = self.keyhole.session(limits=["tokens=2000"])
        body = chat_body(max_tokens=50)
        served = 0
        while (answer := self.keyhole.post("/v1/chat/completions", body, session["token"])).status == 200:
            served += 1
            self.assertLess(served, 500)
        self.assertEqual((answer.status, answer.code), (402, "budget_exceeded"))
        wait_until(lambda: len(self.keyhole.rows(session=session["id"])) == served, 15)
        used = sum(r["input"] + r["cache_read"] + r["output"] + r["output_reasoning"] for r in self.keyhole.rows(session=session["id"]))
        self.assertLessEqual(used, 2000)
        self.assertGreater(used, 1000)

    def test_refusals_have_each_callers_shape(self):
        session = self.keyhole.session(limits=["requests=1"])
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        openai = self.keyhole.post("/v1/chat/completions", chat_body(), session["token"])
        self.assertEqual((openai.status, openai.code), (402, "budget_exceeded"))
        self.assertEqual(set(openai.json()["error"]), {"message", "type", "param", "code"})
        anthropic = self.keyhole.post("/v1/messages", messages_body(), session["token"], [VERSION])
        self.assertEqual((anthropic.status, anthropic.json()["type"]), (402, "error"))
        self.assertTrue(anthropic.json()["error"]["message"])
        codex = self.keyhole.post("/v1/responses", {"model": "gpt-5", "input": "x", "stream": True}, session["token"],
                                  [("originator", "codex_cli_rs")])
        self.assertEqual((codex.status, codex.code), (429, "insufficient_quota"))
        for answer in (openai, anthropic, codex):
            self.assertEqual((answer.get("x-should-retry"), answer.get("retry-after")), ("false", ""))

    def test_a_rate_limit_is_429_with_a_short_retry_after(self):
        session = self.keyhole.session(limits=["requests/minute=2"])
        answers = [self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]) for _ in range(6)]
        last = answers[-1]
        self.assertEqual((last.status, last.code), (429, "rate_limited"))
        self.assertLessEqual(1, int(last.get("retry-after")))
        self.assertLessEqual(int(last.get("retry-after")), 30)
        self.assertLessEqual([a.status for a in answers].count(200), 4)  # the minute may have turned

    def test_concurrency_is_limited_and_given_back(self):
        session = self.keyhole.session(limits=["concurrency=2"])
        name = uuid.uuid4().hex
        running = []
        for _ in range(2):
            client = self.keyhole.client()
            self.addCleanup(client.close)
            client.request("POST", "/v1/chat/completions", [("x-demo", f"gate={name}@1")], chat_body(stream=True), session["token"])
            answer = client.answer()
            answer.until(b"\n\n")
            running.append(answer)
        third = self.keyhole.post("/v1/chat/completions", chat_body(), session["token"])
        self.assertEqual(third.status, 429)
        # Counting tokens is not held against it: claude's /context sends 26 of them in 40 ms.
        self.assertEqual(self.keyhole.post("/v1/messages/count_tokens", messages_body(), session["token"], [VERSION]).status, 200)
        self.provider.open_gate(name)
        for answer in running:
            self.assertTrue(answer.read().whole)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        self.nothing_is_held(session)

    def test_free_routes_are_not_counted(self):
        session = self.keyhole.session(limits=["requests=1"])
        for _ in range(5):
            self.assertEqual(self.keyhole.call("GET", "/v1/models", [], None, session["token"]).status, 200)
            self.assertEqual(self.keyhole.post("/v1/messages/count_tokens", messages_body(), session["token"], [VERSION]).status, 200)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)

    def test_nothing_stays_reserved_however_a_request_ends(self):
        session = self.keyhole.session(limits=["usd=5", "tokens=1000000", "requests=1000", "concurrency=50"])
        token = session["token"]
        for demo in ("reset", "hang_up", "garbage", "status=500", "status=429", "reset_after=2", "cut_eof=2", "cut_clean=2", "bad_chunk=2",
                     "error_event=2", "no_usage", "eof_framing", "half_head=close", "redirect", "gzip"):
            for stream in (False, True):
                with self.subTest(f"{demo} stream={stream}"):
                    self.keyhole.post("/v1/messages", messages_body(stream=stream), token, [VERSION, ("x-demo", demo)])
        for cut in range(3):  # the agent leaves before, in and after the head
            client = self.keyhole.client()
            client.request("POST", "/v1/messages", [VERSION, ("x-demo", f"gate=leave-{cut}@1")], messages_body(stream=True), token)
            if cut:
                answer = client.answer()
                if cut == 2:
                    answer.until(b"\n\n")
            client.close()
            self.provider.open_gate(f"leave-{cut}")
        self.nothing_is_held(session)

    def test_a_model_without_a_price_is_refused_where_money_is_limited(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body("some-new-model"), self.keyhole.token(limits=["usd=1"]))
        self.assertEqual((answer.status, answer.code), (403, "model_unpriced"))

    def test_what_was_spent_survives_a_restart(self):
        session = self.keyhole.session(limits=["requests=3"])
        for _ in range(2):
            self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        self.keyhole.stop()
        self.keyhole.start()
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 402)

    def test_free_routes_stay_free_over_a_restart(self):
        self.keyhole.admin("PUT", "/admin/v1/accounts/free-team", {"limits": ["requests/day=3"]})
        session = self.keyhole.session(limits=["requests=2"], account="free-team")
        for _ in range(5):
            self.assertEqual(self.keyhole.call("GET", "/v1/models", [], None, session["token"]).status, 200)
            self.assertEqual(self.keyhole.post("/v1/messages/count_tokens", messages_body(), session["token"], [VERSION]).status, 200)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        self.keyhole.stop()
        self.keyhole.start()
        self.assertEqual([limit["used"] for limit in self.keyhole.show(session["id"])["limits"]], [1])
        answer = self.keyhole.admin("PUT", "/admin/v1/accounts/free-team", {"limits": ["requests/month=3"]})
        self.assertEqual([limit["used"] for limit in answer.json()["limits"]], [1], "a limit that is set later counts the same")
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 402)

    def test_one_sessions_crowd_does_not_stop_another(self):
        greedy, other = self.keyhole.session(limits=["requests=20"]), self.keyhole.session()
        result = {}

        def crowd():
            result["answers"] = self.crowd(greedy["token"], 60)
        thread = threading.Thread(target=crowd)
        thread.start()
        for _ in range(10):
            self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), other["token"]).status, 200)
        thread.join()
        self.assertEqual([a.status for a in result["answers"]].count(200), 20)


if __name__ == "__main__":
    unittest.main()
