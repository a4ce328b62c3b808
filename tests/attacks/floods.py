"""Floods from one sandbox while a neighbour works in another: each of the neighbour's requests succeeds, and they become no slower than beside an
equally busy sandbox that does nothing wrong. Each flood follows such work at once (the control), ROUNDS times; the medians of the rounds are compared, and
the bounds are generous: the flood, the neighbour, the proxy and whatever else runs share this machine's processors."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import threading
import time

from world import THREE_CAPABILITIES

FLOODS = ("slow heads", "half requests, again and again", "slow bodies", "idle connections", "the bare socket", "half prefaces", "resets", "answers that nobody reads",
          "more requests than are allowed", "descriptors", "forks", "memory")
MOST_BRIDGE_KIB = 64 * 1024
CONTROLS = {"more requests than are allowed": "allowed requests"}  # the others: one request after another, and all the processor time there is
ROUNDS = int(os.environ.get("ATTACK_ROUNDS", "3"))
MOST_TIMES = 3  # slower than beside the control
MOST_MS_MORE = 100  # and so much is noise whatever the control was
PART = 0.95  # of the requests of a round, some dozens; the slowest one of them is the scheduler's doing as often as anybody's


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
        attacker = world.session("--name", "flooder")
        words = world.sandbox("flooder", [*THREE_CAPABILITIES, "--memory=512m", "--memory-swap=512m", "--cpus=0.5", "--ulimit=nofile=20000:20000", "-e", "FLOOD_SECONDS=2"], session=attacker)
        order = [name for flood in FLOODS for _ in range(ROUNDS) for name in (CONTROLS.get(flood, "work"), flood)]
        process = subprocess.Popen([world.docker, "run", "--rm", *words, world.image, "python3", "-u", "/attacks/floods.py", *order],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        listen(world, neighbour, process)
    finally:
        neighbour.close()


def listen(world, neighbour, process):
    """Judges each line as it comes; `pairs` has the neighbour's figures beside the control and beside the flood after it."""
    init, begun, peak, sizes, control = 0, 0.0, 0, {}, None
    pairs = {name: [] for name in FLOODS}
    for text in process.stdout:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        init = init or world.pid_of("flooder")
        name = line["name"].removeprefix("flood: ").split(": ")[0]
        if line["kind"] == "started":
            begun = time.time()
        elif line["kind"] == "report":
            peak = max(peak, bridge_peak_kib(init))
            seen, seconds = neighbour.between(begun, time.time()), time.time() - begun
            bad = [s for s in seen if s["status"] != 200]
            slow = percentile([s["ms"] for s in seen], PART) if seen else float("inf")
            if name == "work" or name in CONTROLS.values():
                control = (slow, len(seen) / seconds)
                continue
            sizes[name] = line["size"]
            pairs[name].append((control, (slow, len(seen) / seconds)))
            world.board(f"35 flood: {name}: the neighbour is answered all the while", seen and not bad, str(bad[:3]))
        elif line["kind"] == "attempt":
            world.board(f"35 flood: {name}: it was one, and the flooder's own bridge lives", line["oracle"] and not line["loot"], str(line))
    errors = process.stderr.read()
    world.board("35 all floods ran", process.wait() == 0 and set(sizes) == set(FLOODS), f"{sorted(set(FLOODS) - set(sizes))} {errors[-1500:]}")
    for name, rounds in pairs.items():
        if rounds:
            judge(world, name, sizes[name], rounds)
    world.board("35 the flooded bridge's memory stays bounded", 0 < peak < MOST_BRIDGE_KIB, f"{peak} KiB")
    world.board.note(f"35 the flooded bridge's peak: {peak} KiB")
    world.board("35 the proxy lives", world.is_ready())


def judge(world, name, size, rounds):
    quiet, slow = (statistics.median(pair[i][0] for pair in rounds) for i in (0, 1))
    usual, left = (statistics.median(pair[i][1] for pair in rounds) for i in (0, 1))
    seen = f"p95 {slow:.1f} ms beside it, {quiet:.1f} beside work; {left:.0f} requests/s beside it, {usual:.0f} beside work (medians of {len(rounds)})"
    world.board.note(f"35 {name}: {size} of them; the neighbour: {seen}")
    world.board(f"35 flood: {name}: the neighbour is no slower than beside honest work", slow <= MOST_TIMES * quiet + MOST_MS_MORE and left * MOST_TIMES >= usual, seen)
