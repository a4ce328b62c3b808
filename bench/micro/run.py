#!/usr/bin/env python3
"""Runs the micro-benchmarks of single steps; further words are Google Benchmark's own options (--benchmark_filter=REGEX …)."""
import os
import pathlib
import sys

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin/keyhole-bench-micro"

if not PROGRAM.exists():
    sys.exit("bench: no micro-benchmarks in this build: install libbenchmark-dev, then ./dev build (cmake looks for it anew after rm -r build/release)")
os.execv(PROGRAM, [str(PROGRAM), *sys.argv[1:]])
