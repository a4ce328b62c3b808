"""The world of the attacks: a real proxy with a demo provider behind it, sessions, real containers, and a scoreboard."""
import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
BIN = ROOT / "build/release/bin"
sys.path.insert(0, str(ROOT / "tests/container"))
from parts import engine  # noqa: E402, F401 (run asks for it here)

BASE_IMAGE = "keyhole-attacks-base"
# Whatever an agent is, it is in a container of this kind.
HARDENED = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=256"]
THREE_CAPABILITIES = [f"--cap-add={c}" for c in ("SETUID", "SETGID", "KILL")]
MODES = {"three uids": THREE_CAPABILITIES, "one uid": ["--user=1000:1000"], "root agent": ["-e", "KEYHOLE_SINGLE_UID=1"]}

class Board:
    """Every attack by name: held, or what it got. An attack whose oracle does not work proves nothing and fails."""

    def __init__(self):
        self.lock, self.passed, self.failed, self.unproven, self.notes = threading.Lock(), 0, [], [], []

    def __call__(self, name, ok, detail=""):
        with self.lock:
            if ok:
                self.passed += 1
            else:
                self.failed.append(name)
            if not ok or os.environ.get("VERBOSE"):
                print(f"{'ok  ' if ok else 'FAIL'}  {name}  {detail}", flush=True)
        return ok

    def cannot_be_proven(self, name, why):
        with self.lock:
            self.unproven.append(f"{name} ({why})")

    def note(self, text):
        with self.lock:
            print("      " + text, flush=True)

    def summary(self, name, before):
        with self.lock:
            print(f"{'ok  ' if len(self.failed) == before[1] else 'FAIL'}  {name}: {self.passed - before[0]} held, {len(self.failed) - before[1]} did not", flush=True)

    def mark(self):
        return self.passed, len(self.failed)


def wait_for(what, ready, seconds=30):
    end = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)  # polls another process that offers no event
    return found


def told(name, secret):
    return f"{name}:{len(secret)}:{hashlib.sha256(secret.encode()).hexdigest()}"


class Listeners:
    """What the host listens on, to be found or not found from a container."""

    def __init__(self):
        self.tcp, self.udp, self.abstract = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
        self.tcp.bind(("127.0.0.1", 0))
        self.tcp.listen(64)
        self.udp.bind(("127.0.0.1", 0))
        self.name = f"keyhole-attacks-{os.getpid()}"
        self.abstract.bind("\0" + self.name)
        self.abstract.listen(64)
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self):
        with contextlib.suppress(OSError):
            while True:
                _, who = self.udp.recvfrom(64)
                self.udp.sendto(b"answer", who)

    def variables(self):
        return [f"HOST_TCP={self.tcp.getsockname()[1]}", f"HOST_UDP={self.udp.getsockname()[1]}", f"HOST_ABSTRACT={self.name}"]


class World:
    def __init__(self, docker, board):
        self.docker, self.board = docker, board
        self.name = f"keyhole-attacks-{os.getpid()}"
        self.image = self.name
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="kh-attacks-"))
        self.work.chmod(0o755)
        self.keys = {p: prefix + secrets.token_hex(24) for p, prefix in (("openai", "sk-proj-"), ("anthropic", "sk-ant-"))}
        self.processes, self.containers = [], []
        for folder in ("sockets", "admin", "state", "own", "config", "shared"):
            (self.work / folder).mkdir()
        (self.work / "shared").chmod(0o777)
        self.listeners = Listeners()
        self.start_provider()
        self.proxy = None
        self.start_proxy()
        self.build()

    # ---- the host's side

    def start_provider(self):
        """Two: what a flood of one does to the provider's own process is not the other's trouble."""
        self.provider_urls = {}
        for api in self.keys:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests/demo_provider/demo_provider.py"), "--port", "0", "--openai-key", self.keys["openai"],
                 "--anthropic-key", self.keys["anthropic"]], stdout=subprocess.PIPE, text=True)
            self.processes.append(process)
            self.provider_urls[api] = json.loads(process.stdout.readline())["url"]

    def configure(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.metrics = f"127.0.0.1:{s.getsockname()[1]}"
        self.config = self.work / "config/keyhole.toml"
        self.config.write_text(
            "".join(f'[providers.{api}]\nbase_url = "{url}/v1"\n' for api, url in self.provider_urls.items()) +
            f'[agents]\nsocket = "{self.work}/sockets/llm.sock"\nsocket_mode = "0666"\nsession_sockets = "{self.work}/own"\n'
            f'[admin]\nsocket = "{self.work}/admin/admin.sock"\n[state]\ndirectory = "{self.work}/state"\n[metrics]\nlisten = "{self.metrics}"\n'
            # So few that one sandbox's flood has them all.
            '[limits]\nmax_connections = 2000\n')

    def proxy_command(self):
        return [str(BIN / "keyhole"), "serve", "-c", str(self.config)]

    def start_proxy(self, wait=True):
        if self.proxy is None:
            self.configure()
        self.proxy = subprocess.Popen(self.proxy_command(), env=self.proxy_environment(), stderr=open(self.work / "log", "a"))
        if wait:
            wait_for("the proxy's start", self.is_ready)

    def proxy_environment(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith("KEYHOLE_")}
        return {**own, "OPENAI_API_KEY": self.keys["openai"], "ANTHROPIC_API_KEY": self.keys["anthropic"]}

    def is_ready(self):
        if self.proxy.poll() is not None:
            raise RuntimeError("the proxy ended:\n" + (self.work / "log").read_text()[-2000:])
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://{self.metrics}/readyz", timeout=1).status == 200
        return False

    def keyhole(self, *words):
        done = subprocess.run([str(BIN / "keyhole"), *words, "--admin", str(self.work / "admin/admin.sock")], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"keyhole {' '.join(words)}: {done.stderr}")
        return done.stdout

    def session(self, *options):
        return json.loads(self.keyhole("session", "create", "--json", *options))

    def rows(self, session):
        found = json.loads(self.keyhole("requests", "--json", "--session", session["id"], "--limit", "1000"))
        return found["requests"] if isinstance(found, dict) else found

    # ---- containers

    def run(self, *words, check=True, timeout=180, **options):
        done = subprocess.run([self.docker, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", timeout=timeout, **options)
        if check and done.returncode:
            raise RuntimeError(f"{self.docker} {' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def build(self):
        context = self.work / "image"
        context.mkdir()
        # Two steps, so that the tools stay when the programs change.
        (context / "Dockerfile.base").write_text(
            "FROM debian:bookworm-slim\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 >/dev/null && rm -rf /var/lib/apt/lists/*\n"
            "RUN groupadd -g 998 keyhole-bridge && useradd -r -u 998 -g 998 -M keyhole-bridge && groupadd -g 1000 agent && useradd -u 1000 -g 1000 -m agent"
            " && mkdir -p /workspace /llm-sock && chown agent:agent /workspace\n")
        self.run("build", "--quiet", "--network=host", "-t", BASE_IMAGE, "-f", context / "Dockerfile.base", context, timeout=600)
        for name in ("keyhole-bridge", "keyhole-init"):
            shutil.copy(BIN / name, context)
            # Whoever cannot read a program gets a process that he cannot read: not even root without capabilities shall.
            (context / name).chmod(0o111)
        shutil.copytree(HERE / "inside", context / "inside", ignore=shutil.ignore_patterns("__pycache__"))
        # A set-user-id program and one with file capabilities (cap_net_raw) for the agent to try.
        capability = "b'\\1\\0\\0\\2' + (1 << 13).to_bytes(4, 'little') + bytes(12)"
        (context / "Dockerfile").write_text(
            f"FROM {BASE_IMAGE}\nRUN cp /usr/bin/id /usr/local/bin/id-setuid && chmod 4755 /usr/local/bin/id-setuid && cp /usr/bin/python3.11 /usr/local/bin/python-capable"
            f" && python3 -c \"import os; os.setxattr('/usr/local/bin/python-capable', 'security.capability', {capability})\"\n"
            'COPY keyhole-bridge keyhole-init /usr/local/bin/\nCOPY inside /attacks\nENTRYPOINT ["/usr/local/bin/keyhole-init"]\n')
        self.run("build", "--quiet", "--network=host", "-t", self.image, context, timeout=600)

    def sandbox(self, name, options=(), session=None, own=None, sockets=True, hardened=HARDENED, workspace=True):
        """The words before the image of one sandbox."""
        self.containers.append(f"{self.name}-{name}")
        words = ["--name", f"{self.name}-{name}", *hardened, "--tmpfs=/tmp:exec", "--tmpfs=/home/agent:uid=1000,gid=1000", *options]
        if own:
            words += ["--mount", f"type=bind,src={os.path.dirname(own['socket'])},dst=/llm-sock,readonly"]
        elif sockets:
            words += ["--mount", f"type=bind,src={self.work}/sockets,dst=/llm-sock,readonly"]
        if session:
            words += ["-e", f"SESSION_TOKEN={session['token']}"]
        if workspace:
            folder = self.work / f"workspace-{name}"
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
            words += ["-v", f"{folder}:/workspace"]
        return words

    def lines(self, *words, **options):
        """JSON lines of a container that attacks."""
        done = self.run("run", "--rm", *words, check=False, **options)
        found = []
        for line in done.stdout.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found, done

    def pid_of(self, name):
        return int(self.run("inspect", "-f", "{{.State.Pid}}", f"{self.name}-{name}").stdout)

    def close(self):
        if self.containers:
            self.run("rm", "-f", "-v", *self.containers, check=False)
        for p in [self.proxy, *reversed(self.processes)]:
            if p:
                p.terminate()
                p.wait()
        self.run("rmi", "-f", self.image, check=False)
        shutil.rmtree(self.work, ignore_errors=True)
