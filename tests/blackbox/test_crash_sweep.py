"""The crash sweep: kill -9 again and again under load, a full disk, a read-only file system, a database that another process has
locked, a clock that jumps, a journal file that is cut or corrupted. 0 rows lost, 0 doubled, and the start says what it recovered.

Kills: 12, or 1,000 with KEYHOLE_LONG=1 (run.py --long). What needs root or a package that is missing skips itself and says so."""

import contextlib
import glob
import os
import random
import re
import shutil
import sqlite3
import struct
import subprocess
import threading
import time
import unittest
import uuid

from harness import LONG, VERSION, Keyhole, Provider, chat_body, messages_body, wait_until

KILLS = 1000 if LONG else 12
AGENTS = 8
HEADER_PAGE = 4096


class Agents:
    """Keep asking, across every restart; a broken connection is expected."""

    def __init__(self, keyhole, token):
        self.keyhole, self.token = keyhole, token
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.whole = set()  # ids of answers that arrived to their last byte
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(AGENTS)]
        for t in self.threads:
            t.start()

    def run(self, number):
        rng = random.Random(number)
        while not self.stop.is_set():
            try:
                with self.keyhole.client(timeout=10) as client:
                    while not self.stop.is_set():
                        pace = [("x-demo", f"pace={rng.choice((0, 0, 1))}")]
                        stream = rng.random() < 0.7
                        if rng.random() < 0.5:
                            client.request("POST", "/v1/chat/completions", pace, chat_body(stream=stream), self.token)
                        else:
                            client.request("POST", "/v1/messages", [VERSION, *pace], messages_body(stream=stream), self.token)
                        answer = client.answer()
                        ours = answer.get("x-keyhole-request-id")
                        answer.read()
                        if not answer.whole:
                            break
                        if ours and answer.status == 200:
                            with self.lock:
                                self.whole.add(ours)
            except OSError:
                self.stop.wait(0.002)  # no proxy at this moment: not a pause of the test, only no spinning

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(20)


class Sweep(unittest.TestCase):
    def setUp(self):
        self.provider = Provider()
        self.addCleanup(self.provider.close)

    def proxy(self, **more):
        keyhole = Keyhole(self.provider, **more)
        self.addCleanup(keyhole.close)
        return keyhole

    def seen_by_provider(self):
        wait_until(lambda: self.provider.state()["requests_now"] == 0, 20, "the provider to be idle")
        return [h["client_request_id"] for h in self.provider.log("head")]

    def check_books(self, keyhole, agents_had=()):
        """Whatever the provider saw has one row, and no row stands twice."""
        seen = self.seen_by_provider()
        self.assertEqual(len(set(seen)), len(seen), "a request was sent twice")
        missing = []

        def complete():
            missing[:] = set(seen) - {r["request_id"] for r in keyhole.rows()}
            return not missing
        try:
            wait_until(complete, 30, "a row for each request that the provider saw")
        except AssertionError as late:
            raise AssertionError(f"{late}: {len(missing)} of {len(seen)} lost, {missing[:5]}") from None
        rows = keyhole.rows()
        known = {r["request_id"]: r for r in rows}
        self.assertEqual(len(known), len(rows), "a row stands twice")
        for request_id in agents_had:
            self.assertEqual((known[request_id]["outcome"], known[request_id]["source"]), ("ok", "provider"))
        return rows


class Kill9(Sweep):
    def test_kill_9_many_times_a_minute_under_load_loses_and_doubles_nothing(self):
        seed = random.randrange(10**9)
        rng = random.Random(seed)
        keyhole = self.proxy(config={"log": {"level": "info"}})
        agents = Agents(keyhole, keyhole.token())
        self.addCleanup(agents.end)
        began = time.monotonic()
        recovered = 0
        for number in range(KILLS):
            with self.subTest(kill=number, seed=seed):
                # Anywhere: at once after the start (while the last journal is being recovered), or in the middle of answers.
                moment = time.monotonic() + rng.choice((0.0, 0.0, rng.random() * 0.05, rng.random() * 0.2))
                wait_until(lambda: time.monotonic() >= moment)
                keyhole.kill()
                keyhole.spawn()
                if rng.random() < 0.9:
                    wait_until(lambda: os.path.exists(keyhole.socket) and keyhole.ready(), 30, "keyhole to be ready")
        agents.end()
        wait_until(keyhole.ready, 30, "keyhole to be ready")
        rows = self.check_books(keyhole, agents.whole)
        recovered = sum(int(n) for n in re.findall(r"recovered (\d+) request", keyhole.log_text()))
        interrupted = len([r for r in rows if r["outcome"] == "interrupted"])
        self.assertGreater(interrupted, 0)
        self.assertGreater(recovered, 0)
        took = time.monotonic() - began
        print(f"      {KILLS} kills in {took:.0f} s: {len(rows)} rows, {interrupted} interrupted, {len(agents.whole)} whole; "
              "0 lost, 0 doubled", flush=True)


class Disk(Sweep):
    def small_disk(self, size):
        """A file system of that size at state.directory, or the test skips itself."""
        keyhole = self.proxy(start=False, config={"state": {"journal_slots": 64}})
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", keyhole.state_dir], capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest(f"needs root to mount a small file system: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", keyhole.state_dir], check=True)
        self.addCleanup(keyhole.stop)
        keyhole.start()
        return keyhole

    def fill(self, keyhole):
        with open(f"{keyhole.state_dir}/ballast", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

    def ask_until_refused(self, keyhole, token, most=400):
        for _ in range(most):
            answer = keyhole.post("/v1/chat/completions", chat_body(), token)
            if answer.status == 503:
                return answer
            self.assertEqual(answer.status, 200, answer.body)
        return None

    def test_a_full_disk_refuses_what_it_cannot_enter_and_loses_nothing(self):
        keyhole = self.small_disk("6m")
        token = keyhole.token()
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        self.fill(keyhole)
        refused = self.ask_until_refused(keyhole, token)
        self.assertIsNotNone(refused, "requests went on although nothing can be written")
        self.assertIn(b"ledger", refused.body)
        # The journal holds what the ledger could not take, also across a kill.
        keyhole.kill()
        os.unlink(f"{keyhole.state_dir}/ballast")
        keyhole.start()
        self.check_books(keyhole)
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        self.check_books(keyhole)

    def test_when_a_full_disk_has_room_again_the_proxy_goes_on_by_itself(self):
        keyhole = self.small_disk("6m")
        token = keyhole.token()
        self.fill(keyhole)
        self.assertIsNotNone(self.ask_until_refused(keyhole, token))
        os.unlink(f"{keyhole.state_dir}/ballast")
        wait_until(lambda: keyhole.post("/v1/chat/completions", chat_body(), token).status == 200, 30, "service again")
        self.check_books(keyhole)

    def test_a_file_system_that_turns_read_only_loses_nothing(self):
        keyhole = self.small_disk("16m")
        token = keyhole.token()
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        keyhole.kill()
        subprocess.run(["mount", "-o", "remount,ro", keyhole.state_dir], check=True)
        keyhole.spawn()
        self.assertNotEqual(keyhole.process.wait(20), 0)  # refused at the start, with the cause
        self.assertIn("Read-only file system", keyhole.log_text())
        subprocess.run(["mount", "-o", "remount,rw", keyhole.state_dir], check=True)
        keyhole.start()
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        self.check_books(keyhole)


class LockedDatabase(Sweep):
    def test_requests_go_on_while_another_process_holds_the_database_and_none_is_lost(self):
        keyhole = self.proxy(config={"state": {"journal_slots": 64}})
        token = keyhole.token()
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        wait_until(lambda: len(keyhole.rows()) == 1)
        other = sqlite3.connect(keyhole.ledger_path, isolation_level=None, timeout=10)
        other.execute("BEGIN EXCLUSIVE")
        statuses = [keyhole.post("/v1/chat/completions", chat_body(), token).status for _ in range(100)]
        self.assertEqual(set(statuses), {200, 503})  # the journal's slots, then a refusal: never unmetered
        self.assertGreaterEqual(statuses.count(200), 50)
        keyhole.kill()
        other.rollback()
        other.close()
        keyhole.start()
        rows = self.check_books(keyhole)
        self.assertEqual(len(rows), 1 + statuses.count(200))

    def test_a_database_that_is_locked_at_the_start_delays_nothing_but_rows(self):
        keyhole = self.proxy()
        token = keyhole.token()
        self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
        wait_until(lambda: len(keyhole.rows()) == 1)
        keyhole.kill()
        other = sqlite3.connect(keyhole.ledger_path, isolation_level=None, timeout=10)
        other.execute("BEGIN IMMEDIATE")
        keyhole.spawn()
        # It waits for the lock, or says that it is locked and ends; either way nothing is lost.
        wait_until(lambda: keyhole.process.poll() is not None or "ready" in keyhole.log_text() or "lock" in keyhole.log_text(), 30)
        other.rollback()
        other.close()
        if keyhole.process.poll() is not None:
            self.assertIn("lock", keyhole.log_text())
            keyhole.spawn()
        wait_until(keyhole.ready, 30, "keyhole to be ready")
        self.check_books(keyhole)


class Clock(Sweep):
    def with_clock(self):
        """A running proxy and the function that sets its wall clock."""
        library = (glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or [None])[0]
        if not library:
            self.skipTest("needs Debian's package faketime")
        with open("/proc/self/maps") as maps:
            sanitized = "libasan" in maps.read()
        if sanitized or "asan" in os.environ.get("KEYHOLE_BIN", "") or "tsan" in os.environ.get("KEYHOLE_BIN", ""):
            self.skipTest("a sanitizer's program takes no other library before its own")
        keyhole = self.proxy(start=False)
        clock = f"{keyhole.dir}/clock"

        def jump(offset):
            with open(clock + ".new", "w") as f:
                f.write(offset + "\n")
            os.rename(clock + ".new", clock)
        jump("+0")
        keyhole.env |= {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
                        "DONT_FAKE_MONOTONIC": "1"}
        keyhole.start()
        return keyhole, jump

    def test_a_clock_that_jumps_back_and_forth_doubles_and_loses_nothing(self):
        keyhole, jump = self.with_clock()
        token = keyhole.token(limits=["requests/day=1000"])
        asked = 0
        for offset in ("+0", "-1h", "+3d", "-400d", "+1y", "-10s", "+0"):
            jump(offset)
            for _ in range(5):
                answer = keyhole.post("/v1/chat/completions", chat_body(stream=True), token)
                self.assertEqual(answer.status, 200, (offset, answer.body))
                asked += 1
            keyhole.kill()
            keyhole.start()
        rows = self.check_books(keyhole)
        self.assertEqual(len(rows), asked)
        for row in rows:  # a clock that goes back must not make a request end before it began
            self.assertGreaterEqual(row["ended_us"], row["received_us"])


    def test_a_clock_that_is_put_back_holds_up_no_row(self):
        keyhole, jump = self.with_clock()
        token = keyhole.token()

        def committed():
            with contextlib.closing(sqlite3.connect(f"file:{keyhole.ledger_path}?mode=ro", uri=True)) as db:
                return db.execute("SELECT count(*) FROM requests").fetchone()[0]
        for asked in (1, 2):
            self.assertEqual(keyhole.post("/v1/chat/completions", chat_body(), token).status, 200)
            jump(f"-{asked}h")  # while its row waits for others
            wait_until(lambda asked=asked: committed() == asked, 20, "the row in the ledger")


class Journal(Sweep):
    """The file's page and slots are found from outside: the size of a slot is what is left of the file, divided."""

    def setUp(self):
        super().setUp()
        self.keyhole = self.proxy(config={"state": {"journal_slots": 64}})
        self.token = self.keyhole.token()

    @property
    def path(self):
        return f"{self.keyhole.state_dir}/inflight.journal"

    def leave_some_in_flight(self, count=6):
        for i in range(count):
            client = self.keyhole.client()
            self.addCleanup(client.close)
            client.request("POST", "/v1/messages", [VERSION, ("x-demo", f"gate=left-{uuid.uuid4().hex}@2")], messages_body(stream=True), self.token)
            client.answer().until(b"event: content_block_start", 10)
        self.keyhole.kill()
        with open(self.path, "rb") as f:
            return f.read()

    def start_with(self, content, rows_before):
        with open(self.path, "wb") as f:
            f.write(content)
        for extra in glob.glob(self.path + ".damaged-*"):
            os.unlink(extra)
        before = len(self.keyhole.log_text())
        self.keyhole.start()
        rows = self.keyhole.rows()
        said = self.keyhole.log_text()[before:]
        self.assertEqual(len({r["request_id"] for r in rows}), len(rows), "a row stands twice")
        self.assertEqual(self.keyhole.post("/v1/chat/completions", chat_body(), self.token).status, 200)
        self.keyhole.kill()
        return rows, said, glob.glob(self.path + ".damaged-*")

    def test_a_journal_cut_at_any_length_starts_and_says_what_it_recovered(self):
        good = self.leave_some_in_flight()
        slot = (len(good) - HEADER_PAGE) // 64
        self.assertEqual(HEADER_PAGE + 64 * slot, len(good))
        lengths = [0, 1, 7, 8, 63, 64, HEADER_PAGE - 1, HEADER_PAGE, HEADER_PAGE + 1, HEADER_PAGE + slot - 1, HEADER_PAGE + slot,
                   HEADER_PAGE + 3 * slot + 17, len(good) - slot, len(good) - 1]
        for length in lengths:
            with self.subTest(length=length):
                rows, said, aside = self.start_with(good[:length], 0)
                if length and any(good[:length]):
                    self.assertTrue(aside, "a damaged journal is kept aside")
                    with open(aside[0], "rb") as f:
                        self.assertEqual(f.read(), good[:length])
                    self.assertIn("damaged", said)
                # Every slot that is still there as a whole is a row.
                whole = sum(1 for i in range(64) if HEADER_PAGE + (i + 1) * slot <= length and good[HEADER_PAGE + i * slot:][:4] != b"\0\0\0\0")
                interrupted = [r for r in rows if r["outcome"] == "interrupted"]
                self.assertGreaterEqual(len(interrupted), whole)

    def test_a_flipped_bit_anywhere_starts_and_is_reported(self):
        rng = random.Random(7)
        good = self.leave_some_in_flight()
        slot = (len(good) - HEADER_PAGE) // 64
        used = [i for i in range(64) if good[HEADER_PAGE + i * slot:][:4] != b"\0\0\0\0"]
        self.assertEqual(len(used), 6)
        offsets = [0, 5, 9, 20, 40] + [HEADER_PAGE + used[0] * slot + o for o in (0, 3, 4, 8, 16, 24, 40)]
        offsets += [HEADER_PAGE + rng.choice(used) * slot + rng.randrange(slot) for _ in range(60 if LONG else 8)]
        for offset in offsets:
            with self.subTest(offset=offset):
                bad = bytearray(good)
                bad[offset] ^= 1 << rng.randrange(8)
                rows, said, aside = self.start_with(bytes(bad), 0)
                self.assertRegex(said, r"recovered \d+ request|damaged")
                self.assertGreaterEqual(len([r for r in rows if r["outcome"] == "interrupted"]), 5)

    def test_what_a_start_recovered_stands_in_its_log_and_is_not_recovered_again(self):
        self.leave_some_in_flight()
        self.keyhole.start()
        self.assertRegex(self.keyhole.log_text(), r"recovered 6 requests? in flight")
        rows = self.keyhole.rows()
        self.assertEqual(len([r for r in rows if r["outcome"] == "interrupted"]), 6)
        before = len(self.keyhole.log_text())
        self.keyhole.kill()
        self.keyhole.start()
        self.assertEqual(len(self.keyhole.rows()), len(rows))
        self.assertNotIn("recovered", self.keyhole.log_text()[before:])

    def test_garbage_for_a_journal_is_set_aside(self):
        self.keyhole.kill()
        garbage = random.Random(3).randbytes(300_000)
        _, said, aside = self.start_with(garbage, 0)
        self.assertIn("damaged", said)
        with open(aside[0], "rb") as f:
            self.assertEqual(f.read(), garbage)


if __name__ == "__main__":
    unittest.main()
