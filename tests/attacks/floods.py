"""Floods from one sandbox while a neighbour works in another: each of the neighbour's requests succeeds. How much slower they become is told, not judged:
machines differ, and the flood and the neighbour share this one's processors."""
import contextlib
import json
import pathlib
import subprocess
import threading
import time

from world import THREE_CAPABILITIES

FLOODS = ("slow heads", "slow bodies", "idle connections", "the bare socket", "half prefaces", "resets", "answers that nobody reads",
          "more requests than are allowed", "descriptors", "forks", "memory")
MOST_BRIDGE_KIB = 64 * 1024


class Neighbour:
    """Its own container, its own socket, one request after another."""

    def __init__(self, world):
        self.world, self.seen = world, []
        self.session = world.session("--own-socket", "--name", "neighbour of floods")
        words = world.sandbox("neighbour", ["--user=1000:1000"], own=self.session)
        self.process = subprocess.Popen([world.docker, "run", "--rm", *words, world.image, "python3", "-u", "/attacks/neighbour.py"], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, daemon=True).start()
        while not self.seen:
            time.sleep(0.05)  # its first answer

    def listen(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.seen.append(json.loads(line))

    def between(self, begin, end):
        return [s for s in list(self.seen) if begin <= s["at"] <= end]

    def close(self):
        self.world.run("kill", f"{self.world.name}-neighbour", check=False)
        self.process.wait()


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))]


def bridge_peak_kib(init):
    """The most that the bridge below this PID 1 ever had, seen from the host."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        for child in pathlib.Path(f"/proc/{init}/task/{init}/children").read_text().split():
            status = pathlib.Path(f"/proc/{child}/status").read_text()
            if status.startswith("Name:\tkeyhole-bridge"):
                return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return 0


def run(world):
    neighbour = Neighbour(world)
    try:
        quiet_from = time.time()
        time.sleep(3)  # the measured interval without an attack
        quiet = neighbour.between(quiet_from, time.time())
        p50, p99 = (percentile([s["ms"] for s in quiet], p) for p in (0.5, 0.99))
        world.board.note(f"35 the neighbour alone: {len(quiet)} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        attacker = world.session("--name", "flooder")
        words = world.sandbox("flooder", [*THREE_CAPABILITIES, "--memory=512m", "--memory-swap=512m", "--cpus=0.5", "--ulimit=nofile=20000:20000", "-e", "FLOOD_SECONDS=2.5"], session=attacker)
        process = subprocess.Popen([world.docker, "run", "--rm", *words, world.image, "python3", "-u", "/attacks/floods.py", *FLOODS],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        listen(world, neighbour, process, p99)
    finally:
        neighbour.close()


def listen(world, neighbour, process, quiet_p99):
    init, begun, peak, sizes = 0, {}, 0, {}
    for text in process.stdout:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        init = init or world.pid_of("flooder")
        name = line["name"].removeprefix("flood: ").split(": ")[0]
        if line["kind"] == "started":
            begun[name] = time.time()
        elif line["kind"] == "report":
            peak = max(peak, bridge_peak_kib(init))
            sizes[name] = line["size"]
            seen = neighbour.between(begun[name], time.time())
            bad = [s for s in seen if s["status"] != 200]
            slow = percentile([s["ms"] for s in seen], 0.99) if seen else float("inf")
            world.board.note(f"35 {name}: {line['size']} of them; the neighbour: {len(seen)} requests, p99 {slow:.1f} ms ({slow / quiet_p99:.1f} x)")
            world.board(f"35 flood: {name}: the neighbour is answered all the while", seen and not bad, str(bad[:3]))
        elif line["kind"] == "attempt":
            world.board(f"35 flood: {name}: it was one, and the flooder's own bridge lives", line["oracle"] and not line["loot"], str(line))
    errors = process.stderr.read()
    world.board("35 all floods ran", process.wait() == 0 and set(sizes) == set(FLOODS), f"{sorted(set(FLOODS) - set(sizes))} {errors[-1500:]}")
    world.board("35 the flooded bridge's memory stays bounded", 0 < peak < MOST_BRIDGE_KIB, f"{peak} KiB")
    world.board.note(f"35 the flooded bridge's peak: {peak} KiB")
    world.board("35 the proxy lives", world.is_ready())
