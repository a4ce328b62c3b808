"""The proxy restarted under load, behind the real bridge: the agent sees answers and 503s with a reason, never a hang, and the next request
works. Ten times each way, a hundred with KEYHOLE_LONG."""

import contextlib
import itertools
import os
import pathlib
import subprocess
import threading

from harness import LONG, BlackBox, chat_body, free_port, keyhole_binary, wait_until
from wire import Client

TIMES = 100 if LONG else 10
LIMIT = 30


class Bridged(BlackBox):
    config = {"agents": {"hand_off_uids": [os.geteuid()]}}

    def start_bridge(self, hand_off, *options):
        port = free_port()
        ready, told = os.pipe()
        bridge = subprocess.Popen([str(pathlib.Path(keyhole_binary()).parent / "keyhole-bridge"), "--socket", self.keyhole.socket, "--hand-off", hand_off,
                                   "--listen", f"127.0.0.1:{port}", "--ready-fd", str(told), "--connect-wait", "0", *options], pass_fds=[told])
        self.addCleanup(bridge.wait)
        self.addCleanup(bridge.kill)
        os.close(told)
        with os.fdopen(ready, "rb") as byte:
            self.assertEqual(byte.read(1), b"+")
        return port


class Restarts(Bridged):
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
            client.stays = answer.get("connection").lower() != "close"
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
                    outcome, client.stays = "200", True
                    while not over.is_set() and outcome == "200" and client.stays:
                        client.received.clear()
                        try:
                            outcome = outcome_of(client)
                        except (OSError, AssertionError) as error:
                            outcome = f"{type(error).__name__} on a kept connection after {len(client.received)} bytes"
                    # As on a fresh one: no request is lost without a word, only an answer that had begun can break off.
                    if outcome not in seen_is_fine and not client.received:
                        wrong.append(outcome)

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


class KeptConnections(Bridged):
    """The second request of a connection, where the bridge sees bytes that an earlier answer has written."""

    config = {**Bridged.config, "server": {"shutdown_grace": 0.5}}

    def setUp(self):
        super().setUp()
        self.token = self.keyhole.token()
        self.addCleanup(lambda: self.keyhole.process.poll() is None or self.keyhole.start())

    def ask(self, client, demo=None, **more):
        client.received.clear()
        client.request("POST", "/v1/chat/completions", [("authorization", f"Bearer {self.token}")] + ([("x-demo", demo)] if demo else []), chat_body(**more))

    def kept(self, port):
        """A connection on which a request was answered already."""
        client = Client(("127.0.0.1", port), timeout=LIMIT)
        self.addCleanup(client.close)
        for _ in range(2):
            self.ask(client)
            self.assertEqual(client.answer().read().status, 200)
        return client

    def in_flight(self, count):
        wait_until(lambda: self.keyhole.metrics().get("keyhole_journal_slots_used") == count, what=f"{count} requests at the provider")

    @contextlib.contextmanager
    def started(self, hand_off, stop):
        with self.subTest(hand_off=hand_off, stop=stop.__name__):
            if self.keyhole.process.poll() is not None:
                self.keyhole.start()
            yield self.start_bridge(hand_off)

    def ways(self):
        return itertools.product(("yes", "no"), (self.keyhole.kill, self.keyhole.stop))

    def assert_refused(self, client, *codes):
        answer = client.answer().read()
        self.assertEqual((answer.status, answer.end), (503, "complete"))
        self.assertIn(answer.json()["error"]["code"], codes or ("proxy_went_away", "shutting_down", "proxy_socket_absent"))
        self.assertTrue(answer.json()["error"]["message"])

    def test_a_request_in_flight_on_a_kept_connection_is_a_503_as_on_a_fresh_one(self):
        for hand_off, stop in self.ways():
            with self.started(hand_off, stop) as port:
                kept, fresh = self.kept(port), Client(("127.0.0.1", port), timeout=LIMIT)
                self.addCleanup(fresh.close)
                # The answers that came before have left the journal: what is counted below are these two.
                self.in_flight(0)
                for client in (kept, fresh):
                    self.ask(client, "gate=never")
                self.in_flight(2)
                stop()
                for client in (kept, fresh):
                    self.assert_refused(client)

    def test_a_request_whose_body_is_on_its_way_is_a_503(self):
        for hand_off, stop in self.ways():
            with self.started(hand_off, stop) as port:
                client = self.kept(port)
                client.received.clear()
                client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nauthorization: Bearer " + self.token.encode()
                            + b"\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
                self.assertEqual(client.sock.recv(64), b"HTTP/1.1 100 Continue\r\n\r\n")
                client.send(b"{")
                stop()
                self.assert_refused(client)

    def test_an_answer_that_had_begun_breaks_off_and_is_never_followed_by_a_503(self):
        for hand_off, stop in self.ways():
            with self.started(hand_off, stop) as port:
                client = self.kept(port)
                self.ask(client, "gate=never@2", stream=True)
                answer = client.answer()
                self.assertTrue(answer.until(b"\n\n"))
                # What is pipelined behind it does not turn the middle of an answer into its beginning.
                client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
                stop()
                answer.read()
                self.assertFalse(answer.whole)
                self.assertNotIn(b" 503 ", bytes(client.received))

    def test_an_idle_connection_that_was_handed_over_goes_on_with_the_next_proxy(self):
        port = self.start_bridge("yes", "--connect-wait", "20")
        for stop in (self.keyhole.kill, self.keyhole.stop):
            with self.subTest(stop.__name__):
                asked, silent = self.kept(port), self.kept(port)
                stop()
                self.ask(asked)
                self.keyhole.start()
                self.assertEqual(asked.answer().read().status, 200)
                self.ask(silent)
                self.assertEqual(silent.answer().read().status, 200)

    def test_an_idle_connection_is_told_nothing_that_it_did_not_ask_for(self):
        for hand_off, stop in self.ways():
            with self.started(hand_off, stop) as port:
                client = self.kept(port)
                stop()
                # It stays open: an agent may be asking something just now, and that is answered.
                self.ask(client)
                self.assert_refused(client, "proxy_not_listening", "proxy_socket_absent")
