"""Streams: what an event costs when it comes alone, when many come at once, and how late it is."""
from cases import case
from lab.bench import rounds, summary
from lab.field import field


@case("stream_paced", "200 streams of 100 events/s (20,000 events/s), each event written alone", quick=True,
      figures=("CPU µs/event", "first token p50 µs", "event delay p50 µs", "event delay p99 µs", "gap p99 µs"))
def paced(lab, count):
    with field(lab, "nginx", "haproxy", "caddy", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, "unix", connections=200, requests=200, rate=500, stream=True, events=200,
                                                                  script="events=200 rate=100")))


@case("stream_fast", "16 streams of 200 events as fast as they are taken", quick=True,
      figures=("CPU µs/event", "events/s", "first token p50 µs"))
def fast(lab, count):
    with field(lab, "nginx", "haproxy", "caddy", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, "unix", connections=16, seconds=lab.seconds(p, 1), stream=True, events=200, script="events=200")))


@case("stream_one", "one stream after another, 20 events at 2 ms, all on one core", quick=True,
      figures=("CPU µs/event", "first token p50 µs", "added first token p50 µs", "event delay p50 µs", "added event delay p50 µs", "added gap p99 µs"))
def one(lab, count):
    lab.use("one")
    try:
        with field(lab, "direct", "nginx", "haproxy", "keyhole") as peers:
            return summary(rounds(peers, count, lambda p: lab.measure(p, "unix", connections=1, seconds=lab.seconds(p, 1), stream=True, events=20,
                                                                      script="events=20 rate=500")))
    finally:
        lab.use("split")
