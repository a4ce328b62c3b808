"""The official SDKs (npm: openai, @anthropic-ai/sdk) can't tell the proxy from the provider: same bytes, same objects, same usage.

They are installed once into build/npm. Without npm, or without a network, these tests skip and say so."""

import json
import os
import shutil
import subprocess
import unittest

from harness import ROOT, BlackBox, buckets_sum, chat_body

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

    def run_sdks(self, openai_url, openai_key, anthropic_url, anthropic_key):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "ANTHROPIC_", "NODE_"))}
        env["SDK_ROOT"] = str(FOLDER)
        done = subprocess.run([self.node, str(ROOT / "tests" / "blackbox" / "sdks.mjs"), openai_url, openai_key, anthropic_url, anthropic_key],
                              capture_output=True, text=True, env=env, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

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


if __name__ == "__main__":
    unittest.main()
