"""EVERY_REQUEST_ONE_ROW across kill -9: whatever the provider saw has exactly one row after the restart.

Rounds: 5, or 50 with KEYHOLE_LONG=1 (run.py --long)."""

import random
import threading
import time
import unittest
import uuid

from harness import LONG, VERSION, Keyhole, Provider, chat_body, messages_body, wait_until

ROUNDS = 50 if LONG else 5


class Load:
    """Agents that keep asking until they are told to stop; a broken connection is expected."""

    def __init__(self, keyhole, token, agents=24):
        self.keyhole, self.token = keyhole, token
        self.stop = threading.Event()
        self.finished = {}  # request id -> whole, for answers whose head arrived
        self.threads = [threading.Thread(target=self.agent, args=(i,), daemon=True) for i in range(agents)]
        for t in self.threads:
            t.start()

    def agent(self, number):
        rng = random.Random(number)
        while not self.stop.is_set():
            try:
                with self.keyhole.client(timeout=10) as client:
                    for _ in range(20):
                        if self.stop.is_set():
                            return
                        text = str(uuid.uuid4())
                        own = [("x-demo", f"pace={rng.choice((0, 0, 1, 3))}")]
                        stream = rng.random() < 0.7
                        if rng.random() < 0.5:
                            client.request("POST", "/v1/chat/completions", own, chat_body(text=text, stream=stream), self.token)
                        else:
                            client.request("POST", "/v1/messages", [VERSION, *own], messages_body(text=text, stream=stream), self.token)
                        answer = client.answer()
                        ours = answer.get("x-keyhole-request-id")
                        answer.read()
                        if ours:
                            self.finished[ours] = answer.whole and answer.status == 200
                        if not answer.whole:
                            break
            except OSError:
                if self.keyhole.process.poll() is not None:
                    return

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(20)


class Crash(unittest.TestCase):
    def setUp(self):
        self.provider = Provider()
        self.addCleanup(self.provider.close)
        self.keyhole = Keyhole(self.provider)
        self.addCleanup(self.keyhole.close)

    def settled(self):
        """Waits until the provider has nothing in flight any more, then returns what its log says it saw."""
        wait_until(lambda: self.provider.state()["requests_now"] == 0, 15, "the provider to be idle")
        return self.provider.log("head")

    def test_kill_9_at_random_moments_under_load_loses_and_doubles_nothing(self):
        seed = random.randrange(10**9)
        rng = random.Random(seed)
        session = self.keyhole.session()
        for number in range(ROUNDS):
            with self.subTest(round=number, seed=seed):
                before = len(self.provider.log("head"))
                load = Load(self.keyhole, session["token"])
                wait_until(lambda: len(self.provider.log("head")) > before + 20, 20, "some load")
                moment = time.monotonic() + rng.random() * 0.5
                wait_until(lambda: time.monotonic() >= moment)
                self.keyhole.kill()
                load.end()
                heads = self.settled()
                self.keyhole.start()
                # The provider saw the proxy's own ids: one row for each, and none of them twice, here or there.
                seen = {h["client_request_id"] for h in heads}
                self.assertEqual(len(seen), len(heads), "a request was sent twice")
                wait_until(lambda: seen <= {r["request_id"] for r in self.keyhole.rows()}, 20, "a row for each request that the provider saw")
                rows = self.keyhole.rows()
                self.assertEqual(len({r["request_id"] for r in rows}), len(rows))
                known = {r["request_id"]: r for r in rows}
                # Requests whose bytes were still in the proxy's hands may have a row although the provider saw no whole head.
                self.assertLessEqual(len(known.keys() - seen), 24 * (number + 1))
                for request_id, whole in load.finished.items():
                    self.assertIn(request_id, known)
                    if whole:  # the agent had the last byte: the row was settled before
                        self.assertEqual((known[request_id]["outcome"], known[request_id]["source"]), ("ok", "provider"))
                self.assertIn("interrupted", {r["outcome"] for r in rows})

    def test_each_request_that_the_provider_saw_has_exactly_one_row_with_its_own_id(self):
        # Without ids of the agents' own the provider sees ours, which are the ledger's: an exact bijection can be checked.
        session = self.keyhole.session()
        clients = []
        for i in range(30):
            client = self.keyhole.client()
            self.addCleanup(client.close)
            fault = "gate=never@2" if i % 3 else "gate=never"
            client.request("POST", "/v1/messages", [VERSION, ("x-demo", fault)], messages_body(text=f"run {i}", stream=True), session["token"])
            clients.append(client)
        done = [self.keyhole.post("/v1/chat/completions", chat_body(text=f"done {i}"), session["token"]) for i in range(10)]
        wait_until(lambda: len(self.provider.log("request")) >= 40, 15, "all requests at the provider")
        for i, client in enumerate(clients):
            if i % 3:
                client.answer().until(b"event: content_block_start", 10)
        self.keyhole.kill()
        seen = {h["client_request_id"] for h in self.settled()}
        self.assertEqual(len(seen), 40)
        self.keyhole.start()
        wait_until(lambda: len(self.keyhole.rows()) >= 40, 15, "40 rows")
        rows = self.keyhole.rows()
        self.assertEqual(sorted(r["request_id"] for r in rows), sorted(seen))
        by_id = {r["request_id"]: r for r in rows}
        for answer in done:
            self.assertEqual(by_id[answer.get("x-keyhole-request-id")]["outcome"], "ok")
        cut = [r for r in rows if r["outcome"] == "interrupted"]
        self.assertEqual(len(cut), 30)
        # What message_start said before the crash is kept: 20 streams had begun.
        self.assertEqual(len([r for r in cut if r["source"] == "provider_partial" and r["input"] > 0]), 20)
        # A second restart adds nothing.
        self.keyhole.stop()
        self.keyhole.start()
        self.assertEqual(len(self.keyhole.rows()), 40)

    def test_sessions_and_limits_survive_kill_9(self):
        session = self.keyhole.session(limits=["requests=5"])
        for _ in range(3):
            self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status, 200)
        self.keyhole.kill()
        self.keyhole.start()
        statuses = [self.keyhole.post("/v1/chat/completions", chat_body(), session["token"]).status for _ in range(4)]
        self.assertEqual(statuses, [200, 200, 402, 402])

    def test_a_stale_socket_of_a_killed_process_is_no_obstacle(self):
        for _ in range(3):
            self.keyhole.kill()
            self.keyhole.start()
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), self.keyhole.token()).status, 200)


if __name__ == "__main__":
    unittest.main()
