"""The real keyhole-bridge between a socket that plays the agent and one that plays the proxy."""

import contextlib
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ports import free_port  # noqa: E402

BRIDGE = os.environ.get("KEYHOLE_BRIDGE", "")
LIMIT = 20.0  # seconds after which something is considered never to happen
NOBODY = 65534


def receive_exactly(sock, size):
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 16))
        if not part:
            raise EOFError(f"{size} bytes missing")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive_all(sock):
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def wait_for(sock, events, limit=LIMIT):
    """The poll events that came, 0 when none of them did in time."""
    poll = select.poll()
    poll.register(sock, events)
    ready = poll.poll(limit * 1000)
    return ready[0][1] if ready else 0


def hung_up(sock, limit=LIMIT):
    """Whether the other end of this unix socket is closed altogether."""
    return bool(wait_for(sock, 0, limit) & select.POLLHUP)


def reset_on_close(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Proxy:
    """A listening unix socket."""

    def __init__(self, path, mode=0o666):
        self.path = str(path)
        self.start()
        os.chmod(self.path, mode)

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(os.path.dirname(self.path), os.O_PATH | os.O_DIRECTORY)
        try:
            self.listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(self.path)}")
        finally:
            os.close(directory)
        self.listener.listen(4096)
        self.listener.settimeout(LIMIT)

    def accept(self):
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT)
        return connection

    def accept_speaker(self):
        """The first connection that says something, and what it said: agents that left may have come through as well."""
        while True:
            connection = self.accept()
            if said := connection.recv(4096):
                return connection, said
            connection.close()

    def stop(self):
        self.listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


class BridgeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not BRIDGE:
            raise unittest.SkipTest("KEYHOLE_BRIDGE does not name the program")

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="kh-"))
        self.directory.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.path = self.directory / "llm.sock"
        self.process = None

    def start_proxy(self, path=None, **more):
        proxy = Proxy(path or self.path, **more)
        self.addCleanup(proxy.stop)
        return proxy

    def start_bridge(self, *options, token=None, path=None, host="127.0.0.1", prefix=(), hand_off="no", **more):
        """Waits for the ready byte. The port is self.port."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.family, self.host, self.port = family, host, free_port(family, host)
        ready_read, ready_write = os.pipe()
        passed = [ready_write]
        words = [*prefix, BRIDGE, "--socket", str(path or self.path), "--ready-fd", str(ready_write)]
        words += ["--hand-off", hand_off, "--listen", f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}", *options]
        if token is not None:
            token_read, token_write = os.pipe()
            os.write(token_write, token)
            os.close(token_write)
            passed.append(token_read)
            words += ["--token-fd", str(token_read)]
        self.process = subprocess.Popen(words, pass_fds=passed, stderr=subprocess.PIPE, **more)
        for fd in passed:
            os.close(fd)
        self.addCleanup(self.stop_bridge)
        with os.fdopen(ready_read, "rb") as ready:
            self.assertIn(ready.read(1), (b"+", b"-"), "the bridge ended before it was ready")

    def stop_bridge(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        self.process.stderr.close()

    def connect(self, receive_buffer=None):
        agent = socket.socket(self.family, socket.SOCK_STREAM)
        self.addCleanup(agent.close)
        if receive_buffer:
            agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        agent.settimeout(LIMIT)
        agent.connect((self.host, self.port))
        return agent

    def connect_through(self, proxy):
        agent = self.connect()
        upstream = proxy.accept()
        self.addCleanup(upstream.close)
        return agent, upstream

    def memory_kib(self, field="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {field}")
