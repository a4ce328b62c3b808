#!/usr/bin/env python3
"""keyhole-bridge beside socat, HAProxy (tcp) and nginx (stream), in one run on one machine: each stands between the same agents and the same
server on a unix socket, one thread each, rounds alternating. Hand-off and relay are the bridge's two ways; `direct` is the same server on
TCP with nothing in between. The table shows medians; claim ratios and CPU, not wall time. --json FILE keeps every figure.

CPU is what the scheduler counted for the peer's own processes; `+server` adds the server's, since hand-off moves work there. Memory is PSS."""
import argparse
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import figures  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
LOAD = str(BIN / "keyhole-bridge-load")
PEERS = ("direct", "hand-off", "relay", "haproxy", "nginx", "socat")
LINES = (("connections_s", "connections/s", 0), ("connect_p50_us", "new connection p50, µs", 0), ("connect_cpu_us", "CPU a connection, µs", 1),
         ("connect_cpu_all_us", "  +server, µs", 1), ("requests_s", "requests/s", 0), ("request_cpu_us", "CPU a request, µs", 2),
         ("request_cpu_all_us", "  +server, µs", 2), ("p50_us", "latency p50, µs", 1), ("p99_us", "latency p99, µs", 1),
         ("bulk_gib_s", "one stream, GiB/s", 2), ("bulk_cpu_us_mib", "CPU a MiB, µs", 1), ("bulk_cpu_all_us_mib", "  +server, µs", 1),
         ("burst_ms", "1,000 connects at once, ms", 0), ("memory_0", "memory, idle, KiB", 0), ("memory_500", "  500 connections, KiB", 0),
         ("memory_many", "  many connections, KiB", 0))
_, OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
MANY = min(10_000, OPEN_FILES * 45 // 100)  # a relay needs two descriptors for each


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def family(pid):
    out = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                out += family(int(child))
        except OSError:
            pass
    return out


def cpu_us(pid):
    """Time on a CPU of a process, its threads and children, dead ones as well (these in clock ticks)."""
    total = 0.0
    for each in family(pid):
        try:
            fields = pathlib.Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[13]) + int(fields[14])) * 1e6 / os.sysconf("SC_CLK_TCK")
            for thread in pathlib.Path(f"/proc/{each}/task").glob("*/schedstat"):
                total += int(thread.read_text().split()[0]) / 1000
        except (OSError, IndexError):
            pass
    return total


def memory_kib(pid):
    total = 0
    for each in family(pid):
        try:
            for line in pathlib.Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total


def wait_for_port(port, process, name):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"bench: {name} does not listen")


class Peer:
    """A program between the agents and the server."""

    def __init__(self, name, work, upstream, server_port):
        self.name, self.process = name, None
        self.port = server_port if name == "direct" else free_port()
        command = {
            "hand-off": [str(BIN / "keyhole-bridge"), "--hand-off", "yes", "--socket", upstream, "--listen", f"127.0.0.1:{self.port}"],
            "relay": [str(BIN / "keyhole-bridge"), "--hand-off", "no", "--socket", upstream, "--listen", f"127.0.0.1:{self.port}"],
            "socat": ["socat", "-t", "3600", f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096", f"UNIX-CONNECT:{upstream}"],
            "haproxy": ["haproxy", "-q", "-db", "-f", f"{work}/haproxy.cfg"],
            "nginx": ["nginx", "-c", f"{work}/nginx.conf", "-e", f"{work}/nginx.err"],
        }.get(name)
        if name == "haproxy":
            (work / "haproxy.cfg").write_text(
                f"global\n nbthread 1\n maxconn {MANY + 50}\n maxpipes 100\n tune.maxaccept 64\ndefaults\n mode tcp\n option splice-auto\n maxconn {MANY + 50}\n timeout connect 5s\n timeout client 1h\n"
                f" timeout server 1h\nlisten l\n bind 127.0.0.1:{self.port} backlog 4096\n server s unix@{upstream}\n")
        if name == "nginx":
            module = "/usr/lib/nginx/modules/ngx_stream_module.so"
            (work / "nginx.conf").write_text(
                (f"load_module {module};\n" if os.path.exists(module) else "") + f"daemon off; worker_processes 1; worker_rlimit_nofile {OPEN_FILES}; pid {work}/nginx.pid;"
                f" error_log {work}/nginx.err crit;\nevents {{ worker_connections {OPEN_FILES}; multi_accept on; }}\nstream {{ server {{ listen 127.0.0.1:{self.port} backlog=4096;"
                f" tcp_nodelay on; proxy_timeout 1h; proxy_buffer_size 64k; proxy_pass unix:{upstream}; }} }}\n")
        if command:
            self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            wait_for_port(self.port, self.process, name)

    def cpu(self):
        return cpu_us(self.process.pid) if self.process else 0

    def memory(self):
        return memory_kib(self.process.pid) if self.process else 0

    def stop(self):
        if self.process:
            for each in reversed(family(self.process.pid)):
                try:
                    os.kill(each, 9 if each != self.process.pid else 15)
                except OSError:
                    pass
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def load(*words, limit=100):
    done = subprocess.run([LOAD, *map(str, words)], capture_output=True, text=True, timeout=limit)
    if done.returncode:
        sys.exit(f"bench: {' '.join(map(str, words))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def round_of(peer, server, scale):
    out = {}

    def measured(*words):
        before, server_before = peer.cpu(), cpu_us(server.pid)
        got = load(*words)
        own = peer.cpu() - before
        return got, own, own + cpu_us(server.pid) - server_before

    slow = 10 if peer.name == "socat" else 1
    load("connect", peer.port, 50, 10)
    got, own, both = measured("connect", peer.port, int(8000 * scale) // slow, 16)
    out["connections_s"] = got["count"] / got["seconds"]
    out["connect_p50_us"] = load("connect", peer.port, int(1000 * scale) // slow, 1)["p50_us"]
    out["connect_cpu_us"], out["connect_cpu_all_us"] = own / got["count"], both / got["count"]
    got, own, both = measured("requests", peer.port, int(80_000 * scale), 64)
    out["requests_s"] = got["count"] / got["seconds"]
    out["request_cpu_us"], out["request_cpu_all_us"] = own / got["count"], both / got["count"]
    got = load("latency", peer.port, int(20_000 * scale))
    out["p50_us"], out["p99_us"] = got["p50_us"], got["p99_us"]
    size = int(1024 * scale) << 20
    got, own, both = measured("bulk", peer.port, size)
    out["bulk_gib_s"] = got["bytes"] / got["seconds"] / 2**30
    out["bulk_cpu_us_mib"], out["bulk_cpu_all_us_mib"] = own / (size >> 20), both / (size >> 20)
    out["burst_ms"] = load("burst", peer.port, 1000)["seconds"] * 1000
    return out


def hold(peer, count):
    with subprocess.Popen([LOAD, "hold", str(peer.port), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        if held.stdout.readline() != "held\n":
            sys.exit(f"bench: {peer.name} does not hold {count} connections")
        used = peer.memory()
        held.stdin.close()
        held.wait()
    return used


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--scale", type=float, default=1, help="of every count (0.1: a quick look)")
    options.add_argument("--json", metavar="FILE")
    options.add_argument("--only", nargs="+", choices=PEERS, default=PEERS)
    options.add_argument("--figures", nargs="*", metavar="S1", help="the figures S1 to S17 of docs/sandbox.md instead (all, or these)")
    options.add_argument("--write-docs", action="store_true", help="with --figures: write their table into docs/sandbox.md")
    chosen = options.parse_args()
    if chosen.figures is not None:
        seen = figures.measure(chosen.scale, chosen.figures)
        if chosen.write_docs:
            figures.write(seen, chosen.scale)
        return
    for tool in ("haproxy", "nginx", "socat"):
        if tool in chosen.only and not shutil.which(tool):
            sys.exit(f"bench: {tool} is missing (./dev setup bench)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    work = pathlib.Path(tempfile.mkdtemp(prefix="kh-bench-"))
    work.chmod(0o755)
    upstream, server_port = str(work / "s.sock"), free_port()
    server = subprocess.Popen([LOAD, "serve", upstream, str(server_port)], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    os.chmod(upstream, 0o666)
    results = {name: [] for name in chosen.only}
    try:
        for r in range(chosen.rounds):
            for name in chosen.only:
                peer = Peer(name, work, upstream, server_port)
                try:
                    memory = {"memory_0": peer.memory()}
                    if r == 0 and peer.process:
                        memory["memory_500"] = hold(peer, 500)
                        if name != "socat":  # a process each
                            memory["memory_many"] = hold(peer, MANY)
                    results[name].append(round_of(peer, server, chosen.scale) | (memory if peer.process else {}))
                finally:
                    peer.stop()
            print(f"round {r + 1} of {chosen.rounds}", file=sys.stderr)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(work, ignore_errors=True)
    medians = {name: {key: statistics.median(x[key] for x in rows if key in x) for key, _, _ in LINES if any(key in x for x in rows)}
               for name, rows in results.items()}
    print(f"{os.cpu_count()} CPUs, {chosen.rounds} rounds, medians; one thread each; many: {MANY:,}")
    print(f"{'':28}" + "".join(f"{name:>12}" for name in chosen.only))
    for key, title, digits in LINES:
        print(f"{title:28}" + "".join(f"{medians[n][key]:12,.{digits}f}" if key in medians[n] else f"{'-':>12}" for n in chosen.only))
    if chosen.json:
        pathlib.Path(chosen.json).write_text(json.dumps({"cpus": os.cpu_count(), "medians": medians, "rounds": results}, indent=1))


main()
