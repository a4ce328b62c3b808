"""A resolver that never answers: connect_timeout holds for names, too. Runs itself again in a mount namespace with a resolv.conf of its own."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from harness import Keyhole, chat_body


def ask_behind_a_silent_resolver(address):
    """In the namespace: prints what the agent got, and after how many seconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((address, 53))
        keyhole = Keyhole(None, {"providers.openai": {"base_url": "https://nosuch.example/v1", "connect_timeout": 1}}, env={"OPENAI_API_KEY": "sk-x"})
        try:
            token = keyhole.token()
            began = time.monotonic()
            answer = keyhole.post("/v1/chat/completions", chat_body(), token)
            print(json.dumps({"status": answer.status, "code": answer.code, "seconds": time.monotonic() - began}))
        finally:
            keyhole.process.kill()
            keyhole.close()


class Dns(unittest.TestCase):
    def test_a_resolver_that_does_not_answer_is_given_up_in_time(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, for a mount namespace")
        # A loopback address of this process alone: 127.0.0.53 is often a resolver's, and two runs of this test may meet.
        silent = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() % 255 + 1}"
        with tempfile.NamedTemporaryFile("w") as conf:
            conf.write(f"nameserver {silent}\n")
            conf.flush()
            inside = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$1" "$2" "$3"', conf.name, sys.executable,
                                     os.path.abspath(__file__), silent], capture_output=True, text=True)
        if "mount" in inside.stderr or "unshare" in inside.stderr:
            self.skipTest("no mount namespace here: " + inside.stderr.strip())
        self.assertEqual(inside.returncode, 0, inside.stderr)
        got = json.loads(inside.stdout.splitlines()[-1])
        self.assertEqual((got["status"], got["code"]), (504, "provider_timeout"))
        self.assertLess(got["seconds"], 5)  # the resolver itself gives up after 10


if __name__ == "__main__":
    ask_behind_a_silent_resolver(sys.argv[1])
