"""Floods (C4 35): argument 1 is which. Each runs for a few seconds while the driver measures a neighbour; each must leave the sandbox's
own bridge answering afterwards."""
import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time

from kit import HEALTH, attempt, connect_bridge, connect_socket, in_time, is_answered, post, report, tell

SECONDS = float(os.environ.get("FLOOD_SECONDS", "4"))


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def hold(make, first, count, drip=b""):
    """Many connections that begin and never end."""
    crowd, end = [], time.monotonic() + SECONDS
    while len(crowd) < count and time.monotonic() < end:
        try:
            s = make()
            s.setblocking(False)
            if first:
                s.send(first)
            crowd.append(s)
        except OSError:
            break
    while time.monotonic() < end:
        for s in crowd if drip else []:
            with contextlib.suppress(OSError):
                s.send(drip)
        time.sleep(0.2)
    held = len(crowd)
    for s in crowd:
        s.close()
    return held


def slow_heads():
    return hold(connect_bridge, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n", 3000, b"x: y\r\n")


def half_requests_again():
    """More than the proxy takes, each begun anew as soon as it is closed."""
    crowd, begun, end = [], 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        alive = []
        for s in crowd:
            try:
                if s.recv(1000):
                    alive.append(s)
                    continue
            except BlockingIOError:
                alive.append(s)
                continue
            except OSError:
                pass
            s.close()
        crowd = alive
        with contextlib.suppress(OSError):
            while len(crowd) < 2600 and time.monotonic() < end:
                s = (connect_bridge, connect_socket)[begun % 2]()
                s.setblocking(False)
                s.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: ")
                crowd.append(s)
                begun += 1
    for s in crowd:
        s.close()
    return begun


def slow_bodies():
    return hold(connect_bridge, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{", 1000, b" ")


def idle():
    return hold(connect_bridge, b"", 10_000)


def bare_socket():
    return hold(connect_socket, b"", 10_000)


def half_prefaces():
    return hold(connect_socket, b"\r\n\r\n\0\r\nQUIT\n\x21\x00\xff", 3000, b"\0")


def reconnecting():
    """Connections that are opened and reset as fast as it goes."""
    count, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            s = connect_bridge()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.send(b"POST ")
            s.close()
            count += 1
    return count


def never_reading():
    """Asks for long answers and reads none of them."""
    crowd, end = [], time.monotonic() + SECONDS
    body = b'{"model":"gpt-4o-mini","stream":true,"max_tokens":4000,"messages":[{"role":"user","content":"x"}],"metadata":{"demo":"words=20000"}}'
    for _ in range(64):
        with contextlib.suppress(OSError):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", 8080))
            s.sendall(post(body=body))
            crowd.append(s)
    time.sleep(max(0, end - time.monotonic()))
    for s in crowd:
        s.close()
    return len(crowd)


def allowed_requests():
    """No attack either: good requests, as many at once as a busy agent may have."""
    return requests(32)


def requests(at_once=600):
    """Many good requests at once, by default more than a session may have in flight."""
    count, end, crowd = 0, time.monotonic() + SECONDS, []
    while time.monotonic() < end:
        while len(crowd) < at_once:
            try:
                s = connect_bridge()
                s.sendall(post())
                crowd.append(s)
            except OSError:
                break
        ready, _, _ = select.select([s for s in crowd if s.fileno() < 1024], [], [], 0.2)
        for s in ready:
            s.close()
            crowd.remove(s)
            count += 1
    for s in crowd:
        s.close()
    return count


def forks():
    code = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n"
    bomb = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    time.sleep(SECONDS)
    counted = sum(p.isdigit() for p in os.listdir("/proc"))
    while True:
        try:
            os.killpg(bomb.pid, signal.SIGKILL)
        except ProcessLookupError:
            break
        if bomb.poll() is not None and not any_of_group(bomb.pid):
            break
    return counted


def any_of_group(group):
    for p in os.listdir("/proc"):
        if p.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    return True
    return False


def memory():
    code = "x = []\nwhile True: x.append(bytearray(16 << 20))\n"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=60)
    return done.returncode == -9 or done.returncode == 1


def descriptors():
    """As many sockets, pipes and files as the limit gives."""
    opened = []
    with contextlib.suppress(OSError):
        while True:
            opened += socket.socketpair()
            opened.append(socket.socket())
    n = len(opened)
    time.sleep(SECONDS / 2)
    for s in opened:
        s.close()
    return n


def work():
    """No attack: as busy as the sandbox may be, and asks what it may ask. What a neighbour is compared beside."""
    count, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        count += is_answered()
        sum(range(200_000))
    return count


FLOODS = {"work": (work, 1), "allowed requests": (allowed_requests, 1), "slow heads": (slow_heads, 500), "half requests, again and again": (half_requests_again, 2400),
          "slow bodies": (slow_bodies, 300), "idle connections": (idle, 1000), "the bare socket": (bare_socket, 1000), "half prefaces": (half_prefaces, 1000),
          "resets": (reconnecting, 300), "answers that nobody reads": (never_reading, 32), "more requests than are allowed": (requests, 100),
          "forks": (forks, 50), "memory": (memory, 1), "descriptors": (descriptors, 500)}


def run(name):
    flood, least = FLOODS[name]
    raise_descriptors()
    tell("started", 35, name)
    size = flood()
    report(35, f"flood: {name}", size=int(size))
    attempt(35, f"flood: {name}: the sandbox's own bridge afterwards", lambda: "" if in_time(lambda: is_answered(wait=3), 20) else "no answer within 20 s", lambda: size >= least)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        assert is_answered(HEALTH)
        run(each)
