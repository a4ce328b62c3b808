"""User-space memory (PSS: what would be free if it ended): idle, for each idle connection, for each live stream."""
from cases import case
from lab.bench import summary
from lab.field import field
from lab.processes import cpu_seconds, pss_kib

FIGURES = ("idle MiB", "KiB/idle connection", "KiB/stream", "after the streams MiB", "CPU % at 2,500 events/s")
IDLE_CONNECTIONS = 2000


@case("memory", "memory (PSS): idle, 2,000 idle connections after a request each, 5,000 slow streams", FIGURES)
def memory(lab, count):
    results = {}
    for _ in range(min(count, 2)):
        for name in ("nginx", "haproxy", "keyhole"):
            options = {"journal_slots": 8192} if name == "keyhole" else {}  # the default is 4096, fewer than these streams
            with field(lab, name, **options) as peers:
                for peer in peers:
                    results.setdefault(name, []).append(of_one(lab, peer))
    return summary(results)


def of_one(lab, peer):
    lab.measure(peer, "unix", connections=4, requests=400)  # nothing is made at the first request that stays
    idle = pss_kib(peer.pids())
    with_connections = held(lab, peer, lambda: pss_kib(peer.pids()), connections=IDLE_CONNECTIONS, rate=2000)
    return {"idle MiB": idle / 1024, "KiB/idle connection": (with_connections - idle) / IDLE_CONNECTIONS, **with_streams(lab, peer)}


def with_streams(lab, peer, streams=5000):
    before = pss_kib(peer.pids())

    def look():
        cpu, seconds = cpu_seconds(peer.pids()), 2
        lab.rest(seconds)
        return pss_kib(peer.pids()), (cpu_seconds(peer.pids()) - cpu) / seconds * 100
    during, busy = held(lab, peer, look, connections=streams, stream=True, script="events=100000 rate=0.5")
    return {"KiB/stream": (during - before) / streams, "CPU % at 2,500 events/s": busy, "after the streams MiB": pss_kib(peer.pids()) / 1024}


def held(lab, peer, look, **load):
    """What look() says while all of the load's answers are under way; then they end in order, and the books are compared."""
    before = lab.mock.books(peer.name)
    generator = lab.begin_load(peer, "unix", hold=True, **load)
    said = generator.stdout.readline()
    if "holding" not in said:
        raise SystemExit(f"bench: {peer.name} did not take {load}: {said} {generator.stderr.read()}")
    seen = look()
    lab.mock.ask("finish", "POST")
    generator.stdin.write("\n")
    generator.stdin.flush()
    lab.compare(peer, before, [lab.end_load(peer, generator)])
    return seen
