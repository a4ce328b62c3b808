#!/usr/bin/env python3
"""A demo provider: speaks like OpenAI, Anthropic and Google, checks a key, and computes no AI.

Answers are deterministic: text, token counts, ids and times are a pure function of the request's body. Tests ask for any fault
through the header `x-demo` or the body's metadata.demo; `--help-faults` lists them. What it saw goes to --log as JSON lines.
Its own address space (no key needed): POST /demo/gates/NAME opens a gate, GET /demo/state counts connections and requests.

Ready: one JSON line on stdout, {"port": N, "url": "http://127.0.0.1:N"}.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import ssl
import sys
from email.parser import BytesParser
from types import SimpleNamespace

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import anthropic_api  # noqa: E402
import gemini_api  # noqa: E402
import openai_api  # noqa: E402
from delivery import FAULTS, Answer, Delivery, Gates, UnknownFault, parse_faults  # noqa: E402
from http_server import BadRequest, Connection  # noqa: E402
from request_log import RequestLog  # noqa: E402


def parse_form(request):
    """multipart/form-data -> {name: (content, filename)}."""
    kind = request.get("content-type")
    if not kind.lower().startswith("multipart/form-data"):
        return {}
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + request.body)
    form = {}
    for part in message.get_payload() if message.is_multipart() else []:
        name = part.get_param("name", header="content-disposition")
        form[name] = (part.get_payload(decode=True), part.get_filename() or "")
    return form


def understand(request):
    """Fills in what the body says: json, form, model, faults."""
    request.json, request.form = None, {}
    if request.get("content-type").lower().startswith("application/json") or request.body[:1] == b"{":
        try:
            request.json = json.loads(request.body)
        except (ValueError, RecursionError):
            pass
    else:
        request.form = parse_form(request)
    named = request.json.get("model") if isinstance(request.json, dict) else None
    if named is None and "model" in request.form:
        named = request.form["model"][0].decode("utf-8", "replace")
    request.model = named if isinstance(named, str) else gemini_api.model_of(request.path)
    asked = request.get("x-demo")
    metadata = request.json.get("metadata") if isinstance(request.json, dict) else None
    if not asked and isinstance(metadata, dict):
        asked = metadata.get("demo") or ""
    request.faults = parse_faults(asked)


class Provider:
    def __init__(self, openai_key, anthropic_key, gemini_key, log, pace):
        self.keys = {"openai": openai_key, "anthropic": anthropic_key, "gemini": gemini_key}
        self.log = log
        self.pace = pace
        self.gates = Gates()
        self.store = SimpleNamespace(responses={}, files={}, batches={}, message_batches={})
        self.counts = {"connections_now": 0, "connections_ever": 0, "requests_now": 0, "requests_ever": 0}

    async def serve(self, connection):
        self.counts["connections_now"] += 1
        self.counts["connections_ever"] += 1
        connection.number = self.counts["connections_ever"]
        try:
            while (request := await connection.read_head()) is not None:
                if not await self.exchange(connection, request):
                    return
        except BadRequest as refused:
            self.log.write("refused", why=str(refused))
            raise
        finally:
            self.counts["connections_now"] -= 1

    async def exchange(self, connection, request):
        if request.path.startswith("/demo/"):
            await connection.read_body(request)
            return await self.control(connection, request)
        self.counts["requests_now"] += 1
        self.counts["requests_ever"] += 1
        try:
            request.n = self.log.head(request, connection)
            request.json, request.form, request.model = None, {}, ""
            if "overtake" in request.get("x-demo"):
                request.faults, request.presented = {}, ""
                await Delivery(connection, request, self.gates, self.log, 0).run(openai_api.error_of_status(413))
                return False
            await connection.read_body(request)
            try:
                understand(request)
                fault_error = None
            except UnknownFault as unknown:
                request.faults, fault_error = {}, str(unknown)
            self.log.body(request)
            try:
                answer = self.answer(request) if fault_error is None else openai_api.error(400, fault_error)
            except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as strange:
                answer = openai_api.error(400, f"The demo provider can't make sense of this body: {type(strange).__name__}")
            keep = await Delivery(connection, request, self.gates, self.log, self.pace).run(answer)
            return keep and request.get("connection").lower() != "close"
        finally:
            self.counts["requests_now"] -= 1

    def answer(self, request):
        api = "anthropic" if request.path.startswith("/v1/messages") or (
            request.path.startswith("/v1/models") and request.get("anthropic-version")) else "openai"
        if gemini_api.is_for_google(request):
            api = "gemini"
        speaks = {"anthropic": anthropic_api, "gemini": gemini_api, "openai": openai_api}[api]
        bearer = request.get("authorization")
        presented = bearer[7:] if bearer[:7].lower() == "bearer " else ""
        if api == "anthropic" and request.get("x-api-key"):
            presented = request.get("x-api-key")
        if api == "gemini":
            presented = gemini_api.presented_key(request)
        request.presented = presented
        if not presented or presented != self.keys[api]:
            return speaks.wrong_key(presented)
        faults = request.faults
        if "echo_key" in faults:
            return speaks.wrong_key(presented, whole=True)
        if "echo_fragment" in faults:
            return openai_api.wrong_key(presented)
        if "status" in faults:
            made = speaks.error_of_status(int(faults["status"]), "0")
        elif "redirect" in faults:
            made = Answer(302, [("location", "http://elsewhere.example/v1/steal"), ("content-type", "text/plain")], b"moved")
        else:
            made = speaks.answer(request, self.store)
        if made is None:
            if api == "anthropic":
                return anthropic_api.error(404, "not_found_error", "Not found")
            if api == "gemini":
                return gemini_api.error(404, f"The demo provider has no such address: {request.method} {request.path}")
            return openai_api.error(404, f"Invalid URL ({request.method} {request.path})")
        if "echo_key_header" in faults:
            made.fields.append(("x-echo", f"key {presented}"))
        return made

    async def control(self, connection, request):
        gate = re.fullmatch(r"/demo/gates/(.+)", request.path)
        if gate and request.method == "POST":
            self.gates[gate[1]].set()
            body = b"{}"
        else:
            body = json.dumps(self.counts).encode()
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        return True


async def run(options):
    keys = (options.openai_key, options.anthropic_key, options.gemini_key)
    provider = Provider(*keys, RequestLog(options.log, keys), options.pace)
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key or options.cert)
        context.set_alpn_protocols(["http/1.1"])
    loop = asyncio.get_running_loop()
    listener = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    server = await loop.create_server(lambda: Connection(provider.serve), sock=listener, ssl=context, backlog=1024)
    port = listener.getsockname()[1]
    print(json.dumps({"port": port, "url": f"{'https' if context else 'http'}://{options.host}:{port}"}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--cert", help="PEM file: serve TLS")
    parser.add_argument("--key", help="PEM file of the certificate's key")
    parser.add_argument("--openai-key", default=os.environ.get("DEMO_PROVIDER_OPENAI_KEY", ""))
    parser.add_argument("--anthropic-key", default=os.environ.get("DEMO_PROVIDER_ANTHROPIC_KEY", ""))
    parser.add_argument("--gemini-key", default=os.environ.get("DEMO_PROVIDER_GEMINI_KEY", ""))
    parser.add_argument("--log", help="JSON lines of everything that it saw")
    parser.add_argument("--pace", type=float, default=0, help="milliseconds between two events of a stream")
    parser.add_argument("--help-faults", action="store_true", help="list what x-demo understands")
    options = parser.parse_args()
    if options.help_faults:
        for name, meaning in FAULTS.items():
            print(f"{name:20} {meaning}")
        return
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
