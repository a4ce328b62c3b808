"""BYTES_UNTOUCHED, ONE_TABLE: what goes through is what would have gone there directly, and what is not in the table does not."""

import gzip
import hashlib
import json
import unittest

from harness import VERSION, BlackBox, chat_body, messages_body
from wire import multipart, request_bytes

AUDIO, AUDIO_TYPE = multipart(model="whisper-1", file=("hi.wav", bytes(range(256)) * 20))
UPLOAD, UPLOAD_TYPE = multipart(purpose="batch", file=("lines.jsonl", b'{"custom_id":"1"}\n' * 50))

# name, method, path, headers, body
ROUTES = [
    ("chat", "POST", "/v1/chat/completions", [], chat_body()),
    ("chat of a reasoning model with a cache", "POST", "/v1/chat/completions", [], chat_body("demo-cached-reasoning")),
    ("chat with n=3", "POST", "/v1/chat/completions", [], chat_body(n=3)),
    ("chat, not JSON", "POST", "/v1/chat/completions", [("content-type", "application/json")], b'{"model": "gpt-4o", '),
    ("chat, unknown model", "POST", "/v1/chat/completions", [], chat_body("no-such-model")),
    ("chat stream that asks for usage", "POST", "/v1/chat/completions", [], chat_body(stream=True, stream_options={"include_usage": True})),
    ("chat stream that doesn't", "POST", "/v1/chat/completions", [], chat_body(stream=True)),
    ("chat stream that asks for no usage", "POST", "/v1/chat/completions", [],
     chat_body(stream=True, stream_options={"include_usage": False})),
    ("chat stream with empty stream_options", "POST", "/v1/chat/completions", [], chat_body(stream=True, stream_options={})),
    ("chat stream with null stream_options", "POST", "/v1/chat/completions", [], chat_body(stream=True, stream_options=None)),
    ("chat stream without obfuscation", "POST", "/v1/chat/completions", [],
     chat_body(stream=True, stream_options={"include_obfuscation": False})),
    ("chat stream of a tool call", "POST", "/v1/chat/completions", [("x-demo", "tool_call")], chat_body(stream=True)),
    ("chat stream in odd pieces", "POST", "/v1/chat/completions", [("x-demo", "chunking=odd")], chat_body(stream=True)),
    ("chat stream byte by byte", "POST", "/v1/chat/completions", [("x-demo", "chunking=bytes")], chat_body(stream=True)),
    ("chat stream in one piece", "POST", "/v1/chat/completions", [("x-demo", "chunking=merged")], chat_body(stream=True)),
    ("chat stream with CRLF", "POST", "/v1/chat/completions", [("x-demo", "crlf")], chat_body(stream=True)),
    ("chat stream with comments", "POST", "/v1/chat/completions", [("x-demo", "comments")],
     chat_body(stream=True, stream_options={"include_usage": True})),
    ("completions", "POST", "/v1/completions", [], {"model": "gpt-4o", "prompt": "once upon"}),
    ("completions stream", "POST", "/v1/completions", [], {"model": "gpt-4o", "prompt": "once upon", "stream": True}),
    ("responses", "POST", "/v1/responses", [], {"model": "gpt-5", "input": "hi"}),
    ("responses stream", "POST", "/v1/responses", [], {"model": "gpt-5", "input": "hi", "stream": True}),
    ("responses stream that ends incomplete", "POST", "/v1/responses", [],
     {"model": "gpt-5", "input": "hi", "stream": True, "max_output_tokens": 4}),
    ("responses stream that ends failed", "POST", "/v1/responses", [("x-demo", "failed")], {"model": "gpt-5", "input": "hi", "stream": True}),
    ("embeddings", "POST", "/v1/embeddings", [], {"model": "text-embedding-3-small", "input": ["a b", "c"]}),
    ("embeddings as base64", "POST", "/v1/embeddings", [],
     {"model": "text-embedding-3-small", "input": "a b", "encoding_format": "base64"}),
    ("moderations", "POST", "/v1/moderations", [], {"input": "hi"}),
    ("images", "POST", "/v1/images/generations", [], {"model": "gpt-image-1", "prompt": "a keyhole"}),
    ("transcriptions", "POST", "/v1/audio/transcriptions", [("content-type", AUDIO_TYPE)], AUDIO),
    ("speech", "POST", "/v1/audio/speech", [], {"model": "tts-1", "voice": "alloy", "input": "hi"}),
    ("upload of a file", "POST", "/v1/files", [("content-type", UPLOAD_TYPE)], UPLOAD),
    ("list of models", "GET", "/v1/models", [], None),
    ("one model", "GET", "/v1/models/gpt-4o", [], None),
    ("a model that is none", "GET", "/v1/models/nothing", [], None),
    ("messages", "POST", "/v1/messages", [VERSION], messages_body()),
    ("messages of a cached thinking model", "POST", "/v1/messages", [VERSION], messages_body("claude-cached-thinking")),
    ("messages without max_tokens", "POST", "/v1/messages", [VERSION], {"model": "claude-sonnet-4-5", "messages": []}),
    ("messages stream", "POST", "/v1/messages", [VERSION], messages_body(stream=True)),
    ("messages stream with a tool", "POST", "/v1/messages", [VERSION, ("x-demo", "tool_call,pings=3")], messages_body(stream=True)),
    ("messages stream, thinking, odd pieces", "POST", "/v1/messages", [VERSION, ("x-demo", "chunking=odd")],
     messages_body("claude-cached-thinking", stream=True)),
    ("messages with ?beta=true", "POST", "/v1/messages?beta=true", [VERSION], messages_body()),
    ("count_tokens", "POST", "/v1/messages/count_tokens?beta=true", [VERSION], messages_body()),
    ("Anthropic's models", "GET", "/v1/models?limit=1000", [VERSION], None),
    ("Anthropic's model", "GET", "/v1/models/claude-sonnet-4-5", [VERSION], None),
    ("message batch", "POST", "/v1/messages/batches", [VERSION], {"requests": [{"custom_id": "a", "params": messages_body()}]}),
    ("whole body sent chunked", "POST", "/v1/chat/completions", [("x-demo", "chunked,chunking=odd")], chat_body()),
    ("body framed by the end of the connection", "POST", "/v1/chat/completions", [("x-demo", "eof_framing")], chat_body()),
    ("stream framed by the end of the connection", "POST", "/v1/chat/completions", [("x-demo", "eof_framing")], chat_body(stream=True)),
    ("103 before the answer", "POST", "/v1/chat/completions", [("x-demo", "early_hints")], chat_body()),
    ("400", "POST", "/v1/chat/completions", [("x-demo", "status=400")], chat_body()),
    ("429", "POST", "/v1/responses", [("x-demo", "status=429,retry_after=2")], {"model": "gpt-5", "input": "hi"}),
    ("500", "POST", "/v1/messages", [VERSION, ("x-demo", "status=500")], messages_body()),
    ("529", "POST", "/v1/messages", [VERSION, ("x-demo", "status_529")], messages_body()),
    ("redirect", "POST", "/v1/chat/completions", [("x-demo", "redirect")], chat_body()),
]

STREAMED = {"content-type"}  # fields that must arrive as they were; the rest is checked by name below


class Passthrough(BlackBox):
    def setUp(self):
        self.token = self.keyhole.token()

    def seen_head(self, answer):
        return dict((k.lower(), v) for k, v in self.provider.seen("head", answer.get("x-keyhole-request-id"))["headers"])

    def test_every_route_brings_the_same_bytes_as_without_the_proxy(self):
        for name, method, path, headers, body in ROUTES:
            with self.subTest(name):
                direct = self.direct(method, path, headers, body)
                through = self.keyhole.call(method, path, headers, body, self.token)
                self.assertTrue(direct.whole)
                self.assertTrue(through.whole, through.end)
                self.assertEqual((through.status, through.body), (direct.status, direct.body))
                for field in ("content-type", "request-id", "x-request-id", "openai-version", "x-ratelimit-limit-requests",
                              "anthropic-ratelimit-requests-limit", "retry-after", "location"):
                    self.assertEqual(through.all(field), direct.all(field), field)
                head = self.seen_head(through)
                self.assertIn("<real key ok>", (head.get("authorization"), head.get("x-api-key")))
                self.assertNotIn("<wrong>", head.values())
        self.assertEqual(self.provider.log("refused"), [])

    def test_over_tcp_as_over_the_unix_socket(self):
        for stream in (False, True):
            body = chat_body(stream=stream)
            direct = self.direct("POST", "/v1/chat/completions", [], body)
            with self.keyhole.client(tcp=True) as client:
                through = client.call("POST", "/v1/chat/completions", [], body, self.token)
            self.assertEqual((through.status, through.body, through.whole), (200, direct.body, True))

    def test_request_bodies_arrive_byte_for_byte(self):
        odd = b'{"model" :\t"gpt-4o",\n"messages":[{"role":"user","content":"\\u00e9 \xc3\xa9 \xf0\x9f\xa6\x8a  two  spaces"}],"z":1e400,"a":{}}'
        big = json.dumps(chat_body(text="word " * 700_000)).encode()
        for name, body in (("odd JSON", odd), ("3.5 MB", big), ("form", AUDIO)):
            with self.subTest(name):
                path, kind = ("/v1/audio/transcriptions", AUDIO_TYPE) if body is AUDIO else ("/v1/chat/completions", "application/json")
                answer = self.keyhole.call("POST", path, [("content-type", kind)], body, self.token)
                seen = self.provider.seen("request", answer.get("x-keyhole-request-id"))
                self.assertEqual(seen["body_sha256"], hashlib.sha256(body).hexdigest())

    def test_a_long_body_is_looked_through_to_its_end_however_it_comes(self):
        whole = json.dumps(chat_body(text="word " * 700_000))
        twice = (whole[:-1] + ', "model": "another"}').encode()
        for framing, body in (("length", twice), ("chunked", twice), ("chunked", whole.encode())):
            with self.subTest(framing, bytes=len(body)), self.keyhole.client() as client:
                how = "transfer-encoding: chunked" if framing == "chunked" else f"content-length: {len(body)}"
                client.send((f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.token}\r\n"
                             f"content-type: application/json\r\n{how}\r\n\r\n").encode())
                if framing == "chunked":
                    body_there = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[i: i + 100_000] for i in range(0, len(body), 100_000)))
                    client.send(body_there + b"0\r\n\r\n")
                else:
                    client.send(body)
                answer = client.answer().read()
                self.assertEqual(answer.status, 400 if body is twice else 200, answer.body[:300])
                if body is not twice:
                    seen = self.provider.seen("request", answer.get("x-keyhole-request-id"))
                    self.assertEqual(seen["body_sha256"], hashlib.sha256(body).hexdigest())

    def test_a_chunked_request_body_arrives_whole_and_without_its_trailers(self):
        body = json.dumps(chat_body(text="word " * 5000)).encode()
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.token}\r\n"
                "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").encode()
        with self.keyhole.client() as client:
            client.send(head)
            for at in range(0, len(body), 999):
                piece = body[at: at + 999]
                client.send(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\nx-trailer: 1\r\nauthorization: Bearer other\r\n\r\n")
            answer = client.answer().read()
        self.assertEqual(answer.status, 200, answer.body)
        seen = self.provider.seen("request", answer.get("x-keyhole-request-id"))
        self.assertEqual((seen["body_sha256"], seen["trailers"]), (hashlib.sha256(body).hexdigest(), 0))

    def test_expect_100_continue_is_answered(self):
        body = json.dumps(chat_body()).encode()
        with self.keyhole.client() as client:
            client.send((f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.token}\r\nexpect: 100-continue\r\n"
                         f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n").encode())
            while b"\r\n\r\n" not in client.buffer:
                self.assertTrue(client.recv())
            self.assertTrue(client.buffer.startswith(b"HTTP/1.1 100"), client.buffer)
            client.send(body)
            answer = client.answer("POST").read()
        self.assertEqual(answer.status, 200)

    def test_base_urls_are_read_in_every_way_clients_read_them(self):
        chat, messages = chat_body(), messages_body()
        for path, body, arrives in (
                ("/chat/completions", chat, "/v1/chat/completions"), ("/v1/v1/chat/completions", chat, "/v1/chat/completions"),
                ("/openai/v1/chat/completions", chat, "/v1/chat/completions"), ("/openai/chat/completions", chat, "/v1/chat/completions"),
                ("//v1//chat/completions", chat, "/v1/chat/completions"), ("/v1/chat/completions/", chat, "/v1/chat/completions"),
                ("/responses", {"model": "gpt-5", "input": "x"}, "/v1/responses"),
                ("/embeddings", {"model": "text-embedding-3-small", "input": "x"}, "/v1/embeddings"),
                ("/messages", messages, "/v1/messages"), ("/v1/v1/messages?beta=true", messages, "/v1/messages?beta=true"),
                ("//v1/messages", messages, "/v1/messages"), ("/anthropic/v1/messages", messages, "/v1/messages"),
                ("/anthropic/messages?beta=true", messages, "/v1/messages?beta=true"),
                ("http://localhost:8080/v1/messages?beta=true", messages, "/v1/messages?beta=true"),
                ("http://evil.example/v1/chat/completions", chat, "/v1/chat/completions")):
            with self.subTest(path):
                answer = self.keyhole.post(path, body, self.token)
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(self.provider.seen("head", answer.get("x-keyhole-request-id"))["target"], arrives)

    def test_models_belong_to_whose_headers_ask(self):
        self.assertIn(b'"gpt-4o"', self.keyhole.call("GET", "/v1/models", [], None, self.token).body)
        self.assertIn(b"Claude Opus", self.keyhole.call("GET", "/v1/models", [VERSION], None, self.token).body)
        self.assertIn(b"Claude Opus", self.keyhole.call("GET", "/anthropic/v1/models", [VERSION], None, self.token).body)
        self.assertIn(b'"gpt-4o"', self.keyhole.call("GET", "/models", [], None, self.token).body)

    def test_unknown_headers_are_forwarded_and_credentials_and_hop_by_hop_ones_are_not(self):
        kept = [("anthropic-version", "2026-10-21"), ("anthropic-beta", "a-2025-01-01,b-2025-02-02"), ("User-Agent", "claude-cli/2.1"),
                ("x-stainless-lang", "js"), ("session_id", "with-an-underscore"), ("X-Claude-Code-Session-Id", "abc"),
                ("originator", "codex_cli_rs"), ("x-codex-turn-metadata", '{"a":"b c"}'), ("x-new-header-of-2027", "kept"),
                ("openai-beta", "x"), ("accept-language", "*"), ("x-app", "cli")]
        dropped = [("cookie", "a=b"), ("proxy-authorization", "Basic abc"), ("connection", "keep-alive, x-nominated"), ("x-nominated", "1"),
                   ("proxy-connection", "keep-alive"), ("te", "trailers"), ("keep-alive", "timeout=5"), ("x-forwarded-for", "1.2.3.4"),
                   ("forwarded", "for=1.2.3.4"), ("via", "1.1 x"), ("api-key", self.token), ("x-goog-api-key", self.token)]
        answer = self.keyhole.call("POST", "/v1/messages", [*kept, *dropped, ("accept-encoding", "gzip, deflate, br, zstd")], messages_body(),
                                   self.token)
        self.assertEqual(answer.status, 200, answer.body)
        seen = self.provider.seen("head", answer.get("x-keyhole-request-id"))["headers"]
        for name, value in kept:
            self.assertIn([name, value], seen)
        names = [k.lower() for k, _ in seen]
        for name, _ in dropped:
            if name != "connection":
                self.assertNotIn(name, names)
        self.assertEqual(dict(seen).get("accept-encoding"), "identity")
        self.assertEqual([v for k, v in seen if k.lower() == "host"], [f"127.0.0.1:{self.provider.port}"])
        self.assertEqual(names.count("x-api-key") + names.count("authorization"), 1)

    def test_our_request_id_reaches_the_provider_unless_the_agent_has_its_own(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body(), self.token)
        ours = answer.get("x-keyhole-request-id")
        self.assertRegex(ours, r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        self.assertEqual(self.seen_head(answer)["x-client-request-id"], ours)
        self.keyhole.post("/v1/chat/completions", chat_body(), self.token, [("x-client-request-id", "the-agents-own")])
        self.assertTrue(self.provider.seen("head", "the-agents-own"))

    def test_hop_by_hop_fields_and_cookies_of_the_answer_stay_behind(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body(), self.token, [("x-demo", "hop_headers,set_cookie")])
        for name in ("set-cookie", "proxy-authenticate", "x-private-hop", "keep-alive"):
            self.assertEqual(answer.all(name), [], name)

    def test_a_long_retry_after_is_shortened(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body(), self.token, [("x-demo", "status=429,retry_after=3600")])
        self.assertEqual(answer.status, 429)
        self.assertLessEqual(int(answer.get("retry-after")), 60)

    def test_a_redirect_is_never_followed(self):
        before = len(self.provider.log("head"))
        answer = self.keyhole.post("/v1/chat/completions", chat_body(), self.token, [("x-demo", "redirect")])
        self.assertIn(answer.status, (302, 502))
        self.assertEqual(len(self.provider.log("head")), before + 1)

    def test_an_answer_that_is_compressed_unasked_still_reads_the_same(self):
        for stream in (False, True):
            plain = self.keyhole.post("/v1/chat/completions", chat_body(stream=stream), self.token)
            packed = self.keyhole.post("/v1/chat/completions", chat_body(stream=stream), self.token, [("x-demo", "gzip")])
            body = gzip.decompress(packed.body) if packed.get("content-encoding") == "gzip" else packed.body
            if stream and b'"usage":' in body:
                continue  # a compressed stream can't be edited; the extra usage is harmless
            self.assertEqual(body, plain.body)

    def test_one_connection_carries_many_requests_and_pipelined_ones_in_order(self):
        with self.keyhole.client() as client:
            for i in range(20):
                answer = client.call("POST", "/v1/chat/completions", [], chat_body(text=f"number {i}", stream=i % 2 == 0), self.token)
                self.assertEqual((answer.status, answer.whole), (200, True))
            wanted = [self.direct("POST", "/v1/chat/completions", [], chat_body(text=f"pipelined {i}")).body for i in range(5)]
            client.send(b"".join(request_bytes("POST", "/v1/chat/completions", [], chat_body(text=f"pipelined {i}"), self.token)
                                 for i in range(5)))
            for body in wanted:
                self.assertEqual(client.answer("POST").read().body, body)

    def test_connections_to_the_provider_are_used_again(self):
        for _ in range(5):
            self.keyhole.post("/v1/chat/completions", chat_body(), self.token)
        before = self.provider.state()["connections_ever"]
        for i in range(20):
            self.keyhole.post("/v1/chat/completions", chat_body(stream=i % 2 == 0), self.token)
        # The state request is one itself; a second worker may open its own.
        self.assertLessEqual(self.provider.state()["connections_ever"] - before, 4)

    def test_probes_need_no_token(self):
        for method, path in (("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/")):
            with self.subTest(f"{method} {path}"):
                with self.keyhole.client() as client:
                    answer = client.call(method, path)
                    self.assertIn(answer.status, (200, 204, 404))
                    if method == "HEAD":
                        self.assertEqual(answer.body, b"")
                    again = client.call("POST", "/v1/chat/completions", [], chat_body(), self.token)  # the connection is still good
                    self.assertEqual(again.status, 200)

    def test_what_is_not_in_the_table_is_404_and_never_reaches_the_provider(self):
        before = len(self.provider.log("head"))
        for path in ("/v1/unknown", "/v2/chat/completions", "/admin/v1/sessions", "/v1/sessions", "/metrics", "/demo/state",
                     "/v1/organization/api_keys", "/v1/fine_tuning/jobs", "/v1/responses/a/b/c", "/anthropic/v1/chat/completions",
                     "/openai/v1/messages", "/v1/chat/completions/x"):
            with self.subTest(path):
                answer = self.keyhole.call("POST" if "models" not in path else "GET", path, [], chat_body(), self.token)
                self.assertEqual((answer.status, answer.code), (404, "unknown_route"))
                self.assertEqual(answer.get("x-should-retry"), "false")
        answer = self.keyhole.post("/anthropic/v1/unknown", messages_body(), self.token, [VERSION])
        self.assertEqual((answer.status, answer.json()["type"]), (404, "error"))
        self.assertEqual(len(self.provider.log("head")), before)

    def test_encoded_paths_can_not_walk_out_of_the_table(self):
        before = len(self.provider.log("head"))
        for path in ("/v1/models/..%2f..%2fadmin", "/v1/models/%2e%2e/x", "/v1/models/../../admin", "/v1/%63hat/completions%00",
                     "/v1/responses/a%2fb", "/v1/files/%0d%0ax", "/v1/models/a%3fb", "/v1/models/a%23b"):
            with self.subTest(path):
                answer = self.keyhole.call("GET", path, [], None, self.token)
                self.assertIn(answer.status, (400, 404, 405), answer.body)
        self.assertEqual(len(self.provider.log("head")), before)

    def test_a_wrong_method_is_405(self):
        for method, path in (("GET", "/v1/chat/completions"), ("DELETE", "/v1/messages"), ("PUT", "/v1/responses"), ("POST", "/v1/models")):
            with self.subTest(f"{method} {path}"):
                answer = self.keyhole.call(method, path, [], None, self.token)
                self.assertEqual((answer.status, answer.json()["error"].get("code")), (405, "method_not_allowed"))

    def test_connect_and_options_and_made_up_methods_end_cleanly(self):
        for head in (b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n",
                     b"OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
                     b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n", b"BREW /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n"):
            with self.subTest(head[:20]):
                with self.keyhole.client() as client:
                    client.send(head)
                    answer = client.answer().read()
                self.assertIn(answer.status, (204, 400, 405), answer.body)
                if head.startswith(b"CONNECT"):
                    self.assertEqual(answer.status, 405)

    def test_a_websocket_upgrade_is_426_so_that_codex_falls_back_at_once(self):
        upgrade = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
                   ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
        for path in ("/v1/responses", "/responses", "/openai/v1/responses"):
            answer = self.keyhole.call("GET", path, upgrade, None, self.token)
            self.assertEqual(answer.status, 426, path)

    def test_files_and_responses_and_batches_can_be_read_again(self):
        # Content of this test's own: the demo provider derives ids from content, and an id belongs to whoever made it first.
        upload, upload_type = multipart(purpose="batch", file=("again.jsonl", b'{"custom_id":"again"}\n' * 50))
        made = self.keyhole.call("POST", "/v1/files", [("content-type", upload_type)], upload, self.token).json()
        listed = self.keyhole.call("GET", "/v1/files", [], None, self.token).json()
        self.assertIn(made["id"], [f["id"] for f in listed["data"]])
        content = self.keyhole.call("GET", f"/v1/files/{made['id']}/content", [], None, self.token)
        self.assertEqual(content.body, b'{"custom_id":"again"}\n' * 50)
        batch = {"input_file_id": made["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        self.assertEqual(self.keyhole.post("/v1/batches", batch, self.token).body, self.direct("POST", "/v1/batches", [], batch).body)
        self.assertTrue(self.keyhole.call("DELETE", f"/v1/files/{made['id']}", [], None, self.token).json()["deleted"])

        response = self.keyhole.post("/v1/responses", {"model": "gpt-5", "input": "remember"}, self.token)
        response_id = response.json()["id"]
        self.assertEqual(self.keyhole.call("GET", f"/v1/responses/{response_id}", [], None, self.token).body, response.body)
        items = self.keyhole.call("GET", f"/v1/responses/{response_id}/input_items", [], None, self.token)
        self.assertIn(b"remember", items.body)
        self.assertEqual(self.keyhole.post(f"/v1/responses/{response_id}/cancel", {}, self.token).json()["status"], "cancelled")

        batch = self.keyhole.post("/v1/messages/batches", {"requests": [{"custom_id": "again", "params": messages_body()}]}, self.token,
                                  [VERSION]).json()
        results = self.keyhole.call("GET", f"/v1/messages/batches/{batch['id']}/results", [VERSION], None, self.token)
        self.assertEqual(results.status, 200, results.body)
        self.assertIn(b"succeeded", results.body)

    def test_http_1_0_is_answered_and_closed(self):
        with self.keyhole.client() as client:
            client.send(f"GET /v1/models HTTP/1.0\r\nauthorization: Bearer {self.token}\r\n\r\n".encode())
            answer = client.answer().read()
            self.assertEqual(answer.status, 200)
            self.assertNotEqual(answer.framing, "chunked")


if __name__ == "__main__":
    unittest.main()
