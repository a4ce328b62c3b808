"""Keyhole with everything on: session token, a money limit, journal, SQLite ledger, metrics. After every run its ledger is compared
with what the mock billed, to the token."""
import json
import os
import sqlite3
import subprocess
import time
import urllib.request

from lab.mock import KEYS
from lab.peers import Peer
from lab.processes import Process, free_port, wait_until

SUMS = ("count(*), coalesce(sum(input), 0), coalesce(sum(cache_read), 0), coalesce(sum(output), 0), "
        "coalesce(sum(source <> 'provider'), 0), coalesce(max(id), {last})")
OTHER_BUCKETS = "cache_write_5m + cache_write_1h + output_reasoning + input_audio + output_audio + input_image + output_image"


class Mismatch(Exception):
    """Load, mock and ledger do not agree: whatever else the run showed is worth nothing."""


class Keyhole(Peer):
    name = "keyhole"
    binaries = None  # set by run.py
    refusal = 403    # a token that no session has: agents must not retry

    def __init__(self, work, mock, workers=1, tls=False, journal_slots=65536):
        super().__init__(work, mock, workers, tls)
        for folder in ("sockets", "admin", "state", "config", "own"):
            (self.work / folder).mkdir()
        self.metrics = free_port()
        self.targets["unix"] = f"unix:{self.work}/sockets/llm.sock"
        self.admin = self.work / "admin/admin.sock"
        self.journal_slots = journal_slots
        self.last_row = 0
        self.token = None
        self.start_ms = None

    def environment(self):
        return {"OPENAI_API_KEY": KEYS["keyhole"], **({"SSL_CERT_FILE": str(self.mock.ca)} if self.tls else {})}

    def command(self):
        base = f"https://localhost:{self.mock.tls_port}/v1" if self.tls else f"http://127.0.0.1:{self.mock.port}/v1"
        config = self.work / "config/keyhole.toml"
        config.write_text(f"""[server]
workers = {self.workers}
[providers.openai]
base_url = "{base}"
max_idle_connections = 1024
[agents]
socket = "{self.work}/sockets/llm.sock"
tcp = ["127.0.0.1:{self.port}"]
session_sockets = "{self.work}/own"
[admin]
socket = "{self.admin}"
[metrics]
listen = "127.0.0.1:{self.metrics}"
[state]
directory = "{self.work}/state"
journal_slots = {self.journal_slots}
[limits]
max_body_bytes = 268435456
max_connections_per_session = 16384
[log]
level = "warn"
""")
        return [self.binaries / "keyhole", "serve", "-c", config]

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=1):
                return True
        except OSError:
            return False

    def serving(self):
        wait_until(self.ready, "keyhole's readiness", process=self.process.child, log=self.process.log)
        self.token = self.session("--budget", "100000000")["token"]

    def session(self, *options):
        made = subprocess.run([self.binaries / "keyhole", "session", "create", "--json", "--admin", self.admin, *options],
                              check=True, capture_output=True, text=True)
        return json.loads(made.stdout)

    def ledger_file(self):
        return self.work / "state/ledger.db"

    def query(self, text):
        db = sqlite3.connect(f"file:{self.ledger_file()}?mode=ro", uri=True, timeout=10)
        try:
            return db.execute(text).fetchall()
        finally:
            db.close()

    def settle(self):
        """Until the ledger's writer rests: its CPU belongs to the run that caused it."""
        def newest():
            return self.query("SELECT max(id) FROM requests")[0][0]
        last, end = newest(), time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.03)
            now = newest()
            if now == last:
                return
            last = now

    def check_books(self, answered, patience=20):
        """`answered`: the mock's books of this run. Waits for rows that are on their way, then compares to the token."""
        expected = (answered["requests"], answered["prompt_tokens"] - answered["cached_tokens"], answered["cached_tokens"], answered["completion_tokens"], 0)
        got, end = None, time.monotonic() + patience
        while True:
            *got, newest = self.query(f"SELECT {SUMS.format(last=self.last_row)} FROM requests WHERE id > {self.last_row}")[0]
            if tuple(got) == expected or time.monotonic() > end:
                break
            time.sleep(0.02)
        others = self.query(f"SELECT coalesce(sum({OTHER_BUCKETS}), 0) FROM requests WHERE id > {self.last_row}")[0][0]
        self.last_row = newest
        if tuple(got) != expected or others:
            raise Mismatch(f"ledger (requests, input, cache_read, output, not from the provider) {tuple(got)}, other buckets {others}; the mock billed {expected}")

    def check_rollups(self):
        """Sums that `keyhole usage` answers from, against all rows."""
        rows = self.query("SELECT count(*), sum(input), sum(cache_read), sum(output), sum(cost_nano_usd) FROM requests")[0]
        for table in ("usage_hourly", "usage_daily"):
            sums = self.query(f"SELECT sum(requests), sum(input), sum(cache_read), sum(output), sum(cost_nano_usd) FROM {table}")[0]
            if rows[0] and sums != rows:
                raise Mismatch(f"{table} {sums}, the rows say {rows}")

    def stop(self):
        if self.process and self.process.child.poll() is None and self.token:
            self.check_rollups()
        super().stop()
        log = (self.work / "log").read_text() if (self.work / "log").exists() else ""
        if self.process and self.process.child.returncode not in (0, None):
            raise Mismatch(f"keyhole ended with {self.process.child.returncode}:\n{log[-2000:]}")


def stripped_size(binary, work):
    out = work / "stripped"
    subprocess.run(["strip", "-o", out, binary], check=True)
    return os.path.getsize(out)
