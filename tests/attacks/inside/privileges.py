"""Attacks on what the agent may do (C4 30 and 31): gaining privileges, devices, the kernel's settings."""
import contextlib
import ctypes
import fcntl
import os
import pty
import resource
import subprocess

from kit import MODE, ROOT_AGENT, attempt, call, forked, libc, probe

def descriptors():
    return [fd for fd in range(3, 256) if os.path.lexists(f"/proc/self/fd/{fd}")]


INHERITED = descriptors()  # before this program opens anything
SYS_OPEN_BY_HANDLE = 304 if os.uname().machine == "x86_64" else 265
SETUID_PROGRAM = "/usr/local/bin/id-setuid"        # -rwsr-xr-x root, from the image
CAPABLE_PROGRAM = "/usr/local/bin/python-capable"  # cap_net_raw+ep in the file


def runs_as_root():
    return subprocess.run([SETUID_PROGRAM, "-u"], capture_output=True, text=True).stdout.strip() == "0" and not ROOT_AGENT


def capabilities_gained():
    done = subprocess.run([CAPABLE_PROGRAM, "-c", "print([l for l in open('/proc/self/status') if l.startswith('CapEff')][0].split()[1])"], capture_output=True, text=True)
    return done.returncode == 0 and int(done.stdout.strip() or "0", 16) != 0


def status(name):
    return next(line.split(":", 1)[1].strip() for line in open("/proc/self/status") if line.startswith(name + ":"))


def terminal_input():
    """TIOCSTI on a terminal of one's own, leader of its session: types a character that is then read."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            fcntl.ioctl(0, 0x5412, b"x")
            os._exit(0)
        except OSError:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(master)
    return code == 0


def can_write(path):
    fd = os.open(path, os.O_WRONLY)
    os.close(fd)
    return True


def make_device():
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/tmp/device")
    os.mknod("/tmp/device", 0o20666, os.makedev(1, 3))
    with open("/tmp/device", "rb"):
        return True


def probes():
    probe_rights()
    probe(30, "a set-user-id program", runs_as_root)
    probe(30, "a program with file capabilities", capabilities_gained)
    if not ROOT_AGENT:
        probe(31, "setresuid(0)", lambda: forked(lambda: os.setresuid(0, 0, 0) is None))
        probe(31, "opening /proc/1/oom_score_adj for writing", lambda: can_write("/proc/1/oom_score_adj"))
    probe(31, "setgroups", lambda: forked(lambda: os.setgroups([0, 27]) is None))
    probe(31, "TIOCSTI", terminal_input)
    probe(31, "mknod", make_device)
    probe(31, "mount", lambda: forked(lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0))
    probe(31, "chroot", lambda: forked(lambda: os.chroot("/tmp") is None))
    probe(31, "raising a hard limit", lambda: forked(raise_limit))
    probe(31, "a negative nice value", lambda: forked(lambda: os.nice(-5) < 0))
    probe(31, "setting the host's name", lambda: forked(lambda: libc.sethostname(b"mine", 4) == 0))
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/overcommit_memory"):
        probe(31, f"opening {path} for writing", lambda path=path: can_write(path))
    probe(31, "a group of processes in the cgroup tree", lambda: os.mkdir("/sys/fs/cgroup/mine") is None and os.rmdir("/sys/fs/cgroup/mine") is None)
    probe(31, "open_by_handle_at", by_handle)
    probe(31, "reading a disk", read_disk)


def raise_limit():
    for limit in (100, 200):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    return True


def by_handle():
    handle = ctypes.create_string_buffer(8 + 128)
    ctypes.c_uint.from_buffer(handle).value = 128
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, b"/tmp", handle, ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    fd = os.open("/tmp", os.O_RDONLY)
    os.close(call(SYS_OPEN_BY_HANDLE, fd, handle, os.O_RDONLY))
    return True


def read_disk():
    """A node for it is made where none is there."""
    number = next(line.split()[:2] for line in open("/proc/partitions").read().splitlines()[2:])
    path = "/tmp/disk"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mknod(path, 0o60600, os.makedev(*map(int, number)))
    try:
        with open(path, "rb") as f:
            return len(f.read(1)) == 1
    finally:
        os.unlink(path)


# Emptying the bounding set takes SETPCAP, which nobody gives PID 1 for it: what was given (KILL, SETGID, SETUID) stays in it, and nothing can come of
# it without new privileges. outside.py shows it empty where SETPCAP was given too.
GIVEN = 0xE0 if MODE == "three uids" else 0


def rights():
    """Whatever is more than nothing."""
    left = [name for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") if int(status(name), 16)]
    if int(status("CapBnd"), 16) & ~GIVEN:
        left.append("CapBnd")
    if status("NoNewPrivs") != "1":
        left.append("new privileges")
    if status("Seccomp") != "2":
        left.append("no seccomp filter")
    if set(map(int, status("Groups").split())) - {os.getgid()}:
        left.append("groups " + status("Groups"))
    return left


def probe_rights():
    probe(30, "rights that are left", rights)
    probe(30, "a capability in CapBnd", lambda: int(status("CapBnd"), 16) & ~GIVEN)
    probe(30, "a capability in CapEff", lambda: int(status("CapEff"), 16))


def run():
    probes()

    def system_files():
        got = []
        for path in ("/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/resolv.conf", "/etc/ld.so.preload", "/etc/profile", "/usr/local/bin/keyhole-init",
                     "/usr/local/bin/keyhole-bridge", "/usr/bin/python3", "/bin/sh", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs"):
            with contextlib.suppress(OSError):
                if can_write(path):
                    got.append(path)
        for folder in ("/", "/etc", "/usr/local/bin", "/usr/lib", "/root", "/proc/sys", "/sys/fs/cgroup", "/llm-sock"):
            with contextlib.suppress(OSError):
                os.close(os.open(folder + "/made", os.O_CREAT | os.O_WRONLY))
                got.append(folder)
        return got

    def a_file_of_mine():
        os.close(os.open("/tmp/made", os.O_CREAT | os.O_WRONLY))
        return can_write("/tmp/made")
    attempt(31, "writing the system's files and directories", system_files, a_file_of_mine)
    with open("/dev/null") as mine:
        attempt(31, "inherited descriptors", lambda: INHERITED, lambda: mine.fileno() in descriptors())
    attempt(31, "a loader's variable from the container", lambda: [n for n in os.environ if n.startswith("LD_") or n in ("BASH_ENV", "NODE_OPTIONS")], lambda: "PATH" in os.environ)


