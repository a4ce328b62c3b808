"""Instructions in user space, which noise does not move: for a request, an event, a prompt (callgrind; all threads; without the kernel's part)."""
import re

from cases import case
from lab.bench import summary
from lab.callgrind import attribute, missing, under_callgrind
from lab.field import KINDS

NOTHING = re.compile(r"(?!)")
LOADS = {"a JSON request": ({"connections": 8, "requests": 600}, 600),
         "a paced event": ({"connections": 10, "requests": 10, "stream": True, "events": 100, "script": "events=100 rate=100"}, 1000),
         "a fast event": ({"connections": 2, "requests": 10, "stream": True, "events": 200, "script": "events=200"}, 2000),
         "a 200 KiB prompt": ({"connections": 2, "requests": 60, "body": 200 * 1024}, 60)}


def of_one(lab, kind):
    got = {}
    for what, (load, units) in LOADS.items():
        peer = under_callgrind(kind)(lab.work, lab.mock)
        try:
            peer.start(None)
            lab.measure(peer, "unix", patience=120, **load)  # warm
            files = peer.count(lambda: lab.measure(peer, "unix", patience=120, **load))
            got[what] = sum(attribute(p, NOTHING, NOTHING)[0] for p in files) / units
        finally:
            if peer.process and peer.process.child.poll() is None:
                peer.stop()
    return got


@case("instructions", "instructions in user space (callgrind)", tuple(LOADS))
def instructions(lab, count):
    if missing():
        lab.note(missing())
        return summary({})
    return summary({name: [of_one(lab, KINDS[name])] for name in ("nginx", "haproxy", "keyhole") if not KINDS[name].missing()})
