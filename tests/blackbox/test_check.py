"""`keyhole check`: each line ok, or why not, without starting anything and without a key in what it prints."""

import secrets
import socket
import subprocess
import unittest

from harness import BlackBox, Keyhole, keyhole_binary


class Check(BlackBox):
    def check(self, *more, **environment):
        """(exit code, lines) of keyhole check with this class's configuration, not started."""
        keyhole = Keyhole(self.provider, start=False)
        self.addCleanup(keyhole.close)
        for provider, changes in environment.pop("providers", {}).items():
            keyhole.config[f"providers.{provider}"].update(changes)
        keyhole.write_config()
        done = subprocess.run([keyhole_binary(), "check", "--config", keyhole.config_path, *more], env={**keyhole.env, **environment},
                              capture_output=True, text=True, timeout=60)
        for key in (self.provider.openai_key, self.provider.anthropic_key, *environment.values()):
            self.assertNotIn(key, done.stdout + done.stderr)
        return done.returncode, done.stdout.splitlines()

    def test_every_key_is_tried_and_accepted(self):
        code, lines = self.check()
        self.assertEqual(code, 0, lines)
        self.assertIn("ok    key 1 of openai: accepted", lines)
        self.assertIn("ok    key 1 of anthropic: accepted", lines)
        self.assertTrue(any(line.startswith("ok    provider openai") for line in lines))

    def test_a_key_that_the_provider_refuses_is_found_before_an_agent_finds_it(self):
        code, lines = self.check(OPENAI_API_KEY="sk-proj-" + secrets.token_hex(24))
        self.assertEqual(code, 1)
        refused = [line for line in lines if line.startswith("FAIL")]
        self.assertEqual(len(refused), 1, lines)
        self.assertRegex(refused[0], r"FAIL  key 1 of openai: the provider refuses it \(401 to GET /v1/models\)")
        self.assertIn("ok    key 1 of anthropic: accepted", lines)

    def test_a_provider_that_never_answers_is_named_with_the_time_out(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            code, lines = self.check(providers={"openai": {"base_url": f"https://127.0.0.1:{silent.getsockname()[1]}/v1", "connect_timeout": 0.5}})
        self.assertEqual(code, 1)
        self.assertTrue(any("no connection within connect_timeout (0.5 s); it waited for tls" in line for line in lines), lines)

    def test_offline_asks_nobody(self):
        before = len(self.provider.log("head"))
        code, lines = self.check("--offline")
        self.assertEqual(code, 0, lines)
        self.assertEqual(len(self.provider.log("head")), before)
        self.assertFalse(any("accepted" in line for line in lines))


if __name__ == "__main__":
    unittest.main()
