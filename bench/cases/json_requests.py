"""Plain JSON answers: what a request costs under load, and what it adds to a request's time."""
from cases import case
from lab.bench import rounds, summary
from lab.field import field

COST = ("CPU µs/request", "requests/s", "p50 µs", "p99 µs")
ADDED = ("CPU µs/request", "p50 µs", "added p50 µs", "added p90 µs", "added p99 µs", "added p99.9 µs")


@case("json", "JSON, 2 KiB, 64 connections, unix socket", COST, quick=True)
def json_unix(lab, count):
    return under_load(lab, count, "unix")


@case("json_tcp", "JSON, 2 KiB, 64 connections, TCP", COST)
def json_tcp(lab, count):
    return under_load(lab, count, "tcp")


def under_load(lab, count, kind):
    with field(lab, "nginx", "haproxy", "caddy", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, kind, connections=64, seconds=lab.seconds(p, 1.2))))


def latency(lab, count, connections, layout):
    lab.use(layout)
    try:
        with field(lab, "direct", "nginx", "haproxy", "keyhole") as peers:
            return summary(rounds(peers, count, lambda p: lab.measure(p, "unix", connections=connections, seconds=lab.seconds(p, 0.8), warmup=0.1)))
    finally:
        lab.use("split")


@case("latency_c1", "added time, JSON 2 KiB, 1 connection, all on one core", ADDED, quick=True)
def latency_one(lab, count):
    return latency(lab, count, 1, "one")


@case("latency_c8", "added time, JSON 2 KiB, 8 connections", ADDED)
def latency_eight(lab, count):
    return latency(lab, count, 8, "split")


@case("latency_c64", "added time, JSON 2 KiB, 64 connections", ADDED)
def latency_many(lab, count):
    return latency(lab, count, 64, "split")


@case("open_loop", "JSON 2 KiB, 2,000 requests/s whatever the answers do (latency from when each was due)", ADDED)
def open_loop(lab, count):
    with field(lab, "direct", "nginx", "haproxy", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, "unix", connections=64, rate=2000, seconds=1.2, warmup=0.2)))
