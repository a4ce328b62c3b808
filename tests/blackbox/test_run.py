"""`keyhole run`: a command in a sandbox without a network and without keys, its status, and what it cost."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import BlackBox, chat_body, keyhole_binary, wait_until

ASK = "curl -sSf http://localhost:8080/v1/chat/completions -H 'content-type: application/json' -d '" + json.dumps(chat_body()) + "'"


def why_not():
    """The reason why sandboxes of namespaces can't be made here, or None."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    programs = Path(keyhole_binary()).parent
    if not all((programs / name).exists() for name in ("keyhole-init", "keyhole-bridge")):
        return "keyhole-init and keyhole-bridge are not beside keyhole"
    tried = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    return f"bubblewrap may not make namespaces here: {tried.stderr.strip()}" if tried.returncode else None


class Run(BlackBox):
    @classmethod
    def setUpClass(cls):
        if why := why_not():
            raise unittest.SkipTest(why)
        super().setUpClass()

    def setUp(self):
        self.workspace = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.report = self.workspace.with_suffix(".report")
        self.addCleanup(lambda: self.report.unlink(missing_ok=True))

    def command(self, *options):
        place = [] if "--workspace" in options else ["--workspace", str(self.workspace)]
        return [keyhole_binary(), "run", "--admin", self.keyhole.admin_socket, "--report", str(self.report), *place, *options]

    def run_in(self, *options, env=None):
        return subprocess.run(self.command(*options), env={**self.keyhole.env, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60)

    def test_a_command_uses_a_model_and_is_told_what_that_cost(self):
        done = self.run_in("--budget", "2.00", "--label", "run=42", "--", "sh", "-c", f"{ASK} > answer.json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads((self.workspace / "answer.json").read_text())["object"], "chat.completion")
        report = json.loads(self.report.read_text())
        rows = self.keyhole.rows(session=report["session"])
        self.assertEqual([(r["run"], r["outcome"]) for r in rows], [("42", "ok")])
        self.assertEqual((report["requests"], report["cost_nano_usd"]), (1, rows[0]["cost_nano_usd"]))
        self.assertIn("1 request, ", done.stderr)
        self.assertIn("USD of 2.00", done.stderr)
        self.assertIn("gpt-4o", done.stderr)
        self.assertEqual(done.stdout, "", "standard output is the command's alone")
        self.assertEqual(self.keyhole.show(report["session"])["state"], "revoked")

    def test_the_sandbox_has_no_network_no_key_and_no_token(self):
        done = self.run_in("--env", "CHOSEN", "--env", "SET=here", "--quiet", "--", "sh", "-c",
                           "cat /proc/net/dev; cat /proc/*/environ | tr '\\0' '\\n'; id -un; ls -A / /run /etc; cat /proc/self/status; test -w /usr || echo read-only",
                           env={"CHOSEN": "yes", "OPENAI_API_KEY": self.provider.openai_key, "SOME_SECRET": "s3cret"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line.split(":")[0].strip() for line in done.stdout.splitlines()[2:3]], ["lo"])
        self.assertNotIn("eth", done.stdout.split("TERM")[0])
        for secret in (self.provider.openai_key, self.provider.anthropic_key, "s3cret", "kh_"):
            self.assertNotIn(secret, done.stdout)
        for line in ("CHOSEN=yes", "SET=here", "agent", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "read-only"):
            self.assertIn(line, done.stdout.splitlines())
        self.assertNotIn("shadow", done.stdout)
        self.assertIn("/proc/1/environ: Permission denied", done.stderr, "PID 1 is closed to the agent, all others were read")
        self.assertNotIn("keyhole: ", done.stderr, "--quiet")

    def test_the_budget_ends_it_with_a_refusal(self):
        done = self.run_in("--budget", "0.000001", "--", "sh", "-c", ASK.replace("-sSf", "-sS -w %{http_code}"))
        self.assertIn("402", done.stdout)
        self.assertEqual(json.loads(self.report.read_text())["requests"], 0)

    def test_the_commands_status_is_its_own(self):
        self.assertEqual(self.run_in("--", "sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.run_in("--", "sh", "-c", "kill -9 $$").returncode, 137)
        self.assertEqual(self.run_in("--", "no-such-program").returncode, 127)

    def test_who_ends_it_ends_the_sandbox_and_the_session(self):
        running = subprocess.Popen(self.command("--name", "ended", "--", "sh", "-c", "touch began; exec sleep 600"), env=self.keyhole.env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(running.stderr.close)
        self.addCleanup(running.kill)
        wait_until((self.workspace / "began").exists)
        running.send_signal(signal.SIGTERM)
        self.assertEqual(running.wait(30), 128 + signal.SIGTERM)
        sessions = self.keyhole.admin("GET", "/admin/v1/sessions?all=1").json()
        self.assertEqual([s["state"] for s in sessions if s["name"] == "ended"], ["revoked"])

    def test_mistakes_are_named_with_the_remedy_and_nothing_is_minted(self):
        before = len(self.keyhole.admin("GET", "/admin/v1/sessions?all=1").json())
        for options, said in ((["--workspace", "/", "--", "true"], "an agent must not reach"),
                              (["--volume", "/nowhere:/x", "--", "true"], "the source is not there"),
                              (["--env", "NOT_SET_ANYWHERE", "--", "true"], "NAME=VALUE sets it"),
                              (["--budget", "lots", "--", "true"], "usd=lots"),
                              (["--image", "x", "--native", "--", "true"], "--native"),
                              (["--"], "command")):
            with self.subTest(options):
                done = self.run_in(*options)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(said, done.stderr)
        after = self.keyhole.admin("GET", "/admin/v1/sessions?all=1").json()
        self.assertEqual([s["state"] for s in after[: len(after) - before]].count("active"), 0)
        away = subprocess.run([keyhole_binary(), "run", "--admin", "/nowhere/admin.sock", "--", "true"], capture_output=True, text=True,
                              cwd=self.workspace, env={"PATH": os.environ["PATH"]})
        self.assertEqual(away.returncode, 1)
        self.assertIn("keyhole serve", away.stderr)


if __name__ == "__main__":
    unittest.main()
