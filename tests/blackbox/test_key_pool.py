"""A provider with several keys: a session keeps one, a key that is limited or refused rests, and nothing is sent twice."""

import http.server
import json
import secrets
import threading
import unittest

from harness import Keyhole, chat_body, wait_until


class PickyProvider:
    """Answers by key, as the test says, and remembers which key each request came with."""

    def __init__(self):
        self.answers, self.seen, self.heads, self.lock = {}, [], [], threading.Lock()
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                key = self.headers["authorization"].removeprefix("Bearer ")
                with provider.lock:
                    provider.seen.append(key)
                    provider.heads.append(self.headers)
                    status, fields = provider.answers.get(key, (200, {}))
                usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
                body = {"id": "c", "object": "chat.completion", "model": "gpt-4o", "choices": [], "usage": usage} if status == 200 else \
                    {"error": {"message": "no", "type": "requests", "code": None}}
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(data)), **fields}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class KeyPool(unittest.TestCase):
    def setUp(self):
        self.provider = PickyProvider()
        self.addCleanup(self.provider.close)
        self.keys = ["sk-proj-" + secrets.token_hex(20) for _ in range(3)]
        names = {f"POOL_KEY_{i}": key for i, key in enumerate(self.keys)}
        self.keyhole = Keyhole(None, {"providers.openai": {"base_url": self.provider.url, "keys": [f"env:{name}" for name in names],
                                                           "headers": ["OpenAI-Project: proj_ours", "X-Team: agents"]}}, names)
        self.addCleanup(self.keyhole.close)

    def ask(self, token, headers=()):
        """The status, and the key that the provider saw: exactly one request reached it."""
        before = len(self.provider.seen)
        answer = self.keyhole.post("/v1/chat/completions", chat_body("gpt-4o"), token, headers=list(headers))
        self.assertEqual(len(self.provider.seen), before + 1, "one request, sent once")
        return answer.status, self.provider.seen[-1]

    def test_a_session_stays_with_one_key_and_sessions_share_all_of_them(self):
        used = set()
        for _ in range(40):
            token = self.keyhole.token()
            first = self.ask(token)
            self.assertEqual([self.ask(token) for _ in range(2)], [first] * 2)
            used.add(first[1])
            if len(used) == 3:
                break
        self.assertEqual(used, set(self.keys))

    def test_a_limited_key_rests_as_long_as_the_provider_says_and_its_sessions_get_another(self):
        token = self.keyhole.token()
        _, own = self.ask(token)
        self.provider.answers[own] = (429, {"retry-after": "2"})
        self.assertEqual(self.ask(token), (429, own), "the answer is the provider's, the repetition is the agent's")
        self.provider.answers.clear()
        status, other = self.ask(token)
        self.assertEqual(status, 200)
        self.assertNotEqual(other, own)
        self.assertEqual(self.ask(token), (200, other))
        wait_until(lambda: self.ask(token) == (200, own), 15, "the key's return after its rest")
        said = [line for line in self.keyhole.log_text().splitlines() if "rate limit" in line]
        self.assertEqual(len(said), 1)
        self.assertRegex(said[0], r'"key":"[123] of 3"')

    def test_a_refused_key_rests_and_is_told_to_the_operator_without_a_byte_of_it(self):
        token = self.keyhole.token()
        _, own = self.ask(token)
        self.provider.answers[own] = (401, {})
        self.assertEqual(self.ask(token), (401, own))
        self.assertEqual({self.ask(token)[0] for _ in range(5)}, {200})
        self.assertEqual(self.keyhole.log_text().count("the provider refuses a key"), 1)
        for key in self.keys:
            self.assertNotIn(key[8:24], self.keyhole.log_text())

    def test_where_all_keys_rest_the_provider_still_has_the_last_word(self):
        for key in self.keys:
            self.provider.answers[key] = (429, {"retry-after": "30"})
        token = self.keyhole.token()
        self.assertEqual({self.ask(token)[1] for _ in range(3)}, set(self.keys))
        self.assertEqual(self.ask(token)[0], 429)
        self.provider.answers.clear()
        self.assertEqual(self.ask(token)[0], 200)

    def test_who_pays_is_the_operators_to_say_NO_WAY_AROUND(self):
        self.ask(self.keyhole.token(), [("OpenAI-Organization", "org-of-somebody-else"), ("openai-project", "proj_theirs"), ("OpenAI_Project", "proj_theirs"),
                                        ("X-Goog-User-Project", "theirs"), ("X-Team", "mine"), ("X-Other", "kept")])
        head = self.provider.heads[-1]
        self.assertEqual([(n.lower(), v) for n, v in head.items() if "org" in n.lower() or "project" in n.lower()], [("openai-project", "proj_ours")])
        self.assertEqual(head.get_all("x-team"), ["agents"])
        self.assertEqual(head.get_all("x-other"), ["kept"])

    def test_every_request_of_a_pool_has_one_row(self):
        token = self.keyhole.token()
        _, own = self.ask(token)
        self.provider.answers[own] = (429, {"retry-after": "30"})
        for _ in range(4):
            self.ask(token)
        rows = wait_until(lambda: len(self.keyhole.rows()) >= 5 and self.keyhole.rows(), 10, "the rows")
        self.assertEqual(sorted(r["status"] for r in rows), [200, 200, 200, 200, 429])
        self.assertEqual(len(self.provider.seen), 5)


if __name__ == "__main__":
    unittest.main()
