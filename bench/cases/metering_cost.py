"""What journal, ledger and metrics cost a request. They cannot be turned off, so they are not switched but taken apart: the threads beside
the worker (the ledger's writer) by their CPU; what stands in the worker's way by its share of the worker's instructions, as callgrind
counts them, times the worker's CPU for a request (a share of all of it, system calls included, so this is the upper side)."""
import os
import re
import shutil
import subprocess

from cases import case
from lab.bench import rounds, summary
from lab.callgrind import attribute
from lab.field import field
from lab.keyhole import Keyhole
from lab.processes import Process, wait_until

METER = re.compile(r"^'?\d*'?.*\b(keyhole::metering::(journal|ledger|metrics|sqlite)|prometheus::)")
SOURCES = re.compile(r"metering/(journal|ledger|metrics|sqlite)[a-z_]*\.[ch]pp$")
FIGURES = ("journal, ledger, metrics µs/request", "on the worker µs/request", "beside it µs/request", "share of the worker's instructions %", "worker µs/request")


def threads(pid):
    """CPU of each thread in µs."""
    return {t: int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0]) / 1e3 for t in os.listdir(f"/proc/{pid}/task")}


class UnderCallgrind(Keyhole):
    def command(self):
        return ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--compress-strings=no", "--compress-pos=no", "--instr-atstart=no",
                f"--callgrind-out-file={self.work}/calls", *super().command()]

    def start(self, cores):
        self.process = Process(self.command(), self.work / "log", None, self.environment())
        wait_until(self.ready, "keyhole's start under valgrind", 120, process=self.process.child, log=self.process.log)
        self.token = self.session("--budget", "100000000")["token"]


def share_of_worker(lab, load):
    """Of the instructions of the thread that serves requests, the meter's share."""
    peer = UnderCallgrind(lab.work, lab.mock)
    try:
        peer.start(None)
        lab.measure(peer, "unix", **load)  # warm
        subprocess.run(["callgrind_control", "-i", "on", str(peer.process.child.pid)], check=True, capture_output=True)
        lab.measure(peer, "unix", **load)
        subprocess.run(["callgrind_control", "-d", str(peer.process.child.pid)], check=True, capture_output=True)
        subprocess.run(["callgrind_control", "-i", "off", str(peer.process.child.pid)], check=True, capture_output=True)
    finally:
        if peer.process and peer.process.child.poll() is None:
            peer.stop()
    counted = [attribute(p, METER, SOURCES) for p in sorted(peer.work.glob("calls*")) if p.stat().st_size]
    total, meter = max(counted)
    return meter / total, total / load["requests"]


@case("metering", "journal, ledger and metrics: their part of a request (2 KiB JSON, 64 connections)", FIGURES)
def metering(lab, count):
    if not shutil.which("valgrind"):
        lab.note("valgrind is absent: the worker's part is not measured (apt-get install valgrind)")
        return summary({})
    share, each = share_of_worker(lab, {"connections": 8, "requests": 1500, "patience": 120})
    lab.note(f"{each:,.0f} instructions a request on the worker")

    def measure(peer):
        pid = peer.process.child.pid
        before = threads(pid)
        got = lab.measure(peer, "unix", connections=64, seconds=1)
        used = sorted((now - before.get(t, 0)) / got["requests"] for t, now in threads(pid).items())
        worker, beside = used[-1], sum(used[:-1])
        return {"journal, ledger, metrics µs/request": share * worker + beside, "on the worker µs/request": share * worker, "beside it µs/request": beside,
                "share of the worker's instructions %": share * 100, "worker µs/request": worker}
    with field(lab, "keyhole") as peers:
        return summary(rounds(peers, count, measure))
