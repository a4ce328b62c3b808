"""BUDGET_HOLDS under a race: a thousand requests at once, a fifth of them abandoned somewhere on the way, against limits in every unit on the
session and on the account above it. Afterwards nothing is over a limit, nothing is held, and every balance is the ledger's sum."""

import random
import resource
import selectors
import socket
import time
import unittest

from harness import LONG, VERSION, BlackBox, buckets_sum, chat_body, messages_body, wait_until
from wire import request_bytes

CROWD = 1000


class Asker:
    """One request on a connection of its own. `leaves` says when its agent hangs up: None (it reads to the end), "half" (in the middle of its
    own request), "sent" (right after it) or a number of answer bytes."""

    def __init__(self, where, request, leaves):
        self.request, self.leaves, self.answer, self.gone = request, leaves, b"", False
        if leaves == "half":
            self.request = request[: len(request) - 7]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(where)
        self.socket.setblocking(False)

    def send(self):
        """All the same, however small the socket's buffer; True once everything is out."""
        try:
            self.request = self.request[self.socket.send(self.request):]
        except BlockingIOError:
            return False
        return not self.request

    def read(self):
        """False once it is over for this agent."""
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionError:
            piece = b""
        self.answer += piece
        if isinstance(self.leaves, int) and len(self.answer) >= self.leaves:
            self.gone = True
            return False
        return bool(piece)

    @property
    def status(self):
        return int(self.answer.split(b" ", 2)[1]) if self.answer.startswith(b"HTTP/1.1 ") else None


def race(askers, seconds=120):
    """Everybody sends before anybody reads, so that all are decided against each other; then all are read, or left."""
    limit = time.monotonic() + seconds
    with selectors.DefaultSelector() as waiting:
        for a in askers:
            waiting.register(a.socket, selectors.EVENT_WRITE, a)
        reading = 0
        while waiting.get_map():
            if time.monotonic() > limit:
                raise AssertionError(f"{len(waiting.get_map())} requests are still unanswered after {seconds} s")
            for key, _ in waiting.select(1):
                a = key.data
                if key.events == selectors.EVENT_WRITE:
                    if not a.send():
                        continue
                    if a.leaves in ("half", "sent"):
                        a.gone = True
                    else:
                        waiting.modify(a.socket, selectors.EVENT_READ, a)
                        reading += 1
                        continue
                elif a.read():
                    continue
                waiting.unregister(a.socket)
                a.socket.close()


def spans_at_once(rows):
    """The most requests that were with the provider at one time, by the ledger's own clock."""
    steps = sorted([(r["forwarded_us"], 1) for r in rows] + [(r["ended_us"], -1) for r in rows])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


class BudgetRace(BlackBox):
    config = {"agent_gone": {"policy": "drain", "drain_seconds": 30}}
    seeds = range(20261121, 20261121 + (20 if LONG else 1))

    @classmethod
    def setUpClass(cls):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        super().setUpClass()

    def crowd(self, sessions, random_with):
        """CROWD requests of all kinds over the sessions, every fifth with an agent that leaves early."""
        askers = []
        for i in range(CROWD):
            stream = random_with.random() < 0.5
            if random_with.random() < 0.5:
                path, body, more = "/v1/chat/completions", chat_body(text=f"race {i}", stream=stream, max_tokens=random_with.randrange(20, 200)), []
            else:
                path, body, more = "/v1/messages", messages_body(text=f"race {i}", stream=stream, max_tokens=random_with.randrange(20, 200)), [VERSION]
            leaves = random_with.choice(["half", "sent", 1, 300, 2000]) if i % 5 == 0 else None
            if leaves is not None:
                more = [*more, ("x-demo", "delay=1,pace=20")]  # so that it does leave in the middle
            token = sessions[i % len(sessions)]["token"]
            askers.append(Asker(self.keyhole.socket, request_bytes("POST", path, [*more, ("connection", "close")], body, token), leaves))
        race(askers)
        return askers

    def account(self, name, *limits):
        answer = self.keyhole.admin("PUT", f"/admin/v1/accounts/{name}", {"limits": list(limits)})
        self.assertEqual(answer.status, 200, answer.body)
        return name

    def limits_of_account(self, name):
        return next(a for a in self.keyhole.admin("GET", "/admin/v1/accounts").json() if a["id"] == name)["limits"]

    def settled(self, sessions):
        def idle():
            return all(s["in_flight"] == 0 and not any(float(limit["reserved"]) for limit in s["limits"])
                       for s in (self.keyhole.show(each["id"]) for each in sessions))
        wait_until(idle, 60, f"nothing to be held: {[self.keyhole.show(s['id']) for s in sessions]}")
        # The writer's last commit is behind the last answer.
        total = sum(limit["used"] for s in sessions for limit in self.keyhole.show(s["id"])["limits"] if limit["limit"].startswith("requests="))
        wait_until(lambda: len(self.rows_of(sessions)) >= total, 30, f"{total} rows; there are {len(self.rows_of(sessions))}")
        return self.rows_of(sessions)

    def rows_of(self, sessions):
        ids = {s["id"] for s in sessions}
        return [r for r in self.keyhole.rows() if r["session"] in ids]

    def balances_are_the_ledgers(self, limits, rows):
        for limit in limits:
            unit, value = limit["limit"].split("=")
            with self.subTest(limit["limit"]):
                self.assertEqual(float(limit["reserved"]), 0)
                if unit.startswith("usd"):
                    spent = sum(r["cost_nano_usd"] for r in rows)
                    self.assertEqual(round(float(limit["used"]) * 1e9), spent)
                    self.assertLessEqual(spent, round(float(value) * 1e9))
                elif unit.startswith("tokens"):
                    spent = sum(buckets_sum(r) for r in rows)
                    self.assertEqual(limit["used"], spent)
                    self.assertLessEqual(spent, int(value))
                elif unit.startswith("requests"):
                    self.assertEqual(limit["used"], len(rows))
                    self.assertLessEqual(len(rows), int(value))
                else:
                    self.assertLessEqual(spans_at_once(rows), int(value))

    def race_against(self, session_limits, account_limits, count=4):
        """`count` sessions of one account; requests=CROWD counts along on each without ever refusing."""
        for seed in self.seeds:
            with self.subTest(seed=seed):
                self.race_once(session_limits, account_limits, count, seed)

    def race_once(self, session_limits, account_limits, count, seed):
        name = self.account(f"race-{self.id().rpartition('_')[2]}-{seed}", *account_limits)
        sessions = [self.keyhole.session(limits=session_limits, account=name) for _ in range(count)]
        askers = self.crowd(sessions, random.Random(seed))
        rows = self.settled(sessions)

        refused = [a for a in askers if a.status in (402, 429)]
        served = [a for a in askers if a.status == 200]
        stayed = [a for a in askers if a.leaves is None]
        self.assertEqual({a.status for a in stayed} - {200, 402, 429}, set())
        self.assertTrue(served and refused, f"{len(served)} served, {len(refused)} refused: the race decides nothing")
        self.assertEqual(len({r["request_id"] for r in rows}), len(rows))
        self.assertLessEqual(len(served), len(rows))
        if len(rows) >= 100:  # concurrency lets so few through that none of them need be one who leaves
            self.assertEqual({r["agent_gone"] for r in rows}, {0, 1}, "nobody left in the middle")
        self.balances_are_the_ledgers(self.limits_of_account(name), rows)
        for s in sessions:
            self.balances_are_the_ledgers(self.keyhole.show(s["id"])["limits"], [r for r in rows if r["session"] == s["id"]])
        if any(limit.startswith("requests") for limit in account_limits) and len(account_limits) == 1:
            # Who leaves before anything was forwarded gives the place back, perhaps after everybody else was refused.
            left = sum(a.leaves is not None for a in askers)
            self.assertGreaterEqual(len(rows) + left, int(account_limits[0].partition("=")[2]), "a request that was there to be had was refused")

    def test_a_thousand_at_once_against_money(self):
        self.race_against(["usd=0.06", f"requests={CROWD}"], ["usd=0.2"])

    def test_a_thousand_at_once_against_tokens(self):
        self.race_against(["tokens/day=6000", f"requests={CROWD}"], ["tokens/month=20000"])

    def test_a_thousand_at_once_against_requests(self):
        self.race_against(["requests=100", "requests/day=90"], ["requests/month=300"])

    def test_a_thousand_at_once_against_concurrency(self):
        self.race_against(["concurrency=7", f"requests={CROWD}"], ["concurrency=20"])

    def test_a_thousand_at_once_against_every_unit(self):
        self.race_against(["usd=0.05", "tokens/hour=9000", "requests=80", "requests/day=75", "concurrency=30"],
                          ["usd/month=0.15", "tokens=25000", "requests/month=250", "concurrency=100"])


class BudgetRaceCancelled(BudgetRace):
    """Who leaves is hung up on: what those answers used is estimated, and still within what was held."""

    config = {"agent_gone": {"policy": "cancel"}}


if __name__ == "__main__":
    unittest.main()
