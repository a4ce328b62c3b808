"""From exec to the first connection that is taken, and how big the program is."""
import time

from cases import case
from lab.bench import summary
from lab.field import KINDS
from lab.keyhole import stripped_size
from lab.processes import Process, can_connect, cpu_seconds, wait_until


def start_once(lab, kind):
    peer = kind(lab.work, lab.mock, **({"journal_slots": 4096} if kind.name == "keyhole" else {}))  # the default
    command = peer.command()
    began = time.monotonic()
    peer.process = Process(command, peer.work / "log", lab.target_core, peer.environment())
    wait_until(lambda: can_connect(peer.targets["unix"]), f"{kind.name}'s start", process=peer.process.child, log=peer.process.log)
    took, cpu = (time.monotonic() - began) * 1e3, cpu_seconds(peer.pids()) * 1e3
    if kind.name == "keyhole":
        wait_until(peer.ready, "keyhole's readiness", process=peer.process.child, log=peer.process.log)
    peer.stop()
    return {"ms to serving": took, "CPU ms to serving": cpu}


@case("start", "start to serving (a new state directory), size of the program", ("ms to serving", "CPU ms to serving", "stripped MiB"), quick=True)
def start(lab, count):
    results = {}
    for _ in range(2 * count):
        for name in ("nginx", "haproxy", "keyhole"):
            if not KINDS[name].missing():
                results.setdefault(name, []).append(start_once(lab, KINDS[name]))
    size = stripped_size(lab.binaries / "keyhole", lab.work) / 2**20
    for one in results["keyhole"]:
        one["stripped MiB"] = size
    return summary(results)
