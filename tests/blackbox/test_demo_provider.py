"""The demo provider itself, asked directly: what the other tests rely on."""

import gzip
import json
import threading
import time
import unittest
import uuid

from harness import VERSION, Provider, chat_body, messages_body, wait_until
from wire import Client, call


class DemoProvider(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)

    def ask(self, body, demo="", path="/v1/chat/completions", key=None, headers=()):
        anthropic = "/messages" in path
        key = key if key is not None else self.provider.anthropic_key if anthropic else self.provider.openai_key
        own = [("x-api-key", key), VERSION] if anthropic else [("authorization", f"Bearer {key}")]
        return call(self.provider.where, "POST", path, [*own, *headers, *([("x-demo", demo)] if demo else [])], body)

    def test_it_checks_the_key_and_shows_it_masked_as_openai_does(self):
        answer = self.ask(chat_body(), key="sk-wrong-key-abcdefgh")
        self.assertEqual((answer.status, answer.code), (401, "invalid_api_key"))
        self.assertIn("sk-wrong", answer.json()["error"]["message"])
        self.assertNotIn("sk-wrong-key-abcdefgh", answer.json()["error"]["message"])
        answer = self.ask(messages_body(), path="/v1/messages", key="wrong")
        self.assertEqual((answer.status, answer.json()["error"]["type"]), (401, "authentication_error"))

    def test_two_runs_are_byte_identical_and_streams_say_what_whole_answers_say(self):
        other = Provider()
        self.addCleanup(other.close)
        for path, body in (("/v1/chat/completions", chat_body()), ("/v1/chat/completions", chat_body(stream=True)),
                           ("/v1/responses", {"model": "o3", "input": "x", "stream": True}), ("/v1/messages", messages_body(stream=True))):
            key = other.anthropic_key if "messages" in path else other.openai_key
            own = [("x-api-key", key), VERSION] if "messages" in path else [("authorization", f"Bearer {key}")]
            self.assertEqual(self.ask(body, path=path).body, call(other.where, "POST", path, own, body).body)
        whole = self.ask(chat_body()).json()
        events = [json.loads(line[6:]) for line in self.ask(chat_body(stream=True)).body.decode().splitlines() if line.startswith("data: {")]
        text = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
        self.assertEqual((text, events[0]["id"]), (whole["choices"][0]["message"]["content"], whole["id"]))

    def ask_gemini(self, verb, text, key=None, query="", **more):
        body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}
        key = self.provider.gemini_key if key is None else key
        return call(self.provider.where, "POST", f"/v1beta/models/gemini-2.5-pro:{verb}{query}", [("x-goog-api-key", key)], body)

    def test_gemini_says_the_same_whole_as_events_and_as_an_array(self):
        whole = self.ask_gemini("generateContent", "hello").json()
        text = whole["candidates"][0]["content"]["parts"][0]["text"]
        events = self.ask_gemini("streamGenerateContent", "hello", query="?alt=sse").body.decode()
        listed = [json.loads(line[6:]) for line in events.split("\r\n\r\n") if line]
        for pieces in (listed, self.ask_gemini("streamGenerateContent", "hello").json()):
            self.assertEqual("".join(p["candidates"][0]["content"]["parts"][0]["text"] for p in pieces).split(), text.split())
            self.assertEqual((pieces[-1]["usageMetadata"], pieces[-1]["candidates"][0]["finishReason"]), (whole["usageMetadata"], "STOP"))
        self.assertEqual(self.ask_gemini("generateContent", "hello", key="wrong").status, 400)

    def test_gemini_calls_the_shell_that_is_offered_and_repeats_what_it_said(self):
        schema = {"type": "OBJECT", "properties": {"command": {"type": "STRING"}}, "required": ["command"]}
        tools = [{"functionDeclarations": [{"name": "run_shell_command", "parameters": schema}]}]
        asked = self.ask_gemini("generateContent", "[demo: run expr 1 + 1]", tools=tools).json()
        call_made = asked["candidates"][0]["content"]["parts"][-1]["functionCall"]
        self.assertEqual(call_made, {"name": "run_shell_command", "args": {"command": "expr 1 + 1"}})
        answered = {"contents": [{"role": "user", "parts": [{"text": "[demo: run expr 1 + 1]"}]}, {"role": "model", "parts": [{"functionCall": call_made}]},
                                 {"role": "user", "parts": [{"functionResponse": {"name": "run_shell_command", "response": {"output": "2"}}}]}], "tools": tools}
        told = call(self.provider.where, "POST", "/v1beta/models/gemini-2.5-pro:generateContent", [("x-goog-api-key", self.provider.gemini_key)], answered)
        self.assertIn("The command said: 2", told.json()["candidates"][0]["content"]["parts"][0]["text"])

    def test_usage_is_in_a_stream_only_when_asked_for(self):
        silent = self.ask(chat_body(stream=True)).body
        self.assertNotIn(b'"usage"', silent)
        asked = self.ask(chat_body(stream=True, stream_options={"include_usage": True})).body
        chunks = [json.loads(line[6:]) for line in asked.decode().splitlines() if line.startswith("data: {")]
        self.assertEqual([c["usage"] for c in chunks[:-1]], [None] * (len(chunks) - 1))
        self.assertEqual((chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"] > 0), ([], True))

    def test_max_tokens_is_respected(self):
        answer = self.ask(chat_body(max_tokens=2)).json()
        self.assertEqual((answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]), (2, "length"))

    def test_faults_are_what_they_are_called(self):
        stream = chat_body(stream=True)
        self.assertEqual(self.ask(stream, "reset_after=2").end, "reset")
        self.assertEqual(self.ask(stream, "cut_eof=2").end, "eof")
        clean = self.ask(stream, "cut_clean=2")
        self.assertEqual((clean.end, clean.body.count(b"\n\n")), ("complete", 2))
        self.assertEqual(self.ask(stream, "bad_chunk=2").end, "malformed")
        self.assertEqual(self.ask(chat_body(), "short_body").end, "eof")
        self.assertEqual(self.ask(chat_body(), "reset").end, "reset")
        self.assertEqual(self.ask(chat_body(), "hang_up").end, "eof")
        self.assertEqual(self.ask(chat_body(), "half_head=close").end, "eof")
        self.assertEqual(gzip.decompress(self.ask(stream, "gzip").body), self.ask(stream).body)
        self.assertEqual(self.ask(stream, "chunking=bytes").body, self.ask(stream).body)
        self.assertEqual(self.ask(stream, "eof_framing").framing, "eof")
        self.assertEqual((self.ask(chat_body(), "status_529").status, self.ask(chat_body(), "status=429,retry_after=3600").get("retry-after")),
                         (529, "3600"))
        self.assertIn(b'"error"', self.ask(stream, "error_event=2").body)
        self.assertIn(self.provider.openai_key.encode(), self.ask(chat_body(), "echo_key").body)
        self.assertNotIn("usage", self.ask(chat_body(), "no_usage").json())
        self.assertEqual(self.ask(chat_body(), "made_up_word").status, 400)
        self.assertEqual(self.ask({**chat_body(), "metadata": {"demo": "status=500"}}).status, 500)

    def test_its_log_is_written_before_it_answers_and_holds_no_key(self):
        request_id = str(uuid.uuid4())
        answer = self.ask(chat_body(), headers=[("x-client-request-id", request_id)])
        self.assertEqual([e["event"] for e in self.provider.log(client_request_id=request_id)], ["head", "request", "answer"])
        self.assertEqual(self.provider.log("answer", client_request_id=request_id)[0]["usage"], answer.json()["usage"])
        with open(self.provider.log_path) as f:
            text = f.read()
        self.assertNotIn(self.provider.openai_key, text)
        self.assertIn("<real key ok>", text)

    def test_gates_hold_a_stream_until_they_are_opened(self):
        with Client(self.provider.where) as client:
            client.request("POST", "/v1/chat/completions", [("x-demo", "gate=g@2")], chat_body(stream=True), self.provider.openai_key)
            answer = client.answer()
            while answer.body.count(b"\n\n") < 2:
                answer.some()
            self.provider.open_gate("g")
            self.assertTrue(answer.read().whole)
        with Client(self.provider.where) as client:
            client.request("POST", "/v1/chat/completions", [("x-demo", "gate=h@2"), ("x-client-request-id", "leaver")], chat_body(stream=True),
                           self.provider.openai_key)
            client.answer().until(b"\n\n")
        self.provider.seen("gone", "leaver")
        wait_until(lambda: self.provider.state()["requests_now"] == 0)

    def test_two_hundred_streams_at_once(self):
        began, wholes = time.monotonic(), []

        def one():
            wholes.append(self.ask(chat_body(stream=True, max_tokens=20)).whole)
        threads = [threading.Thread(target=one) for _ in range(200)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual((len(wholes), all(wholes)), (200, True))
        self.assertLess(time.monotonic() - began, 30)


if __name__ == "__main__":
    unittest.main()
