"""The control plane: GhostProxy's registry API, sessions and usage, and that none of it is reachable for an agent."""

import json
import os
import secrets
import unittest

from harness import BlackBox, Keyhole, chat_body, free_port, wait_until
from wire import call


class GhostProxy(BlackBox):
    """The calls of an orchestrator that was written for GhostProxy, over TCP with the admin token and over the socket."""

    @classmethod
    def setUpClass(cls):
        cls.admin_token = secrets.token_hex(16)
        cls.admin_port = free_port()
        super().setUpClass()
        cls.keyhole.close()
        cls.keyhole = Keyhole(cls.provider, {"admin": {"tcp": f"127.0.0.1:{cls.admin_port}", "token": "env:DEMO_ADMIN_TOKEN"}},
                              {"DEMO_ADMIN_TOKEN": cls.admin_token})
        cls.addClassCleanup(cls.keyhole.close)

    def api(self, method, path, body=None, token=None):
        headers = [("authorization", f"Bearer {token or self.admin_token}")]
        return call(("127.0.0.1", self.admin_port), method, path, headers, body)

    def registration(self, **more):
        return {"token": "session-" + secrets.token_hex(32), "provider": "openai", "api_key": self.provider.openai_key,
                "upstream_url": self.provider.url, "sandbox_id": "sbx-ghost", **more}

    def test_register_use_list_and_revoke(self):
        told = self.registration()
        answer = self.api("POST", "/v1/sessions", told)
        self.assertEqual((answer.status, answer.json()), (201, {"status": "registered"}))
        used = self.keyhole.post("/v1/chat/completions", chat_body(), told["token"])
        self.assertEqual(used.status, 200, used.body)
        row = self.keyhole.row(used.get("x-keyhole-request-id"))
        self.assertEqual(row["sandbox"], "sbx-ghost")
        listed = self.api("GET", "/v1/sessions")
        self.assertIn({"provider": "openai", "sandbox_id": "sbx-ghost", "upstream_url": self.provider.url}, listed.json())
        self.assertNotIn(told["token"].encode(), listed.body)
        self.assertNotIn(self.provider.openai_key.encode(), listed.body)
        answer = self.api("DELETE", f"/v1/sessions/{told['token']}")
        self.assertEqual((answer.status, answer.json()["status"]), (200, "revoked"))
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), told["token"]).status, 403)
        self.assertEqual(self.api("DELETE", "/v1/sessions/session-unknown").status, 200)

    def test_either_form_of_the_token_revokes(self):
        told = self.registration()
        self.api("POST", "/v1/sessions", told)
        self.api("DELETE", "/v1/sessions/" + told["token"].removeprefix("session-"))
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), told["token"]).status, 403)

    def test_a_sandboxs_sessions_go_together(self):
        box = "sbx-" + secrets.token_hex(4)
        tokens = []
        for _ in range(3):
            told = self.registration(sandbox_id=box)
            self.assertEqual(self.api("POST", "/v1/sessions", told).status, 201)
            tokens.append(told["token"])
        answer = self.api("DELETE", f"/v1/sandboxes/{box}/sessions")
        self.assertEqual((answer.status, answer.json()), (200, {"status": "revoked", "count": 3, "sandbox": box}))
        for token in tokens:
            self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), token).status, 403)

    def test_registering_again_overwrites(self):
        told = self.registration()
        self.api("POST", "/v1/sessions", told)
        self.assertEqual(self.api("POST", "/v1/sessions", {**told, "sandbox_id": "sbx-second"}).status, 201)
        used = self.keyhole.post("/v1/chat/completions", chat_body(), told["token"])
        self.assertEqual(self.keyhole.row(used.get("x-keyhole-request-id"))["sandbox"], "sbx-second")

    def test_missing_members_and_bad_json_are_400(self):
        self.assertEqual(self.api("POST", "/v1/sessions", {"token": "session-abc"}).status, 400)
        answer = call(("127.0.0.1", self.admin_port), "POST", "/v1/sessions", [("authorization", f"Bearer {self.admin_token}")], b"{nope")
        self.assertEqual(answer.status, 400)
        json.loads(answer.body)

    def test_health_needs_no_token_and_all_else_does(self):
        answer = call(("127.0.0.1", self.admin_port), "GET", "/v1/health")
        self.assertEqual((answer.status, answer.json()), (200, {"status": "ok"}))
        for headers in ([], [("authorization", "Bearer wrong")], [("authorization", f"Basic {self.admin_token}")],
                        [("authorization", f"Bearer {self.admin_token}x")], [("authorization", f"Bearer {self.admin_token[:-1]}")]):
            for method, path in (("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("GET", "/admin/v1/sessions"), ("GET", "/admin/v1/usage")):
                with self.subTest(f"{method} {path} {headers}"):
                    self.assertEqual(call(("127.0.0.1", self.admin_port), method, path, headers).status, 401)

    def test_guesses_at_the_admin_token_are_seen_in_the_log_and_do_not_flood_it(self):
        def lines():
            return [e for e in map(json.loads, self.keyhole.log_text().splitlines()) if e.get("msg", "").startswith("refused at the admin API")]
        for guess in range(200):
            call(("127.0.0.1", self.admin_port), "GET", "/admin/v1/sessions", [("authorization", f"Bearer guess-{guess}")])
        seen = wait_until(lines, 10, "the line about a guess")
        self.assertRegex(seen[0]["peer"], r"^127\.0\.0\.1:\d+$")
        self.assertLess(len(seen), 100)
        self.assertNotIn("guess-", self.keyhole.log_text())

    def test_a_registered_session_does_not_outlive_the_process(self):
        told = self.registration()
        self.api("POST", "/v1/sessions", told)
        self.keyhole.stop()
        self.keyhole.start()
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), told["token"]).status, 403)
        self.api("POST", "/v1/sessions", told)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), told["token"]).status, 200)


class Admin(BlackBox):
    def test_the_admin_api_is_not_on_the_agents_sockets(self):
        token = self.keyhole.token()
        for tcp in (False, True):
            for method, path in (("GET", "/admin/v1/sessions"), ("POST", "/admin/v1/sessions"), ("GET", "/v1/sessions"), ("GET", "/metrics"),
                                 ("DELETE", "/v1/sandboxes/x/sessions")):
                with self.keyhole.client(tcp) as client:
                    self.assertEqual(client.call(method, path, [], None, token).status, 404)
        self.assertNotEqual(call(("127.0.0.1", self.keyhole.metrics_port), "GET", "/admin/v1/sessions").status, 200)

    def test_a_sessions_life(self):
        made = self.keyhole.session(name="alpha", sandbox="sbx-7", labels={"team": "a"}, limits=["usd=1", "requests=10"], models=["gpt-4o"])
        self.assertRegex(made["id"], r"^ses_")
        shown = self.keyhole.show(made["id"])
        text = json.dumps(shown)
        for word in ("alpha", "sbx-7", "gpt-4o", made["id"]):
            self.assertIn(word, text)
        self.assertNotIn(made["token"], text)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), made["token"]).status, 200)
        listed = self.keyhole.admin("GET", "/admin/v1/sessions")
        self.assertIn(made["id"].encode(), listed.body)
        self.assertNotIn(made["token"].encode(), listed.body)
        self.keyhole.revoke(made["id"])
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), made["token"]).status, 403)
        self.assertEqual(self.keyhole.admin("GET", "/admin/v1/sessions/ses_unknown").status, 404)

    def test_an_export_holds_every_row_of_a_session_oldest_first(self):
        made = self.keyhole.session(name="exported")
        ids = [self.keyhole.post("/v1/chat/completions", chat_body(), made["token"]).get("x-keyhole-request-id") for _ in range(5)]
        lines = self.keyhole.cli("usage", "requests", "--jsonl", "--session", made["id"]).stdout.splitlines()
        self.assertEqual([json.loads(line)["request_id"] for line in lines], ids)
        heading, *rows = self.keyhole.cli("usage", "requests", "--csv", "--session", made["id"]).stdout.splitlines()
        self.assertEqual([row.split(",")[0] for row in rows], ids)
        self.assertEqual(set(heading.split(",")), set(json.loads(lines[0])))
        page = self.keyhole.admin("GET", "/admin/v1/requests?after=0&limit=2&session=" + made["id"])
        self.assertEqual(page.status, 200)
        self.assertEqual(self.keyhole.admin("GET", "/admin/v1/requests?after=nonsense").status, 400)

    def test_bad_sessions_are_refused_with_the_reason(self):
        for fields in ({"limits": ["usd=lots"]}, {"limits": ["coffee=3"]}, {"limits": 5}, {"ttl": -5}, {"providers": ["nobody"]},
                       {"labels": {"k": "v" * 500}}, {"gone_policy": "sing"}, {"unknown_member": 1}, {"account": "nobody"}):
            with self.subTest(fields):
                answer = self.keyhole.admin("POST", "/admin/v1/sessions", fields)
                self.assertEqual(answer.status, 400, answer.body)
                self.assertTrue(answer.json()["error"])
        self.assertEqual(self.keyhole.admin("POST", "/admin/v1/sessions", b"[1,2").status, 400)
        self.assertIn(self.keyhole.admin("GET", "/admin/v1/nothing").status, (404,))
        self.assertIn(self.keyhole.admin("PUT", "/admin/v1/sessions").status, (404, 405))

    def test_the_command_line_does_the_same(self):
        made = json.loads(self.keyhole.cli("session", "create", "--json", "--name", "cli", "--limit", "requests=2", "--limit", "usd=0.50",
                                           "--provider", "openai", "--model", "gpt-4o", "--sandbox", "sbx-cli", "--label", "k=v",
                                           "--ttl", "3600").stdout)
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), made["token"]).status, 200)
        self.assertIn(made["id"], self.keyhole.cli("session", "list").stdout)
        self.assertIn(made["id"], [s["id"] for s in self.sessions_of(json.loads(self.keyhole.cli("session", "list", "--json").stdout))])
        self.assertIn("sbx-cli", self.keyhole.cli("session", "show", made["id"], "--json").stdout)
        self.keyhole.cli("session", "revoke", made["id"])
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), made["token"]).status, 403)
        one, two = (json.loads(self.keyhole.cli("session", "create", "--json", "--sandbox", "sbx-all").stdout) for _ in range(2))
        self.keyhole.cli("session", "revoke", "--sandbox", "sbx-all")
        for made in (one, two):
            self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), made["token"]).status, 403)
        by_token = json.loads(self.keyhole.cli("session", "create", "--json").stdout)
        self.keyhole.cli("session", "revoke", "--token", by_token["token"])
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), by_token["token"]).status, 403)
        own = json.loads(self.keyhole.cli("session", "create", "--json", "--own-socket").stdout)
        self.assertTrue(os.path.exists(own["socket"]))
        self.assertEqual(call(own["socket"], "POST", "/v1/chat/completions", [], chat_body()).status, 200)

    @staticmethod
    def sessions_of(told):
        return told["sessions"] if isinstance(told, dict) else told

    def test_the_command_line_says_what_is_wrong(self):
        for args in (["session", "create", "--limit", "coffee=3"], ["session", "show", "ses_unknown"], ["session", "revoke"],
                     ["usage", "--by", "moon"], ["nonsense"], ["serve", "--nonsense"]):
            with self.subTest(" ".join(args)):
                done = self.keyhole.cli(*args, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertTrue((done.stderr + done.stdout).strip())
        done = self.keyhole.cli("session", "list", "--admin", "/nonexistent/admin.sock", check=False)
        self.assertNotEqual(done.returncode, 0, "--admin must win over KEYHOLE_ADMIN_SOCKET")
        self.assertIn("/nonexistent/admin.sock", done.stderr)

    def test_without_an_admin_token_there_is_no_admin_over_tcp(self):
        # GhostProxy answers 503 where no token is set; here nothing listens at all, and the configuration says why.
        self.assertEqual(call(self.keyhole.admin_socket, "GET", "/v1/health").status, 200)

    def test_usage_is_grouped(self):
        session = self.keyhole.session(sandbox="sbx-usage")
        answer = self.keyhole.post("/v1/chat/completions", chat_body(), session["token"])
        self.keyhole.row(answer.get("x-keyhole-request-id"))
        for by in ("session", "model", "provider", "day", "sandbox"):
            told = self.keyhole.admin("GET", f"/admin/v1/usage?by={by}")
            self.assertEqual(told.status, 200, told.body)
        self.assertEqual(self.keyhole.admin("GET", "/admin/v1/usage?by=moon").status, 400)
        self.assertEqual(self.keyhole.admin("GET", "/admin/v1/usage?by=day&since=yesterdayish").status, 400)

    def test_health_and_metrics(self):
        where = ("127.0.0.1", self.keyhole.metrics_port)
        self.assertEqual(call(where, "GET", "/healthz").status, 200)
        self.assertEqual(call(where, "GET", "/readyz").status, 200)
        self.assertEqual(call(where, "GET", "/nothing").status, 404)
        self.assertIn(self.keyhole.metrics_text().splitlines()[0][:1], "#")
        for name in self.keyhole.metrics():
            self.assertTrue(name.startswith(("keyhole_", "process_", "exposer_")), name)


if __name__ == "__main__":
    unittest.main()
