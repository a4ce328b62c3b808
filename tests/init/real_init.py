"""The real keyhole-init: as PID 1 of new pid, mount and network namespaces where that is allowed, else as a subreaper."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

INIT = os.environ.get("KEYHOLE_INIT", "")
BRIDGE = os.environ.get("KEYHOLE_BRIDGE", "")
LIMIT = 20.0
TOKEN = "kh_canary_0123456789abcdef"
# One that every uid may run: the interpreter of these tests may live in somebody's home.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin") or sys.executable
# Runs its arguments as uid 1000 in the same process, after what needs root: the loopback interface of a new namespace is down.
AS_USER = [PYTHON, "-c",
           "import fcntl, os, socket, struct, sys\n"
           "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x49) + bytes(22))\n"
           "os.execvp('setpriv', ['setpriv', '--reuid', '1000', '--regid', '1000', '--clear-groups', '--bounding-set=-all', *sys.argv[1:]])\n"]
UNSHARE = ["unshare", "--pid", "--mount-proc", "--fork", "--net", "--kill-child"]


def can_unshare():
    return os.geteuid() == 0 and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


def children_of(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_until(condition, what):
    deadline = time.monotonic() + LIMIT
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.005)  # polls a condition of another process that offers no event
    return result


class Proxy:
    """Answers every request on llm.sock with 200 and keeps what it was sent."""

    def __init__(self, directory, mode=0o666):
        self.received = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(directory / "llm.sock"))
        os.chmod(directory / "llm.sock", mode)
        self.listener.listen(128)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data.partition(b"QUIT\n")[2] and not data.startswith(b"GET"):
                part = connection.recv(4096)
                if not part:
                    return
                data += part
            self.received.append(data)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")

    def stop(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class InitTest(unittest.TestCase):
    needs_root = True

    @classmethod
    def setUpClass(cls):
        if not INIT or not BRIDGE:
            raise unittest.SkipTest("KEYHOLE_INIT and KEYHOLE_BRIDGE do not name the programs")
        cls.namespaces = can_unshare()
        if cls.needs_root and not cls.namespaces:
            raise unittest.SkipTest("needs root and new namespaces")

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="kh-"))
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.directory.chmod(0o755)
        for program in (INIT, BRIDGE):
            copy = self.directory / os.path.basename(program)
            shutil.copy(program, copy)
            copy.chmod(0o711)
        self.socket_directory = self.directory / "llm-sock"
        self.socket_directory.mkdir(mode=0o755)

    def start_proxy(self, **more):
        proxy = Proxy(self.socket_directory, **more)
        self.addCleanup(proxy.stop)
        return proxy

    def environment(self, more):
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "KEYHOLE_PROXY_WAIT": "0", "AGENT_WORKDIR": "/"}
        if (self.socket_directory / "llm.sock").exists():
            environment["LLM_PROXY_SOCKET"] = str(self.socket_directory / "llm.sock")
        if self.namespaces:
            environment.update(AGENT_UID="1000", AGENT_GID="1000")
        environment.update(more)
        return {name: value for name, value in environment.items() if value is not None}

    def start(self, *command, options=(), env=None, before=(), own=False, **more):
        """`own`: the command is init's own word, doctor."""
        words = [*before, str(self.directory / "keyhole-init")]
        if self.namespaces:
            words = [*UNSHARE, *words]
        else:
            words += ["--subreaper"]
        process = subprocess.Popen([*words, *options, *([] if own else ["--"]), *command], env=self.environment(env or {}), text=True, **more)
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.wait()))
        return process

    def run_init(self, *command, **more):
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def pid_of_init(self, process):
        """Seen from outside."""
        if not self.namespaces:
            return process.pid
        return wait_until(lambda: children_of(process.pid), "unshare has a child")[0]

    def find_child(self, init, name):
        def find():
            for child in children_of(init):
                with contextlib.suppress(OSError):
                    if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == name:
                        return child
            return None
        return wait_until(find, f"{name} runs")

    def signal_init(self, process, number=signal.SIGTERM):
        os.kill(self.pid_of_init(process), number)
