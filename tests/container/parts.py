"""What the container tests share: the engine, images, a demo provider that checks real keys, the proxy's image as a container."""
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
from ports import free_port  # noqa: E402

BIN = ROOT / "build/release/bin"
# What images are called; several checkouts on one engine choose different names.
NAME = os.environ.get("KEYHOLE_TEST_NAME", "keyhole-test")
# Images that are there are taken as they are, for whoever works on a test.
REUSE = os.environ.get("KEYHOLE_TEST_REUSE") == "1"


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, name, ok, detail=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        print(f"{'ok  ' if ok else 'FAIL'}  {name}  {detail}", flush=True)
        return bool(ok)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def engine():
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    return None


def wait_for(what, ready, seconds=30):
    end = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > end:
            sys.exit(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)
    return found


class Engine:
    """One engine and everything that was made on it, to be removed at the end."""

    def __init__(self, program):
        self.program = program
        self.name = f"{NAME}-{os.getpid()}"
        self.containers, self.volumes = [], []
        # So that what was made is removed when somebody ends the test.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def run(self, *arguments, check=True, **options):
        done = subprocess.run([self.program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        if check and done.returncode:
            sys.exit(f"{self.program} {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def inspect(self, what, thing):
        return json.loads(self.run("inspect", "--type", what, thing).stdout)[0]

    def build(self, tag, dockerfile, *options, context=ROOT):
        if not REUSE or self.run("image", "inspect", tag, check=False).returncode:
            self.run("build", "--network=host", "-q", "-t", tag, "-f", dockerfile, *options, context)
        size = int(self.inspect("image", tag)["Size"])
        print(f"      {tag}: {size / 1e6:.1f} MB", flush=True)
        return size

    def build_base(self, work, base="debian:bookworm-slim"):
        """Debian 12 that trusts what this machine trusts: what BUILD_BASE is for."""
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", work / "ca-certificates.crt")
        (work / "Dockerfile").write_text(f"FROM {base}\nCOPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt\n")
        self.run("build", "-q", "-t", f"{NAME}-build-base", work)
        return f"{NAME}-build-base"

    def volume(self, name):
        name = f"{self.name}-{name}"
        self.run("volume", "create", name)
        self.volumes.append(name)
        return name

    def close(self):
        if self.containers:
            self.run("rm", "-f", "-v", *self.containers, check=False)
        if self.volumes:
            self.run("volume", "rm", "-f", *self.volumes, check=False)


class Provider:
    """The demo provider, with keys that nobody else has."""

    def __init__(self, work):
        self.keys = {"openai": "sk-proj-" + secrets.token_hex(24), "anthropic": "sk-ant-" + secrets.token_hex(24),
                     "gemini": "AIza" + secrets.token_hex(24)}
        self.log = work / "provider.jsonl"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/demo_provider/demo_provider.py"), "--port", "0", "--openai-key", self.keys["openai"],
             "--anthropic-key", self.keys["anthropic"], "--gemini-key", self.keys["gemini"], "--log", str(self.log)], stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def events(self, kind):
        return [e for e in map(json.loads, self.log.read_text().splitlines()) if e["event"] == kind] if self.log.exists() else []

    def configuration(self):
        return "".join(f'[providers.{p}]\nbase_url = "{self.url}/{"v1beta" if p == "gemini" else "v1"}"\n' for p in self.keys)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Proxy:
    """keyhole's own image, run as README says (on the host's network, so that it reaches the demo provider)."""

    def __init__(self, on, image, provider, work):
        self.on, self.name = on, f"{on.name}-proxy"
        self.sockets, self.state = on.volume("sockets"), on.volume("state")
        (work / "keyhole.toml").write_text(provider.configuration())
        self.metrics = f"127.0.0.1:{free_port()}"
        on.containers.append(self.name)
        environment = [*(f"--env={p.upper()}_API_KEY={key}" for p, key in provider.keys.items()), "--env=KEYHOLE_CONFIG=/etc/keyhole.toml",
                       f"--env=KEYHOLE_METRICS_LISTEN={self.metrics}"]
        on.run("run", "-d", "--name", self.name, "--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
               "--tmpfs=/run/keyhole-admin:uid=997,gid=997,mode=0700", "-v", f"{self.sockets}:/run/keyhole", "-v", f"{self.state}:/var/lib/keyhole",
               "-v", f"{work}/keyhole.toml:/etc/keyhole.toml:ro", *environment, image)
        wait_for("the proxy's health check", self.healthy, 60)

    def healthy(self):
        state = self.on.inspect("container", self.name)["State"]
        if not state["Running"]:
            sys.exit("the proxy's container ended:\n" + self.logs())
        return (state.get("Health") or state.get("Healthcheck"))["Status"] == "healthy"

    def keyhole(self, *arguments, **options):
        return self.on.run("exec", self.name, "keyhole", *arguments, **options).stdout.strip()

    def rows(self, **match):
        rows = json.loads(self.keyhole("requests", "--json"))
        rows = rows["requests"] if isinstance(rows, dict) else rows
        return [r for r in rows if all(r.get(k) == v for k, v in match.items())]

    def logs(self):
        done = self.on.run("logs", self.name)
        return done.stdout + done.stderr


# What README's `docker run` of a sandbox says, but for the token and the socket's volume.
SANDBOX = ["--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--security-opt=seccomp={ROOT}/deploy/seccomp.json",
           "--pids-limit=512", "--tmpfs=/tmp", "--tmpfs=/home/agent:uid=1000,gid=1000"]
TWO_USERS = ["--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=KILL"]


def sandbox(on, proxy, image, command, *options, token=None, **more):
    """One sandbox beside the proxy's container; returns what subprocess returns."""
    socket_volume = ["--mount", f"type=volume,src={proxy.sockets},dst=/llm-sock,readonly"]
    return on.run("run", "--rm", *SANDBOX, *socket_volume, *([f"--env=SESSION_TOKEN={token}"] if token else []), *options, image, *command,
                  check=False, **more)
