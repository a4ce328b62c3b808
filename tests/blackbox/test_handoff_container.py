"""Hand-off out of a real container without a network: a socket of its network namespace, used by a process of the host's."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import unittest

from harness import BlackBox, keyhole_binary, wait_until

IMAGE = "debian:bookworm-slim"
AGENT = r"""exec 3<>/dev/tcp/127.0.0.1/8080
body='{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
printf 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-demo: gate=%s\r\ncontent-length: %d\r\n\r\n%s' "$1" "${#body}" "$body" >&3
read -r status <&3; printf '%s\n' "$status" """


def engine():
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "image", "inspect", IMAGE], capture_output=True).returncode == 0:
            return name
    return None


def sanitized():
    """A sanitizer's programs are not static: no container has their libraries."""
    init = pathlib.Path(keyhole_binary()).parent / "keyhole-init"
    return init.exists() and any(name in init.read_bytes() for name in (b"libasan", b"libtsan"))


@unittest.skipIf(sanitized(), "the programs of this build need a sanitizer's libraries")
@unittest.skipUnless(engine() and os.geteuid() == 0, f"needs root and a container engine that has {IMAGE}")
class InAContainer(BlackBox):
    config = {"agents": {"socket_mode": "0666"}}

    def answer_in_a_container(self, gate, *options):
        """(the status line that the agent in it got, how many connections its bridge handed over)"""
        programs = pathlib.Path(self.keyhole.dir) / "programs"
        programs.mkdir(exist_ok=True)
        programs.chmod(0o755)
        pathlib.Path(self.keyhole.dir).chmod(0o755)
        for name in ("keyhole-init", "keyhole-bridge"):
            shutil.copy(pathlib.Path(keyhole_binary()).parent / name, programs)
            (programs / name).chmod(0o711)
        docker = engine()
        started = subprocess.run([docker, "run", "-d", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
                                  "--tmpfs=/tmp", "-v", f"{programs}:/programs:ro", "-v", f"{os.path.dirname(self.keyhole.socket)}:/llm-sock:ro",
                                  "-e", f"SESSION_TOKEN={self.keyhole.token()}", "-e", "AGENT_WORKDIR=/tmp", *options, "--entrypoint=/programs/keyhole-init", IMAGE, "--",
                                  "bash", "-c", AGENT, "agent", gate], capture_output=True, text=True)
        self.assertEqual(started.returncode, 0, started.stderr)
        container = started.stdout.strip()
        self.addCleanup(subprocess.run, [docker, "rm", "-f", container], capture_output=True)

        def log():
            done = subprocess.run([docker, "logs", container], capture_output=True, text=True)
            return done.stdout, done.stderr

        wait_until(lambda: self.keyhole.metrics().get("keyhole_journal_slots_used"), what="the request, or " + str(log()))
        table = subprocess.run([docker, "top", container, "-eo", "pid,comm"], capture_output=True, text=True).stdout
        bridge = int(re.search(r"(\d+)\s+keyhole-bridge", table).group(1))
        os.kill(bridge, signal.SIGUSR1)
        handed = wait_until(lambda: re.search(r"handed over (\d+)", log()[1]), what="the bridge's counters")
        self.provider.open_gate(gate)
        ended = subprocess.run([docker, "wait", container], capture_output=True, text=True, timeout=60)
        self.assertEqual(ended.stdout.strip(), "0", log())
        return log()[0].strip(), int(handed.group(1))

    def test_a_bridge_with_a_user_of_its_own_hands_over(self):
        status, handed = self.answer_in_a_container("own-user", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=KILL")
        self.assertEqual((status, handed), ("HTTP/1.1 200 OK", 1))

    def test_a_bridge_that_is_the_agents_user_relays(self):
        status, handed = self.answer_in_a_container("one-user", "--user=1000:1000")
        self.assertEqual((status, handed), ("HTTP/1.1 200 OK", 0))


if __name__ == "__main__":
    unittest.main()
