#!/usr/bin/env python3
"""What Keyhole costs beside nginx as a plain reverse proxy with a key in a header: CPU per request, in the same run, on the same machine.

Both listen on loopback TCP and forward 2 KiB chat completions to the same mock provider (an nginx of its own, which checks nothing). Keyhole does all it
always does: identity, budget, journal, meter, ledger. CPU is user+system time of the proxy's processes over the requests it served; rounds
alternate, the table shows medians and the ratio's spread. Absolute figures are this machine's; claim the ratio only.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
ANSWER = json.dumps({"id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
                     "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 500}, "finish_reason": "stop"}],
                     "usage": {"prompt_tokens": 500, "completion_tokens": 120, "total_tokens": 620}})
MOCK, NGINX, KEYHOLE, METRICS = 19500, 19501, 19502, 19503


def nginx(work, name, server):
    conf = work / f"{name}.conf"
    conf.write_text(f"daemon off; master_process on; worker_processes 2; error_log {work}/{name}.err; pid {work}/{name}.pid;\n"
                    f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; keepalive_requests 1000000;\n"
                    f"client_body_temp_path {work}/{name}-b; proxy_temp_path {work}/{name}-p; fastcgi_temp_path {work}/{name}-f; uwsgi_temp_path {work}/{name}-u;"
                    f" scgi_temp_path {work}/{name}-s;\n{server}\n}}\n")
    return subprocess.Popen(["nginx", "-c", str(conf), "-e", str(work / f"{name}.err")])


def family(pid):
    out = [pid]
    for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split():
        out += family(int(child))
    return out


def cpu_seconds(pid):
    total = 0
    for p in family(pid):
        fields = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def measure(port, pid, seconds, connections, environment):
    before = cpu_seconds(pid)
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(ROOT / "bench/load.lua"), f"http://127.0.0.1:{port}"],
                          capture_output=True, text=True, env={**os.environ, **environment})
    used = cpu_seconds(pid) - before
    requests = int(re.search(r"(\d+) requests in", done.stdout).group(1))
    errors = re.search(r"Non-2xx|Socket errors", done.stdout)
    if errors or done.returncode:
        sys.exit("bench: the load met errors:\n" + done.stdout + done.stderr)
    p50 = re.search(r"50%\s+(\S+)", done.stdout).group(1)
    return used / requests * 1e6, requests / seconds, p50


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--connections", type=int, default=64)
    chosen = options.parse_args()
    for tool in ("nginx", "wrk"):
        if not shutil.which(tool):
            sys.exit(f"bench: {tool} is missing (./dev setup bench)")
    work = pathlib.Path(tempfile.mkdtemp(prefix="keyhole-bench-"))
    work.chmod(0o755)
    processes = []
    try:
        processes.append(nginx(work, "mock", f"server {{ listen 127.0.0.1:{MOCK} backlog=4096; location / {{ client_max_body_size 0; default_type application/json;"
                                             f" return 200 '{ANSWER}'; }} }}"))
        processes.append(nginx(work, "peer", f"upstream mock {{ server 127.0.0.1:{MOCK}; keepalive 64; keepalive_requests 1000000; }}\n"
                                             f"server {{ listen 127.0.0.1:{NGINX} backlog=4096; location / {{ proxy_pass http://mock; proxy_http_version 1.1;"
                                             ' proxy_set_header Connection ""; proxy_set_header Authorization "Bearer sk-real"; proxy_buffering off;'
                                             " proxy_request_buffering off; client_max_body_size 0; } }"))
        peer = processes[-1]
        for d in ("sockets", "admin", "state", "config"):
            (work / d).mkdir()
        (work / "config/keyhole.toml").write_text(
            f'[providers.openai]\nbase_url = "http://127.0.0.1:{MOCK}/v1"\n[agents]\nsocket = "{work}/sockets/llm.sock"\ntcp = ["127.0.0.1:{KEYHOLE}"]\n'
            f'session_sockets = "{work}/own"\n[admin]\nsocket = "{work}/admin/admin.sock"\n[metrics]\nlisten = "127.0.0.1:{METRICS}"\n'
            f'[state]\ndirectory = "{work}/state"\njournal_slots = 65536\n[log]\nlevel = "warn"\n')
        keyhole = str(ROOT / "build/release/bin/keyhole")
        processes.append(subprocess.Popen([keyhole, "serve", "-c", str(work / "config/keyhole.toml")], env={**os.environ, "OPENAI_API_KEY": "sk-real"},
                                          stderr=open(work / "log", "w")))
        ours = processes[-1]
        end = time.monotonic() + 10
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/readyz", timeout=1)
                break
            except OSError:
                if time.monotonic() > end or ours.poll() is not None:
                    sys.exit("bench: keyhole did not start:\n" + (work / "log").read_text())
        token = json.loads(subprocess.run([keyhole, "session", "create", "--json", "--budget", "100000", "--admin", str(work / "admin/admin.sock")],
                                          check=True, capture_output=True, text=True).stdout)["token"]
        results = {"nginx": [], "keyhole": []}
        for r in range(chosen.rounds + 1):
            for name, port, p in (("nginx", NGINX, peer), ("keyhole", KEYHOLE, ours)):
                got = measure(port, p.pid, chosen.seconds, chosen.connections, {"BENCH_TOKEN": token})
                if r:  # the first round warms up
                    results[name].append(got)
        print(f"2 KiB JSON, {chosen.connections} connections, {chosen.rounds} rounds of {chosen.seconds} s, medians")
        for name, rows in results.items():
            print(f"  {name:8} {statistics.median(x[0] for x in rows):7.1f} µs CPU/request  {statistics.median(x[1] for x in rows):9.0f} requests/s")
        ratios = sorted(k[0] / n[0] for k, n in zip(results["keyhole"], results["nginx"]))
        print(f"  ratio keyhole/nginx: {statistics.median(ratios):.2f} ({ratios[0]:.2f}..{ratios[-1]:.2f}), with ledger, budget and meter on")
    finally:
        for p in reversed(processes):
            p.terminate()
        for p in processes:
            p.wait()
        shutil.rmtree(work, ignore_errors=True)


main()
