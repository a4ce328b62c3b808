"""Two gateways from npm, another class of program: they read and write every body anew. TCP only. Both are optional."""
import functools
import json
import os
import pathlib
import shutil
import subprocess

from lab.mock import KEYS
from lab.peers import Peer

PACKAGES = {"private": True, "dependencies": {"@portkey-ai/gateway": "1.15.2", "@musistudio/llms": "1.0.53"},
            # With what its ranges give today, Portkey's gateway fails every stream ("TypeError: immutable").
            "overrides": {"@hono/node-server": "1.12.2", "hono": "4.9.7"}}
HOME = pathlib.Path(__file__).resolve().parents[2] / "build" / "bench-gateways"


@functools.cache
def install():
    """Installs both once; returns why it could not."""
    if not shutil.which("npm") or not shutil.which("node"):
        return "npm or node not installed"
    wanted = json.dumps(PACKAGES)
    stamp = HOME / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "package.json").write_text(wanted)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=HOME, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "npm install took more than 5 minutes"
    if done.returncode:
        return "npm install failed: " + (done.stderr.strip().splitlines() or ["?"])[-1]
    stamp.write_text(wanted)
    return ""


class Gateway(Peer):
    rewrites_bodies = True

    def __init__(self, work, mock, workers=1, tls=False):
        super().__init__(work, mock, workers, tls)
        del self.targets["unix"]

    @classmethod
    def missing(cls):
        return install()

    def environment(self):
        return {"NODE_ENV": "production"}


class Portkey(Gateway):
    """It injects no key: the client brings the real one."""
    name = "portkey"
    token = KEYS["portkey"]

    def __init__(self, work, mock, workers=1, tls=False):
        super().__init__(work, mock, workers, tls)
        self.headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{mock.port}/v1", "x-portkey-forward-headers: x-bench-script")

    def command(self):
        return ["node", HOME / "node_modules/@portkey-ai/gateway/build/start-server.js", "--headless", f"--port={self.port}"]


class Musistudio(Gateway):
    name = "musistudio"
    model = "mock,gpt-4o-mini"

    def command(self):
        configuration = {"HOST": "127.0.0.1", "PORT": str(self.port), "LOG": False,
                         "providers": [{"name": "mock", "api_base_url": f"http://127.0.0.1:{self.mock.port}/v1/chat/completions", "api_key": KEYS["musistudio"],
                                        "models": ["gpt-4o-mini"], "transformer": {"use": []}}]}
        program = self.work / "serve.cjs"
        program.write_text(f"""const module_ = require({json.dumps(os.fspath(HOME / "node_modules/@musistudio/llms"))});
const Server = module_.default ?? module_;
new Server({{ useJsonFile: false, useEnvFile: false, logger: false, initialConfig: {json.dumps(configuration)} }}).start();
""")
        return ["node", program]
