"""What the attackers in the sandbox share: how an attempt is told, raw HTTP, raw system calls. Results are JSON lines on stdout.

An attempt says what it got; nothing is "held". Its oracle is the same probe where it should succeed: beside it, or (for probes)
where all is allowed: the driver runs them there as well.
"""
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
MODE = os.environ.get("ATTACK_MODE", "")
ROOT_AGENT = MODE == "root agent"
SOCKET = "/llm-sock/llm.sock"


def tell(kind, number, name, **facts):
    print(json.dumps({"kind": kind, "number": number, "name": name, **facts}), flush=True)


def outcome(function, *arguments):
    """(what it returned, error name or "")"""
    try:
        return function(*arguments), ""
    except OSError as error:
        return None, type(error).__name__ + f" {error.errno}"
    except Exception as error:  # an attacker's script that breaks is a finding of its own
        return None, f"!{type(error).__name__}: {error}"


def attempt(number, name, try_it, oracle):
    """oracle() is true where the probe itself works; try_it() returns loot, or something false."""
    works, why = outcome(oracle)
    loot, broke = outcome(try_it)
    tell("attempt", number, name, oracle=bool(works), oracle_error=why, loot=str(loot)[:600] if loot else "",
         error=broke if broke.startswith("!") else "")


def probe(number, name, try_it):
    """True: it worked. It counts where it works for somebody to whom all is allowed."""
    worked, error = outcome(try_it)
    tell("probe", number, name, worked=bool(worked), error=error)


def report(number, name, **facts):
    tell("report", number, name, **facts)


def call(number, *arguments):
    """A raw system call; raises OSError as Python's own do."""
    result = libc.syscall(ctypes.c_long(number), *(a if isinstance(a, (ctypes._SimpleCData, ctypes.Array, bytes)) or a is None
                                                   else ctypes.c_long(a) for a in arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def forked(function):
    """function() in a child: its truth. For what would change or end this process."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if function() else 1)
        except OSError:
            os._exit(2)
        except BaseException:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def in_time(function, seconds):
    """Whether it becomes true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if function():
            return True
        time.sleep(0.01)  # polls what offers no event
    return False


def connect_bridge(timeout=5.0):
    return socket.create_connection(("127.0.0.1", 8080), timeout)


def connect_socket(path=SOCKET):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    return s


def talk(request, make=connect_bridge, wait=5.0):
    answer = b""
    with contextlib.suppress(OSError), make() as s:
        s.settimeout(wait)
        s.sendall(request)
        while len(answer) < 1 << 20:
            piece = s.recv(65536)
            if not piece:
                break
            answer += piece
    return answer


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}'
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def post(*lines, body=BODY, path=b"/v1/chat/completions", length=True, close=True):
    head = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-type: application/json", *lines]
    head += [b"content-length: %d" % len(body)] if length else []
    head += [b"connection: close"] if close else []
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def is_answered(request=None, make=connect_bridge, wait=10.0):
    return statuses(talk(post() if request is None else request, make, wait))[:1] == [200]


def others():
    """PID 1 and the bridge: (pid, name)."""
    mine = {os.getpid(), os.getppid()} - {1}
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        with contextlib.suppress(OSError):
            name = open(f"/proc/{pid}/comm").read().strip()
            if (pid == 1 or name.startswith("keyhole")) and pid not in mine:
                yield pid, name


def bridges():
    return [pid for pid, name in others() if name == "keyhole-bridge"]


@contextlib.contextmanager
def victim():
    """A process of one's own to try a probe on; its environment holds CANARY-OF-MINE."""
    child = subprocess.Popen(["/bin/sh", "-c", "echo; while :; do sleep 5; done"], stdout=subprocess.PIPE, start_new_session=True,
                             env={"MINE": "CANARY-OF-MINE", "PATH": "/usr/bin:/bin"})
    child.stdout.read(1)  # it has been executed
    try:
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
