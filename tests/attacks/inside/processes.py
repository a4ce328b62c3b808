"""Attacks on the processes that hold the session: PID 1 and the bridge (C1 2-4, C2 17, C4 36)."""
import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import time

from kit import HEALTH, MODE, ROOT_AGENT, attempt, bridges, call, forked, in_time, is_answered, libc, others, probe, report, victim

PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
SYS_VM_READV, SYS_VM_WRITEV, SYS_KCMP, SYS_PIDFD_OPEN, SYS_PIDFD_GETFD, SYS_PROCESS_MADVISE = 310, 311, 312, 434, 438, 440
if os.uname().machine == "aarch64":
    SYS_VM_READV, SYS_VM_WRITEV, SYS_KCMP = 270, 271, 272


def first_region(pid):
    for line in open(f"/proc/{pid}/maps"):
        if " r" in line:
            return int(line.split("-")[0], 16)
    return 0


def entry(pid, name):
    """What can be had of /proc/PID/name."""
    path = f"/proc/{pid}/{name}"
    if name == "fd":
        return os.readlink(path + "/0")
    if name in ("fdinfo", "map_files"):
        return os.listdir(path) if not ROOT_AGENT else ""  # numbers of descriptors are no secret from root
    if name in ("cwd", "root", "exe", "ns/net", "ns/user"):
        return os.readlink(path)
    if name == "mem":
        with open(path, "rb", 0) as f:
            return os.pread(f.fileno(), 16, first_region(pid))
    with open(path, "rb", 0) as f:
        return f.read(64)


def trace(pid, request):
    def attach():
        if libc.ptrace(request, pid, None, None) != 0:
            return False
        libc.ptrace(PTRACE_DETACH, pid, None, None)
        return True
    return forked(attach)


def transfer(number, pid, address):
    buffer = ctypes.create_string_buffer(8)
    local, remote = struct.pack("PN", ctypes.addressof(buffer), 8), struct.pack("PN", address, 8)
    return call(number, pid, local, 1, remote, 1, 0) > 0


def borrow(pid):
    pidfd = call(SYS_PIDFD_OPEN, pid, 0)
    try:
        for fd in range(16):
            with contextlib.suppress(OSError):
                os.close(call(SYS_PIDFD_GETFD, pidfd, fd, 0))
                return f"descriptor {fd}"
    finally:
        os.close(pidfd)
    return ""


ENTRIES = ("environ", "mem", "auxv", "maps", "smaps", "pagemap", "io", "stack", "syscall", "personality", "fd", "fdinfo", "cwd", "root", "exe",
           "map_files", "ns/net", "ns/user")
# A process of one's own uid shows these; stack is the kernel's.
OPEN_OF_MINE = ("environ", "mem", "auxv", "maps", "fd", "cwd", "root", "exe", "ns/net")


def take(pid, names=ENTRIES):
    got = []
    for name in names:
        with contextlib.suppress(OSError):
            if entry(pid, name):
                got.append(name)
    return got


def every_target(what):
    """Loot by target; there must be two of them, else nothing was attacked."""
    seen, loot = [], []
    for pid, name in others():
        seen.append(name)
        with contextlib.suppress(OSError):
            if got := what(pid):
                loot.append(f"{name} {pid}: {got}")
    return loot or (f"only {seen} to attack" if len(seen) < 2 else "")


def read_and_trace():
    with victim() as mine:
        attempt(2, "reading environ, mem, maps, fd, cwd, root of init and bridge", lambda: every_target(take),
                lambda: set(OPEN_OF_MINE) <= set(take(mine)))
        attempt(2, "ptrace attach and seize", lambda: every_target(lambda p: [r for r in (PTRACE_ATTACH, PTRACE_SEIZE) if trace(p, r)]),
                lambda: trace(mine, PTRACE_SEIZE))
    attempt(2, "reopening /proc/PID/fd/N", lambda: every_target(reopen), lambda: reopen(os.getpid()))
    attempt(2, "writing oom_score_adj, coredump_filter, comm, clear_refs", lambda: every_target(adjust), lambda: adjust(os.getpid()))
    probes()


def probes():
    """Against init and the bridge; where all is allowed, against a process of one's own."""
    def on_target(what):
        if MODE:
            return every_target(what)
        with victim() as mine:
            return what(mine)
    probe(2, "process_vm_readv", lambda: on_target(read_memory))
    probe(2, "pidfd_getfd", lambda: on_target(borrow))
    probe(2, "kcmp", lambda: on_target(lambda p: call(SYS_KCMP, p, os.getpid(), 0, 0, 0) >= 0))
    if not MODE:
        probe(4, "a crash leaves a core", core_of_mine)
    probe(4, "raising the core limit", lambda: forked(raise_core_limit))


def read_memory(pid):
    try:
        address = first_region(pid)
    except OSError:
        address = first_region(os.getpid())
    return transfer(SYS_VM_READV, pid, address)


def raise_core_limit():
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return True


def reopen(pid):
    for fd in range(16):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK))
            return f"fd/{fd}"
    return ""


def adjust(pid):
    # Files that root may write: an agent that is root harms its own sandbox with the first three, and learns nothing.
    roots = () if ROOT_AGENT else (("oom_score_adj", "1000"), ("coredump_filter", "0x33"), ("clear_refs", "1"))
    got = []
    for name, value in (*roots, ("timerslack_ns", "60000")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/{name}", "w") as f:
                f.write(value)
            got.append(name)
    return got


def got_bytes(pid, part):
    """Whether /proc/PID/part gives anything. A process that just ended still has the file, without a memory behind it: reading it at an address
    that is nobody's is then the end of the file, else an error."""
    fd = os.open(f"/proc/{pid}/{part}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return bool(os.pread(fd, 16, 1 if part == "mem" else 0))
    except OSError:
        return part == "mem"
    finally:
        os.close(fd)


def race(w, known):
    while True:
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) in known:
                continue
            for part in ("mem", "environ", "maps", "auxv", "fd/3", "fd/4", "fd/5", "fd/6"):
                with contextlib.suppress(OSError):
                    if got_bytes(name, part):
                        os.write(w, f"{open(f'/proc/{name}/comm').read().strip()} {part};".encode())
                        break


def race_the_start():
    """While the bridge is restarted again and again, somebody opens its mem and its descriptors as fast as he can."""
    if not bridges():
        return
    try:
        os.kill(bridges()[0], 0)
        from_outside = False
    except PermissionError:
        from_outside = True  # by the driver, see outside.py
    r, w = os.pipe()
    racer = os.fork()
    if racer == 0:
        race(w, {1, os.getpid(), os.getppid()})
    killed, end = set(), time.monotonic() + 6
    while time.monotonic() < end:
        for pid in set(bridges()) - killed:
            with contextlib.suppress(ProcessLookupError):
                if not from_outside:
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    # The oracle: a fresh process of one's own, caught by the same racer.
    with victim():
        time.sleep(0.2)
    os.kill(racer, signal.SIGKILL)
    os.waitpid(racer, 0)
    os.set_blocking(r, False)
    text = os.read(r, 1 << 16).decode()
    caught = [each for each in text.split(";") if each]
    theirs = sorted({each for each in caught if each.startswith("keyhole")})
    report(3, "the bridge's start", restarts=len(killed))
    attempt(3, "racing the bridge's start for its memory and descriptors", lambda: theirs, lambda: caught and len(killed) >= 5)
    in_time(lambda: is_answered(HEALTH), 10)


def race_that_others_make():
    """The driver ends the bridge again and again, by signals that dump core too."""
    print("racing", flush=True)
    race_the_start()
    probe(4, "a crash leaves a core", lambda: cores(("/", "/tmp", "/workspace", "/dev/shm", os.path.expanduser("~"), "/usr/local/bin")))


def cores(folders):
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found += [os.path.join(folder, f) for f in os.listdir(folder) if f == "core" or f.startswith("core.")]
    return found


def core_of_mine():
    """The same search, where a process of one's own may dump core."""
    with tempfile.TemporaryDirectory() as folder:
        pid = os.fork()
        if pid == 0:
            os.chdir(folder)
            _, hard = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
            os.kill(os.getpid(), signal.SIGSEGV)
        os.waitpid(pid, 0)
        return cores((folder,))


def core_dumps():
    def crash():
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGQUIT):
            for pid in bridges():
                with contextlib.suppress(PermissionError):
                    os.kill(pid, number)
            in_time(lambda: bridges() and is_answered(HEALTH), 10)
        return cores(("/", "/tmp", "/workspace", "/dev/shm", os.path.expanduser("~"), "/usr/local/bin"))

    probe(4, "a crash leaves a core", crash)


def steal_the_port():
    def steal():
        got = []
        for family, where in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.2")):
            for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                with contextlib.suppress(OSError), socket.socket(family) as s:
                    if option:
                        s.setsockopt(socket.SOL_SOCKET, option, 1)
                    s.bind((where, 8080))
                    s.listen()
                    if where != "127.0.0.2":
                        got.append((where, option))
        return got

    def another_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
        return True

    def while_it_is_down():
        got = steal()
        for _ in range(10):
            for pid in bridges():
                try:
                    os.kill(pid, signal.SIGKILL)
                except PermissionError:
                    return got
                except ProcessLookupError:
                    pass
            got += steal()
        return got
    attempt(17, "stealing the bridge's port", steal, another_port)
    attempt(17, "stealing it while the bridge is killed", while_it_is_down, another_port)
    attempt(17, "a killed bridge stays away", lambda: "" if in_time(lambda: is_answered(HEALTH), 10) else "it did not come back", a_killed_server_stays_away)


def a_killed_server_stays_away():
    """The same question to a server of one's own, before and after it is killed: nobody starts it again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = listener.getsockname()
        pid = os.fork()
        if pid == 0:
            while True:
                with listener.accept()[0] as c:
                    c.recv(4096)
                    c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    ask = lambda: is_answered(HEALTH, make=lambda: socket.create_connection(where, 2), wait=2)  # noqa: E731
    alive = in_time(ask, 5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return alive and not in_time(ask, 1)


def stop_the_bridge():
    def stop():
        for _ in range(5):
            for pid in bridges():
                with contextlib.suppress(PermissionError, ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
        return "" if in_time(lambda: is_answered(HEALTH, wait=2), 10) else "it stayed stopped"
    with victim() as mine:
        def stopped():
            os.kill(mine, signal.SIGSTOP)
            return in_time(lambda: ") T" in open(f"/proc/{mine}/stat").read(), 2)
        attempt(17, "stopping the bridge", stop, stopped)


def own_bridge():
    """Another init, started by the agent with a bridge of its own, learns nothing of the session."""
    def run(program):
        ran = subprocess.run(["/usr/local/bin/keyhole-init", "--subreaper", "--single-uid", "--bridge", program, "--", "env"], capture_output=True,
                             text=True, env={"LLM_PROXY_PORT": "8099", "PATH": os.environ["PATH"]}, timeout=20)
        return ran.stdout + ran.stderr
    attempt(17, "running init again with a bridge of one's own", lambda: "kh_" in run("/bin/cat") and "a token", lambda: run("/usr/local/bin/keyhole-bridge"))


def signals_to_init():
    def shoot():
        for number in range(1, 65):
            if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, 32, 33):
                signal.signal(number, signal.SIG_IGN)
        for number in range(1, 65):
            with contextlib.suppress(PermissionError):
                os.kill(1, number)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(PermissionError):
                os.kill(1, number)
        return "" if in_time(lambda: is_answered(HEALTH), 10) else "the sandbox no longer answers"

    def every_signal_arrives():
        """Each of them ends or stops a process of one's own, but those that are ignored by default."""
        harmless = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
        missed = []
        for number in set(range(1, 65)) - harmless:
            pid = os.fork()
            if pid == 0:
                for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                    signal.signal(each, signal.SIG_DFL)
                while True:
                    os.kill(os.getpid(), number)
            _, how = os.waitpid(pid, os.WUNTRACED)
            if os.WIFSTOPPED(how):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            elif not os.WIFSIGNALED(how) or os.WTERMSIG(how) != number:
                missed.append(number)
        return not missed
    attempt(36, "all 64 signals to PID 1", shoot, every_signal_arrives)


def zombies():
    def count():
        n = 0
        for p in os.listdir("/proc"):
            if p.isdigit():
                with contextlib.suppress(OSError):
                    n += ") Z" in open(f"/proc/{p}/stat").read()
        return n

    def orphans():
        code = ("import os\nfor _ in range(500):\n  if os.fork() == 0:\n    if os.fork() == 0: os._exit(0)\n    os._exit(0)\n  os.wait()\n")
        subprocess.run(["python3", "-c", code], check=True)
        return "" if in_time(lambda: count() == 0, 3) else f"{count()} zombies are left"

    def a_zombie_is_seen():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        seen = in_time(lambda: count() > 0, 2)
        os.waitpid(pid, 0)
        return seen
    attempt(36, "500 orphans by double fork", orphans, a_zombie_is_seen)


def run():
    read_and_trace()
    if MODE != "three uids":
        race_the_start()
        core_dumps()
    steal_the_port()
    stop_the_bridge()
    own_bridge()
    zombies()


def last():
    """Ignores every signal from here on, so nothing comes after it."""
    signals_to_init()
