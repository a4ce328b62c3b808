"""The proxy restarted under load, behind the real bridge: the agent sees answers and 503s with a reason, never a hang, and the next request
works. Ten times each way, a hundred with KEYHOLE_LONG."""

import os
import pathlib
import subprocess
import threading

from harness import LONG, BlackBox, chat_body, free_port, keyhole_binary
from wire import Client

TIMES = 100 if LONG else 10
LIMIT = 30


class Restarts(BlackBox):
    config = {"agents": {"hand_off_uids": [os.geteuid()]}}

    def start_bridge(self, hand_off):
        port = free_port()
        ready, told = os.pipe()
        bridge = subprocess.Popen([str(pathlib.Path(keyhole_binary()).parent / "keyhole-bridge"), "--socket", self.keyhole.socket, "--hand-off", hand_off,
                                   "--listen", f"127.0.0.1:{port}", "--ready-fd", str(told), "--connect-wait", "0"], pass_fds=[told])
        self.addCleanup(bridge.wait)
        self.addCleanup(bridge.kill)
        os.close(told)
        with os.fdopen(ready, "rb") as byte:
            self.assertEqual(byte.read(1), b"+")
        return port

    def restart_under_load(self, hand_off, stop):
        port = self.start_bridge(hand_off)
        token = self.keyhole.token()
        seen = {"200": 0, "503": 0}
        wrong = []
        over = threading.Event()
        lock = threading.Lock()

        def note(outcome):
            with lock:
                seen[outcome] = seen.get(outcome, 0) + 1

        def outcome_of(client):
            answer = client.call("POST", "/v1/chat/completions", [], chat_body(), token)
            if answer.status == 503 and answer.json()["error"]["message"]:
                return "503"
            return "200" if answer.status == 200 and answer.whole else f"{answer.status} {answer.end}"

        def one_connection_a_request():
            while not over.is_set():
                with Client(("127.0.0.1", port), timeout=LIMIT) as client:
                    try:
                        outcome = outcome_of(client)
                    except (OSError, AssertionError) as error:
                        outcome = f"{type(error).__name__} after {len(client.received)} bytes"
                    note(outcome)
                    # An answer that had begun can only break off, visibly.
                    if outcome not in seen_is_fine and not client.received:
                        wrong.append(outcome)

        def one_connection_for_all():
            while not over.is_set():
                with Client(("127.0.0.1", port), timeout=LIMIT) as client:
                    asked = 0
                    try:
                        while not over.is_set() and outcome_of(client) == "200":
                            asked += 1
                    except TimeoutError:
                        wrong.append("a hang on a kept connection")
                    except (OSError, AssertionError):
                        if asked == 0 and not client.received:
                            wrong.append("a new connection without an answer")

        seen_is_fine = ("200", "503")
        agents = [threading.Thread(target=work) for work in (one_connection_a_request,) * 3 + (one_connection_for_all,)]
        for agent in agents:
            agent.start()
        try:
            for _ in range(TIMES):
                stop()
                self.assertFalse(os.path.exists(self.keyhole.socket) and self.keyhole.process.returncode == 0, "the socket is still there")
                self.keyhole.start()
                with Client(("127.0.0.1", port), timeout=LIMIT) as client:
                    self.assertEqual(outcome_of(client), "200", "the next request after a restart")
        finally:
            over.set()
            for agent in agents:
                agent.join(2 * LIMIT)
        self.assertFalse([agent for agent in agents if agent.is_alive()], "an agent hangs")
        self.assertFalse(wrong, wrong[:5])
        self.assertGreater(seen["200"], TIMES)

    def test_restarts_behind_a_bridge_that_hands_over(self):
        self.restart_under_load("yes", self.keyhole.stop)

    def test_restarts_behind_a_bridge_that_relays(self):
        self.restart_under_load("no", self.keyhole.stop)

    def test_kills_behind_a_bridge_that_hands_over(self):
        self.restart_under_load("yes", self.keyhole.kill)

    def test_kills_behind_a_bridge_that_relays(self):
        self.restart_under_load("no", self.keyhole.kill)
