"""The official SDKs (npm: openai, @anthropic-ai/sdk) can't tell the proxy from the provider: same bytes, same objects, same usage.

They are installed once into build/npm. Without npm, or without a network, these tests skip and say so."""

import json
import os
import shutil
import subprocess
import threading
import unittest
import uuid

from harness import ROOT, BlackBox, buckets_sum, chat_body, wait_until

FOLDER = ROOT / "build" / "npm"
PACKAGES = ("openai@7", "@anthropic-ai/sdk@1", "node@24")  # both need node 22 or later; the machine's may be older


def node_with_sdks():
    """The path of a node that has the SDKs, or the reason why there is none."""
    node = FOLDER / "node_modules" / "node" / "bin" / "node"
    ready = [FOLDER / "node_modules" / name / "package.json" for name in ("openai", "@anthropic-ai/sdk")]
    if not all(p.exists() for p in (node, *ready)):
        if not shutil.which("npm"):
            return None, "npm is not installed"
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_text('{"name": "keyhole-sdk-tests", "private": true}\n')
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(FOLDER), *PACKAGES],
                              capture_output=True, text=True, cwd=FOLDER, timeout=300)
        if done.returncode != 0 or not node.exists():
            return None, f"npm could not install the SDKs: {(done.stderr or done.stdout).strip().splitlines()[-1:]}"
    return str(node), ""


class Sdks(BlackBox):
    @classmethod
    def setUpClass(cls):
        cls.node, why = node_with_sdks()
        if not cls.node:
            raise unittest.SkipTest(why)
        super().setUpClass()

    def run_script(self, name, *arguments):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "ANTHROPIC_", "NODE_"))}
        env["SDK_ROOT"] = str(FOLDER)
        done = subprocess.run([self.node, str(ROOT / "tests" / "blackbox" / name), *arguments], capture_output=True, text=True, env=env, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def run_sdks(self, openai_url, openai_key, anthropic_url, anthropic_key):
        return self.run_script("sdks.mjs", openai_url, openai_key, anthropic_url, anthropic_key)

    def ask(self, token, *model):
        """What each call of the SDKs was answered, with the retries they come with."""
        return self.run_script("sdk_retries.mjs", f"http://127.0.0.1:{self.keyhole.tcp_port}", token, *model)

    def test_sdks_get_the_same_bytes_and_objects_through_the_proxy(self):
        session = self.keyhole.session()
        direct = self.run_sdks(f"{self.provider.url}/v1", self.provider.openai_key, self.provider.url, self.provider.anthropic_key)
        base = f"http://127.0.0.1:{self.keyhole.tcp_port}"
        through = self.run_sdks(f"{base}/v1", session["token"], base, session["token"])
        for name, expected in direct.items():
            with self.subTest(name):
                self.assertNotIn("failed", expected["result"])
                self.assertEqual(through[name], expected)
        # Everything that had usage is in the ledger: the sum over the rows is what the provider says it reported through us.
        reported = [a for a in self.provider.log("answer") if a["usage"] and a["client_request_id"]]
        rows = {r["request_id"]: r for r in self.keyhole.rows(session=session["id"])}
        checked = 0
        for answer in reported:
            row = rows.get(answer["client_request_id"])
            if row and not row["route"].startswith("GET "):
                self.assertEqual(buckets_sum(row), answer["usage"].get("total_tokens") or sum(
                    answer["usage"][k] for k in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")))
                checked += 1
        self.assertGreaterEqual(checked, 8)

    def test_sdks_read_our_refusals_as_their_own_errors(self):
        session = self.keyhole.session(limits=["requests=1"])
        self.keyhole.post("/v1/chat/completions", chat_body(), session["token"])
        base = f"http://127.0.0.1:{self.keyhole.tcp_port}"
        told = self.run_sdks(f"{base}/openai/v1", session["token"], f"{base}/anthropic", session["token"])
        self.assertEqual(told["openaiError"]["result"]["status"], 402)
        self.assertEqual(told["openaiError"]["result"]["code"], "budget_exceeded")
        self.assertEqual(told["anthropicError"]["result"]["status"], 402)
        self.assertTrue(told["anthropicError"]["result"]["type"])
        self.assertIn("402", told["messagesStream"]["result"]["failed"])

    def used_up(self, *limits, account=None):
        """A session with so little left that not even a one-token answer fits."""
        session = self.keyhole.session(limits=list(limits), **({"account": account} if account else {}))
        served = 0
        while self.keyhole.post("/v1/chat/completions", chat_body(text="?", max_tokens=1), session["token"]).status == 200:
            served += 1
            self.assertLess(served, 100)
        self.assertGreater(served, 0)
        return session["token"]

    def test_a_refusal_ends_the_sdks_run_with_the_first_request(self):
        self.keyhole.admin("PUT", "/admin/v1/accounts/sdk-team", {"limits": ["requests/day=1"]})
        revoked = self.keyhole.session()
        self.keyhole.revoke(revoked["id"])
        for what, status, arguments in (
                ("money", 402, [self.used_up("usd=0.0005")]),
                ("tokens", 402, [self.used_up("tokens/month=90")]),
                ("requests", 402, [self.used_up("requests/day=1")]),
                ("the account's requests", 402, [self.used_up(account="sdk-team")]),
                ("a model that the session may not use", 403, [self.keyhole.token(models=["some-other-model"])]),
                ("a model without a price", 403, [self.keyhole.token(limits=["usd=5"]), "a-model-nobody-priced"]),
                ("a revoked token", 403, [revoked["token"]]),
                ("a made-up token", 403, ["kh_" + "a" * 43])):
            asked = len(self.provider.log("head"))
            told_each = self.ask(*arguments)
            if what == "money":  # a hundred times cheaper: it still fits
                self.assertEqual(told_each.pop("embeddings")["statuses"], [200])
                asked += 1
            for name, told in told_each.items():
                with self.subTest(what, call=name):
                    self.assertEqual(told["statuses"], [status])
                    self.assertNotEqual(told["became"], "answered")
            self.assertEqual(len(self.provider.log("head")), asked, f"{what}: something was forwarded")

    def test_a_limit_that_passes_by_itself_is_waited_for_and_the_run_goes_on(self):
        session = self.keyhole.session(limits=["concurrency=1"])
        gate = uuid.uuid4().hex
        with self.keyhole.client() as other:
            other.request("POST", "/v1/chat/completions", [("x-demo", f"gate={gate}@1")], chat_body(stream=True), session["token"])
            answer = other.answer()
            answer.until(b"\n\n")

            def refused():
                return sum(v for k, v in self.keyhole.metrics().items() if k.startswith("keyhole_refusals_total") and "concurrency" in k)
            before, told = refused(), {}
            asking = threading.Thread(target=lambda: told.update(self.ask(session["token"])))
            asking.start()
            wait_until(lambda: refused() > before, 60, "the SDK to be refused")
            self.provider.open_gate(gate)
            answer.read()
            asking.join()
        self.assertEqual({name: t["became"] for name, t in told.items()}, dict.fromkeys(told, "answered"))
        self.assertEqual(told["chat"]["statuses"], [429, 200])
        self.assertEqual([t["statuses"] for name, t in told.items() if name != "chat"], [[200]] * 5)


if __name__ == "__main__":
    unittest.main()
