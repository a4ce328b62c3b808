"""A resolver that never answers: connect_timeout holds for names, too. Runs itself again in a mount namespace with a resolv.conf of its own."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from harness import Keyhole, Provider, chat_body, messages_body


def ask_behind_a_silent_resolver(address):
    """In the namespace: prints what the agents got, after how many seconds, and how long the proxy took to end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((address, 53))
        provider = Provider()
        keyhole = Keyhole(provider, {"server": {"workers": 1}, "providers.openai": {"base_url": "https://nosuch.example/v1", "connect_timeout": 1},
                                     "providers.anthropic": {"base_url": f"http://localhost:{provider.port}/v1"}})
        told = {}
        try:
            token = keyhole.token()

            def ask(name, path, body):
                began = time.monotonic()
                answer = keyhole.post(path, body, token)
                told[name] = {"status": answer.status, "code": answer.code, "seconds": time.monotonic() - began}

            ask("silent", "/v1/chat/completions", chat_body())
            ask("silent again", "/v1/chat/completions", chat_body())
            ask("other", "/v1/messages", messages_body())
            began = time.monotonic()
            keyhole.stop()
            told["end"] = {"status": keyhole.process.returncode, "seconds": time.monotonic() - began}
            print(json.dumps(told))
        finally:
            keyhole.process.kill()
            keyhole.close()
            provider.close()


class Dns(unittest.TestCase):
    def test_a_resolver_that_does_not_answer_delays_nobody_but_who_needs_that_name(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, for a mount namespace")
        with tempfile.NamedTemporaryFile("w") as conf:
            # A loopback address of this process alone: 127.0.0.53 is often a resolver's, and two runs of this test may meet.
            silent = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() % 255 + 1}"
            conf.write(f"nameserver {silent}\n")
            conf.flush()
            inside = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$1" "$2" "$3"', conf.name, sys.executable,
                                     os.path.abspath(__file__), silent], capture_output=True, text=True)
        if "mount" in inside.stderr or "unshare" in inside.stderr:
            self.skipTest("no mount namespace here: " + inside.stderr.strip())
        self.assertEqual(inside.returncode, 0, inside.stderr)
        told = json.loads(inside.stdout.splitlines()[-1])
        # The resolver itself gives up after ten seconds.
        for name in ("silent", "silent again"):
            self.assertEqual((told[name]["status"], told[name]["code"]), (504, "provider_timeout"))
            self.assertLess(told[name]["seconds"], 5)
        self.assertEqual(told["other"]["status"], 200)
        self.assertLess(told["other"]["seconds"], 4, "another name waited for it")
        self.assertEqual(told["end"]["status"], 0)
        self.assertLess(told["end"]["seconds"], 4, "the end of the proxy waited for it")


if __name__ == "__main__":
    ask_behind_a_silent_resolver(sys.argv[1])
