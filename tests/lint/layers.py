#!/usr/bin/env python3
"""Includes go one way only: proxy -> metering -> config; bridge and sandbox-runtime (which shares bridge's small parts) include nothing of the others."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = {
    "config": {"config"},
    "metering": {"metering", "config"},
    "proxy": {"proxy", "metering", "config"},
    "bridge": {"bridge"},
    "sandbox-runtime": {"sandbox-runtime", "bridge"},  # the static pair shares its small parts
}
# Within proxy/ the steps know what is below them.
BELOW_PROXY = ("proxy/http/", "proxy/net/", "proxy/upstream/")

failures = 0
for layer, allowed in ALLOWED.items():
    for source in sorted((ROOT / layer).rglob("*.[ch]pp")):
        name = str(source.relative_to(ROOT))
        for number, line in enumerate(source.read_text().splitlines(), 1):
            found = re.match(r'\s*#include "([^"]+)"', line)
            if not found:
                continue
            included = found.group(1)
            folder = included.split("/")[0]
            if "/" in included and folder in ALLOWED and folder not in allowed:
                print(f"{name}:{number}: {layer} includes {included}, which is above it")
                failures += 1
            if name.startswith(BELOW_PROXY) and included.startswith("proxy/") and not included.startswith(BELOW_PROXY):
                print(f"{name}:{number}: a part below the steps includes {included}")
                failures += 1
print(f"layers: {failures} wrong includes")
sys.exit(1 if failures else 0)
