"""BUDGET_HOLDS for what a request makes its provider read, search and write beyond its own text: every prompt of a list, earlier answers, searches by any
tool, tiers in any spelling, fallbacks, cache writes that nobody asked for. And NO_WAY_AROUND: nobody builds on what another session made."""

import json
import os
import tempfile
import threading
import unittest

from harness import Keyhole, wait_until
from scripted import KEYS, World, http, sse

PRICES = """
[[model]]
provider = "openai"
model = "gpt-4o-mini"
input = "0.15"
output = "0.60"
web_search_per_1000 = "10"
[[model]]
provider = "openai"
model = "writes-caches"
input = "2.00"
cache_write_5m = "2.50"
output = "1.00"
[[model]]
provider = "openrouter"
model = "x-ai/grok-4"
input = "3"
output = "15"
web_search_per_1000 = "25"
[[model]]
provider = "openrouter"
model = "cheap"
input = "0.10"
output = "0.20"
[[model]]
provider = "openrouter"
model = "perplexity/sonar-pro"
input = "3"
output = "15"
web_search_per_1000 = "5"
[[model]]
provider = "anthropic"
model = "claude"
input = "1"
output = "10"
cache_write_5m = "1.25"
service_tier.fast = { input = "6", output = "60" }
[[model]]
provider = "bedrock"
model = "amazon.nova-pro-v1:0"
input = "1"
output = "10"
service_tier.priority = { input = "2", output = "20" }
[[model]]
provider = "gemini"
model = "gemini-2.5-flash"
input = "1"
output = "10"
web_search_per_1000 = "14"
service_tier.priority = { input = "2", output = "20" }
[[model]]
provider = "gemini"
model = "gemini-3"
input = "1"
output = "10"
[[model]]
provider = "vertex"
model = "gemini-2.5-flash"
input = "1"
output = "10"
service_tier.ON_DEMAND_PRIORITY = { input = "2", output = "20" }
"""
ANTHROPIC = [("anthropic-version", "2023-06-01")]
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
VERTEX = "/vertex/v1/projects/p/locations/us/publishers/google/models/gemini-2.5-flash:generateContent"
NOVA = "/model/amazon.nova-pro-v1:0"
MANY = 30


def chat(prompt, completion, model="gpt-4o-mini", **usage):
    return http({"id": "c", "model": model, "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **usage}})


def batch(tool=None):
    params = {"model": "claude", "max_tokens": 10, "messages": [{"role": "user", "content": [{"type": "text", "text": "a b c d " * 5000, "cache_control": {"type": "ephemeral"}}]}]}
    return {"requests": [{"custom_id": "1", "params": params | ({"tools": [tool]} if tool else {})}]}


def response(name, input_tokens, output_tokens=10):
    usage = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": input_tokens + output_tokens}
    return http({"id": name, "object": "response", "status": "completed", "model": "gpt-4o-mini", "output": [], "usage": usage})


def interaction(name, input_tokens):
    usage = {"total_input_tokens": input_tokens, "total_output_tokens": 10, "total_tokens": input_tokens + 10}
    return http({"id": name, "status": "completed", "model": "gemini-3", "outputs": [], "usage": usage})


class Bounded(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as prices:
            prices.write(PRICES)
        cls.prices = prices.name
        cls.addClassCleanup(os.unlink, prices.name)
        cls.world = World({"prices": [{"format": "keyhole", "path": prices.name}]})
        cls.addClassCleanup(cls.world.close)

    def session(self, limit):
        return self.world.keyhole.session(limits=[limit])

    def keeps(self, session):
        """The limit, and that what was used never passed it."""
        limit = self.world.used(session)
        self.assertLessEqual(float(limit["used"]), float(limit["limit"].partition("=")[2]), limit)
        return float(limit["used"])

    def refused(self, limit, path, answer, body, headers=()):
        """Under that limit, which its answer would pass, and never after it."""
        session = self.session(limit)
        got, _ = self.world.ask("POST", path, answer, body, session["token"], headers)
        self.assertEqual(got.status, 402, (path, body, got.body))
        self.assertIn(b"budget_exceeded", got.body)
        self.assertEqual(self.keeps(session), 0)

    def held(self, path, answer, body, headers=()):
        got, row = self.world.ask("POST", path, answer, body, self.session("usd=100")["token"], headers)
        self.assertEqual(got.status, 200, got.body)
        return row

    def at_once(self, session, path, answer, body):
        """How many of MANY at once were let through; their answers come when all have been asked."""
        together, statuses = threading.Event(), []

        def slow(connection):
            together.wait(30)
            connection.sendall(answer)
        case, before = self.world.case(slow), len(self.world.provider.seen)

        def one():
            fields = [case, ("content-type", "application/json")]
            statuses.append(self.world.keyhole.call("POST", path, fields, json.dumps(body).encode(), session["token"]).status)
        threads = [threading.Thread(target=one) for _ in range(MANY)]
        for thread in threads:
            thread.start()
        # Whoever was let through waits at the provider; the others have their refusals.
        wait_until(lambda: len(self.world.provider.seen) - before + len(statuses) >= MANY)
        together.set()
        for thread in threads:
            thread.join()
        self.assertLessEqual(set(statuses), {200, 402})
        return statuses.count(200)


class KeptBounds(Bounded):
    def test_every_prompt_of_a_list_has_an_answer_of_its_own(self):
        text = {"model": "gpt-4o-mini", "max_tokens": 4000}
        answer = http({"id": "c", "object": "text_completion", "model": "gpt-4o-mini", "choices": [],
                       "usage": {"prompt_tokens": 300, "completion_tokens": 400_000, "total_tokens": 400_300}})
        for prompts in (["tell a story"] * 100, [[1, 2], [3, 4]] * 50):
            self.refused("tokens=20000", "/v1/completions", answer, {**text, "prompt": prompts})
            session = self.session("usd=0.50")  # one such request: 0.24 USD
            self.assertEqual(self.at_once(session, "/v1/completions", answer, {**text, "prompt": prompts}), 2)
            self.keeps(session)
        for prompts in ("tell a story", ["tell a story"], [1, 2, 3, 4], [[1, 2, 3]]):
            got, _ = self.world.ask("POST", "/v1/completions", chat(4, 4000), {**text, "prompt": prompts}, self.session("tokens=4100")["token"])
            self.assertEqual(got.status, 200, prompts)

    def test_numbers_count_also_where_they_are_written_as_text(self):
        for n in ("128", " 128", "1_28", "128.0", 128, 1000, "many"):
            self.refused("tokens=20000", "/v1/chat/completions", chat(10, 128_000), {"model": "gpt-4o-mini", "max_tokens": 1000, "n": n, "messages": []})
        self.refused("tokens=500", "/v1/chat/completions", chat(10, 2000), {"model": "gpt-4o-mini", "max_tokens": 10, "max_completion_tokens": "2000", "messages": []})

    def test_what_an_answer_builds_on_is_held_as_input(self):
        session = self.session("usd=0.05")
        body = {"model": "gpt-4o-mini", "max_output_tokens": 16}
        got, row = self.world.ask("POST", "/v1/responses", response("resp_big", 80_000), {**body, "input": "x " * 80_000}, session["token"])
        self.assertEqual((got.status, row["cost_nano_usd"]), (200, 80_000 * 150 + 10 * 600))
        further = {**body, "previous_response_id": "resp_big", "input": "go on"}
        passed = self.at_once(session, "/v1/responses", response("resp_n", 80_010), further)
        self.assertEqual(passed, 3)  # 0.012 USD each of the 0.038 that were left
        self.assertGreater(self.keeps(session), 0.045)
        self.refused_next(session, further)

    def refused_next(self, session, body):
        got, _ = self.world.ask("POST", "/v1/responses", response("resp_late", 80_010), body, session["token"])
        self.assertEqual(got.status, 402, got.body)

    def test_a_chain_of_answers_goes_on_until_the_money_is_spent(self):
        session = self.session("usd=0.05")
        last, context, turns = None, 1000, 0
        while True:
            body = {"model": "gpt-4o-mini", "max_output_tokens": 500, "input": "go on", **({"previous_response_id": last} if last else {})}
            got, _ = self.world.ask("POST", "/v1/responses", response(f"resp_chain_{turns}", context, 500), body, session["token"])
            if got.status != 200:
                break
            last, context, turns = f"resp_chain_{turns}", context + 510, turns + 1
        self.assertEqual(got.status, 402)
        self.assertGreater(turns, 20)
        self.assertGreater(self.keeps(session), 0.05 * 0.9)

    def test_an_answer_of_which_nothing_is_known_is_held_with_an_allowance(self):
        session = self.session("usd=1")
        failed = http({"id": "resp_failed", "object": "response", "status": "failed", "model": "gpt-4o-mini", "usage": None})
        body = {"model": "gpt-4o-mini", "max_output_tokens": 16, "input": "x"}
        self.world.ask("POST", "/v1/responses", failed, body, session["token"])
        _, row = self.world.ask("POST", "/v1/responses", response("resp_after", 5), {**body, "previous_response_id": "resp_failed"}, session["token"])
        self.assertGreaterEqual(row["reserved_nano_usd"], 100_000 * 150)
        for kept in ({"prompt": {"id": "pmpt_1"}}, {"input": [{"type": "item_reference", "id": "msg_1"}] * 25}):
            self.assertGreaterEqual(self.held("/v1/responses", response("resp_kept", 5), {**body, **kept})["reserved_nano_usd"], 100_000 * 150)

    def test_an_answer_that_broke_off_is_estimated_with_what_it_built_on(self):
        session = self.session("usd=1")
        body = {"model": "gpt-4o-mini", "max_output_tokens": 16, "input": "x"}
        self.world.ask("POST", "/v1/responses", response("resp_base", 50_000), body, session["token"])

        def cut(connection):
            begun = sse({"type": "response.created", "response": {"id": "resp_cut", "status": "in_progress", "model": "gpt-4o-mini"}},
                        {"type": "response.output_text.delta", "delta": "hi"})
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 90000\r\n\r\n" + begun.encode())
        got = self.world.keyhole.call("POST", "/v1/responses", [self.world.case(cut), ("content-type", "application/json")],
                                      json.dumps({**body, "stream": True, "previous_response_id": "resp_base"}).encode(), session["token"])
        row = self.world.keyhole.row(got.get("x-keyhole-request-id"))
        self.assertEqual(row["source"], "estimated")
        self.assertGreaterEqual(row["input"], 50_010)

    def test_nobody_builds_on_what_another_session_made(self):
        one, two = self.session("tokens=9000000"), self.session("tokens=9000000")
        body = {"model": "gemini-3", "input": "x", "generation_config": {"max_output_tokens": 100}}
        for i, name in enumerate(("previous_interaction_id", "previousInteractionId", "previous_interaction\\u005fid")):
            got, _ = self.world.ask("POST", "/v1beta/interactions", interaction(f"int_{i}", 900_000), body, one["token"])
            self.assertEqual(got.status, 200)
            raw = (json.dumps(body)[:-1] + f', "{name}": "int_{i}"}}').encode()
            for session, status in ((two, 404), (one, 200)):
                got, _ = self.world.ask("POST", "/v1beta/interactions", interaction(f"int_{i}_next", 900_020), raw, session["token"])
                self.assertEqual(got.status, status, (name, got.body))
        for name in ("cachedContent", "cached_content"):
            got, _ = self.world.ask("POST", GENERATE, http({}), {name: "cachedContents/of-somebody", "contents": []}, two["token"])
            self.assertEqual(got.status, 404, got.body)
        inside = {"model": "gpt-4o-mini", "messages": [], "extra_body": {"google": {"cached_content": "cachedContents/of-somebody"}}}
        self.assertEqual(self.world.ask("POST", "/v1/chat/completions", chat(1, 1), inside, two["token"])[0].status, 404)

    def test_an_interaction_holds_what_it_builds_on(self):
        session = self.session("tokens=1000000")
        body = {"model": "gemini-3", "input": "x", "generation_config": {"max_output_tokens": 100}}
        self.world.ask("POST", "/v1beta/interactions", interaction("int_long", 900_000), body, session["token"])
        got, _ = self.world.ask("POST", "/v1beta/interactions", interaction("int_next", 900_020), {**body, "previous_interaction_id": "int_long"}, session["token"])
        self.assertEqual(got.status, 402, got.body)
        self.keeps(session)

    def test_a_tier_is_held_at_its_price_however_it_is_asked_for(self):
        usage = {"inputTokens": 10, "outputTokens": 1000, "totalTokens": 1010}
        converse = http({"output": {}, "serviceTier": {"type": "priority"}, "usage": usage})
        invoke = http({"output": {}, "usage": usage}, headers=["x-amzn-bedrock-service-tier: priority"])
        gemini = {"promptTokenCount": 10, "candidatesTokenCount": 1000, "totalTokenCount": 1010}
        fast = http({"id": "m", "type": "message", "model": "claude", "content": [], "usage": {"input_tokens": 10, "output_tokens": 1000, "speed": "fast"}})
        generate = {"generationConfig": {"maxOutputTokens": 1000}, "contents": []}
        cases = [(NOVA + "/converse", converse, {"inferenceConfig": {"maxTokens": 1000}, "messages": [], "serviceTier": {"type": "priority"}}, []),
                 (NOVA + "/converse", converse, {"inferenceConfig": {"maxTokens": 1000}, "messages": []}, [("X-Amzn-Bedrock-Service-Tier", "priority")]),
                 (NOVA + "/invoke", invoke, {"inferenceConfig": {"max_new_tokens": 1000}, "messages": []}, [("x-amzn-bedrock-service-tier", "Priority")]),
                 (GENERATE, http({"usageMetadata": {**gemini, "serviceTier": "priority"}}), {**generate, "serviceTier": "priority"}, []),
                 (GENERATE, http({"usageMetadata": {**gemini, "serviceTier": "priority"}}), {**generate, "service_tier": "PRIORITY"}, []),
                 (VERTEX, http({"usageMetadata": {**gemini, "trafficType": "ON_DEMAND_PRIORITY"}}), generate, [("X-Vertex-AI-LLM-Shared-Request-Type", "priority")]),
                 ("/v1/messages", fast, {"model": "claude", "max_tokens": 1000, "speed": "fast", "messages": []}, ANTHROPIC)]
        for path, answer, body, headers in cases:
            with self.subTest(path + str(headers)):
                self.refused("usd=0.0105", path, answer, body, headers)
                row = self.held(path, answer, body, headers)
                self.assertEqual(row["priced"], 1, row)
                self.assertGreaterEqual(row["reserved_nano_usd"], row["cost_nano_usd"])
                self.assertGreaterEqual(row["cost_nano_usd"], 1000 * 20_000)
        plain = self.held(NOVA + "/converse", http({"output": {}, "usage": usage}), {"inferenceConfig": {"maxTokens": 1000}, "messages": []})
        self.assertLess(plain["reserved_nano_usd"], 1000 * 10_000 + 100_000)

    def test_a_tier_that_the_operator_asks_for_is_held_at_its_price(self):
        usage = {"inputTokens": 10, "outputTokens": 1000, "totalTokens": 1010}
        answer = http({"output": {}, "serviceTier": {"type": "priority"}, "usage": usage})
        settings = {"prices": [{"format": "keyhole", "path": self.prices}],
                    "providers.bedrock": {"base_url": self.world.provider.where, "allow_plain_http": True, "headers": ["X-Amzn-Bedrock-Service-Tier: priority"]}}
        keyhole = Keyhole(None, settings, KEYS)
        self.addCleanup(keyhole.close)
        body = json.dumps({"inferenceConfig": {"maxTokens": 1000}, "messages": []}).encode()
        for limit, status in (("usd=0.0105", 402), ("usd=0.0205", 200)):
            got = keyhole.call("POST", NOVA + "/converse", [self.world.case(answer), ("content-type", "application/json")], body, keyhole.token(limits=[limit]))
            self.assertEqual(got.status, status, got.body)
        self.assertEqual(self.world.provider.seen[-1][1]["x-amzn-bedrock-service-tier"], "priority")

    def test_cache_writes_of_a_batch_are_held(self):
        def held(more):
            params = {"model": "claude", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "word " * 1000, **more}]}]}
            answer = http({"id": f"msgbatch_{len(more)}", "type": "message_batch", "processing_status": "in_progress"})
            return self.held("/v1/messages/batches", answer, {"requests": [{"custom_id": "a", "params": params}]}, ANTHROPIC)["reserved_nano_usd"]
        self.assertGreater(held({"cache_control": {"type": "ephemeral"}}), held({}) * 1.2)

    def test_searches_are_held_for_whoever_is_asked_to_make_them(self):
        queries = [f"q{i}" for i in range(8)]
        generate = http({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "groundingMetadata": {"webSearchQueries": queries}}],
                         "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 100, "totalTokenCount": 110}})
        for tool in ("google_search", "googleSearch", "google_search_retrieval", "googleMaps"):
            for tools in ([{tool: {}}], {tool: {}}):
                body = {"tools": tools, "generationConfig": {"maxOutputTokens": 100}, "contents": []}
                self.refused("usd=0.01", GENERATE, generate, body)
                row = self.held(GENERATE, generate, body)
                self.assertGreaterEqual(row["reserved_nano_usd"], row["cost_nano_usd"])
        cases = [({"search_parameters": {"mode": "on", "max_search_results": 30}}, {"num_sources_used": 30}),
                 ({"search_parameters": {}}, {"num_sources_used": 20}),
                 ({"plugins": [{"id": "web", "max_results": 10}]}, {"server_tool_use": {"web_search_requests": 10}}),
                 ({"tools": [{"type": "x_search"}]}, {"server_side_tool_usage_details": {"x_search_calls": 8}}),
                 ({"tools": [{"type": "openrouter:web_search"}]}, {"server_tool_use": {"web_search_requests": 8}})]
        for more, usage in cases:
            with self.subTest(str(more)):
                body = {"model": "x-ai/grok-4", "max_tokens": 100, "messages": [], **more}
                answer = chat(10, 100, "x-ai/grok-4", **usage)
                self.refused("usd=0.02", "/openrouter/v1/chat/completions", answer, body)
                row = self.held("/openrouter/v1/chat/completions", answer, body)
                self.assertGreater(row["web_searches"], 0)
                self.assertGreaterEqual(row["reserved_nano_usd"], row["cost_nano_usd"])
        sonar = {"model": "perplexity/sonar-pro", "max_tokens": 100, "messages": []}
        self.refused("usd=0.02", "/openrouter/v1/chat/completions", chat(10, 100, "perplexity/sonar-pro", num_search_queries=9), sonar)
        for quiet in ({"search_parameters": {"mode": "off"}}, {"plugins": [{"id": "file-parser"}]}, {"tools": [{"type": "function", "function": {"name": "web_search"}}]}):
            row = self.held("/openrouter/v1/chat/completions", chat(10, 100, "x-ai/grok-4"), {"model": "x-ai/grok-4", "max_tokens": 100, "messages": [], **quiet})
            self.assertLess(row["reserved_nano_usd"], 3_000_000, quiet)

    def test_the_dearest_of_the_models_that_may_answer_is_held(self):
        body = {"model": "cheap", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
        dear = chat(10, 1000, "x-ai/grok-4")
        path = "/openrouter/v1/chat/completions"
        self.refused("usd=0.002", path, dear, {**body, "models": ["cheap", "x-ai/grok-4"]})
        session = self.session("usd=0.05")
        self.assertEqual(self.at_once(session, path, dear, {**body, "models": ["x-ai/grok-4"]}), 3)
        self.keeps(session)
        got, _ = self.world.ask("POST", path, dear, {**body, "models": ["nobody/knows"]}, self.session("usd=1")["token"])
        self.assertEqual((got.status, got.code), (403, "model_unpriced"), got.body)
        got, _ = self.world.ask("POST", path, dear, {**body, "models": ["cheap"] * 33}, self.session("usd=1")["token"])
        self.assertEqual(got.status, 400, got.body)

    def test_caches_that_a_provider_writes_by_itself_are_held(self):
        text = {"model": "writes-caches", "max_completion_tokens": 16, "messages": [{"role": "user", "content": "x " * 1990}]}
        writes = chat(1990, 16, "writes-caches", prompt_tokens_details={"cached_tokens": 0, "cache_write_tokens": 1990})
        row = self.held("/v1/chat/completions", writes, text)
        self.assertEqual(row["cost_nano_usd"], 1990 * 2500 + 16 * 1000)
        self.assertGreaterEqual(row["reserved_nano_usd"], row["cost_nano_usd"])
        self.refused("usd=0.0048", "/v1/chat/completions", writes, text)


class Consulted(Bounded):
    """Models that a tool of the server asks for advice are models of the request: allowed, priced and held for."""

    ADVISED = {"model": "claude", "max_tokens": 100, "messages": [], "tools": [{"type": "advisor_20260301", "name": "advisor", "model": "writes-caches-not"}]}

    def test_one_that_the_session_may_not_use_is_refused(self):
        session = self.world.keyhole.session(models=["claude"])
        got, _ = self.world.ask("POST", "/v1/messages", http({}), self.ADVISED, session["token"], ANTHROPIC)
        self.assertEqual(got.status, 403, got.body)

    def test_one_without_a_price_is_refused_where_money_is_limited(self):
        got, _ = self.world.ask("POST", "/v1/messages", http({}), self.ADVISED, self.session("usd=1")["token"], ANTHROPIC)
        self.assertEqual(got.status, 403, got.body)

    def test_what_it_may_write_is_held_each_time(self):
        asked = self.ADVISED | {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude", "max_uses": 3}]}
        answer = http({"id": "m", "type": "message", "model": "claude", "content": [], "usage": {"input_tokens": 10, "output_tokens": 10}})
        plain = self.held("/v1/messages", answer, {**asked, "tools": []}, ANTHROPIC)["reserved_nano_usd"]
        advised = self.held("/v1/messages", answer, asked, ANTHROPIC)["reserved_nano_usd"]
        self.assertGreater(advised, plain + 3 * 8192 * 10_000)  # sessions.reserve_output_tokens at 10 USD a million


class Booked(Bounded):
    def test_what_stays_booked_of_a_batch_is_what_was_held(self):
        for tool in (None, {"type": "web_search_20250305", "name": "web_search", "max_uses": 20}):
            with self.subTest(tool=tool):
                session = self.session("usd=100")
                made = http({"id": f"msgbatch_{bool(tool)}", "type": "message_batch", "processing_status": "in_progress"})
                got, row = self.world.ask("POST", "/v1/messages/batches", made, batch(tool), session["token"], ANTHROPIC)
                self.assertEqual((got.status, row["source"]), (200, "estimated"), got.body)
                self.assertEqual(row["cost_nano_usd"], row["reserved_nano_usd"])

    def test_a_batch_that_consults_other_models_is_refused_where_money_is_limited(self):
        asked = batch({"type": "advisor_20260301", "name": "advisor", "model": "claude"})
        got, _ = self.world.ask("POST", "/v1/messages/batches", http({}), asked, self.session("usd=100")["token"], ANTHROPIC)
        self.assertEqual((got.status, got.json()["error"]["type"]), (403, "permission_error"), got.body)


if __name__ == "__main__":
    unittest.main()
