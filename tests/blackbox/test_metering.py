"""TOKENS_EXACT, EVERY_REQUEST_ONE_ROW: the ledger's row says what the provider says it reported, for every wire."""

import unittest

from harness import PRICES, TOKEN_COLUMNS, VERSION, BlackBox, buckets_sum, chat_body, messages_body, wait_until
from wire import multipart

AUDIO, AUDIO_TYPE = multipart(model="gpt-4o-mini-transcribe", file=("hi.wav", b"RIFF" * 200))
BUCKETS = TOKEN_COLUMNS


def buckets_of(usage):
    """The provider's own words, taken apart into disjoint buckets by hand: an independent second reading of each API's rules."""
    out = dict.fromkeys(BUCKETS, 0)
    if "prompt_tokens" in usage:  # OpenAI chat, completions, embeddings: parts are included in their totals
        inner = usage.get("prompt_tokens_details", {})
        outer = usage.get("completion_tokens_details", {})
        out["cache_read"] = inner.get("cached_tokens", 0)
        out["input"] = usage["prompt_tokens"] - out["cache_read"]
        out["output_reasoning"] = outer.get("reasoning_tokens", 0)
        out["output"] = usage.get("completion_tokens", 0) - out["output_reasoning"]
    elif "cache_creation_input_tokens" in usage:  # Anthropic: input excludes the cache, thinking is inside output
        made = usage.get("cache_creation") or {"ephemeral_5m_input_tokens": usage["cache_creation_input_tokens"]}
        out["input"], out["cache_read"] = usage["input_tokens"], usage["cache_read_input_tokens"]
        out["cache_write_5m"] = made.get("ephemeral_5m_input_tokens", 0)
        out["cache_write_1h"] = made.get("ephemeral_1h_input_tokens", 0)
        out["output"] = usage["output_tokens"]
    elif "output_tokens_details" in usage:  # Responses
        out["cache_read"] = usage["input_tokens_details"]["cached_tokens"]
        out["input"] = usage["input_tokens"] - out["cache_read"]
        out["output_reasoning"] = usage["output_tokens_details"]["reasoning_tokens"]
        out["output"] = usage["output_tokens"] - out["output_reasoning"]
    elif "input_token_details" in usage:  # transcriptions
        out["input_audio"] = usage["input_token_details"]["audio_tokens"]
        out["input"] = usage["input_token_details"]["text_tokens"]
        out["output"] = usage["output_tokens"]
    return out


CASES = [  # name, path, headers, body
    ("chat", "/v1/chat/completions", [], chat_body()),
    ("chat, cached and reasoning", "/v1/chat/completions", [], chat_body("demo-cached-reasoning")),
    ("chat, three choices", "/v1/chat/completions", [], chat_body("demo-reasoning", n=3)),
    ("chat, cut at max_tokens", "/v1/chat/completions", [], chat_body(max_tokens=2)),
    ("chat stream, usage asked for", "/v1/chat/completions", [], chat_body("demo-cached-reasoning", stream=True,
                                                                           stream_options={"include_usage": True})),
    ("chat stream, usage not asked for", "/v1/chat/completions", [], chat_body("demo-cached-reasoning", stream=True)),
    ("chat stream, usage declined", "/v1/chat/completions", [], chat_body(stream=True, stream_options={"include_usage": False})),
    ("chat stream, options null", "/v1/chat/completions", [], chat_body(stream=True, stream_options=None)),
    ("chat stream in bytes", "/v1/chat/completions", [("x-demo", "chunking=bytes")], chat_body("demo-cached-reasoning", stream=True)),
    ("chat stream in odd pieces, CRLF", "/v1/chat/completions", [("x-demo", "chunking=odd,crlf")], chat_body("demo-cached", stream=True)),
    ("chat stream, tool call", "/v1/chat/completions", [("x-demo", "tool_call")], chat_body(stream=True)),
    ("chat stream, gzip", "/v1/chat/completions", [("x-demo", "gzip")], chat_body(stream=True)),
    ("chat, gzip", "/v1/chat/completions", [("x-demo", "gzip")], chat_body()),
    ("chat, until the connection ends", "/v1/chat/completions", [("x-demo", "eof_framing")], chat_body()),
    ("completions", "/v1/completions", [], {"model": "gpt-4o", "prompt": "a b c"}),
    ("completions stream", "/v1/completions", [], {"model": "gpt-4o", "prompt": "a b c", "stream": True}),
    ("responses", "/v1/responses", [], {"model": "demo-cached-reasoning", "input": "hi"}),
    ("responses stream", "/v1/responses", [], {"model": "demo-cached-reasoning", "input": "hi", "stream": True}),
    ("responses stream, incomplete", "/v1/responses", [], {"model": "gpt-5", "input": "hi", "stream": True, "max_output_tokens": 3}),
    ("responses stream, failed", "/v1/responses", [("x-demo", "failed")], {"model": "gpt-5", "input": "hi", "stream": True}),
    ("responses stream in bytes", "/v1/responses", [("x-demo", "chunking=bytes")], {"model": "gpt-5", "input": "hi", "stream": True}),
    ("embeddings", "/v1/embeddings", [], {"model": "text-embedding-3-small", "input": ["a b", "c d e"]}),
    ("transcription", "/v1/audio/transcriptions", [("content-type", AUDIO_TYPE)], AUDIO),
    ("messages", "/v1/messages", [VERSION], messages_body()),
    ("messages, cached", "/v1/messages", [VERSION], messages_body("claude-cached-thinking", text="word " * 300)),
    ("messages stream", "/v1/messages", [VERSION], messages_body(stream=True)),
    ("messages stream, cached", "/v1/messages", [VERSION], messages_body("claude-cached-thinking", text="word " * 300, stream=True)),
    ("messages stream in bytes", "/v1/messages", [VERSION, ("x-demo", "chunking=bytes")], messages_body("claude-cached", stream=True)),
    ("messages stream, cut at max_tokens", "/v1/messages", [VERSION], messages_body(max_tokens=3, stream=True)),
]


class Metering(BlackBox):
    def test_the_row_is_what_the_provider_reported(self):
        session = self.keyhole.session(sandbox="sbx-1", labels={"run": "r1", "attempt": "2"})
        for name, path, headers, body in CASES:
            with self.subTest(name):
                answer = self.keyhole.post(path, body, session["token"], headers)
                self.assertEqual((answer.status, answer.whole), (200, True), answer.body[:300])
                seen, row = self.usage_of(answer)
                self.assertTrue(seen["usage"], "the provider was not made to report its usage")
                self.assertEqual({b: row[b] for b in BUCKETS}, buckets_of(seen["usage"]))
                self.assertEqual((row["source"], row["outcome"], row["status"]), ("provider", "ok" if "failed" not in name else row["outcome"], 200))
                self.assertEqual((row["session"], row["sandbox"], row["run"], row["attempt"]), (session["id"], "sbx-1", "r1", "2"))
                self.assertEqual(row["stream"], int(isinstance(body, dict) and bool(body.get("stream"))))
                self.assertEqual(row["model"], seen["model"])
                self.assertGreaterEqual(row["ended_us"], row["first_byte_us"])
                self.assertGreaterEqual(row["first_byte_us"], row["forwarded_us"])
                self.assertGreaterEqual(row["forwarded_us"], row["received_us"])
                self.assertGreater(row["bytes_out"], 0)

    def test_cost_is_exact_to_the_nano_dollar(self):
        token = self.keyhole.token()
        for path, headers, body in (("/v1/chat/completions", [], chat_body("demo-cached-reasoning")),
                                    ("/v1/chat/completions", [], chat_body("gpt-4o", stream=True)),
                                    ("/v1/messages", [VERSION], messages_body("claude-cached", text="word " * 90, stream=True))):
            with self.subTest(path):
                _, row = self.usage_of(self.keyhole.post(path, body, token, headers))
                inp, out, cached = (round(p * 1e15) for p in PRICES[body["model"]])  # nano-USD a million tokens
                write = inp * 5 // 4 if "claude" in body["model"] else inp
                million = (row["input"] * inp + row["cache_read"] * cached + row["cache_write_5m"] * write + row["cache_write_1h"] * write
                           + (row["output"] + row["output_reasoning"]) * out)
                self.assertEqual((row["cost_nano_usd"], row["priced"]), ((million + 500_000) // 1_000_000, 1))

    def test_a_model_without_a_price_is_counted_and_visible(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body("some-new-model"), self.keyhole.token())
        seen, row = self.usage_of(answer)
        self.assertEqual((row["priced"], row["cost_nano_usd"], row["source"]), (0, 0, "provider"))
        self.assertEqual(row["input"], seen["usage"]["prompt_tokens"])

    def test_unknown_usage_is_never_zero_as_if_known(self):
        for path, headers, body in (("/v1/chat/completions", [], chat_body()), ("/v1/chat/completions", [], chat_body(stream=True)),
                                    ("/v1/messages", [VERSION], messages_body(stream=True)), ("/v1/responses", [], {"model": "gpt-5", "input": "x"})):
            with self.subTest(path):
                answer = self.keyhole.post(path, body, self.keyhole.token(), [*headers, ("x-demo", "no_usage")])
                row = self.keyhole.row(answer.get("x-keyhole-request-id"))
                self.assertIn(row["source"], ("none", "estimated"))

    def test_errors_and_cuts_and_free_routes_have_one_row_too(self):
        token = self.keyhole.token()
        for name, path, headers, body, outcome in (
                ("429", "/v1/chat/completions", [("x-demo", "status=429")], chat_body(), "provider_error"),
                ("529", "/v1/messages", [VERSION, ("x-demo", "status_529")], messages_body(stream=True), "provider_error"),
                ("reset before the head", "/v1/chat/completions", [("x-demo", "reset")], chat_body(), "provider_down"),
                ("hang-up before the head", "/v1/chat/completions", [("x-demo", "hang_up")], chat_body(), "provider_down"),
                ("garbage", "/v1/chat/completions", [("x-demo", "garbage")], chat_body(), None),
                ("cut stream", "/v1/messages", [VERSION, ("x-demo", "reset_after=4,gate=cut-now@4")], messages_body(stream=True), "provider_cut"),
                ("count_tokens", "/v1/messages/count_tokens", [VERSION], messages_body(), "ok")):
            with self.subTest(name):
                with self.keyhole.client() as client:
                    client.request("POST", path, headers, body, token)
                    answer = client.answer()
                    if name == "cut stream":
                        answer.until(b"content_block_start")
                        self.provider.open_gate("cut-now")
                    answer.read()
                row = self.keyhole.row(answer.get("x-keyhole-request-id"))
                if outcome:
                    self.assertEqual(row["outcome"], outcome)
                if name == "cut stream":
                    # message_start told the input exactly; the output is the provider's partial word, or counted from what passed.
                    self.assertIn(row["source"], ("provider_partial", "estimated"))
                    whole = self.keyhole.post(path, body, token, [VERSION])
                    self.assertEqual(row["input"], self.keyhole.row(whole.get("x-keyhole-request-id"))["input"])
                elif name != "count_tokens":
                    self.assertEqual((row["source"], row["cost_nano_usd"]), ("none", 0))

    def test_refused_requests_have_no_row(self):
        before = len(self.keyhole.rows())
        self.keyhole.post("/v1/chat/completions", chat_body(), "kh_wrong-token-wrong-token")
        self.keyhole.post("/v1/nothing", chat_body(), self.keyhole.token())
        answer = self.keyhole.post("/v1/chat/completions", chat_body(), self.keyhole.token())
        self.keyhole.row(answer.get("x-keyhole-request-id"))
        self.assertEqual(len(self.keyhole.rows()), before + 1)

    def test_a_response_that_is_read_again_is_billed_once(self):
        session = self.keyhole.session()
        made = self.keyhole.post("/v1/responses", {"model": "gpt-5", "input": "bill me once"}, session["token"])
        first = self.keyhole.row(made.get("x-keyhole-request-id"))
        self.assertGreater(first["output"], 0)
        again = self.keyhole.call("GET", f"/v1/responses/{made.json()['id']}", [], None, session["token"])
        second = self.keyhole.row(again.get("x-keyhole-request-id"))
        self.assertEqual(second["cost_nano_usd"], 0)
        self.assertEqual(buckets_sum(second), 0)

    def test_the_answered_model_decides_the_price(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body("gpt-4o"), self.keyhole.token(), [("x-demo", "answer_model=gpt-4o-mini")])
        _, row = self.usage_of(answer)
        self.assertEqual((row["model"], row["answered_model"]), ("gpt-4o", "gpt-4o-mini"))
        self.assertEqual(row["cost_nano_usd"], round(row["input"] * 150 + row["output"] * 600))

    def test_a_background_response_is_billed_once_however_often_it_is_looked_at(self):
        session = self.keyhole.session(limits=["usd=1"])
        made = self.keyhole.post("/v1/responses", {"model": "gpt-5", "input": "think in the background", "background": True}, session["token"])
        queued = self.keyhole.row(made.get("x-keyhole-request-id"))
        self.assertEqual(queued["source"], "estimated", "until its end is seen it stays booked")
        where = f"/v1/responses/{made.json()['id']}"
        looks = [self.keyhole.call("GET", where, [], None, session["token"]) for _ in range(3)]
        rows = [self.keyhole.row(look.get("x-keyhole-request-id")) for look in looks]
        usage = looks[0].json()["usage"]
        self.assertEqual([r["source"] for r in rows], ["provider", "none", "none"])
        self.assertEqual(buckets_sum(rows[0]), usage["total_tokens"])
        self.assertEqual([buckets_sum(r) for r in rows[1:]], [0, 0])
        self.assertGreater(rows[0]["cost_nano_usd"], 0)
        self.assertEqual(self.keyhole.row(queued["request_id"])["cost_nano_usd"], 0)
        self.assertGreater(float(self.keyhole.show(session["id"])["limits"][0]["used"]), 0)

    def test_a_retrieved_response_repeats_a_usage_that_was_billed_when_it_was_made(self):
        token = self.keyhole.token()
        made = self.keyhole.post("/v1/responses", {"model": "gpt-5", "input": "once only"}, token)
        self.assertGreater(buckets_sum(self.keyhole.row(made.get("x-keyhole-request-id"))), 0)
        again = self.keyhole.call("GET", f"/v1/responses/{made.json()['id']}", [], None, token)
        self.assertEqual(buckets_sum(self.keyhole.row(again.get("x-keyhole-request-id"))), 0)

    def test_what_the_commands_and_metrics_say_is_the_ledgers_sum(self):
        session = self.keyhole.session()
        for i in range(7):
            answer = self.keyhole.post("/v1/chat/completions", chat_body(text=f"sum {i}", stream=i % 2 == 0), session["token"])
            self.keyhole.row(answer.get("x-keyhole-request-id"))
        rows = self.keyhole.rows(session=session["id"])
        self.assertEqual(len(rows), 7)
        told = self.keyhole.admin("GET", "/admin/v1/usage?by=session")
        self.assertEqual(told.status, 200, told.body)
        self.assertIn(session["id"], told.body.decode())
        text = self.keyhole.cli("usage", "--by", "session", "--json").stdout
        self.assertIn(session["id"], text)
        self.assertIn(str(sum(r["cost_nano_usd"] for r in rows)), text.replace(".", ""))

    def test_metrics_count_tokens_as_the_ledger_does(self):
        def tokens():
            return {k: v for k, v in self.keyhole.metrics().items() if "tokens" in k and "_total" in k}
        before = tokens()
        answer = self.keyhole.post("/v1/chat/completions", chat_body("demo-cached-reasoning", text="count these in metrics"),
                                   self.keyhole.token())
        row = self.keyhole.row(answer.get("x-keyhole-request-id"))
        grown = wait_until(lambda: (d := {k: v - before.get(k, 0) for k, v in tokens().items() if v > before.get(k, 0)}) and
                           sum(d.values()) >= buckets_sum(row) and d, 10, "the metrics to follow the ledger")
        self.assertEqual(sum(grown.values()), buckets_sum(row), grown)


if __name__ == "__main__":
    unittest.main()
