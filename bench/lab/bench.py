"""One run of the load generator against one target, and rounds of them: peers alternate, so that what else the machine does falls on all."""
import json
import os
import statistics
import subprocess
import time

from lab.keyhole import Mismatch
from lab.processes import cpu_seconds, machine_busy_seconds, pin

COUNTED = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")


class Lab:
    """Where a case runs: the mock, the cores, the load generator. `split`: the target on one core, load and mock on the other;
    `one`: everything on one core, which is the steadiest for latency at concurrency 1 (no core sleeps between two hops)."""

    def __init__(self, binaries, work, mock, options):
        self.binaries, self.work, self.mock, self.options = binaries, work, mock, options
        cores = sorted(os.sched_getaffinity(0))
        self.target_core, self.load_core = {cores[0]}, {cores[1] if len(cores) > 1 else cores[0]}
        self.layout = "split"
        self.runs = 0
        self.notes = []
        self.busy = []  # cores that other programs used, run by run

    def use(self, layout):
        self.layout = layout
        pin(self.mock.process.pids(), self.target_core if layout == "one" else self.load_core)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def seconds(self, peer, seconds):
        """How long a run of this target lasts: the slow ones need no more requests than the fast."""
        return seconds * (0.6 if peer.name in ("caddy", "portkey", "musistudio") else 1) * (0.6 if self.options.quick else 1)

    def load_cores(self):
        return self.target_core if self.layout == "one" else self.load_core

    @staticmethod
    def rest(seconds):
        """A span over which something is measured while the target serves what others began."""
        time.sleep(seconds)

    def command(self, peer, kind, wrong=None, **load):
        words = [self.binaries / "keyhole-bench-load", "--target", peer.targets[kind], "--token", wrong or peer.token, "--path", peer.path, "--model", peer.model]
        for h in peer.headers:
            words += ["--header", h]
        if peer.rewrites_bodies:
            words.append("--foreign-body")
        for name, value in load.items():
            flag = "--" + name.replace("_", "-")
            words += [flag] if value is True else [flag, value] if value not in (None, False) else []
        return [str(w) for w in words]

    def begin_load(self, peer, kind, **load):
        cores = self.load_cores()
        return subprocess.Popen(self.command(peer, kind, **load), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=lambda: os.sched_setaffinity(0, cores))

    @staticmethod
    def end_load(peer, load):
        out, err = load.communicate()
        lines = out.strip().splitlines()
        if load.returncode or not lines:
            raise Mismatch(f"{peer.name}: the load generator met {json.loads(lines[-1])['faults'] if lines else err}")
        return json.loads(lines[-1])

    def measure(self, peer, kind, **load):
        """Runs the load; returns the run's figures. The mock's books must say what the load generator saw, and Keyhole's ledger the same."""
        before = self.mock.books(peer.name)
        busy, began = machine_busy_seconds(), time.monotonic()
        pids = peer.pids()
        cpu = cpu_seconds(pids)
        mock_cpu = cpu_seconds(self.mock.process.pids())
        report = self.end_load(peer, self.begin_load(peer, kind, **load))
        peer.settle()
        used = cpu_seconds(pids) - cpu
        mock_used = cpu_seconds(self.mock.process.pids()) - mock_cpu
        seconds = time.monotonic() - began
        busy = machine_busy_seconds() - busy
        self.compare(peer, before, [report] if load.get("status", 200) == 200 else [])
        self.runs += 1
        ours = mock_used + report["own_cpu_seconds"] + (0 if peer.name == "direct" else used)
        self.busy.append(max(0.0, busy - ours) / seconds)
        return figures(report, used)

    def measure_refused(self, peer, kind, wrong, **load):
        return self.measure(peer, kind, wrong=wrong, status=peer.refusal, **load)

    def compare(self, peer, before, reports):
        after = self.mock.books(peer.name)
        billed = {name: after[name] - before[name] for name in after}
        for name in COUNTED:
            seen = sum(r[name] for r in reports)
            if billed[name] != seen or billed["cut"]:
                raise Mismatch(f"{peer.name}: {name}: the mock counts {billed[name]} (cut {billed['cut']}), the clients {seen}")
        peer.check_books(billed)


def figures(report, cpu):
    out = {"requests": report["requests"], "requests/s": report["requests_per_second"],
           "CPU µs/request": cpu / max(report["requests"], 1) * 1e6}
    if report["events"]:
        out["CPU µs/event"] = cpu / report["events"] * 1e6
        out["events/s"] = report["events"] / max(report["seconds"], 1e-9)
    for name, key in (("", "latency_us"), ("first token ", "first_token_us"), ("gap ", "gap_us"), ("event delay ", "delay_us")):
        for share in ("p50", "p90", "p99", "p99.9"):
            if key in report:
                out[f"{name}{share} µs"] = report[key][share]
    return out


def rounds(peers, count, measure):
    """`measure(peer)` for each peer in turn, `count` rounds after one that warms up; the order turns around each round."""
    results = {p.label: [] for p in peers}
    for r in range(count + 1):
        for p in peers if r % 2 else reversed(peers):
            got = measure(p)
            if r:
                results[p.label].append(got)
    return results


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(results):
    """Per target and figure the median and its range; per figure Keyhole's ratio to each peer within the rounds."""
    rows = {name: {figure: spread([r[figure] for r in got if figure in r]) for figure in got[0]} for name, got in results.items() if got}
    ratios = {}
    for peer in results:
        if peer in ("keyhole", "direct") or "keyhole" not in results:
            continue
        for figure in rows["keyhole"]:
            pairs = [(k[figure], p[figure]) for k, p in zip(results["keyhole"], results[peer]) if figure in p and p[figure]]
            if pairs:
                ratios.setdefault(figure, {})[peer] = spread([k / p for k, p in pairs])
    for name in [n for n in results if n != "direct" and "direct" in results]:
        for figure in [f for f in rows[name] if f.endswith(" µs") and f in rows["direct"]]:
            rows[name]["added " + figure] = spread([t[figure] - d[figure] for t, d in zip(results[name], results["direct"]) if figure in t and figure in d])
    return {"rows": rows, "ratios": ratios}
