"""KEY_STAYS_HOME, TOKEN_STAYS_HOME: canary keys and tokens are looked for in every byte that anybody else could read."""

import base64
import os
import unittest
import urllib.parse
import zlib

from harness import keyhole_binary, VERSION, Keyhole, Provider, chat_body, messages_body, wait_until
from wire import call, multipart


def forms_of(secret):
    """The ways a secret can stand in bytes: as it is, in base64 and hex, JSON- or URL-escaped."""
    raw = secret.encode()
    forms = {raw, raw.hex().encode(), raw.hex().upper().encode(), urllib.parse.quote(secret, safe="").encode()}
    for shift in range(3):  # base64 of a text that holds it at any offset
        encoded = base64.b64encode(b"\0" * shift + raw)
        forms.add(encoded[4 if shift else 0: -4])
    return forms


class Leaks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)
        cls.keyhole = Keyhole(cls.provider, {"log": {"format": "json", "level": "debug"}})
        cls.addClassCleanup(cls.keyhole.close)
        cls.keys = [cls.provider.openai_key, cls.provider.anthropic_key]
        cls.received = []
        cls.tokens = []

    def ask(self, demo, path, headers, body, token, tcp=False):
        with self.keyhole.client(tcp) as client:
            try:
                client.request("POST", path, [*headers, *([("x-demo", demo)] if demo else [])], body, token)
                answer = client.answer().read()
            finally:
                self.received.append(bytes(client.received))
        return answer

    def session(self, **fields):
        made = self.keyhole.session(**fields)
        if "token" in made:
            self.tokens.append(made["token"])
        return made

    def absent(self, where, data, secrets):
        for secret in secrets:
            for form in forms_of(secret):
                self.assertNotIn(form, data, f"a secret stands in {where}")

    ECHOES = ("echo_key", "echo_key,chunked,chunking=bytes", "echo_key,chunked,chunking=odd", "echo_key,eof_framing", "echo_key,short_body",
              "echo_key_success", "echo_key_success,chunked,chunking=bytes", "echo_key_success,chunking=odd", "echo_key_success,eof_framing",
              "echo_key_stream", "echo_key_stream,chunking=bytes", "echo_key_stream,chunking=odd", "echo_key_stream,eof_framing",
              "echo_key_header", "echo_key_header,status=500", "echo_key,gzip", "echo_fragment", "reset_after=120,echo_key_success",
              "echo_key,reset_after=120", "echo_key_success,gzip", "echo_key_success,gzip,chunking=bytes", "echo_key_stream,gzip",
              "echo_key_stream,gzip,chunking=odd", "echo_key_stream,gzip,eof_framing")

    def test_a_key_that_the_provider_echoes_never_reaches_the_agent(self):
        token = self.session()["token"]
        for demo in self.ECHOES:
            for path, headers, body in (("/v1/chat/completions", [], chat_body()), ("/v1/chat/completions", [], chat_body(stream=True)),
                                        ("/v1/messages", [VERSION], messages_body()), ("/v1/messages", [VERSION], messages_body(stream=True)),
                                        ("/v1/responses", [], {"model": "gpt-5", "input": "x", "stream": True})):
                with self.subTest(f"{demo} {path}"):
                    answer = self.ask(demo, path, headers, body, token)
                    data = self.received[-1]
                    if answer.get("content-encoding") == "gzip":
                        data += zlib.decompressobj(31).decompress(answer.body)
                    self.absent("the agent's bytes", data, self.keys)
                    self.absent("the agent's decoded body", answer.body, self.keys)
                    if demo.startswith(("echo_key", "echo_fragment")) and "stream" not in demo and "success" not in demo and "header" not in demo:
                        for key in self.keys:  # nor long parts of it
                            for at in range(0, len(key) - 16):
                                if at >= 13:  # past the prefix that all keys share
                                    self.assertNotIn(key[at: at + 16].encode(), data)

    def test_masking_changes_only_the_key(self):
        token = self.session()["token"]
        direct = self.direct_echo()
        answer = self.ask("echo_key", "/v1/chat/completions", [], chat_body(), token)
        self.assertEqual(answer.status, 401)
        before, _, after = direct.partition(self.provider.openai_key.encode())
        self.assertTrue(answer.body.startswith(before), answer.body)
        self.assertTrue(answer.body.endswith(after), answer.body)

    def direct_echo(self):
        return call(self.provider.where, "POST", "/v1/chat/completions", [("x-demo", "echo_key")], chat_body(), self.provider.openai_key).body

    def test_a_fragment_of_the_key_is_masked(self):
        token = self.session()["token"]
        answer = self.ask("echo_fragment", "/v1/chat/completions", [], chat_body(), token)
        self.assertEqual(answer.status, 401)
        self.assertNotIn(self.provider.openai_key[-4:].encode() + b". You can", answer.body)

    def test_the_token_never_reaches_the_provider(self):
        token = self.session()["token"]
        form, kind = multipart(model="whisper-1", file=("a.wav", b"x" * 100))
        self.ask("", "/v1/chat/completions", [("x-api-key", token), ("api-key", token), ("x-goog-api-key", token), ("cookie", f"t={token}"),
                                              ("proxy-authorization", f"Bearer {token}"), ("x-custom", f"it is {token}"),
                                              ("x-auth-token", token), ("x-client-request-id", f"id-{token}"), ("referer", f"http://x/?key={token}")],
                 chat_body(), token)
        self.ask("", f"/v1/chat/completions?foo={token}&x=%6b%68{token[2:]}", [], chat_body(), token)
        self.assertEqual(self.keyhole.call("GET", f"/v1/models/{token}", [], None, token).status, 400)
        self.ask("", f"/v1/chat/completions?key={token}&api_key={token}&%6bey={token}&beta=true", [], chat_body(), token)
        self.ask("", "/v1/audio/transcriptions", [("content-type", kind)], form, token)
        with open(self.provider.log_path, "rb") as f:
            self.absent("what the provider saw", f.read(), self.tokens)
        for entry in self.provider.log("head"):
            shown = [v for k, v in entry["headers"] if v in ("<wrong>", "<real key ok>")]
            self.assertEqual(shown, ["<real key ok>"], entry)

    def test_a_credential_or_framing_field_written_with_underscores_stays_here_too(self):
        token = self.session()["token"]
        own = [("X_API_KEY", "mine"), ("api_key", "mine"), ("x_goog_api-key", "mine"), ("Proxy_Authorization", "mine"), ("transfer_encoding", "chunked"),
               ("content_length", "3"), ("session_id", "kept")]
        self.ask("", "/v1/chat/completions", own, chat_body(text="with underscores"), token)
        names = [name.lower() for name, _ in self.provider.log("head")[-1]["headers"]]
        self.assertIn("session_id", names)
        self.assertFalse({n.replace("_", "-") for n in names if "_" in n} - {"session-id"}, names)

    def test_nothing_secret_stands_in_logs_metrics_files_or_admin_answers(self):
        self.session(own_socket=True)
        session = self.session(limits=["requests=100", "usd=1"], labels={"run": "leaks"})
        token = session["token"]
        for demo in ("", "status=500", "reset", "garbage", "echo_key", "echo_key_success", "cut_eof=2", "set_cookie"):
            self.ask(demo, "/v1/chat/completions", [], chat_body(stream="cut" in demo), token)
            self.ask(demo, "/v1/messages", [VERSION], messages_body(), token, tcp=True)
        wrong = "kh_" + base64.urlsafe_b64encode(os.urandom(32)).decode()[:43] + "000000"
        self.tokens.append(wrong)
        self.ask("", "/v1/chat/completions", [], chat_body(), wrong)
        self.ask("", f"/v1/chat/completions?key={wrong}", [], chat_body(), None)
        self.ask("", f"/v1/{wrong}", [], chat_body(), token)      # a token in the path: into the log's route? no
        self.ask("", "/v1/chat/completions", [("authorization", f"Bearer {self.provider.openai_key}")], chat_body(), None)
        self.ask("", "/v1/chat/completions", [("authorization", "Bearer " + token), ("x-api-key", wrong)], chat_body(), None)
        with self.keyhole.client() as client:
            client.send(b"POST /v1/chat/completions HTTP/1.1\r\nauthorization : Bearer " + token.encode() + b"\r\nhost: x\r\n\r\n")
            client.answer().read()
            self.received.append(bytes(client.received))
        row = self.ask("", "/v1/chat/completions", [], chat_body(), token).get("x-keyhole-request-id")
        self.keyhole.row(row)

        told = b""
        for path in ("/admin/v1/sessions", f"/admin/v1/sessions/{session['id']}", "/admin/v1/usage?by=session", "/v1/sessions", "/v1/health"):
            told += self.keyhole.admin("GET", path).body
        for command in (["session", "list"], ["session", "list", "--json"], ["session", "show", session["id"]], ["usage", "--by", "session"]):
            done = self.keyhole.cli(*command)
            told += (done.stdout + done.stderr).encode()
        self.absent("the administration's answers", told, self.keys + self.tokens)
        self.absent("the metrics", self.keyhole.metrics_text().encode(), self.keys + self.tokens)
        for data in self.received:
            self.absent("what agents received", data, self.keys + self.tokens)
        self.files_are_clean("while it runs")
        self.keyhole.kill()      # the journal as a crash leaves it
        self.files_are_clean("after kill -9")
        self.keyhole.start()
        self.keyhole.stop()
        self.files_are_clean("after a clean end")
        self.keyhole.start()

    def files_are_clean(self, when):
        looked_at = []
        for folder, _, files in os.walk(self.keyhole.dir):
            for name in files:
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    continue  # sockets
                with open(path, "rb") as f:
                    self.absent(f"{name} {when}", f.read(), self.keys + self.tokens)
                looked_at.append(name)
        self.assertIn("ledger.db", looked_at)
        self.assertIn("log.txt", looked_at)
        self.assertTrue([n for n in looked_at if "journal" in n or "inflight" in n], looked_at)

    def test_the_command_line_shows_nothing(self):
        with open(f"/proc/{self.keyhole.process.pid}/cmdline", "rb") as f:
            self.absent("the command line", f.read(), self.keys)

    @unittest.skipUnless(os.getuid() == 0, "needs root to run the proxy as somebody else")
    def test_the_process_is_not_dumpable(self):
        # The kernel gives /proc/PID of a process that is not dumpable to root, whoever runs it: no core, no ptrace, no environ.
        with open(keyhole_binary(), "rb") as program:
            if b"__asan_init" in program.read():
                self.skipTest("LeakSanitizer has to attach to its own process, so sanitized builds stay dumpable")
        nobody = Keyhole(self.provider, start=False, user=65534)
        self.addCleanup(nobody.close)
        nobody.start()
        self.assertEqual(nobody.post("/v1/chat/completions", chat_body(), nobody.token()).status, 200)
        self.assertEqual(os.stat(f"/proc/{nobody.process.pid}/environ").st_uid, 0)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)  # the same user as the proxy
                for name in ("environ", "mem", "maps"):
                    with open(f"/proc/{nobody.process.pid}/{name}", "rb") as f:
                        if f.read(1):
                            os._exit(1)
            except OSError:
                os._exit(0)
            os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, "its own user can read the process")

    def test_state_files_are_for_their_owner_only(self):
        for folder, _, files in os.walk(self.keyhole.state_dir):
            for name in files:
                self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0, name)
        self.assertEqual(os.stat(self.keyhole.admin_socket).st_mode & 0o077, 0)

    def test_keys_that_come_from_files_stay_there_too(self):
        path = f"{self.keyhole.dir}/../{os.path.basename(self.keyhole.dir)}-key"
        with open(path, "w") as f:
            f.write(self.provider.openai_key + "\n")
        os.chmod(path, 0o600)
        self.addCleanup(os.unlink, path)
        other = Keyhole(self.provider, env={"OPENAI_API_KEY": "", "OPENAI_API_KEY_FILE": path}, start=False)
        self.addCleanup(other.close)
        del other.env["OPENAI_API_KEY"]
        other.start()
        token = other.token()
        wait_until(lambda: other.post("/v1/chat/completions", chat_body(), token).status == 200)
        self.absent("its log", other.log_text().encode(), self.keys)


if __name__ == "__main__":
    unittest.main()
