"""A provider of plain words: each request names the answer that it gets (x-case), so a test says both sides of an exchange in one place."""

import itertools
import json
import socket
import threading

from harness import Keyhole

NAMES = ("openai", "anthropic", "gemini", "vertex", "bedrock", "cohere", "ollama", "deepseek", "openrouter")
VERSIONS = {"bedrock": "", "ollama": "", "gemini": "/v1beta", "cohere": "/v2"}
KEYS = {"OPENAI_API_KEY": "sk-openai-not-a-real-key", "ANTHROPIC_API_KEY": "sk-ant-not-a-real-key-0000", "GEMINI_API_KEY": "AIza-not-a-real-key-00",
        "VERTEX_ACCESS_TOKEN": "ya29-not-a-real-key-00", "AWS_BEARER_TOKEN_BEDROCK": "bedrock-not-a-real-key", "COHERE_API_KEY": "cohere-not-a-real-key0",
        "DEEPSEEK_API_KEY": "sk-deepseek-not-a-real", "OPENROUTER_API_KEY": "sk-or-not-a-real-key-0"}


def http(body, kind="application/json", status=200, headers=()):
    """The bytes of a whole answer."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", *headers, f"Content-Length: {len(body)}"]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def jsonl(*documents):
    return "".join(json.dumps(d) + "\n" for d in documents)


def sse(*events):
    return "".join((f"event: {e['type']}\n" if "type" in e else "") + f"data: {json.dumps(e)}\n\n" for e in events)


class Scripted:
    """Answers with the bytes (or the function of the connection) of the case; each connection on a thread of its own."""

    def __init__(self):
        self.cases = {}
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.where = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with connection, connection.makefile("rb") as reading:
                while line := reading.readline():
                    headers = {}
                    while field := reading.readline().decode("latin-1").strip():
                        name, _, value = field.partition(":")
                        headers[name.lower()] = value.strip()
                    body = reading.read(int(headers.get("content-length", 0)))
                    self.seen.append((line.decode("latin-1"), headers, body))
                    case = self.cases[headers["x-case"]]
                    if callable(case):
                        case(connection)
                        return
                    connection.sendall(case)
        except OSError:
            pass

    def close(self):
        self.listener.close()


class World:
    """A keyhole before a scripted provider."""

    def __init__(self, config=None):
        self.provider = Scripted()
        self.numbers = itertools.count(1)
        settings = {f"providers.{n}": {"base_url": self.provider.where + VERSIONS.get(n, "/v1"), "allow_plain_http": True} for n in NAMES}
        settings["prices"] = None
        settings.update(config or {})
        self.keyhole = Keyhole(None, settings, KEYS)

    def close(self):
        self.keyhole.close()
        self.provider.close()

    def case(self, answer):
        name = str(next(self.numbers))
        self.provider.cases[name] = answer
        return ("x-case", name)

    def ask(self, method, path, answer, body=None, token=None, headers=()):
        """The agent's answer and its row (None: refused)."""
        fields = [self.case(answer), ("content-type", "application/json"), *headers]
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        got = self.keyhole.call(method, path, fields, body, token)
        served = got.get("x-keyhole-request-id") and got.status < 400
        return got, self.keyhole.row(got.get("x-keyhole-request-id")) if served else None

    def used(self, session, unit=0):
        return self.keyhole.show(session["id"])["limits"][unit]
