"""BUDGET_HOLDS: what is held before a request leaves is what it may cost at most, whatever it says in whosever words; and what is billed has its price."""

import base64
import csv
import gzip
import io
import json
import os
import select
import struct
import tempfile
import threading
import time
import unittest
import urllib.parse

from harness import wait_until
from scripted import World, http

LONG = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl/very-long-name-of-a-team-and-project-0123456789"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-v1:0"
PRICES = f"""
[[model]]
provider = "openai"
model = "gpt-4o-mini"
input = "0.15"
output = "0.60"
output_audio = "12"
web_search_per_1000 = "10"
service_tier.priority = {{ input = "0.25", output = "1.00" }}
[[model]]
provider = "openai"
model = "gpt-image-1"
input = "5"
output = "40"
[[model]]
provider = "openai"
model = "gpt-4o-transcribe"
input = "2.50"
output = "10"
input_audio = "6"
[[model]]
provider = "openai"
model = "gpt-4o-mini-tts"
input = "0.60"
output = "12"
[[model]]
provider = "anthropic"
model = "claude"
input = "3"
cache_write_5m = "3.75"
cache_write_1h = "6"
output = "15"
web_search_per_1000 = "10"
[[model]]
provider = "vertex"
model = "gemini-2.5-flash"
input = "0.30"
output = "2.50"
[[model]]
provider = "bedrock"
model = "{ARN}"
input = "3"
output = "15"
[[model]]
provider = "bedrock"
model = "{LONG}"
input = "1"
output = "2"
"""
ANTHROPIC = [("anthropic-version", "2023-06-01")]
TEN = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
CHAT = http({"id": "c", "model": "gpt-4o-mini", "choices": [], "usage": TEN})
MESSAGE = http({"id": "m", "type": "message", "model": "claude", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}})


class Bounds(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as prices:
            prices.write(PRICES)
        cls.addClassCleanup(os.unlink, prices.name)
        cls.world = World({"prices": [{"format": "keyhole", "path": prices.name}]})
        cls.addClassCleanup(cls.world.close)

    def held(self, path, answer, body, headers=(), limit="usd=100"):
        """Nano-USD that the row says were reserved."""
        _, row = self.world.ask("POST", path, answer, body, self.world.keyhole.token(limits=[limit]), headers)
        return row["reserved_nano_usd"]

    def chat(self, **more):
        return self.held("/v1/chat/completions", CHAT, {"model": "gpt-4o-mini", "max_tokens": 10, "messages": [], **more})

    def test_only_the_wires_own_member_bounds_an_answer(self):
        converse = http({"output": {}, "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}})
        generate = http({"modelVersion": "gemini-2.5-flash", "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}})
        ollama = http({"model": "l", "done": True, "prompt_eval_count": 1, "eval_count": 1})
        cases = [("/model/anthropic.claude-3/converse", converse, {"messages": []}, {"max_tokens": 1}, {"inferenceConfig": {"maxTokens": 1}}),
                 ("/model/anthropic.claude-3/invoke", MESSAGE, {"messages": []}, {"max_gen_len": 1}, {"max_tokens": 1}),
                 ("/v1beta/models/gemini-2.5-flash:generateContent", generate, {"contents": []}, {"max_tokens": 1}, {"generationConfig": {"maxOutputTokens": 1}}),
                 ("/api/chat", ollama, {"model": "l", "messages": [], "stream": False}, {"max_tokens": 1}, {"options": {"num_predict": 1}}),
                 ("/v1/chat/completions", CHAT, {"model": "gpt-4o-mini", "messages": []}, {"max_output_tokens": 1}, {"max_completion_tokens": 1})]
        for path, answer, body, foreign, own in cases:
            for member, seen in ((foreign, 402), (own, 200)):
                token = self.world.keyhole.token(limits=["tokens=200"])
                got, _ = self.world.ask("POST", path, answer, {**body, **member}, token)
                self.assertEqual(got.status, seen, (path, member, got.body))

    def test_a_dearer_service_tier_is_held_at_its_price(self):
        self.assertGreater(self.chat(service_tier="priority"), self.chat() * 1.6)
        self.assertEqual(self.chat(service_tier="nobody"), self.chat(service_tier="nobuddy"))

    def test_spoken_answers_pictures_and_searches_are_held_at_their_prices(self):
        self.assertGreater(self.chat(modalities=["text", "audio"]), self.chat() + 10 * 11_000)
        self.assertGreaterEqual(self.chat(web_search_options={}), self.chat() + 10 * 10_000_000)
        picture = http({"created": 1, "data": [], "usage": {"input_tokens": 5, "output_tokens": 4160, "total_tokens": 4165}})
        one = self.held("/v1/images/generations", picture, {"model": "gpt-image-1", "prompt": "x", "max_tokens": 1})
        four = self.held("/v1/images/generations", picture, {"model": "gpt-image-1", "prompt": "x", "n": 4})
        self.assertGreater(one, 4160 * 40_000)
        self.assertGreater(four, one * 3.9)

        def tools(**tool):
            return {"model": "claude", "max_tokens": 1, "messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search", **tool}]}
        for tool, searches in (({"max_uses": 20}, 20), ({}, 10)):
            self.assertGreaterEqual(self.held("/v1/messages", MESSAGE, tools(**tool), ANTHROPIC), searches * 10_000_000)

    def test_inputs_elsewhere_and_cache_writes_are_held(self):
        image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]}
        self.assertGreaterEqual(self.chat(**image), 32_000 * 150)
        inline = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}
        self.assertLess(self.chat(**inline), 10_000 * 150)
        pdf = http({"id": "r", "status": "completed", "model": "gpt-4o-mini", "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}})
        body = {"model": "gpt-4o-mini", "max_output_tokens": 10, "input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x/big.pdf"}]}]}
        self.assertGreaterEqual(self.held("/v1/responses", pdf, body), 100_000 * 150)

        def cached(control):
            part = {"type": "text", "text": "word " * 1000, **({"cache_control": control} if control else {})}
            return self.held("/v1/messages", MESSAGE, {"model": "claude", "max_tokens": 1, "messages": [{"role": "user", "content": [part]}]}, ANTHROPIC)
        plain, short, long = cached(None), cached({"type": "ephemeral"}), cached({"type": "ephemeral", "ttl": "1h"})
        self.assertGreater(short, plain * 1.2)
        self.assertGreater(long, plain * 1.9)

    def race(self, limit, path, answer, kind, body, count=12):
        """Sends `count` at once, which all are let in or refused before the first is answered; the statuses, and what has been used in USD."""
        session = self.world.keyhole.session(limits=[limit])
        gate, let_in, statuses = threading.Event(), [], []

        def wait_and_answer(connection):
            let_in.append(1)
            gate.wait(30)
            connection.sendall(answer)
        fields = [self.world.case(wait_and_answer), ("content-type", kind)]
        agents = [threading.Thread(target=lambda: statuses.append(self.world.keyhole.call("POST", path, fields, body, session["token"]).status)) for _ in range(count)]
        for agent in agents:
            agent.start()
        wait_until(lambda: len(let_in) + len(statuses) == count, 30, "all to be let in or refused")
        gate.set()
        for agent in agents:
            agent.join()
        self.assertLessEqual(set(statuses), {200, 402, 429})
        return statuses, float(wait_until(lambda: (u := self.world.used(session)) and u["reserved"] == "0.00" and u, what="nothing reserved")["used"])

    def test_text_without_a_blank_is_text(self):
        """Half a token a byte, as "word_" has it, passes no limit, wherever it stands."""
        text = "word_" * 8_000
        usage = {"prompt_tokens": 20_000, "completion_tokens": 1, "total_tokens": 20_001}
        answer = http({"id": "c", "model": "gpt-4o-mini", "choices": [], "usage": usage})
        for content in (text, [{"type": "text", "text": text}], [{"type": "text", "text": "data:image/png;base64," + text}]):
            body = json.dumps({"model": "gpt-4o-mini", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}).encode()
            statuses, used = self.race("usd=0.02", "/v1/chat/completions", answer, "application/json", body)
            self.assertIn(200, statuses)
            self.assertLess(statuses.count(200), 6)
            self.assertLessEqual(used, 0.02)
        for path, body in (("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["word_" * 1600 for _ in range(4)]}),
                           ("/v1/chat/completions", {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": json.dumps({"data": text})}}]}]})):
            got, _ = self.world.ask("POST", path, answer, body, self.world.keyhole.token(limits=["tokens=8000"]))
            self.assertEqual(got.status, 402, path)

    def test_inline_media_are_held_by_their_kind(self):
        def base64_of(head, size):
            return base64.b64encode(head + bytes(size - len(head))).decode()
        screen = base64_of(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1280, 800), 1 << 20)
        sees = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + screen}}]
        # A screenshot of a megabyte walls off no budget.
        for model, tokens, status in (("gpt-4.1", 5_000, 200), ("gpt-4.1", 1_500, 402), ("gpt-4o-mini", 40_000, 402)):
            body = {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": sees}]}
            got, _ = self.world.ask("POST", "/v1/chat/completions", CHAT, body, self.world.keyhole.token(limits=[f"tokens={tokens}"]))
            self.assertEqual(got.status, status, (model, tokens, got.body))
        pdf = {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + base64_of(b"%PDF-1.7", 2 << 20)}
        self.assertGreaterEqual(self.chat(messages=[{"role": "user", "content": [{"type": "file", "file": pdf}]}]), 1_000_000 * 150)
        generate = http({"modelVersion": "gemini-2.5-flash", "usageMetadata": {"promptTokenCount": 90_000, "candidatesTokenCount": 1, "totalTokenCount": 90_001}})
        film = {"contents": [{"parts": [{"inlineData": {"mimeType": "video/mp4", "data": base64_of(b"0000ftypmp42", 1_500_000)}}]}], "generationConfig": {"maxOutputTokens": 1}}
        got, _ = self.world.ask("POST", "/v1beta/models/gemini-2.5-flash:generateContent", generate, film, self.world.keyhole.token(limits=["tokens=50000"]))
        self.assertEqual(got.status, 402)

    def test_a_batchs_texts_and_pictures_are_held(self):
        made = http({"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"})

        def batch(content):
            params = {"model": "claude", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
            return {"requests": [{"custom_id": str(i), "params": params} for i in range(3)]}
        got, _ = self.world.ask("POST", "/v1/messages/batches", made, batch("word_" * 8_000), self.world.keyhole.token(limits=["tokens=50000"]), ANTHROPIC)
        self.assertEqual(got.status, 402)
        picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1280, 800) + bytes(200_000)).decode()
        source = {"type": "base64", "media_type": "image/png", "data": picture}
        got, _ = self.world.ask("POST", "/v1/messages/batches", made, batch([{"type": "image", "source": source}]), self.world.keyhole.token(limits=["tokens=50000"]), ANTHROPIC)
        self.assertEqual(got.status, 200, got.body)

    def test_forms_are_held_by_what_they_upload(self):
        def form(**parts):
            out = b""
            for name, value in parts.items():
                file = f'; filename="{name}"' if isinstance(value, bytes) else ""
                out += f'--B\r\ncontent-disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + (value if file else value.encode()) + b"\r\n"
            return out + b"--B--\r\n"
        usage = {"type": "tokens", "input_tokens": 12_000, "input_token_details": {"text_tokens": 0, "audio_tokens": 12_000}, "output_tokens": 10, "total_tokens": 12_010}
        sound = form(model="gpt-4o-transcribe", file=b"\xff\xfb" * 400_000)  # at its slowest 1,000 seconds
        for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
            statuses, used = self.race("usd=0.5", path, http({"text": "x", "usage": usage}), "multipart/form-data; boundary=B", sound)
            self.assertIn(200, statuses)
            self.assertLess(statuses.count(200), 6)
            self.assertLessEqual(used, 0.5)
        picture = http({"created": 1, "data": [], "usage": {"input_tokens": 5, "output_tokens": 10, "total_tokens": 15}})
        kind = [("content-type", "multipart/form-data; boundary=B")]

        def edit(**parts):
            fields = [self.world.case(picture), *kind]
            got = self.world.keyhole.call("POST", "/v1/images/edits", fields, form(model="gpt-image-1", **parts), self.world.keyhole.token(limits=["usd=100"]))
            return self.world.keyhole.row(got.get("x-keyhole-request-id"))["reserved_nano_usd"]
        small = edit(prompt="x", image=b"GIF89a")
        self.assertGreaterEqual(edit(prompt="word_" * 8_000, image=b"GIF89a"), small + 19_000 * 5_000)
        self.assertGreaterEqual(edit(prompt="x", image=b"GIF89a", mask=b"GIF89a"), small + 16_000 * 5_000)

    def test_a_compressed_request_is_refused_where_there_are_limits(self):
        body = gzip.compress(json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a" * 100_000}]}).encode())
        for limits, status in ((["tokens=100000"], 400), ([], 200)):
            got, _ = self.world.ask("POST", "/v1/chat/completions", CHAT, body, self.world.keyhole.token(limits=limits), [("content-encoding", "gzip")])
            self.assertEqual(got.status, status, got.body)

    def test_an_input_that_nobody_reports_is_counted_in_its_script(self):
        silent = http({"id": "c", "model": "gpt-4o-mini", "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]})
        picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(3 << 20)).decode()}}]
        for content, least, most in (("请把下面这段文字翻译成英文，并且总结要点。\n" * 1000, 12_000, 25_000), ("word_" * 20_000, 20_000, 60_000), ("word " * 20_000, 18_000, 22_000), (picture, 100, 3_000)):
            body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}, ensure_ascii=False).encode()
            _, row = self.world.ask("POST", "/v1/chat/completions", silent, body, self.world.keyhole.token())
            self.assertEqual(row["source"], "estimated")
            self.assertTrue(least <= row["input"] <= most, (content[:10], row["input"]))

    def test_speech_is_estimated_by_what_is_spoken(self):
        sound = http(b"\xff\xfb" * 1000, "audio/mpeg")
        session = self.world.keyhole.session(limits=["usd=0.05"])
        statuses = []
        for _ in range(10):
            got, row = self.world.ask("POST", "/v1/audio/speech", sound, {"model": "gpt-4o-mini-tts", "input": "hello " * 100, "voice": "alloy"}, session["token"])
            statuses.append(got.status)
            if row:
                self.assertEqual((row["source"], row["output_audio"], row["priced"]), ("estimated", 900, 1))
                self.assertGreaterEqual(row["cost_nano_usd"], 900 * 12_000)
        self.assertIn(402, statuses)

    def test_speech_is_billed_however_long_its_sound_takes_and_when_the_agent_leaves(self):
        """The request's text is let go a second after it was sent."""
        def sounding(seconds, ends):
            def answer(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 40000\r\n\r\n" + bytes(2000))
                over = time.monotonic() + seconds
                while time.monotonic() < over:
                    connection.sendall(bytes(100))
                    select.select([], [], [], 0.1)  # a voice's pace
                if ends:
                    connection.sendall(bytes(40000))
            return answer
        said = {"model": "gpt-4o-mini-tts", "input": "hello " * 100, "voice": "alloy"}
        for seconds, ends in ((1.5, True), (0, False), (1.5, False)):
            with self.subTest(f"{seconds} s, {'whole' if ends else 'cut'}"):
                token = self.world.keyhole.token(limits=["usd=1"])
                fields = [self.world.case(sounding(seconds, ends)), ("content-type", "application/json")]
                got = self.world.keyhole.call("POST", "/v1/audio/speech", fields, json.dumps(said).encode(), token)
                row = self.world.keyhole.row(got.get("x-keyhole-request-id"))
                self.assertEqual((row["source"], row["output_audio"], row["priced"]), ("estimated", 900, 1), row)

    def test_long_and_encoded_model_names_find_their_price(self):
        converse = http({"output": {}, "usage": {"inputTokens": 1000, "outputTokens": 5, "totalTokens": 1005}})
        for name, cost in ((ARN, 1000 * 3000 + 5 * 15_000), (LONG, 1000 * 1000 + 5 * 2000)):
            got, row = self.world.ask("POST", f"/model/{urllib.parse.quote(name, safe='')}/converse", converse, {"messages": []}, self.world.keyhole.token(limits=["usd=1"]))
            self.assertEqual(got.status, 200, got.body)
            self.assertEqual((row["model"], row["priced"], row["cost_nano_usd"]), (name[:96], 1, cost))

    def test_service_tiers_are_one_whatever_their_case(self):
        for said, priced in (("ON_DEMAND", 1), ("STANDARD", 1), ("DEFAULT", 1), ("PROVISIONED_THROUGHPUT", 0)):
            answer = http({"modelVersion": "gemini-2.5-flash", "usageMetadata": {"promptTokenCount": 700, "candidatesTokenCount": 300, "totalTokenCount": 1000, "trafficType": said}})
            path = "/vertex/v1/projects/p/locations/us/publishers/google/models/gemini-2.5-flash:generateContent"
            _, row = self.world.ask("POST", path, answer, {"contents": []}, self.world.keyhole.token())
            self.assertEqual(row["priced"], priced, said)

    def test_a_request_that_never_fits_is_not_told_to_wait(self):
        for limit in ("tokens/minute=1000", "usd/minute=0.0001", "requests/minute=0", "concurrency=0"):
            got, _ = self.world.ask("POST", "/v1/chat/completions", CHAT, {"model": "gpt-4o-mini", "max_tokens": 2000, "messages": []}, self.world.keyhole.token(limits=[limit]))
            self.assertEqual((got.status, got.code, got.get("retry-after"), got.get("x-should-retry")), (402, "budget_exceeded", "", "false"), limit)

    def test_every_model_of_a_fallback_list_must_be_allowed(self):
        token = self.world.keyhole.token(models=["gpt-4o-mini"])
        for models, status in ((["gpt-4o-mini", "o1-pro"], 403), (["gpt-4o-mini"], 200)):
            got, _ = self.world.ask("POST", "/v1/chat/completions", CHAT, {"model": "gpt-4o-mini", "models": models, "messages": []}, token)
            self.assertEqual(got.status, status)

    def test_a_label_is_no_formula_in_a_spreadsheet(self):
        self.world.ask("POST", "/v1/chat/completions", CHAT, {"model": "gpt-4o-mini", "messages": []}, self.world.keyhole.token(), [("x-keyhole-run", "=cmd()|'x'")])
        table = list(csv.DictReader(io.StringIO(self.world.keyhole.cli("usage", "requests", "--csv").stdout)))
        self.assertIn("'=cmd()|'x'", [row["run"] for row in table])
