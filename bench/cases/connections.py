"""A connection for every request, as many SDKs and all command lines do."""
from cases import case
from lab.bench import rounds, summary
from lab.field import field

FIGURES = ("CPU µs/request", "requests/s", "p50 µs")


@case("new_connections", "a new connection for each request, 16 at once, unix socket", FIGURES)
def unix(lab, count):
    return each_new(lab, count, "unix")


@case("new_connections_tcp", "a new connection for each request, 16 at once, TCP", FIGURES)
def tcp(lab, count):
    return each_new(lab, count, "tcp")


def each_new(lab, count, kind):
    with field(lab, "nginx", "haproxy", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, kind, connections=16, seconds=1, new_connections=True)))
