"""Large prompts: agents send their whole context again each turn. Keyhole looks into them (model, limits); the peers look at nothing."""
from cases import case
from lab.bench import rounds, summary
from lab.field import field

FIGURES = ("CPU µs/request", "requests/s", "p50 µs")


def prompts(lab, count, size, connections):
    with field(lab, "nginx", "haproxy", "caddy", "keyhole") as peers:
        return summary(rounds(peers, count, lambda p: lab.measure(p, "unix", connections=connections, seconds=lab.seconds(p, 1.2), body=size)))


@case("prompt_200k", "prompts of 200 KiB, 16 connections", FIGURES, quick=True)
def small(lab, count):
    return prompts(lab, count, 200 * 1024, 16)


@case("prompt_1m", "prompts of 1 MiB, 8 connections", FIGURES)
def middle(lab, count):
    return prompts(lab, count, 1024 * 1024, 8)


@case("prompt_8m", "prompts of 8 MiB, 4 connections", FIGURES)
def large(lab, count):
    return prompts(lab, count, 8 * 1024 * 1024, 4)
