"""TOKEN_STAYS_HOME, NO_WAY_AROUND: who may ask, told by which means, and what a session may not do."""

import os
import struct
import unittest
import zlib

from harness import VERSION, BlackBox, chat_body, messages_body, wait_until
from wire import Client

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def preface(token=None, tlvs=None, command=0x21, family=0x00, address=b""):
    """A PROXY protocol v2 header with the TLV 0xE0 that carries a session token."""
    body = address
    for kind, value in tlvs if tlvs is not None else [(0xE0, token.encode())] if token else []:
        body += struct.pack("!BH", kind, len(value)) + value
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


class Identity(BlackBox):
    def ask(self, headers=(), body=None, target="/v1/chat/completions", before=b"", where=None):
        with Client(where or self.keyhole.socket) as client:
            if before:
                client.send(before)
            return client.call("POST", target, headers, body or chat_body())

    def refused(self, answer, status, code):
        self.assertEqual((answer.status, answer.code), (status, code), answer.body)
        self.assertEqual(answer.get("x-should-retry"), "false")
        self.assertEqual(answer.get("retry-after"), "")

    def test_the_token_is_understood_in_every_place_where_sdks_put_a_key(self):
        token = self.keyhole.token()
        for headers in ([("authorization", f"Bearer {token}")], [("Authorization", f"bearer {token}")], [("AUTHORIZATION", f"BEARER  {token}")],
                        [("x-api-key", token)], [("X-Api-Key", token)], [("api-key", token)], [("x-goog-api-key", token)],
                        [("authorization", f"Bearer {token}"), ("x-api-key", token)]):
            with self.subTest(headers[0][0]):
                self.assertEqual(self.ask(headers).status, 200)
                self.assertEqual(self.ask([*headers, VERSION], messages_body(), "/v1/messages").status, 200)

    def test_a_token_in_the_query_works_and_stays_here(self):
        token = self.keyhole.token()
        answer = self.ask([], None, f"/v1/chat/completions?key={token}&keep=1")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.provider.seen("head", answer.get("x-keyhole-request-id"))["target"], "/v1/chat/completions?keep=1")

    def test_the_tokens_form_can_be_found_by_secret_scanners(self):
        self.assertRegex(self.keyhole.token(), r"^kh_[A-Za-z0-9_-]{43}[A-Za-z0-9]{6}$")

    def test_no_credential_is_401_in_the_callers_shape(self):
        answer = self.ask()
        self.refused(answer, 401, "missing_token")
        self.assertEqual(set(answer.json()["error"]), {"message", "type", "param", "code"})
        answer = self.ask([VERSION], messages_body(), "/v1/messages")
        self.assertEqual((answer.status, answer.json()["type"], answer.json()["error"]["type"]), (401, "error", "authentication_error"))
        self.assertTrue(answer.json()["request_id"])

    def test_an_unknown_token_is_403_and_the_provider_hears_nothing(self):
        before = len(self.provider.log("head"))
        good = self.keyhole.token()
        for wrong in ("kh_" + "A" * 43 + "000000", good[:-1], good + "x", good.upper(), good.swapcase(), "sk-proj-abc", "x" * 8, "short",
                      "y" * 5000, self.provider.openai_key, self.provider.anthropic_key):
            with self.subTest(wrong[:12]):
                self.refused(self.ask([("authorization", f"Bearer {wrong}")]), 403, "unknown_token")
                self.refused(self.ask([("x-api-key", wrong)]), 403, "unknown_token")
        self.assertEqual(len(self.provider.log("head")), before)

    def test_malformed_credentials_are_refused(self):
        for value in ("", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer \xff\xfe", "kh_something", "Bearer a b c", "Bearer\tx"):
            with self.subTest(value):
                answer = self.ask([("authorization", value)])
                self.assertIn(answer.status, (400, 401, 403), answer.body)

    def test_two_different_tokens_are_a_conflict(self):
        one, two = self.keyhole.token(), self.keyhole.token()
        for headers in ([("authorization", f"Bearer {one}"), ("x-api-key", two)], [("x-api-key", one), ("x-goog-api-key", two)]):
            self.refused(self.ask(headers), 403, "conflicting_credentials")
        self.refused(self.ask([("x-api-key", one)], None, f"/v1/chat/completions?key={two}"), 403, "conflicting_credentials")

    def test_ghostproxys_prefix_is_one_token_with_its_bare_form(self):
        raw = os.urandom(32).hex()
        answer = self.keyhole.admin("POST", "/v1/sessions", {"token": f"session-{raw}", "provider": "openai",
                                                             "api_key": self.provider.openai_key, "upstream_url": self.provider.url})
        self.assertEqual(answer.status, 201, answer.body)
        for shown in (f"session-{raw}", raw):
            self.assertEqual(self.ask([("authorization", f"Bearer {shown}")]).status, 200)

    def test_an_expired_session_is_told_so(self):
        token = self.keyhole.token(ttl=1)
        self.assertEqual(self.ask([("x-api-key", token)]).status, 200)
        answer = wait_until(lambda: (a := self.ask([("x-api-key", token)])).status == 403 and a, 10, "the session to expire")
        self.refused(answer, 403, "session_expired")

    def test_a_revoked_session_is_refused_from_the_very_next_request_also_on_an_open_connection(self):
        session = self.keyhole.session()
        with self.keyhole.client() as client:
            self.assertEqual(client.call("POST", "/v1/chat/completions", [], chat_body(), session["token"]).status, 200)
            self.keyhole.revoke(session["id"])
            answer = client.call("POST", "/v1/chat/completions", [], chat_body(), session["token"])
        self.assertEqual(answer.status, 403)
        self.assertIn(answer.code, ("session_revoked", "unknown_token"))

    def test_revoking_cuts_a_running_stream_visibly(self):
        session = self.keyhole.session()
        with self.keyhole.client() as client:
            client.request("POST", "/v1/chat/completions", [("x-demo", "gate=never@2")], chat_body(stream=True), session["token"])
            answer = client.answer()
            self.assertTrue(answer.until(b"\n\n"))
            self.keyhole.revoke(session["id"])
            answer.read()
            self.assertFalse(answer.whole)
            self.assertNotEqual(answer.end, "timeout")
        row = self.keyhole.row(answer.get("x-keyhole-request-id"))
        self.assertEqual(row["outcome"], "revoked")

    def test_a_session_that_is_not_cut_on_revocation_finishes_its_stream(self):
        session = self.keyhole.session(cut_on_revoke=False)
        with self.keyhole.client() as client:
            client.request("POST", "/v1/chat/completions", [("x-demo", "gate=finish-anyway@2")], chat_body(stream=True), session["token"])
            answer = client.answer()
            self.assertTrue(answer.until(b"\n\n"))
            self.keyhole.revoke(session["id"])
            self.provider.open_gate("finish-anyway")
            answer.read()
        self.assertTrue(answer.whole)
        self.assertEqual(self.keyhole.row(answer.get("x-keyhole-request-id"))["source"], "provider")

    def test_a_session_is_held_to_its_providers_models_and_operations(self):
        only_openai = self.keyhole.token(providers=["openai"])
        self.assertEqual(self.ask([("x-api-key", only_openai)]).status, 200)
        answer = self.ask([("x-api-key", only_openai), VERSION], messages_body(), "/v1/messages")
        self.assertEqual((answer.status, answer.json()["error"]["type"]), (403, "permission_error"))

        models = self.keyhole.token(models=["gpt-4o-mini", "claude-*"])
        self.assertEqual(self.ask([("x-api-key", models)], chat_body("gpt-4o-mini")).status, 200)
        self.assertEqual(self.ask([("x-api-key", models), VERSION], messages_body(), "/v1/messages").status, 200)
        self.refused(self.ask([("x-api-key", models)], chat_body("gpt-4o")), 403, "model_not_allowed")
        self.refused(self.ask([("x-api-key", models)], {"messages": []}), 403, "model_not_allowed")
        for sly in (b'{"model":"gpt-4o","model":"gpt-4o-mini","messages":[]}', b'{"model":"gpt-4o-mini","mod\\u0065l":"gpt-4o","messages":[]}'):
            answer = self.ask([("x-api-key", models), ("content-type", "application/json")], sly)
            self.assertIn(answer.status, (400, 403), answer.body)

        embeddings = self.keyhole.token(operations=["embeddings"])
        self.refused(self.ask([("x-api-key", embeddings)]), 403, "operation_not_allowed")
        answer = self.ask([("x-api-key", embeddings)], {"model": "text-embedding-3-small", "input": "x"}, "/v1/embeddings")
        self.assertEqual(answer.status, 200)

    def test_the_bridge_vouches_with_a_preface(self):
        token = self.keyhole.token()
        self.assertEqual(self.ask(before=preface(token)).status, 200)
        # The agent's own placeholder key doesn't matter then.
        self.assertEqual(self.ask([("authorization", "Bearer sk-placeholder-key")], before=preface(token)).status, 200)
        # The preface byte by byte, and with addresses and other TLVs that mean nothing.
        whole = preface(tlvs=[(0x02, b"evil.example"), (0xE0, token.encode()), (0x04, b"\x00" * 5)], family=0x11, address=b"\x7f\0\0\1" * 2 + b"\0" * 4)
        with self.keyhole.client() as client:
            for i in range(len(whole)):
                client.send(whole[i: i + 1])
            for _ in range(3):
                self.assertEqual(client.call("POST", "/v1/chat/completions", [], chat_body()).status, 200)

    def test_a_preface_with_a_wrong_token_is_no_way_in(self):
        token = self.keyhole.token()
        self.refused(self.ask(before=preface("kh_" + "B" * 49)), 403, "unknown_token")
        # Vouching for an unknown session is not repaired by a header.
        self.assertEqual(self.ask([("x-api-key", token)], before=preface("kh_" + "B" * 49)).status, 403)
        other = self.keyhole.token()
        self.refused(self.ask([("x-api-key", other)], before=preface(token)), 403, "conflicting_credentials")
        # A preface without a token says nothing.
        self.refused(self.ask(before=preface(tlvs=[])), 401, "missing_token")

    def test_malformed_prefaces_end_the_connection(self):
        for raw in (SIGNATURE + b"\x11\x00\x00\x00", SIGNATURE + b"\x21\x00\xff\xff" + b"A" * 2000, SIGNATURE[:-1] + b"X\x21\x00\x00\x00",
                    preface(tlvs=[])[:-2] + b"\x00\x05\xe0\xff\xffab", SIGNATURE + bytes(zlib.crc32(b"x").to_bytes(4, "big"))):
            with self.subTest(raw[:20]):
                with self.keyhole.client(timeout=10) as client:
                    try:
                        client.send(raw + b"POST / HTTP/1.1\r\nhost: x\r\n\r\n")
                        answer = client.answer()
                    except (BrokenPipeError, ConnectionResetError):
                        continue
                    self.assertIn(answer.status, (0, 400, 403))

    def test_a_sessions_own_socket_needs_no_token_and_takes_no_others(self):
        session = self.keyhole.session(own_socket=True)
        own = session["socket"]
        wait_until(lambda: os.path.exists(own), 10, own)
        self.assertEqual(self.ask(where=own).status, 200)
        self.assertEqual(self.ask([("authorization", "Bearer sk-placeholder")], where=own).status, 200)
        self.assertEqual(self.keyhole.row(self.ask(where=own).get("x-keyhole-request-id"))["session"], session["id"])
        stranger = self.keyhole.token()
        self.refused(self.ask([("x-api-key", stranger)], where=own), 403, "conflicting_credentials")
        self.keyhole.revoke(session["id"])

        def dead():
            try:
                return self.ask(where=own).status in (0, 403)
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                return True
        wait_until(dead, 10, "the socket of a revoked session to be dead")

    def test_whoever_speaks_on_an_own_socket_is_always_its_session(self):
        session = self.keyhole.session(own_socket=True, limits=["requests=3"])
        rich = self.keyhole.session()
        statuses = []
        for _ in range(5):
            answer = self.ask(before=preface(rich["token"]), where=session["socket"])
            statuses.append(answer.status)
        self.assertNotIn(rich["id"], [r["session"] for r in self.keyhole.rows()])
        self.assertLessEqual(statuses.count(200), 3)

    def test_lists_show_a_session_its_own_files_and_batches_only(self):
        one, two = self.keyhole.token(), self.keyhole.token()
        kind, upload = "multipart/form-data; boundary=x", (b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\n'
                                                           b'content-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--x--\r\n')
        made = self.keyhole.call("POST", "/v1/files", [("content-type", kind)], upload, one).json()
        listed = {token: self.keyhole.call("GET", "/v1/files", [], None, token) for token in (one, two)}
        self.assertIn(made["id"], [f["id"] for f in listed[one].json()["data"]])
        self.assertNotIn(made["id"].encode(), listed[two].body)
        self.assertEqual(self.keyhole.call("GET", f"/v1/files/{made['id']}/content", [], None, two).status, 404)

    def test_one_session_can_not_see_what_another_stored_at_the_provider(self):
        # Both act with the same real key, so the provider would show each everything: who made it must be remembered here.
        one, two = self.keyhole.token(), self.keyhole.token()
        made = self.ask([("x-api-key", one)], {"model": "gpt-5", "input": "my secret plan"}, "/v1/responses").json()["id"]
        with self.keyhole.client() as client:
            self.assertEqual(client.call("GET", f"/v1/responses/{made}", [], None, one).status, 200)
            for method, path in (("GET", f"/v1/responses/{made}"), ("GET", f"/v1/responses/{made}/input_items"), ("DELETE", f"/v1/responses/{made}")):
                with self.subTest(f"{method} {path}"):
                    answer = self.keyhole.call(method, path, [], None, two)
                    self.assertIn(answer.status, (403, 404), answer.body)
                    self.assertNotIn(b"secret plan", answer.body)
            for reference, own in ((f'"previous_response_id":"{made}"', 200), (f'"previous\\u005fresponse_id":"{made}"', 200),
                                   (f'"conversation":"{made}"', 200), (f'"conversation":{{"id":"{made}"}}', 200),
                                   ('"previous_response_id":"resp_of_nobody"', 404), ('"previous_response_id":null', 200)):
                with self.subTest(reference):
                    body = ('{"model":"gpt-5","input":"go on",' + reference + "}").encode()
                    for token, status in ((one, own), (two, 200 if "null" in reference else 404)):
                        answer = self.keyhole.call("POST", "/v1/responses", [("content-type", "application/json")], body, token)
                        self.assertEqual(answer.status, status, answer.body)
            batch = {"input_file_id": made, "endpoint": "/v1/responses", "completion_window": "24h"}
            self.assertEqual(self.keyhole.post("/v1/batches", batch, two).status, 404)


if __name__ == "__main__":
    unittest.main()
