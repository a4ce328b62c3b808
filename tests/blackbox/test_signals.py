"""SIGTERM lets streams finish, a second one doesn't wait, SIGHUP takes a new key without losing a byte."""

import os
import signal
import unittest
import uuid

from harness import Keyhole, Provider, chat_body, wait_until
from wire import call


class Signals(unittest.TestCase):
    def setUp(self):
        self.provider = Provider()
        self.addCleanup(self.provider.close)

    def keyhole(self, **config):
        keyhole = Keyhole(self.provider, config)
        self.addCleanup(keyhole.close)
        return keyhole

    def stream(self, keyhole, token, gate):
        client = keyhole.client()
        self.addCleanup(client.close)
        client.request("POST", "/v1/chat/completions", [("x-demo", f"gate={gate}@2")], chat_body(stream=True), token)
        answer = client.answer()
        self.assertTrue(answer.until(b"\n\n"))
        return answer

    def test_sigterm_lets_a_running_stream_finish_and_takes_no_new_requests(self):
        keyhole = self.keyhole(server={"shutdown_grace": 20})
        token = keyhole.token()
        name = uuid.uuid4().hex
        idle = keyhole.client()
        self.addCleanup(idle.close)
        self.assertEqual(idle.call("POST", "/v1/chat/completions", [], chat_body(), token).status, 200)
        answer = self.stream(keyhole, token, name)
        keyhole.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                with keyhole.client(timeout=5) as late:
                    return late.call("POST", "/v1/chat/completions", [], chat_body(), token).status in (503, 0)
            except OSError:
                return True
        wait_until(refused, 10, "new requests to be refused")
        self.assertIsNone(keyhole.process.poll())
        self.provider.open_gate(name)
        answer.read()
        self.assertTrue(answer.whole)
        self.assertIn(b"data: [DONE]", answer.body)
        self.assertEqual(keyhole.process.wait(15), 0)
        self.assertEqual(keyhole.row(answer.get("x-keyhole-request-id"))["outcome"], "ok")
        self.assertFalse(os.path.exists(keyhole.socket))

    def test_at_the_end_of_the_grace_streams_are_cut_visibly_and_entered(self):
        keyhole = self.keyhole(server={"shutdown_grace": 1})
        answer = self.stream(keyhole, keyhole.token(), "never")
        keyhole.process.send_signal(signal.SIGTERM)
        answer.read()
        self.assertFalse(answer.whole)
        self.assertEqual(keyhole.process.wait(15), 0)
        self.assertEqual(keyhole.row(answer.get("x-keyhole-request-id"))["outcome"], "shutdown")

    def test_a_second_sigterm_skips_the_wait(self):
        keyhole = self.keyhole(server={"shutdown_grace": 300})
        answer = self.stream(keyhole, keyhole.token(), "never")
        keyhole.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not self.ready(keyhole), 10, "the drain to begin")
        keyhole.process.send_signal(signal.SIGTERM)
        keyhole.process.wait(15)
        answer.read()
        self.assertFalse(answer.whole)
        keyhole.row(answer.get("x-keyhole-request-id"))

    def test_sigint_is_sigterm(self):
        keyhole = self.keyhole()
        keyhole.process.send_signal(signal.SIGINT)
        self.assertEqual(keyhole.process.wait(15), 0)

    @staticmethod
    def ready(keyhole):
        try:
            return call(("127.0.0.1", keyhole.metrics_port), "GET", "/readyz", timeout=3).status == 200
        except OSError:
            return False

    def with_key_file(self):
        folder = self.provider.dir
        path = f"{folder}/key"
        self.write_key(path, self.provider.openai_key)
        keyhole = Keyhole(self.provider, env={"OPENAI_API_KEY_FILE": path}, start=False)
        del keyhole.env["OPENAI_API_KEY"]
        self.addCleanup(keyhole.close)
        keyhole.start()
        return keyhole, path

    @staticmethod
    def write_key(path, key):
        with open(path + ".new", "w") as f:
            f.write(key + "\n")
        os.chmod(path + ".new", 0o600)
        os.rename(path + ".new", path)

    def test_sighup_reloads_keys_and_running_streams_go_on(self):
        keyhole, path = self.with_key_file()
        token = keyhole.token()
        name = uuid.uuid4().hex
        answer = self.stream(keyhole, token, name)
        self.write_key(path, "sk-proj-rotated-" + "0" * 40)
        keyhole.process.send_signal(signal.SIGHUP)
        wait_until(lambda: keyhole.post("/v1/chat/completions", chat_body(), token).status == 401, 10, "the new (wrong) key to be used")
        self.write_key(path, self.provider.openai_key)
        keyhole.process.send_signal(signal.SIGHUP)
        wait_until(lambda: keyhole.post("/v1/chat/completions", chat_body(), token).status == 200, 10, "the right key again")
        self.provider.open_gate(name)
        self.assertTrue(answer.read().whole)

    def test_a_broken_configuration_at_sighup_changes_nothing(self):
        keyhole, path = self.with_key_file()
        token = keyhole.token()
        with open(keyhole.config_path, "a") as f:
            f.write("\n[logg]\nlevle = 1\n")
        before = len(keyhole.log_text())
        keyhole.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "logg" in keyhole.log_text()[before:], 10, "the mistake to be told")
        self.assertRegex(keyhole.log_text()[before:], r"configuration not reloaded: .*keyhole\.toml:\d+:\d+: logg: unknown section")
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)

    def test_a_key_file_that_is_gone_at_sighup_leaves_the_key_in_force(self):
        keyhole, path = self.with_key_file()
        token = keyhole.token()
        before = len(keyhole.log_text())
        os.unlink(path)
        keyhole.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration not reloaded" in keyhole.log_text()[before:], 10, "the mistake to be told")
        self.assertIn(path, keyhole.log_text()[before:])
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)

    def test_sigpipe_and_a_reader_of_the_log_that_is_gone_do_not_matter(self):
        keyhole = self.keyhole()
        os.kill(keyhole.process.pid, signal.SIGPIPE)
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), keyhole.token()).status, 200)


if __name__ == "__main__":
    unittest.main()
