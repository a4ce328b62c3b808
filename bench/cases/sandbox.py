"""As in a sandbox: the agent's TCP connection, keyhole-bridge which vouches with the session's token, Keyhole's unix socket.
Beside it what people build by hand, socat in front of nginx."""
import os
import contextlib

from cases import case
from lab.bench import rounds, summary
from lab.field import field
from lab.processes import Process, can_connect, cpu_seconds, free_port, wait_until


class Bridged:
    """A target behind a program that takes TCP and connects to its unix socket."""

    def __init__(self, lab, inner, label):
        self.inner, self.name, self.label = inner, inner.name, label
        self.token, self.path, self.headers, self.model = inner.token, inner.path, inner.headers, inner.model
        self.rewrites_bodies = inner.rewrites_bodies
        self.port = free_port()
        self.targets = {"tcp": f"tcp:127.0.0.1:{self.port}"}
        socket = inner.targets["unix"].removeprefix("unix:")
        options = {}
        if label == "keyhole":
            command = [lab.binaries / "keyhole-bridge", "--socket", socket, "--listen", f"127.0.0.1:{self.port}", "--token-fd", "0"]
            reading, writing = os.pipe()
            os.write(writing, inner.token.encode())
            os.close(writing)
            options["stdin"] = reading
            self.token = "placeholder"  # as the agent has it: the bridge vouches
        else:
            command = ["socat", f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096", f"UNIX-CONNECT:{socket}"]
        self.process = Process(command, inner.work / "bridge.log", lab.target_core, **options)
        if options:
            os.close(options["stdin"])
        wait_until(lambda: can_connect(self.targets["tcp"]), f"the bridge of {label}", process=self.process.child, log=self.process.log)
        self.settle, self.check_books = inner.settle, inner.check_books

    def pids(self):
        return self.inner.pids() + self.process.pids()


@case("sandbox", "through the bridge as in a sandbox, JSON 2 KiB, 64 connections (bridge and proxy on one core)",
      ("CPU µs/request", "CPU of the bridge µs/request", "requests/s", "p50 µs", "p99 µs"))
def sandbox(lab, count):
    def measure(peer):
        before = cpu_seconds(peer.process.pids())
        got = lab.measure(peer, "tcp", connections=64, seconds=1)
        got["CPU of the bridge µs/request"] = (cpu_seconds(peer.process.pids()) - before) / got["requests"] * 1e6
        return got
    with field(lab, "nginx", "keyhole") as inner, contextlib.ExitStack() as stack:
        outer = []
        for peer in inner:
            outer.append(Bridged(lab, peer, "keyhole" if peer.name == "keyhole" else "socat + nginx"))
            stack.callback(outer[-1].process.stop)
        return summary(rounds(outer, count, measure))
