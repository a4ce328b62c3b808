"""What every black-box test stands on: a demo provider and a real `keyhole serve` with its own directories, started and ended by
the test, asked only through its public faces (sockets, command line, files that operators read).

KEYHOLE_BIN names the program under test (run.py --keyhole sets it). Nothing here sleeps for a fixed time: wait_until() polls for an
event and fails after a deadline."""

import glob
import itertools
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from pathlib import Path

from wire import Client, call

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from ports import free_port  # noqa: E402  (tests/support)

ROOT = HERE.parent.parent
DEMO_PROVIDER = HERE.parent / "demo_provider" / "demo_provider.py"
LONG = bool(os.environ.get("KEYHOLE_LONG"))


def keyhole_binary():
    named = os.environ.get("KEYHOLE_BIN")
    if named:
        return str(Path(named).resolve())
    built = sorted(glob.glob(str(ROOT / "build" / "*" / "**" / "keyhole"), recursive=True), key=os.path.getmtime)
    built = [b for b in built if os.path.isfile(b) and os.access(b, os.X_OK)]
    if not built:
        raise RuntimeError("no keyhole program found: build it, or name it with KEYHOLE_BIN or run.py --keyhole")
    return built[-1]


def wait_until(predicate, seconds=15, what="the condition"):
    """Polls until predicate() is true and returns its value; AssertionError after the deadline."""
    limit = time.monotonic() + seconds
    pause = 0.001
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > limit:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return json.dumps(str(value))


def to_toml(tree):
    """{section: {key: value}} with dotted section names; a list of dicts is an array of tables."""
    lines = []
    for section, content in tree.items():
        for table in content if isinstance(content, list) else [content]:
            if table is None:
                continue
            lines.append(f"[[{section}]]" if isinstance(content, list) else f"[{section}]")
            lines += [f"{key} = {toml_value(value)}" for key, value in table.items()]
            lines.append("")
    return "\n".join(lines)


class Provider:
    """A running demo provider with canary keys of its own."""

    def __init__(self, tls=None, pace=0):
        self.openai_key = "sk-proj-" + secrets.token_hex(24)
        self.anthropic_key = "sk-ant-api03-" + secrets.token_hex(24)
        self.gemini_key = "AIza" + secrets.token_hex(24)
        self.dir = tempfile.mkdtemp(prefix="kh-prov-")
        self.log_path = os.path.join(self.dir, "seen.jsonl")
        self.pace, self.tls = pace, tls
        self.port = 0
        self.start()

    def start(self):
        command = [sys.executable, str(DEMO_PROVIDER), "--port", str(self.port), "--log", self.log_path, "--pace", str(self.pace)]
        if self.tls:
            command += ["--cert", self.tls[0], "--key", self.tls[1]]
        env = {**os.environ, "DEMO_PROVIDER_OPENAI_KEY": self.openai_key, "DEMO_PROVIDER_ANTHROPIC_KEY": self.anthropic_key,
               "DEMO_PROVIDER_GEMINI_KEY": self.gemini_key}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
        ready = self.process.stdout.readline()
        if not ready:
            raise RuntimeError("the demo provider did not start")
        self.port = json.loads(ready)["port"]
        self.url = json.loads(ready)["url"]

    @property
    def where(self):
        return ("127.0.0.1", self.port)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self, event=None, **match):
        try:
            with open(self.log_path, "rb") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return []
        out = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # being written
            if (event is None or entry["event"] == event) and all(entry.get(k) == v for k, v in match.items()):
                out.append(entry)
        return out

    def seen(self, event, request_id, seconds=15):
        """The log line about that request, as soon as it is there."""
        return wait_until(lambda: self.log(event, client_request_id=request_id), seconds, f"{event} of {request_id} at the provider")[0]

    def open_gate(self, name):
        answer = call(self.where, "POST", f"/demo/gates/{name}")
        assert answer.status == 200

    def state(self):
        return call(self.where, "GET", "/demo/state").json()


PRICES = {  # USD per token, in LiteLLM's published format
    "gpt-4o": (2.5e-6, 10e-6, 1.25e-6), "gpt-4o-mini": (0.15e-6, 0.6e-6, 0.075e-6), "gpt-5": (1.25e-6, 10e-6, 0.125e-6),
    "demo-cached": (2e-6, 8e-6, 0.5e-6), "demo-reasoning": (2e-6, 8e-6, 0.5e-6), "demo-cached-reasoning": (2e-6, 8e-6, 0.5e-6),
    "text-embedding-3-small": (0.02e-6, 0, None),
    "claude-sonnet-4-5": (3e-6, 15e-6, 0.3e-6), "claude-cached": (3e-6, 15e-6, 0.3e-6), "claude-cached-thinking": (3e-6, 15e-6, 0.3e-6),
}


def write_prices(path):
    table = {}
    for model, (inp, out, cached) in PRICES.items():
        entry = {"litellm_provider": "anthropic" if model.startswith("claude") else "openai", "mode": "chat",
                 "input_cost_per_token": inp, "output_cost_per_token": out, "max_output_tokens": 100000}
        if cached is not None:
            entry["cache_read_input_token_cost"] = cached
        if model.startswith("claude"):
            entry["cache_creation_input_token_cost"] = inp * 1.25
        table[model] = entry
    Path(path).write_text(json.dumps(table))


class Keyhole:
    """A `keyhole serve` of our own, with every path below one short temporary directory."""

    numbers = itertools.count(1)

    def __init__(self, provider, config=None, env=None, args=(), start=True, user=None):
        self.provider = provider
        self.user = user  # uid to run as
        self.dir = tempfile.mkdtemp(prefix="kh-", dir="/tmp")
        self.socket = f"{self.dir}/agents/llm.sock"
        self.sessions_dir = f"{self.dir}/sessions"
        self.admin_socket = f"{self.dir}/admin/admin.sock"
        self.state_dir = f"{self.dir}/state"
        self.log_path = f"{self.dir}/log.txt"
        self.tcp_port, self.metrics_port = free_port(), free_port()
        self.process = None
        for d in ("agents", "sessions", "admin", "state", "config"):
            os.makedirs(f"{self.dir}/{d}", exist_ok=True)
        write_prices(f"{self.dir}/config/prices.json")
        self.config = {
            "server": {"workers": 2, "shutdown_grace": 5},
            "agents": {"sockets": [self.socket], "tcp": [f"127.0.0.1:{self.tcp_port}"], "session_sockets": self.sessions_dir},
            "admin": {"socket": self.admin_socket},
            "metrics": {"listen": f"127.0.0.1:{self.metrics_port}"},
            "state": {"directory": self.state_dir},
            "log": {"format": "json", "level": "debug"},
            "prices": [{"format": "litellm", "path": f"{self.dir}/config/prices.json"}],
        }
        if provider:
            for name in ("openai", "anthropic"):
                self.config[f"providers.{name}"] = {"base_url": f"{provider.url}/v1", "allow_plain_http": True}
        for section, values in (config or {}).items():
            if values is None:
                self.config.pop(section, None)
            elif isinstance(values, list):
                self.config[section] = values
            else:
                self.config.setdefault(section, {}).update(values)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("KEYHOLE_") and not k.endswith(("_API_KEY", "_BASE_URL"))}
        if provider:
            self.env |= {"OPENAI_API_KEY": provider.openai_key, "ANTHROPIC_API_KEY": provider.anthropic_key}
        self.env |= env or {}
        self.args = list(args)
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    # life
    @property
    def config_path(self):
        return f"{self.dir}/config/keyhole.toml"

    def write_config(self):
        Path(self.config_path).write_text(to_toml(self.config))

    def spawn(self):
        self.write_config()
        more = {}
        if self.user is not None:
            more = {"user": self.user, "group": self.user, "extra_groups": []}
            for folder, _, files in os.walk(self.dir):
                for name in (folder, *(os.path.join(folder, f) for f in files)):
                    os.chown(name, self.user, self.user)
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen([keyhole_binary(), "serve", "--config", self.config_path, *self.args], env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)
        log.close()

    def start(self, seconds=30):
        self.spawn()
        try:
            wait_until(self.ready, seconds, "keyhole to be ready")
        except AssertionError as late:
            raise AssertionError(f"{late}; its log says:\n{self.log_text()[-3000:]}") from None
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"keyhole ended with {self.process.returncode}:\n{self.log_text()[-3000:]}")
        try:
            return call(("127.0.0.1", self.metrics_port), "GET", "/readyz", timeout=5).status == 200 and os.path.exists(self.socket)
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=30):
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def close(self):
        try:
            self.stop(15)
        except subprocess.TimeoutExpired:
            pass
        if os.environ.get("KEYHOLE_KEEP"):
            print(f"kept {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def log_text(self):
        try:
            return Path(self.log_path).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    # administration
    def admin(self, method, path, body=None, headers=()):
        return call(self.admin_socket, method, path, headers, body)

    def session(self, **fields):
        """Mints a session; returns the answer's JSON (id, token, socket …)."""
        fields.setdefault("name", f"test-{next(self.numbers)}")
        answer = self.admin("POST", "/admin/v1/sessions", fields)
        assert answer.status == 201, (answer.status, answer.body)
        return answer.json()

    def token(self, **fields):
        return self.session(**fields)["token"]

    def show(self, session_id):
        answer = self.admin("GET", f"/admin/v1/sessions/{session_id}")
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    def revoke(self, session_id):
        answer = self.admin("DELETE", f"/admin/v1/sessions/{session_id}")
        assert answer.status in (200, 204), (answer.status, answer.body)

    def cli(self, *args, check=True, **more):
        done = subprocess.run([keyhole_binary(), *args], env={**self.env, "KEYHOLE_ADMIN_SOCKET": self.admin_socket},
                              capture_output=True, text=True, timeout=60, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"keyhole {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    # requests
    def client(self, tcp=False, timeout=30):
        return Client(("127.0.0.1", self.tcp_port) if tcp else self.socket, timeout)

    def call(self, method, target, headers=(), body=None, token=None, **more):
        with self.client() as client:
            return client.call(method, target, headers, body, token, **more)

    def post(self, path, body, token, headers=()):
        return self.call("POST", path, headers, body, token)

    # books
    @property
    def ledger_path(self):
        return f"{self.state_dir}/ledger.db"

    def rows(self, **match):
        """Rows of the ledger as dicts, request_id as UUID text."""
        if not os.path.exists(self.ledger_path):
            return []
        db = sqlite3.connect(f"file:{self.ledger_path}?mode=ro", uri=True, timeout=10)
        try:
            db.row_factory = sqlite3.Row
            out = [dict(r) for r in db.execute("SELECT * FROM requests ORDER BY id")]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            db.close()
        for row in out:
            row["request_id"] = str(uuid.UUID(bytes=row["request_id"]))
        return [r for r in out if all(r.get(k) == v for k, v in match.items())]

    def row(self, request_id, seconds=15):
        """The one row of that request, once it is committed."""
        found = wait_until(lambda: self.rows(request_id=request_id), seconds, f"the row of {request_id}")
        assert len(found) == 1, found
        return found[0]

    def metrics_text(self):
        answer = call(("127.0.0.1", self.metrics_port), "GET", "/metrics")
        assert answer.status == 200
        return answer.body.decode()

    def metrics(self):
        """{"name{labels}": value}"""
        out = {}
        for line in self.metrics_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out



class BlackBox(unittest.TestCase):
    """One provider and one proxy a class; tests mint their own sessions, so they don't meet."""

    config = None
    env = None
    longMessage = True

    @classmethod
    def setUpClass(cls):
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)
        cls.keyhole = Keyhole(cls.provider, cls.config, cls.env)
        cls.addClassCleanup(cls.keyhole.close)

    @classmethod
    def key_for(cls, path):
        return cls.provider.anthropic_key if "/messages" in path else cls.provider.openai_key

    def direct(self, method, path, headers=(), body=None, **more):
        """The same request, sent to the provider with the real key."""
        names = {n.lower() for n, _ in headers}
        anthropic = "/messages" in path or "anthropic-version" in names
        key = self.provider.anthropic_key if anthropic else self.provider.openai_key
        own = [("x-api-key", key)] if anthropic else [("authorization", f"Bearer {key}")]
        return call(self.provider.where, method, path, [*headers, *own], body, **more)

    def usage_of(self, answer, **match):
        """(what the provider says it reported, the ledger's row) of an answer that came through."""
        request_id = answer.get("x-keyhole-request-id")
        self.assertTrue(request_id, "x-keyhole-request-id is missing")
        return self.provider.seen("answer", request_id), self.keyhole.row(request_id)


TOKEN_COLUMNS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "output_reasoning", "input_audio", "output_audio",
                 "input_image", "output_image")


def buckets_sum(row):
    """All tokens of a ledger row; the buckets are disjoint."""
    return sum(row[column] for column in TOKEN_COLUMNS)


def chat_body(model="gpt-4o", text="say hi to the lantern", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def messages_body(model="claude-sonnet-4-5", text="say hi to the lantern", max_tokens=200, **more):
    return {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}], **more}


VERSION = ("anthropic-version", "2023-06-01")
