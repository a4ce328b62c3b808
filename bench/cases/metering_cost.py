"""What journal, ledger and metrics cost a request. They cannot be turned off, so they are not switched but taken apart: the threads beside
the worker (the ledger's writer) by their CPU; what stands in the worker's way by its share of the worker's instructions, as callgrind
counts them, times the worker's CPU for a request (a share of all of it, system calls included, so this is the upper side)."""
import os
import re

from cases import case
from lab.bench import rounds, summary
from lab.callgrind import attribute, missing, under_callgrind
from lab.field import field
from lab.keyhole import Keyhole

METER = re.compile(r"^'?\d*'?.*\b(keyhole::metering::(journal|ledger|metrics|sqlite)|prometheus::)")
SOURCES = re.compile(r"metering/(journal|ledger|metrics|sqlite)[a-z_]*\.[ch]pp$")
FIGURES = ("journal, ledger, metrics µs/request", "on the worker µs/request", "beside it µs/request", "share of the worker's instructions %", "worker µs/request")


def threads(pid):
    """CPU of each thread in µs."""
    return {t: int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0]) / 1e3 for t in os.listdir(f"/proc/{pid}/task")}


def share_of_worker(lab, load):
    """Of the instructions of the thread that serves requests, the meter's share."""
    peer = under_callgrind(Keyhole)(lab.work, lab.mock)
    try:
        peer.start(None)
        lab.measure(peer, "unix", **load)  # warm
        files = peer.count(lambda: lab.measure(peer, "unix", **load))
        total, meter = max(attribute(p, METER, SOURCES) for p in files)
    finally:
        if peer.process and peer.process.child.poll() is None:
            peer.stop()
    return meter / total, total / load["requests"]


@case("metering", "journal, ledger and metrics: their part of a request (2 KiB JSON, 64 connections)", FIGURES)
def metering(lab, count):
    if missing():
        lab.note(missing())
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
