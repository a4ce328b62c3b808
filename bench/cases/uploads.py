"""One big upload beside small streams: do the others feel it? (direct: what rig and kernel do to them without any proxy.)"""
from cases import case
from lab.bench import rounds, summary
from lab.field import field

MIB = 1024 * 1024
FIGURES = ("gap p50 µs", "gap p99 µs", "gap p99 µs beside", "gap p99 beside / alone", "event delay p99 beside / alone")


def beside(lab, count, size):
    streams = {"connections": 50, "requests": 50, "rate": 500, "stream": True, "events": 100, "script": "events=100 rate=50"}

    def measure(peer):
        alone = lab.measure(peer, "unix", **streams)
        before = lab.mock.books(peer.name)
        upload = lab.begin_load(peer, "unix", connections=1, seconds=1.9, body=size)
        small = lab.end_load(peer, lab.begin_load(peer, "unix", **streams))
        big = lab.end_load(peer, upload)
        lab.compare(peer, before, [small, big])
        alone["gap p99 µs beside"] = small["gap_us"]["p99"]
        alone["gap p99 beside / alone"] = small["gap_us"]["p99"] / alone["gap p99 µs"]
        alone["event delay p99 beside / alone"] = small["delay_us"]["p99"] / alone["event delay p99 µs"]
        alone["uploaded MiB/s"] = big["requests"] * size / MIB / big["seconds"]
        return alone
    with field(lab, "direct", "nginx", "haproxy", "keyhole") as peers:
        return summary(rounds(peers, count, measure))


@case("upload_100m", "50 streams of 50 events/s, alone and beside uploads of 100 MB", (*FIGURES, "uploaded MiB/s"))
def upload(lab, count):
    return beside(lab, count, 100_000_000)


@case("upload_8m", "50 streams of 50 events/s, alone and beside prompts of 8 MiB", (*FIGURES, "uploaded MiB/s"))
def prompts(lab, count):
    return beside(lab, count, 8 * MIB)
