"""The provider behind TLS 1.3 (verified, sessions reused, keep-alive): what that adds to a request."""
from cases import case
from lab.bench import rounds, summary
from lab.field import field


@case("tls", "TLS upstream, JSON 2 KiB, 64 connections", ("CPU µs/request", "added by TLS: CPU µs/request", "requests/s"))
def tls(lab, count):
    load = {"connections": 64, "seconds": 0.8}
    with field(lab, "nginx", "haproxy", "keyhole") as plain, field(lab, "nginx", "haproxy", "keyhole", tls=True) as secured:
        without = {p.name: p for p in plain}

        def measure(peer):
            clear = lab.measure(without[peer.name], "unix", **load)
            got = lab.measure(peer, "unix", **load)
            got["added by TLS: CPU µs/request"] = got["CPU µs/request"] - clear["CPU µs/request"]
            return got
        return summary(rounds(secured, count, measure))
