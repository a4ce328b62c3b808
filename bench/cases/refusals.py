"""Wrong tokens: what one costs, and whether a flood of them is felt by a session that has a right one."""
from cases import case
from lab.bench import rounds, summary
from lab.field import field
from lab.peers import WRONG_TOKEN


@case("refused", "wrong tokens, 16 connections (direct: the mock refuses them, which is the sockets' own cost)",
      ("CPU µs/request", "CPU beyond the socket's µs", "requests/s"))
def refused(lab, count):
    with field(lab, "direct", "nginx", "haproxy", "keyhole") as peers:
        latest = {}

        def measure(peer):
            got = lab.measure_refused(peer, "unix", WRONG_TOKEN, connections=16, seconds=0.8)
            latest[peer.name] = got["CPU µs/request"]
            if peer.name != "direct" and "direct" in latest:
                got["CPU beyond the socket's µs"] = got["CPU µs/request"] - latest["direct"]
            return got
        return summary(rounds(peers, count, measure))


@case("flood", "500 good requests/s, alone and beside 2,000 with wrong tokens a second",
      ("p99 µs", "p99 µs beside the flood", "p99 beside / alone", "p50 beside / alone"))
def flood(lab, count):
    good = {"connections": 16, "rate": 500, "seconds": 2, "warmup": 0.2}

    def measure(peer):
        alone = lab.measure(peer, "unix", **good)
        bad = lab.begin_load(peer, "unix", wrong=WRONG_TOKEN, connections=16, rate=2000, seconds=2.2, status=peer.refusal)
        beside = lab.measure(peer, "unix", **good)
        lab.end_load(peer, bad)
        alone["p99 µs beside the flood"] = beside["p99 µs"]
        alone["p99 beside / alone"] = beside["p99 µs"] / alone["p99 µs"]
        alone["p50 beside / alone"] = beside["p50 µs"] / alone["p50 µs"]
        return alone
    with field(lab, "nginx", "haproxy", "keyhole") as peers:
        return summary(rounds(peers, count, measure))
