"""Bad input never crashes, hangs or leaks: malformed heads, framing tricks, odd bodies, providers and agents that misbehave, disks
that are full, and mistakes in the configuration. After everything the proxy still serves."""

import grp
import json
import os
import socket
import sqlite3
import stat
import subprocess
import tempfile
import time
import unittest

from harness import VERSION, BlackBox, Keyhole, Provider, chat_body, free_port, keyhole_binary, messages_body, wait_until
from wire import Client, request_bytes

GOOD = json.dumps(chat_body()).encode()


class Heads(BlackBox):
    config = {"limits": {"head_timeout": 2, "body_timeout": 2, "max_body_bytes": 1_000_000}}

    def setUp(self):
        self.token = self.keyhole.token()
        self.auth = f"authorization: Bearer {self.token}\r\n"
        self.seen_before = len(self.provider.log("head"))

    def tearDown(self):
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), self.token).status, 200, "it must still serve")

    def raw(self, data, tcp=False, must_end=False):
        with self.keyhole.client(tcp, timeout=15) as client:
            try:
                client.send(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = client.answer("POST").read()
            answer.closed = must_end and (answer.end in ("eof", "reset") or client.closed_by_peer())
            return answer

    def refused(self, raw, statuses=(400,), must_end=True):
        answer = self.raw(raw, must_end=must_end)
        self.assertIn(answer.status, statuses, (raw[:120], answer.body[:200]))
        if must_end:
            self.assertTrue(answer.closed, "a connection whose framing is in doubt must end")
        self.assertEqual(len(self.provider.log("head")), self.seen_before, "the provider must hear nothing")

    def post(self, fields, body=b"", line="POST /v1/chat/completions HTTP/1.1"):
        return (line + "\r\nhost: x\r\n" + self.auth + fields + "\r\n").encode("latin-1") + body

    def test_malformed_heads_are_400_and_the_connection_ends_where_framing_is_in_doubt(self):
        for name, raw in {
            "no version": b"GET /v1/models\r\n\r\n",
            "HTTP/0.9": b"GET /\r\n\r\n",
            "HTTP/2.0": b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
            "h2c preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
            "NUL in a name": self.post("a\0b: 1\r\n"),
            "NUL in a value": self.post("a: \0\r\n"),
            "bare CR": self.post("a: b\rc\r\n"),
            "bare LF": self.post("a: b\nc: d\r\n"),
            "obs-fold": self.post("a: b\r\n c\r\n"),
            "space before the colon": self.post("a : b\r\n"),
            "no colon": self.post("nonsense\r\n"),
            "empty name": self.post(": b\r\n"),
            "lower-case method": self.post("", line="post /v1/chat/completions HTTP/1.1"),
            "two spaces": self.post("", line="POST  /v1/chat/completions HTTP/1.1"),
            "space in the target": self.post("", line="POST /v1/chat completions HTTP/1.1"),
            "bytes above 0x7f in the target": self.post("", line="POST /v1/ch\xe9t HTTP/1.1"),
            "two Hosts": self.post("host: y\r\n"),
            "no Host": f"POST /v1/chat/completions HTTP/1.1\r\n{self.auth}\r\n".encode(),
            "target with #": self.post("", line="POST /v1/models#x HTTP/1.1"),
            "backslash": self.post("", line="POST \\v1\\models HTTP/1.1"),
            "no slash": self.post("", line="POST v1/models HTTP/1.1"),
            "response as request": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        }.items():
            with self.subTest(name):
                framed = name in ("lower-case method", "target with #", "backslash", "no slash")
                self.refused(raw, (400, 405, 501, 505), must_end=not framed)

    def test_framing_tricks_are_refused_before_anything_is_forwarded(self):
        chunked_good = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
        smuggled = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
        length = f"content-length: {len(GOOD)}\r\n"
        for name, fields, body in (
                ("TE gzip and CL", "transfer-encoding: gzip\r\n" + length, GOOD),
                ("CL and TE gzip", length + "transfer-encoding: gzip\r\n", GOOD),
                ("TE chunked and CL", "transfer-encoding: chunked\r\n" + length, chunked_good + smuggled),
                ("CL and TE chunked", length + "transfer-encoding: chunked\r\n", chunked_good + smuggled),
                ("TE xchunked", "transfer-encoding: xchunked\r\n", smuggled),
                ("TE chunked, identity", "transfer-encoding: chunked, identity\r\n", smuggled),
                ("TE gzip, chunked", "transfer-encoding: gzip, chunked\r\n", chunked_good),
                ("TE twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", chunked_good),
                ("TE twice, second identity", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", chunked_good),
                ("TE with a vertical tab", "transfer-encoding: \x0bchunked\r\n", chunked_good),
                ("TE in quotes", "transfer-encoding: \"chunked\"\r\n", chunked_good),
                ("CL twice, equal", length + length, GOOD),
                ("CL twice, different", "content-length: 1\r\n" + length, GOOD),
                ("CL list", f"content-length: {len(GOOD)}, {len(GOOD)}\r\n", GOOD),
                ("CL +5", "content-length: +5\r\n", b"12345"),
                ("CL -1", "content-length: -1\r\n", b""),
                ("CL 0x10", "content-length: 0x10\r\n", b"0" * 16),
                ("CL empty", "content-length: \r\n", b""),
                ("CL with a space", "content-length: 1 0\r\n", b"0" * 10),
                ("CL overflow", "content-length: 18446744073709551617\r\n", b"x"),
                ("TE space colon", "transfer-encoding : chunked\r\n", chunked_good),
                ("TE after fold", "x: y\r\n transfer-encoding: chunked\r\n", chunked_good)):
            with self.subTest(name):
                self.refused(self.post(fields, body), (400, 413, 501))
        with self.subTest("HTTP/1.0 with TE"):
            self.refused(self.post("transfer-encoding: chunked\r\n", chunked_good, "POST /v1/chat/completions HTTP/1.0"), (400, 501))

    def test_bad_chunks_are_refused(self):
        for name, body in (("size is no number", b"zz\r\nabc\r\n0\r\n\r\n"), ("size overflows", b"ffffffffffffffffff\r\nabc"),
                           ("no CRLF after data", b"3\r\nabcX0\r\n\r\n"), ("negative", b"-1\r\n\r\n"), ("0x prefix", b"0x3\r\nabc\r\n0\r\n\r\n"),
                           ("bare LF", b"3\nabc\n0\n\n"), ("space before the size", b" 3\r\nabc\r\n0\r\n\r\n"),
                           ("empty size", b"\r\nabc\r\n0\r\n\r\n"), ("endless extension", b"3;" + b"a" * 200_000),
                           ("endless trailers", b"0\r\n" + b"x: y\r\n" * 50_000), ("trailer that is none", b"0\r\nno colon\r\n\r\n")):
            with self.subTest(name):
                answer = self.raw(self.post("content-type: application/json\r\ntransfer-encoding: chunked\r\n", body))
                self.assertIn(answer.status, (400, 413, 431, 0), answer.body)
                if answer.status == 0:
                    self.assertIn(answer.end, ("eof", "reset"))

    def test_too_large_is_said_so_and_early(self):
        self.assertEqual(self.raw(self.post("x: " + "y" * 70_000 + "\r\n")).status, 431)
        self.assertEqual(self.raw(self.post("".join(f"h{i}: v\r\n" for i in range(9000)))).status, 431)
        self.assertEqual(self.raw(b"GET /" + b"a" * 100_000).status, 431)
        answer = self.raw(self.post("content-type: application/json\r\ncontent-length: 1000001\r\n"))  # before a byte of it was sent
        self.assertEqual((answer.status, answer.code), (413, "body_too_large"))
        big = b"".join(b"10000\r\n" + b"a" * 65536 + b"\r\n" for _ in range(20))
        self.assertIn(self.raw(self.post("transfer-encoding: chunked\r\n", big)).status, (413, 0))
        self.assertEqual(self.raw(self.post("expect: 100-continue\r\ncontent-length: 1000001\r\n")).status, 413)

    def test_a_16_kb_head_is_still_served(self):
        answer = self.keyhole.call("POST", "/v1/chat/completions", [(f"x-h{i}", "v" * 800) for i in range(20)], chat_body(), self.token)
        self.assertEqual(answer.status, 200)

    def test_heads_and_bodies_that_never_come_time_out(self):
        for name, raw in (("half a head", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"), ("one byte", b"P"),
                          ("half a body", self.post("content-type: application/json\r\ncontent-length: 1000\r\n", b'{"model"')),
                          ("half a chunk", self.post("transfer-encoding: chunked\r\n", b"100\r\nabc")),
                          ("half a preface", b"\r\n\r\n\x00\r\nQUI")):
            with self.subTest(name):
                began = time.monotonic()
                answer = self.raw(raw)
                self.assertIn(answer.status, (408, 400, 0))
                self.assertLess(time.monotonic() - began, 10)

    def test_bodies_that_are_no_json_are_the_providers_business_but_never_ours(self):
        deep = b'{"model":"gpt-4o","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for name, body in (("empty", b""), ("cut", b'{"model":"gpt-4o","mess'), ("null", b"null"), ("array", b"[1,2]"), ("number", b"17"),
                           ("deep", deep), ("bad UTF-8", b'{"model":"gpt-4o\xff\xfe","messages":[]}'), ("BOM", b"\xef\xbb\xbf" + GOOD),
                           ("UTF-16", GOOD.decode().encode("utf-16")), ("NULs", b"\0" * 1000), ("two documents", GOOD + GOOD),
                           ("model is a number", b'{"model":5,"messages":[]}'), ("model is null", b'{"model":null,"messages":[]}'),
                           ("max_tokens huge", b'{"model":"gpt-4o","max_tokens":99999999999999999999999,"messages":[]}'),
                           ("max_tokens negative", b'{"model":"gpt-4o","max_tokens":-5,"messages":[]}'),
                           ("n huge", b'{"model":"gpt-4o","n":1e300,"messages":[]}'),
                           ("lone surrogate", b'{"model":"gpt-4o","messages":[{"role":"user","content":"\\ud800"}]}'),
                           ("stream is a string", b'{"model":"gpt-4o","stream":"true","messages":[]}'),
                           ("stream_options is a string", b'{"model":"gpt-4o","stream":true,"stream_options":"x","messages":[]}'),
                           ("model of 100 kB", b'{"model":"' + b"m" * 100_000 + b'","messages":[]}')):
            with self.subTest(name):
                answer = self.keyhole.call("POST", "/v1/chat/completions", [("content-type", "application/json")], body, self.token)
                self.assertTrue(200 <= answer.status < 500, (answer.status, answer.body[:200]))
                self.assertTrue(answer.whole)

    def test_an_agent_that_vanishes_at_any_byte_disturbs_nobody(self):
        for raw in (request_bytes("POST", "/v1/chat/completions", [("x-demo", "pace=1")], chat_body(stream=True), self.token),
                    request_bytes("POST", "/v1/messages", [VERSION], messages_body(), self.token, chunked=False)):
            step = max(1, len(raw) // 60)
            for at in range(0, len(raw) + 1, step):
                client = self.keyhole.client(tcp=at % 2 == 0)
                client.send(raw[:at])
                client.reset() if at % 3 == 0 else client.close()
        wait_until(lambda: self.provider.state()["requests_now"] == 0, 30, "nothing in flight")
        heads = [h for h in self.provider.log("head")[self.seen_before:]]
        wait_until(lambda: {h["client_request_id"] for h in heads} <= {r["request_id"] for r in self.keyhole.rows()}, 15,
                   "a row for each of them")

    def test_an_agent_that_vanishes_at_any_byte_of_the_answer_leaves_one_row(self):
        body = chat_body(stream=True)
        ids = []
        for reads in range(0, 12):
            client = self.keyhole.client(tcp=reads % 2 == 0)
            client.request("POST", "/v1/chat/completions", [("x-demo", "pace=2")], body, self.token)
            answer = client.answer()
            ids.append(answer.get("x-keyhole-request-id"))
            for _ in range(reads):
                answer.some()
            client.reset()
        for request_id in ids:
            row = self.keyhole.row(request_id)
            self.assertEqual(row["source"], "provider", row)  # drained

    def test_thousands_of_idle_connections_cost_no_answer(self):
        idle = [self.keyhole.client() for _ in range(300)]
        for client in idle:
            self.addCleanup(client.close)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), self.token).status, 200)


class Crowds(unittest.TestCase):
    """NO_WAY_AROUND: one sandbox can't keep another out by holding connections."""

    def test_connections_without_a_request_make_room_for_a_newcomer(self):
        provider = Provider()
        self.addCleanup(provider.close)
        keyhole = Keyhole(provider, {"limits": {"max_connections": 40}, "server": {"workers": 2}})
        self.addCleanup(keyhole.close)
        token = keyhole.token()
        running = keyhole.client()
        self.addCleanup(running.close)
        running.request("POST", "/v1/chat/completions", [("x-demo", "gate=crowd@1")], chat_body(stream=True), token)
        wait_until(lambda: provider.log("request"), what="the stream at the provider")
        crowd = []
        for number in range(200):  # five times the limit, silent, or with half a head
            crowd.append(keyhole.client())
            self.addCleanup(crowd[-1].close)
            if number % 2:
                try:
                    crowd[-1].send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
                except (BrokenPipeError, ConnectionResetError):
                    pass
        for _ in range(10):
            self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        provider.open_gate("crowd")
        self.assertTrue(running.answer().read().body.endswith(b"data: [DONE]\n\n"), "a running answer was crowded out")

    def test_whoever_holds_the_most_makes_room_not_whoever_came_first(self):
        provider = Provider()
        self.addCleanup(provider.close)
        keyhole = Keyhole(provider, {"limits": {"max_connections": 20}, "server": {"workers": 1}})
        self.addCleanup(keyhole.close)
        kept = []
        for options in ({}, {"own_socket": True}):
            session = keyhole.session(**options)
            client = Client(session.get("socket") or keyhole.socket)
            self.addCleanup(client.close)
            self.assertEqual(client.call("POST", "/v1/chat/completions", [], chat_body(), session.get("token")).status, 200)
            kept.append((client, session.get("token")))
        for _ in range(100):  # silent ones of nobody in particular
            self.addCleanup(keyhole.client().close)
        wait_until(lambda: keyhole.metrics().get("keyhole_agent_connections") >= 19, what="the proxy to be full")
        for client, token in kept:
            self.assertEqual(client.call("POST", "/v1/chat/completions", [], chat_body(), token).status, 200)

    def test_while_every_connection_works_a_newcomer_is_closed_and_nobody_suffers(self):
        provider = Provider()
        self.addCleanup(provider.close)
        keyhole = Keyhole(provider, {"limits": {"max_connections": 4}, "server": {"workers": 1}})
        self.addCleanup(keyhole.close)
        token = keyhole.token()
        running = [keyhole.client() for _ in range(4)]
        for client in running:
            self.addCleanup(client.close)
            client.request("POST", "/v1/chat/completions", [("x-demo", "gate=all@1")], chat_body(stream=True), token)
        wait_until(lambda: len(provider.log("request")) == 4, what="four streams at the provider")
        with keyhole.client() as newcomer:
            self.assertTrue(newcomer.closed_by_peer())
        provider.open_gate("all")
        for client in running:
            self.assertTrue(client.answer().read().body.endswith(b"data: [DONE]\n\n"))


class Refusals(BlackBox):
    """A refusal reaches the agent also while its request is still on the way."""

    def refused(self, tcp, size, path="/v1/chat/completions", token="kh_nobody"):
        body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + b"x" * size + b'"}]}'
        with self.keyhole.client(tcp) as client:
            client.request("POST", path, [("content-type", "application/json")], body, token)
            return client.answer().read()

    def test_large_bodies_get_the_status_and_not_a_reset(self):
        for tcp in (False, True):
            for size in (200_000, 2_000_000, 8_000_000, 32_000_000):
                with self.subTest(tcp=tcp, size=size):
                    answer = self.refused(tcp, size)
                    self.assertEqual((answer.status, answer.whole), (403, True))
                    self.assertEqual(answer.get("connection") or "stays", "stays" if size < 1_000_000 else "close")
        self.assertEqual(self.refused(True, 2_000_000, "/v1/unknown", self.keyhole.token()).status, 404)

    def test_a_body_that_ends_early_by_a_half_close_is_answered(self):
        for tcp in (False, True):
            with self.subTest(tcp=tcp), self.keyhole.client(tcp) as client:
                client.send(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.keyhole.token()}\r\n"
                            "content-type: application/json\r\ncontent-length: 500\r\n\r\n{\"a\"".encode())
                client.half_close()
                answer = client.answer().read()
                self.assertEqual(answer.status, 400, answer.body)
                self.assertIn(b"ended early", answer.body)


class Providers(unittest.TestCase):
    """The provider is down, resets, babbles, or never answers."""

    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)
        short = {"base_url": f"{cls.provider.url}/v1", "allow_plain_http": True, "connect_timeout": 1, "first_byte_timeout": 1,
                 "idle_timeout": 1}
        cls.keyhole = Keyhole(cls.provider, {"providers.openai": short, "providers.anthropic": short})
        cls.addClassCleanup(cls.keyhole.close)
        cls.token = cls.keyhole.token()

    def ask(self, demo, stream=False, path="/v1/chat/completions"):
        body = chat_body(stream=stream) if "chat" in path else messages_body(stream=stream)
        return self.keyhole.post(path, body, self.token, [("x-demo", demo)] + ([VERSION] if "messages" in path else []))

    def test_each_failure_before_the_answer_is_told_in_the_callers_shape(self):
        for demo, statuses, codes in (("reset", (502,), ("provider_unreachable",)), ("hang_up", (502,), ("provider_unreachable",)),
                                      ("garbage", (502,), ("provider_unreachable", "provider_bad_answer")),
                                      ("half_head=close", (502,), ("provider_unreachable", "provider_bad_answer")),
                                      ("half_head", (504, 502), ("provider_timeout", "provider_bad_answer")),
                                      ("never_answer", (504,), ("provider_timeout",)),
                                      ("huge_header=300000", (502,), ("provider_bad_answer",))):
            with self.subTest(demo):
                answer = self.ask(demo)
                self.assertIn(answer.status, statuses, answer.body)
                self.assertIn(answer.code, codes)
                self.assertEqual(answer.get("retry-after") in ("", "1", "2"), True)
                answer = self.ask(demo, path="/v1/messages")
                self.assertEqual((answer.status in statuses, answer.json()["type"]), (True, "error"))

    def test_a_stream_that_falls_silent_is_cut_visibly(self):
        answer = self.ask("silence=30,silence_after=2", stream=True)
        self.assertFalse(answer.whole and b"error" not in answer.body)
        row = self.keyhole.row(answer.get("x-keyhole-request-id"))
        self.assertEqual(row["outcome"], "provider_cut")

    def test_an_answer_before_the_request_was_read_is_passed_on(self):
        answer = self.keyhole.post("/v1/chat/completions", chat_body(text="word " * 400_000), self.token, [("x-demo", "overtake")])
        self.assertIn(answer.status, (413, 502))

    def test_a_provider_that_is_down_is_502_and_works_again_when_it_is_back(self):
        self.assertEqual(self.ask("").status, 200)
        self.provider.stop()
        answer = self.ask("")
        self.assertEqual((answer.status, answer.code), (502, "provider_unreachable"))
        self.provider.start()
        self.assertEqual(self.ask("").status, 200)

    def test_a_provider_that_closed_idle_connections_costs_no_request(self):
        for _ in range(4):
            self.assertEqual(self.ask("close").status, 200)
        for _ in range(3):
            self.assertEqual(self.ask("").status, 200)
        self.provider.stop()
        self.provider.start()  # same port: pooled connections are dead now
        for _ in range(4):
            self.assertEqual(self.ask("").status, 200)

    def test_addresses_that_lead_nowhere(self):
        closed, unresolvable = f"http://127.0.0.1:{free_port()}/v1", "http://no-such-host.invalid/v1"
        for url in (closed, unresolvable):
            with self.subTest(url):
                keyhole = Keyhole(self.provider, {"providers.openai": {"base_url": url, "allow_plain_http": True, "connect_timeout": 2}})
                self.addCleanup(keyhole.close)
                session = keyhole.session(limits=["requests=5"])
                answer = keyhole.post("/v1/chat/completions", chat_body(), session["token"])
                self.assertIn((answer.status, answer.code), ((502, "provider_unreachable"), (504, "provider_timeout")))
                keyhole.close()

    def test_tls_with_an_unknown_certificate_is_refused(self):
        try:
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                                "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True, capture_output=True)
                tls = Provider(tls=(f"{folder}/cert.pem", f"{folder}/key.pem"))
                self.addCleanup(tls.close)
                for ca, status in ((None, 502), (f"{folder}/cert.pem", 200)):
                    own = {"base_url": f"https://localhost:{tls.port}/v1", **({"ca_file": ca} if ca else {})}
                    keyhole = Keyhole(tls, {"providers.openai": own})
                    self.addCleanup(keyhole.close)
                    keyhole.config["providers.openai"].pop("allow_plain_http", None)
                    answer = keyhole.post("/v1/chat/completions", chat_body(stream=True), keyhole.token())
                    self.assertEqual(answer.status, status, answer.body[:300])
                    keyhole.close()
                    if ca is None:
                        self.assertEqual(tls.log("head"), [])
        except FileNotFoundError:
            self.skipTest("no openssl program")


class Disks(unittest.TestCase):
    """The ledger can't be written: never unmetered, never blocked while the journal has room."""

    def setUp(self):
        self.provider = Provider()
        self.addCleanup(self.provider.close)

    def test_a_locked_database_holds_up_nobody_and_its_rows_come_later(self):
        keyhole = Keyhole(self.provider)
        self.addCleanup(keyhole.close)
        token = keyhole.token()
        first = keyhole.post("/v1/chat/completions", chat_body(), token)
        keyhole.row(first.get("x-keyhole-request-id"))
        lock = sqlite3.connect(keyhole.ledger_path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        ids = []
        for i in range(20):
            answer = keyhole.post("/v1/chat/completions", chat_body(text=f"locked {i}"), token)
            self.assertEqual(answer.status, 200)
            ids.append(answer.get("x-keyhole-request-id"))
        self.assertEqual([r for r in keyhole.rows() if r["request_id"] in ids], [])
        lock.execute("ROLLBACK")
        lock.close()
        wait_until(lambda: len([r for r in keyhole.rows() if r["request_id"] in ids]) == 20, 30, "the rows")

    def test_a_full_journal_refuses_and_recovers(self):
        keyhole = Keyhole(self.provider, {"state": {"journal_slots": 64}})
        self.addCleanup(keyhole.close)
        token = keyhole.token()
        keyhole.row(keyhole.post("/v1/chat/completions", chat_body(), token).get("x-keyhole-request-id"))
        lock = sqlite3.connect(keyhole.ledger_path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        answers = [keyhole.post("/v1/chat/completions", chat_body(text=f"full {i}"), token) for i in range(100)]
        served = [a for a in answers if a.status == 200]
        self.assertLessEqual(len(served), 64)
        self.assertEqual((answers[-1].status, answers[-1].code), (503, "ledger_unavailable"))
        self.assertEqual(len(self.provider.log("head")), len(served) + 1)
        lock.execute("ROLLBACK")
        lock.close()
        wait_until(lambda: keyhole.post("/v1/chat/completions", chat_body(), token).status == 200, 30, "service again")
        for answer in served:
            keyhole.row(answer.get("x-keyhole-request-id"))

    @unittest.skipUnless(os.getuid() == 0, "needs root to mount a small disk")
    def test_a_full_disk_refuses_and_recovers_and_loses_no_row(self):
        folder = tempfile.mkdtemp(prefix="kh-disk-", dir="/tmp")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "none", folder], capture_output=True).returncode:
            os.rmdir(folder)
            self.skipTest("mounting is not permitted here")
        self.addCleanup(lambda: (subprocess.run(["umount", "-l", folder], check=False), os.rmdir(folder)))
        keyhole = Keyhole(self.provider, {"state": {"directory": folder, "journal_slots": 64}}, start=False)
        keyhole.state_dir = folder
        keyhole.start()
        self.addCleanup(keyhole.close)
        token = keyhole.token()
        keyhole.row(keyhole.post("/v1/chat/completions", chat_body(), token).get("x-keyhole-request-id"))
        ballast = os.open(f"{folder}/ballast", os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(ballast, b"\0" * 4096)
        except OSError:
            os.close(ballast)
        answers = []
        wait_until(lambda: answers.append(keyhole.post("/v1/chat/completions", chat_body(text=f"disk {len(answers)}"), token))
                   or answers[-1].status != 200 or len(answers) > 3000, 60, "the disk to be felt")
        self.assertEqual((answers[-1].status, answers[-1].code), (503, "ledger_unavailable"))
        os.unlink(f"{folder}/ballast")
        wait_until(lambda: keyhole.post("/v1/chat/completions", chat_body(), token).status == 200, 30, "service again")
        for answer in answers:
            if answer.status == 200:
                keyhole.row(answer.get("x-keyhole-request-id"))


class Starts(unittest.TestCase):
    """Mistakes of the operator end the program with one clear line, before anything is bound."""

    def setUp(self):
        self.provider = None
        self.keyhole = Keyhole(None, start=False, env={"OPENAI_API_KEY": "sk-canary-" + "9" * 40})
        self.addCleanup(self.keyhole.close)

    def fails(self, *words, config=None, args=(), codes=None):
        for section, values in (config or {}).items():
            if isinstance(values, list):
                self.keyhole.config[section] = values
            else:
                self.keyhole.config.setdefault(section, {}).update(values)
        self.keyhole.write_config()
        done = subprocess.run([keyhole_binary(), "serve", "--config", self.keyhole.config_path, *args], env=self.keyhole.env,
                              capture_output=True, text=True, timeout=20)
        self.assertGreater(done.returncode, 0, done.stderr)
        said = done.stdout + done.stderr
        for word in words:
            self.assertIn(word, said)
        self.assertNotIn("9" * 40, said)
        self.assertNotIn("terminate called", said)
        return said

    def test_a_mistyped_key_is_named_with_what_was_meant(self):
        said = self.fails("keyhole.toml:", "levle", "level", config={"log": {"levle": "info"}})
        self.assertRegex(said, r"keyhole\.toml:\d+")

    def test_every_mistake_is_told_at_once(self):
        self.fails("levle", "directry", "shutdown_grace", config={"log": {"levle": "info"}, "state": {"directry": "/x"},
                                                                  "server": {"shutdown_grace": "soon"}})

    def test_a_wrong_type_a_wrong_value_and_a_bad_override(self):
        self.fails("log.format", config={"log": {"format": "xml"}})
        self.fails("log.levle", args=["--set", "log.levle=info"])

    def test_a_file_that_is_no_toml(self):
        self.keyhole.write_config()
        with open(self.keyhole.config_path, "a") as f:
            f.write("\n[broken\n")
        done = subprocess.run([keyhole_binary(), "serve", "--config", self.keyhole.config_path], env=self.keyhole.env, capture_output=True,
                              text=True, timeout=20)
        self.assertGreater(done.returncode, 0)
        self.assertIn("keyhole.toml:", done.stderr)

    def test_a_missing_configuration_file(self):
        done = subprocess.run([keyhole_binary(), "serve", "--config", "/nonexistent/k.toml"], env=self.keyhole.env, capture_output=True, text=True,
                              timeout=20)
        self.assertGreater(done.returncode, 0)
        self.assertIn("/nonexistent/k.toml", done.stderr)

    def test_a_mistyped_environment_variable(self):
        self.keyhole.env["KEYHOLE_LOG_LEVLE"] = "debug"
        self.fails("KEYHOLE_LOG_LEVLE")

    def test_a_socket_path_that_is_a_directory(self):
        os.makedirs(self.keyhole.socket)
        self.fails(self.keyhole.socket)
        self.assertTrue(os.path.isdir(self.keyhole.socket))

    def test_a_socket_path_that_is_a_file_is_not_deleted(self):
        with open(self.keyhole.socket, "w") as f:
            f.write("precious")
        self.fails(self.keyhole.socket)
        with open(self.keyhole.socket) as f:
            self.assertEqual(f.read(), "precious")

    def test_the_sockets_mode_and_group_are_the_configured_ones(self):
        group = next(g for g in grp.getgrall() if g.gr_gid not in (0, os.getgid()))
        if os.geteuid() != 0:
            self.skipTest("only root may give a socket to any group")
        self.keyhole.config["agents"] |= {"socket_mode": "0620", "socket_group": group.gr_name}
        self.keyhole.start()
        about = os.stat(self.keyhole.socket)
        self.assertEqual((stat.S_IMODE(about.st_mode), about.st_gid), (0o620, group.gr_gid))

    def test_a_socket_path_over_107_bytes(self):
        self.fails("107", config={"agents": {"sockets": [f"{self.keyhole.dir}/{'long-' * 25}/llm.sock"]}})

    def test_a_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.fails(str(port), config={"agents": {"tcp": [f"127.0.0.1:{port}"]}})

    def test_a_provider_over_plain_http_must_be_allowed(self):
        self.fails("allow_plain_http", config={"providers.openai": {"base_url": "http://192.0.2.1/v1"}})

    def test_an_unreadable_key_file(self):
        del self.keyhole.env["OPENAI_API_KEY"]
        self.keyhole.env["OPENAI_API_KEY_FILE"] = "/nonexistent/key"
        self.fails("/nonexistent/key")

    def test_a_key_with_a_line_break_inside_is_refused(self):
        self.keyhole.env["OPENAI_API_KEY"] = "sk-a\r\nx-evil: 1" + "9" * 40
        self.fails("OPENAI_API_KEY")

    def test_admin_over_tcp_needs_a_token(self):
        self.fails("admin.token", config={"admin": {"tcp": f"127.0.0.1:{free_port()}"}})

    def test_a_second_instance_is_refused_and_the_first_lives_on(self):
        provider = Provider()
        self.addCleanup(provider.close)
        first = Keyhole(provider)
        self.addCleanup(first.close)
        first.config["metrics"]["listen"] = f"127.0.0.1:{free_port()}"
        first.config["agents"]["tcp"] = []
        first.write_config()
        done = subprocess.run([keyhole_binary(), "serve", "--config", first.config_path], env=first.env, capture_output=True, text=True, timeout=20)
        self.assertGreater(done.returncode, 0)
        self.assertTrue(done.stderr.strip())
        self.assertEqual(first.post("/v1/chat/completions", chat_body(), first.token()).status, 200)

    def test_a_damaged_ledger_is_told(self):
        with open(self.keyhole.ledger_path, "wb") as f:
            f.write(b"this is no database" * 1000)
        self.fails("ledger.db")

    def test_no_configuration_at_all_is_enough_when_a_key_is_set(self):
        keyhole = Keyhole(None, {"providers.openai": None}, env={"OPENAI_API_KEY": "sk-nothing-real"}, start=False)
        self.addCleanup(keyhole.close)
        keyhole.start()
        self.assertEqual(keyhole.post("/v1/messages", messages_body(), keyhole.token(), [VERSION]).status, 503)
        self.assertIn("provider_not_configured", keyhole.post("/v1/messages", messages_body(), keyhole.token(), [VERSION]).body.decode())


if __name__ == "__main__":
    unittest.main()
