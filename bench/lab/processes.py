"""A program under test as the kernel sees it: its CPU time (nanoseconds, children and threads included), its memory, its cores."""
import os
import signal
import socket
import subprocess
import time


def family(pid):
    """The process and all its descendants that are alive."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    found, open_ends = [], [pid]
    while open_ends:
        one = open_ends.pop()
        found.append(one)
        open_ends += children.get(one, [])
    return found


def cpu_seconds(pids):
    """Time on a core, from the scheduler (ns) where the kernel has it, else in clock ticks; that of children that have ended in clock ticks."""
    total = 0.0
    for pid in pids:
        try:
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a child (socat's) that ended since it was listed: its parent has its time
        total += (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) / 1e9
        except FileNotFoundError:
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def pss_kib(pids):
    """Proportional set size: what the process would free if it ended."""
    total = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def pin(pids, cores):
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), cores)


def machine_busy_seconds():
    fields = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(ready, what, seconds=15, process=None, log=None):
    """Polls a condition that another process brings about; SystemExit with its log where it does not."""
    end = time.monotonic() + seconds
    pause = 0.0005
    while not ready():
        if time.monotonic() > end or (process and process.poll() is not None):
            raise SystemExit(f"bench: {what} did not happen" + (f":\n{open(log).read()[-3000:]}" if log else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def can_connect(target):
    kind, where = target.split(":", 1)
    try:
        if kind == "unix":
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(where)
        else:
            host, port = where.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


class Process:
    """A child of the bench with its log; stop() ends it and waits."""

    def __init__(self, command, log, cores=None, env=None, **options):
        self.log = log
        prepare = (lambda: os.sched_setaffinity(0, cores)) if cores else None
        with open(log, "ab") as out:
            self.child = subprocess.Popen([str(c) for c in command], stderr=out, preexec_fn=prepare, env={**os.environ, **(env or {})},
                                          **{"stdout": out, **options})

    def pids(self):
        return family(self.child.pid)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()
