"""Gateways from npm beside Keyhole, TCP, as they are installed."""
from cases import case
from lab.bench import rounds, summary
from lab.field import add_kind, field
from lab.gateways import Musistudio, Portkey

add_kind(Portkey)
add_kind(Musistudio)


@case("gateways", "npm gateways: JSON, 2 KiB, 64 connections, TCP", ("CPU µs/request", "requests/s", "p50 µs", "p99 µs"))
def gateways(lab, count):
    with field(lab, "nginx", "portkey", "musistudio", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, "tcp", connections=64, seconds=lab.seconds(p, 1.5))))


@case("gateways_streams", "npm gateway: one stream after another, 20 events at 2 ms, TCP", ("CPU µs/event", "first token p50 µs", "event delay p50 µs"))
def streams(lab, count):
    # musistudio passes no header on that would make the mock stream.
    with field(lab, "nginx", "portkey", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, "tcp", connections=1, seconds=1, stream=True, script="events=20 rate=500")))
