"""The targets of one case, started afresh and stopped at its end; a peer that this machine has not is left out and named."""
import contextlib

from lab.keyhole import Keyhole
from lab.peers import Caddy, Direct, Haproxy, Nginx

KINDS = {k.name: k for k in (Direct, Nginx, Haproxy, Caddy, Keyhole)}


def add_kind(kind):
    KINDS[kind.name] = kind


@contextlib.contextmanager
def field(lab, *names, **options):
    started = []
    try:
        for name in names:
            if lab.options.only_peers and name not in lab.options.only_peers and name not in ("keyhole", "direct"):
                continue
            if lab.options.quick and name == "caddy":
                continue  # no bar, and the slowest
            kind = KINDS[name]
            why = kind.missing()
            if why:
                lab.note(f"{name} is absent: {why}")
                continue
            peer = kind(lab.work, lab.mock, **options)
            started.append(peer)
            peer.start(lab.target_core)
        yield started
        for peer in started:
            peer.stop()
    finally:
        for peer in started:
            if peer.process and peer.process.child.poll() is None:
                peer.process.child.kill()
                peer.process.child.wait()
