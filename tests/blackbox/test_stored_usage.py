"""TOKENS_EXACT and BUDGET_HOLDS where usage comes later than the answer: background responses, batches, and what is retrieved of them.
Whatever is never looked at, looked at too early, half or twice is neither free nor doubled."""

import os
import tempfile
import unittest

from harness import buckets_sum, wait_until
from scripted import World, http, jsonl, sse

ANTHROPIC = [("anthropic-version", "2023-06-01")]
USAGE = {"input_tokens": 10, "output_tokens": 8000, "total_tokens": 8010}
NOTHING = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
PRICES = """[[model]]
provider = "openai"
model = "gpt-4o-mini"
input = "0.15"
output = "0.60"
service_tier.batch = { input = "0.075", output = "0.30" }
"""
LATER = {"model": "gpt-4o-mini", "background": True, "max_output_tokens": 8000, "input": "x"}


def response(name, status, usage):
    return http({"id": name, "object": "response", "status": status, "model": "gpt-4o-mini", "usage": usage})


def result(model="claude-sonnet-4-5", output=500):
    return {"custom_id": "a", "result": {"type": "succeeded", "message": {
        "id": "msg", "model": model, "content": [{"type": "text", "text": "x" * 100}],
        "usage": {"input_tokens": 1000, "output_tokens": output, "service_tier": "batch"}}}}


def batch_of(count, max_tokens=500, model="claude-sonnet-4-5"):
    return {"requests": [{"custom_id": str(i), "params": {"model": model, "max_tokens": max_tokens, "messages": []}} for i in range(count)]}


class StoredUsage(unittest.TestCase):
    def setUp(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as prices:
            prices.write(PRICES)
        self.addCleanup(os.unlink, prices.name)
        self.world = World({"agent_gone": {"policy": "cancel"}, "prices": [{"format": "keyhole", "path": prices.name}]})
        self.addCleanup(self.world.close)

    def ask(self, *args, **more):
        return self.world.ask(*args, **more)

    def balances(self, session):
        """The budget, in memory and as a restart would restore it, is the ledger's sum."""
        spent = sum(r["cost_nano_usd"] for r in self.world.keyhole.rows(session=session["id"]))
        self.assertEqual(round(float(self.world.used(session)["used"]) * 1e9), spent)
        self.world.keyhole.stop()
        self.world.keyhole.start()
        self.assertEqual(round(float(self.world.used(session)["used"]) * 1e9), spent)

    def rollups_agree(self):
        rows = self.world.keyhole.rows()
        told = self.world.keyhole.admin("GET", "/admin/v1/usage?by=source").json()
        groups = {g["group"]: g for g in (told if isinstance(told, list) else told["groups"])}
        for source in {r["source"] for r in rows}:
            mine = [r for r in rows if r["source"] == source]
            self.assertEqual(groups[source]["requests"], len(mine), groups)
            self.assertEqual(groups[source]["output"], sum(r["output"] for r in mine), groups)
        self.assertEqual(set(groups), {r["source"] for r in rows})

    def test_twenty_background_responses_do_not_pass_a_budget_for_two(self):
        session = self.world.keyhole.session(limits=["usd=0.01"])  # 8000 output tokens of gpt-4o-mini: 0.0048 USD
        statuses = [self.ask("POST", "/v1/responses", response(f"resp_{i}", "queued", None), LATER, session["token"])[0].status for i in range(20)]
        self.assertEqual((statuses.count(200), statuses.count(402)), (2, 18))
        self.balances(session)

    def test_a_background_response_stays_booked_until_its_end_is_seen_and_is_then_exact(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        _, made = self.ask("POST", "/v1/responses", response("resp_a", "queued", NOTHING), LATER, session["token"])
        self.assertEqual((made["source"], made["output"]), ("estimated", 8000))
        for status, usage in (("queued", NOTHING), ("in_progress", NOTHING), ("in_progress", {**USAGE, "output_tokens": 1, "total_tokens": 11})):
            _, early = self.ask("GET", "/v1/responses/resp_a", response("resp_a", status, usage), token=session["token"])
            self.assertEqual((early["source"], buckets_sum(early), early["cost_nano_usd"]), ("none", 0, 0))
        _, last = self.ask("GET", "/v1/responses/resp_a", response("resp_a", "completed", USAGE), token=session["token"])
        self.assertEqual((last["source"], last["input"], last["output"]), ("provider", 10, 8000))
        made = self.world.keyhole.row(made["request_id"])
        self.assertEqual((made["source"], buckets_sum(made), made["cost_nano_usd"]), ("none", 0, 0))
        self.rollups_agree()
        self.balances(session)
        _, again = self.ask("GET", "/v1/responses/resp_a", response("resp_a", "completed", USAGE), token=session["token"])
        self.assertEqual((again["source"], buckets_sum(again)), ("none", 0))

    def test_an_estimate_from_before_a_restart_is_settled_after_it(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        self.ask("POST", "/v1/responses", response("resp_r", "in_progress", {**USAGE, "output_tokens": 5}), LATER, session["token"])
        self.world.keyhole.stop()
        self.world.keyhole.start()
        self.assertGreater(float(self.world.used(session)["used"]), 0.004)
        _, last = self.ask("GET", "/v1/responses/resp_r", response("resp_r", "completed", {**USAGE, "output_tokens": 100}), token=session["token"])
        self.assertEqual(last["output"], 100)
        self.balances(session)

    def test_the_answer_to_a_cancel_is_billed(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        self.ask("POST", "/v1/responses", response("resp_c", "queued", None), LATER, session["token"])
        _, row = self.ask("POST", "/v1/responses/resp_c/cancel", response("resp_c", "cancelled", {**USAGE, "output_tokens": 77}), {}, session["token"])
        self.assertEqual((row["source"], row["output"]), ("provider", 77))
        self.balances(session)

    def test_what_was_cancelled_without_a_word_stays_estimated_and_a_failure_is_free(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        for name, status, left in (("resp_x", "cancelled", "estimated"), ("resp_f", "failed", "none")):
            _, made = self.ask("POST", "/v1/responses", response(name, "queued", None), LATER, session["token"])
            self.ask("GET", f"/v1/responses/{name}", response(name, status, None), token=session["token"])
            self.assertEqual(self.world.keyhole.row(made["request_id"])["source"], left)
        self.balances(session)

    def test_a_stream_that_breaks_off_by_an_error_is_not_booked_at_its_bound(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        broken = http(sse({"type": "response.created", "response": {"id": "resp_e", "status": "in_progress", "model": "gpt-4o-mini"}},
                          {"type": "error", "code": "server_error", "message": "no"}), "text/event-stream")
        _, row = self.ask("POST", "/v1/responses", broken, {"model": "gpt-4o-mini", "stream": True, "input": "x"}, session["token"])
        self.assertLess(row["output"], 10, row)
        self.balances(session)

    def test_background_responses_without_a_bound_do_not_pass_a_budget_one_by_one(self):
        session = self.world.keyhole.session(limits=["usd=0.002"])
        later = {k: v for k, v in LATER.items() if k != "max_output_tokens"}
        statuses = [self.ask("POST", "/v1/responses", response(f"resp_n{i}", "queued", None), later, session["token"])[0].status for i in range(6)]
        self.assertEqual((statuses[0], statuses[-1]), (200, 402), statuses)
        self.assertEqual(statuses.count(200), 1)

    def test_a_batch_in_which_every_request_failed_is_free_once_that_is_seen(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        made = http({"id": "msgbatch_f", "type": "message_batch", "processing_status": "in_progress"})
        self.ask("POST", "/v1/messages/batches", made, batch_of(3), session["token"], ANTHROPIC)
        self.assertGreater(float(self.world.used(session)["used"]), 0)
        failed = http(jsonl({"custom_id": "a", "result": {"type": "errored", "error": {"type": "invalid_request_error"}}}), "application/x-jsonl")
        partly = http(jsonl(result()), "application/x-jsonl", 206)
        self.ask("GET", "/v1/messages/batches/msgbatch_f/results", partly, None, session["token"], ANTHROPIC)
        self.assertGreater(float(self.world.used(session)["used"]), 0, "a part is not the last word")
        self.ask("GET", "/v1/messages/batches/msgbatch_f/results", failed, None, session["token"], ANTHROPIC)
        wait_until(lambda: float(self.world.used(session)["used"]) == 0, 10, "the estimate given back")
        self.balances(session)

    def test_long_batches_of_short_requests_are_billed_at_the_short_rates(self):
        session = self.world.keyhole.session(limits=["usd=10"])
        made = http({"id": "msgbatch_l", "type": "message_batch", "processing_status": "in_progress"})
        self.ask("POST", "/v1/messages/batches", made, batch_of(250), session["token"], ANTHROPIC)
        _, row = self.ask("GET", "/v1/messages/batches/msgbatch_l/results", http(jsonl(*[result() for _ in range(250)]), "application/x-jsonl"), None,
                          session["token"], ANTHROPIC)
        self.assertEqual((row["input"], row["cost_nano_usd"]), (250_000, 250 * (1000 * 1500 + 500 * 7500)))

    def test_gemini_interactions_are_held_to_the_same(self):
        token = self.world.keyhole.token()
        early = {"total_input_tokens": 0, "total_output_tokens": 0, "total_tokens": 0}
        usage = {"total_input_tokens": 10, "total_output_tokens": 5000, "total_tokens": 5010}

        def interaction(status, counts):
            return http({"id": "int_1", "status": status, "model": "gemini-2.5-flash", "usage": counts})
        _, made = self.ask("POST", "/v1beta/interactions", interaction("in_progress", early), {"background": True, "model": "gemini-2.5-flash"}, token)
        self.assertEqual(made["source"], "estimated")
        self.ask("GET", "/v1beta/interactions/int_1", interaction("in_progress", early), token=token)
        _, last = self.ask("GET", "/v1beta/interactions/int_1", interaction("completed", usage), token=token)
        self.assertEqual((last["source"], last["output"]), ("provider", 5000))

    def test_a_stream_of_a_stored_answer_that_is_left_early_is_not_free(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        _, made = self.ask("POST", "/v1/responses", response("resp_s", "queued", None), LATER, session["token"])
        event = sse({"type": "response.output_text.delta", "delta": "word " * 50}).encode()

        def slow(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event))
            connection.recv(1)
        with self.world.keyhole.client() as client:
            client.request("GET", "/v1/responses/resp_s?stream=true", [self.world.case(slow)], None, session["token"])
            wait_until(lambda: client.recv() and b"word" in client.buffer, 15)
        wait_until(lambda: len(self.world.keyhole.rows(session=session["id"])) == 2, 15)
        self.assertEqual([r["source"] for r in self.world.keyhole.rows(session=session["id"])], ["estimated", "none"])
        _, last = self.ask("GET", "/v1/responses/resp_s", response("resp_s", "completed", USAGE), token=session["token"])
        self.assertEqual(last["output"], 8000)
        self.assertEqual(self.world.keyhole.row(made["request_id"])["source"], "none")
        self.balances(session)

    def test_anthropic_batch_results_are_billed_once_at_batch_prices(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        made, row = self.ask("POST", "/v1/messages/batches", http({"id": "msgbatch_1", "processing_status": "in_progress"}), batch_of(10), session["token"], ANTHROPIC)
        self.assertEqual((row["source"], row["output"], row["service_tier"], row["priced"]), ("estimated", 5000, "batch", 1))
        where = "/v1/messages/batches/msgbatch_1/results"
        results = http(jsonl(*[result(output=400) for _ in range(10)]), "application/x-jsonl")
        rows = [self.ask("GET", where, results, token=session["token"], headers=ANTHROPIC)[1] for _ in range(2)]
        self.assertEqual([(r["source"], r["input"], r["output"]) for r in rows], [("provider", 10000, 4000), ("none", 0, 0)])
        self.assertEqual(rows[0]["cost_nano_usd"], 10000 * 1500 + 4000 * 7500)  # half of 3 and 15 USD a million
        self.assertEqual(self.world.keyhole.row(row["request_id"])["source"], "none")
        self.rollups_agree()
        self.balances(session)

    def test_a_batch_that_may_cost_more_than_is_left_is_refused(self):
        session = self.world.keyhole.session(limits=["usd=0.01"])
        answer, _ = self.ask("POST", "/v1/messages/batches", http({"id": "never"}), batch_of(100, 100000), session["token"], ANTHROPIC)
        self.assertEqual((answer.status, answer.code), (402, "budget_exceeded"))
        self.assertEqual(self.world.provider.seen, [])

    def test_a_batch_with_a_model_that_the_session_may_not_use_or_that_has_no_price_is_refused(self):
        for fields, code in (({"models": ["claude-haiku*"]}, "model_not_allowed"), ({"limits": ["usd=1"]}, "model_unpriced")):
            body = batch_of(1, model="claude-haiku-4-5")
            body["requests"] += batch_of(1, model="nobody-knows")["requests"]
            answer, _ = self.ask("POST", "/v1/messages/batches", http({"id": "never"}), body, self.world.keyhole.token(**fields), ANTHROPIC)
            self.assertEqual((answer.status, answer.code), (403, code))
        self.assertEqual(self.world.provider.seen, [])

    def test_results_that_break_off_leave_the_estimate_and_the_next_reading_is_exact(self):
        session = self.world.keyhole.session(limits=["usd=1"])
        _, made = self.ask("POST", "/v1/messages/batches", http({"id": "msgbatch_2"}), batch_of(3), session["token"], ANTHROPIC)
        whole = http(jsonl(*[result() for _ in range(3)]), "application/x-jsonl")
        where = "/v1/messages/batches/msgbatch_2/results"

        def broken(connection):
            connection.sendall(whole[:-50])
        self.world.keyhole.call("GET", where, [self.world.case(broken), *ANTHROPIC], None, session["token"])
        wait_until(lambda: len(self.world.keyhole.rows(session=session["id"])) == 2, 15)
        self.assertEqual([r["source"] for r in self.world.keyhole.rows(session=session["id"])], ["estimated", "none"])
        _, row = self.ask("GET", where, whole, token=session["token"], headers=ANTHROPIC)
        self.assertEqual((row["source"], row["output"]), ("provider", 1500))
        self.balances(session)

    def test_a_file_of_requests_is_refused_where_money_or_tokens_are_limited(self):
        body = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        for limit in ("usd=1", "tokens=1000"):
            token = self.world.keyhole.token(limits=[limit])
            body["input_file_id"] = f"file-{limit[:3]}"
            self.ask("POST", "/v1/files", http({"id": body["input_file_id"], "object": "file"}), b"--x\r\n", token)
            answer, _ = self.ask("POST", "/v1/batches", http({"id": "never"}), body, token)
            self.assertEqual((answer.status, answer.code), (403, "batch_unbounded"))
            self.assertIn("sessions.unbounded_batches", answer.body.decode())

    def openai_batch(self, session):
        body = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        self.ask("POST", "/v1/files", http({"id": "file-in", "object": "file"}), b"--x\r\n", session["token"])
        self.ask("POST", "/v1/batches", http({"id": "batch_1", "object": "batch", "status": "validating"}), body, session["token"])

    def test_an_openai_batch_is_billed_by_its_own_usage_or_by_its_file_whichever_comes_first(self):
        usage = {"input_tokens": 2000, "output_tokens": 600, "total_tokens": 2600}
        line = {"custom_id": "1", "response": {"status_code": 200, "body": {
            "id": "c", "model": "gpt-4o-mini", "usage": {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300}}}}
        file = http(jsonl(line, line), "application/octet-stream")
        cost = 2000 * 75 + 600 * 300  # half of 0.15 and 0.60 USD a million
        for told in (usage, None):
            session = self.world.keyhole.session()
            self.openai_batch(session)
            early = {"id": "batch_1", "object": "batch", "status": "in_progress", "model": "gpt-4o-mini", "usage": NOTHING}
            _, row = self.ask("GET", "/v1/batches/batch_1", http(early), token=session["token"])
            self.assertEqual(row["source"], "none")
            done = {**early, "status": "completed", "output_file_id": "file-out", "usage": told}
            _, looked = self.ask("GET", "/v1/batches/batch_1", http(done), token=session["token"])
            _, read = self.ask("GET", "/v1/files/file-out/content", file, token=session["token"])
            _, again = self.ask("GET", "/v1/files/file-out/content", file, token=session["token"])
            first, second = (looked, read) if told else (read, looked)
            self.assertEqual((first["source"], first["input"], first["output"]), ("provider", 2000, 600))
            self.assertEqual((first["service_tier"], first["priced"], first["cost_nano_usd"]), ("batch", 1, cost))
            self.assertEqual([buckets_sum(r) for r in (second, again)], [0, 0])
            self.world.close()
            self.setUp()

    def test_a_reading_of_unbounded_results_that_breaks_off_is_estimated_and_corrected(self):
        session = self.world.keyhole.session()
        self.openai_batch(session)
        done = {"id": "batch_1", "object": "batch", "status": "completed", "output_file_id": "file-out"}
        self.ask("GET", "/v1/batches/batch_1", http(done), token=session["token"])
        line = {"response": {"body": {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300}}}}
        whole = http(jsonl(*[line] * 4), "application/octet-stream")
        for _ in range(2):
            self.world.keyhole.call("GET", "/v1/files/file-out/content", [self.world.case(lambda c: c.sendall(whole[:-100]))], None, session["token"])
        read = lambda: [r for r in self.world.keyhole.rows(session=session["id"]) if r["wire"] == "openai_batch_results"]
        wait_until(lambda: len(read()) == 2, 15)
        self.assertEqual([(r["source"], r["output"]) for r in read()], [("estimated", 900), ("none", 0)])
        self.ask("GET", "/v1/files/file-out/content", whole, token=session["token"])
        self.assertEqual([(r["source"], r["output"]) for r in read()], [("none", 0), ("none", 0), ("provider", 1200)])
        self.rollups_agree()

    def test_a_file_that_is_no_batchs_answer_is_only_a_file(self):
        token = self.world.keyhole.token()
        self.ask("POST", "/v1/files", http({"id": "file-mine", "object": "file"}), b"--x\r\n", token)
        mine = http(jsonl({"response": {"body": {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 9, "completion_tokens": 9}}}}), "application/octet-stream")
        _, row = self.ask("GET", "/v1/files/file-mine/content", mine, token=token)
        self.assertEqual((row["source"], row["wire"]), ("none", "none"))
