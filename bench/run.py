#!/usr/bin/env python3
"""What Keyhole costs, with everything on, beside nginx, HAProxy and others in front of the same mock provider, in the same run.

Targets run on one core, load generator and mock on another; peers alternate, and ratios are taken within a round. CPU is what the kernel
charges the target's processes (nanoseconds), after the ledger has come to rest. Every answer is verified, and after every run the mock's
books, the load generator's and Keyhole's ledger must agree to the token; a run where they do not fails the whole bench.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import load_all  # noqa: E402
from lab.bench import Lab  # noqa: E402
from lab.field import KINDS  # noqa: E402
from lab.keyhole import Keyhole, Mismatch  # noqa: E402
from lab.mock import Mock  # noqa: E402
from lab.docs import write as write_docs  # noqa: E402
from lab.smoke import smoke  # noqa: E402
from lab.show import case_table  # noqa: E402
from lab.targets import table as target_table  # noqa: E402


def machine():
    def version(*command):
        try:
            out = subprocess.run(command, capture_output=True, text=True, timeout=10)
            return (out.stdout + out.stderr).strip().splitlines()[0]
        except (OSError, IndexError, subprocess.TimeoutExpired):
            return "absent"
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) // 2**20 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    release = next((line.split("=", 1)[1].strip().strip('"') for line in open("/etc/os-release") if line.startswith("PRETTY_NAME")), "?")
    commit = version("git", "-C", str(HERE), "describe", "--always", "--dirty")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gib": memory, "kernel": platform.release(), "system": release, "commit": commit,
            "nginx": version("nginx", "-v"), "haproxy": version("haproxy", "-v"), "caddy": version("caddy", "version"), "node": version("node", "--version")}


def arguments(cases):
    options = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                      epilog="cases:\n" + "\n".join(f"  {c.name:20} {c.title}" for c in cases.values()))
    options.add_argument("--quick", action="store_true", help="the cases that tell most, two minutes")
    options.add_argument("--case", action="append", default=[], metavar="NAME", help="only this case; repeatable")
    options.add_argument("--rounds", type=int, help="measured rounds of each case, after one that warms up (default 5, with --quick 3)")
    options.add_argument("--peer", action="append", dest="only_peers", default=[], metavar="NAME", help="only this peer beside Keyhole; repeatable")
    options.add_argument("--smoke", action="store_true", help="a few seconds: correctness only, no figures, no peers")
    options.add_argument("--json", metavar="FILE", help="the results for programs")
    options.add_argument("--write-docs", action="store_true", help="write docs/performance.md")
    options.add_argument("--binaries", type=pathlib.Path, default=HERE.parent / "build/release/bin", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    for name in chosen.case:
        if name not in cases:
            options.error(f"no case {name} (one of: {', '.join(cases)})")
    for name in chosen.only_peers:
        if name not in KINDS:
            options.error(f"no peer {name} (one of: {', '.join(k for k in KINDS if k not in ('keyhole', 'direct'))})")
    if chosen.rounds is None:
        chosen.rounds = 3 if chosen.quick else 5
    if chosen.rounds < 1:
        options.error("--rounds must be 1 or more")
    return chosen


def run_cases(lab, chosen, cases, results):
    for c in cases:
        began = time.monotonic()
        print(f"\n== {c.name}: {c.title}", file=sys.stderr, flush=True)
        lab.notes = []
        try:
            result = c.run(lab, chosen.rounds)
        except Mismatch as e:
            raise Mismatch(f"case {c.name}: {e}") from e
        result["notes"] = [*result.get("notes", []), *lab.notes]
        result.update(title=c.title, seconds=round(time.monotonic() - began, 1))
        results["cases"][c.name] = result
        print(case_table(c, result), flush=True)
        save(chosen.json, results)


def save(path, results):
    """After each case, so that a run which fails late has not been for nothing."""
    if path:
        pathlib.Path(path).write_text(json.dumps(results, indent=1) + "\n")


def main():
    cases = load_all()
    chosen = arguments(cases)
    selected = [cases[n] for n in chosen.case] or [c for c in cases.values() if c.quick or not chosen.quick]
    work = pathlib.Path(tempfile.mkdtemp(prefix="khb-"))
    work.chmod(0o755)
    Keyhole.binaries = chosen.binaries
    results = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "command": " ".join(["./dev bench", *(["--quick"] if chosen.quick else []), *(f"--case {n}" for n in chosen.case),
                                                                                f"--rounds {chosen.rounds}"]),
               "rounds": chosen.rounds, "machine": machine(), "cases": {}}
    mock = None
    try:
        mock = Mock(chosen.binaries, work, None)
        lab = Lab(chosen.binaries, work, mock, chosen)
        lab.use("split")
        if chosen.smoke:
            return smoke(lab)
        run_cases(lab, chosen, selected, results)
        results["runs"] = lab.runs
        if lab.busy:
            results["busy_elsewhere"] = statistics.median(lab.busy)
        print("\n" + target_table(results))
        print(f"\n{lab.runs} runs; after each, ledger, mock and load generator agreed to the token."
              f" Other programs kept {results.get('busy_elsewhere', 0):.2f} cores busy during the median run.")
    except Mismatch as e:
        sys.exit(f"bench: FAILED, the books do not agree or an answer was wrong: {e}")
    finally:
        if mock:
            mock.stop()
        shutil.rmtree(work, ignore_errors=True)
    save(chosen.json, results)
    if chosen.write_docs:
        write_docs(HERE.parent / "docs/performance.md", results, cases)


if __name__ == "__main__":
    main()
