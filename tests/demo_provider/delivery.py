"""How an answer travels: well behaved unless the request asks for a fault (`x-demo: reset_after=3,chunking=odd`, or the same in the
body's metadata.demo). FAULTS lists every word that is understood; an unknown one is an error, so that no test is green by a typo."""

import asyncio
import zlib
from dataclasses import dataclass, field

from http_server import LAST_CHUNK, PeerGone, chunk, head

FAULTS = {
    "delay": "wait S seconds before the head",
    "pace": "milliseconds between events",
    "gate": "NAME: wait before the head until POST /demo/gates/NAME; NAME@N: after N events",
    "chunking": "bytes | odd | events | merged: how the body is cut into chunks and writes",
    "chunked": "a whole body is sent chunked",
    "eof_framing": "neither length nor chunks: the body ends with the connection",
    "gzip": "content-encoding gzip, asked for or not",
    "crlf": "lines of events end with CRLF",
    "comments": "an SSE comment before each event",
    "pings": "N ping events (Anthropic) after the first event",
    "early_hints": "103 before the head",
    "close": "connection: close after a good answer",
    "status": "NNN with an error body in the API's shape (also status_NNN)",
    "retry_after": "seconds, as header",
    "redirect": "302 to somewhere else",
    "set_cookie": "set-cookie on the answer",
    "huge_header": "N bytes of one header field",
    "hop_headers": "connection-nominated fields and proxy-authenticate on the answer",
    "reset": "RST before the head",
    "hang_up": "FIN before the head",
    "never_answer": "read everything, say nothing",
    "half_head": "half a head, then nothing (=close: then FIN)",
    "garbage": "bytes that are no HTTP",
    "reset_after": "RST after N events (whole body: N bytes)",
    "cut_clean": "a proper end of the body after N events, without the API's last event",
    "cut_eof": "FIN after N events in the middle of the chunked body",
    "short_body": "content-length larger than the body, then FIN",
    "bad_chunk": "a chunk size that is none after N events",
    "silence": "S seconds of silence after the first event (silence_after=N: after N)",
    "silence_after": "",
    "error_event": "after N events (default 2) the API's own error event, then the end",
    "overtake": "answers before it has read the body",
    "no_usage": "usage is left out",
    "echo_key": "401 whose message holds the whole key that was presented",
    "echo_fragment": "401 whose message holds the key's first and last characters",
    "echo_key_success": "200 whose text holds the key",
    "echo_key_stream": "200 stream whose text holds the key",
    "echo_key_header": "a header field holds the key",
    "failed": "a response that ends as failed",
    "tool_call": "the answer is a tool call",
    "answer_model": "the model that the answer names",
    "service_tier": "the tier that the answer names",
    "words": "N words of answer",
    "fat": "N more bytes to each word",
}


class UnknownFault(Exception):
    pass


def parse_faults(text_or_dict):
    if isinstance(text_or_dict, dict):
        pairs = [(k, str(v)) for k, v in text_or_dict.items()]
    else:
        pairs = [p.partition("=")[::2] for p in str(text_or_dict).split(",") if p.strip()]
    faults = {}
    for name, value in pairs:
        name = name.strip()
        if name.startswith("status_"):
            name, value = "status", name[7:]
        if name not in FAULTS:
            raise UnknownFault(f"x-demo: unknown word {name!r}; known: {', '.join(sorted(FAULTS))}")
        faults[name] = value.strip()
    return faults


@dataclass
class Answer:
    """A whole body, or (events given) a stream of events."""
    status: int = 200
    fields: list = field(default_factory=list)
    body: bytes = b""
    events: object = None       # iterable of bytes
    error_event: bytes = b""    # the API's own, for error_event
    usage: dict | None = None   # as reported; goes to the log


class Gates:
    def __init__(self):
        self._gates = {}

    def __getitem__(self, name):
        return self._gates.setdefault(name, asyncio.Event())


def _encoder(faults, fields):
    """Content coding as a function of (bytes, last)."""
    if "gzip" not in faults:
        return lambda data, last: data
    fields.append(("content-encoding", "gzip"))
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return lambda data, last: packer.compress(data) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def _extra_fields(faults):
    fields = []
    if faults.get("retry_after"):
        fields.append(("retry-after", faults["retry_after"]))
    if "set_cookie" in faults:
        fields.append(("set-cookie", "__cf_bm=demo; path=/; HttpOnly"))
    if "huge_header" in faults:
        fields.append(("x-huge", "h" * int(faults["huge_header"] or 65536)))
    if "hop_headers" in faults:
        fields += [("connection", "x-private-hop"), ("x-private-hop", "1"), ("proxy-authenticate", "Basic"), ("keep-alive", "timeout=5")]
    if "close" in faults:
        fields.append(("connection", "close"))
    return fields


class Delivery:
    def __init__(self, connection, request, gates, log, pace):
        self.connection = connection
        self.request = request
        self.faults = request.faults
        self.gates = gates
        self.log = log
        self.pace = float(self.faults.get("pace") or pace) / 1000
        self.sent = 0

    async def run(self, answer):
        """Delivers; afterwards the connection may carry another request unless this returns False."""
        try:
            await self._before_the_head()
            if answer.events is None:
                return await self._whole(answer)
            return await self._stream(answer)
        except PeerGone:
            self.log.gone(self.request, self.sent)
            raise

    async def _before_the_head(self):
        c, f = self.connection, self.faults
        if f.get("gate") and "@" not in f["gate"]:
            await c.wait(self.gates[f["gate"]].wait())
        if "delay" in f:
            await c.sleep(float(f["delay"]))
        if "never_answer" in f:
            await c.hang()
        if "reset" in f:
            c.reset()
        if "hang_up" in f:
            c.transport.close()
            raise PeerGone
        if "half_head" in f:
            await c.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-st")
            if f["half_head"] == "close":
                c.transport.close()
                raise PeerGone
            await c.hang()
        if "garbage" in f:
            await c.write(b"\x16\x03\x01\x00 this is no HTTP \xff\xfe\r\n\r\n{}")
            c.transport.close()
            raise PeerGone
        if "early_hints" in f:
            await c.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")

    async def _whole(self, answer):
        c, f = self.connection, self.faults
        fields = answer.fields + _extra_fields(f)
        body = _encoder(f, fields)(answer.body, True)
        if "chunked" in f or "bad_chunk" in f or "cut_eof" in f:
            answer.events, answer.fields = [answer.body], [x for x in answer.fields]
            return await self._stream(answer)
        if "eof_framing" in f:
            fields.append(("connection", "close"))
        else:
            fields.append(("content-length", str(len(body) + (10 if "short_body" in f else 0))))
        if "reset_after" in f:
            await c.write(head(answer.status, fields) + body[: int(f["reset_after"])])
            await self._maybe_gate(int(f["reset_after"]))
            self.log.answer(self.request, answer.status, None, False)
            c.reset()
        cut = "short_body" in f
        self.log.answer(self.request, answer.status, None if cut else answer.usage, not cut)
        if self.request.method == "HEAD":
            body = b""
        pieces = self._pieces(body)
        await c.write(head(answer.status, fields) + next(pieces, b""))
        for piece in pieces:
            await c.write(piece)
            await asyncio.sleep(0)
        return not (cut or "eof_framing" in f or "close" in f)

    def _pieces(self, data):
        size = {"bytes": 1, "odd": 7}.get(self.faults.get("chunking"), 0)
        if not size:
            yield data
            return
        for at in range(0, len(data), size):
            yield data[at: at + size]

    async def _maybe_gate(self, count):
        name, _, after = self.faults.get("gate", "").partition("@")
        if after and int(after) == count:
            await self.connection.wait(self.gates[name].wait())

    async def _stream(self, answer):
        c, f = self.connection, self.faults
        fields = answer.fields + _extra_fields(f)
        encode = _encoder(f, fields)
        framed = "eof_framing" not in f
        fields.append(("transfer-encoding", "chunked") if framed else ("connection", "close"))
        frame = chunk if framed else (lambda data: data)
        await c.write(head(answer.status, fields))
        merged = b""
        held = None  # the last event is kept back until it is known to be the last, so that the log comes before it
        for event in self._spoilt(answer):
            if held is not None:
                merged = await self._send(encode(held, False), frame, merged)
                await self._faults_after(self.sent, answer, encode, frame)
            held = event
            if self.sent == 0:
                await self._maybe_gate(0)
        self.log.answer(self.request, answer.status, answer.usage, True)
        merged = await self._send(encode(held or b"", True), frame, merged)
        if merged:
            await c.write(frame(merged))
        if framed:
            await c.write(LAST_CHUNK)
        return framed and "close" not in f

    def _spoilt(self, answer):
        f = self.faults
        for event in answer.events:
            if "comments" in f:
                event = b": keepalive\n\n" + event
            if "crlf" in f:
                event = event.replace(b"\n", b"\r\n")
            yield event

    async def _send(self, data, frame, merged):
        self.sent += 1
        if self.faults.get("chunking") == "merged":
            return merged + data
        for piece in self._pieces(data):
            if piece:
                await self.connection.write(frame(piece))
            if len(piece) < len(data):
                await asyncio.sleep(0)
        if self.pace:
            await self.connection.sleep(self.pace)
        elif self.sent % 16 == 0:
            await asyncio.sleep(0)  # other streams have their turn; and a peer that left is noticed
        return b""

    async def _faults_after(self, count, answer, encode, frame):
        """What happens after `count` events were sent and more would come."""
        c, f = self.connection, self.faults
        await self._maybe_gate(count)
        if "silence" in f and count == int(f.get("silence_after") or 1):
            await c.sleep(float(f["silence"] or 3600))
        cut = None
        for name in ("reset_after", "cut_clean", "cut_eof", "bad_chunk"):
            if name in f and count == int(f[name] or 2):
                cut = name
        if cut is None and "error_event" in f and count == int(f["error_event"] or 2):
            cut = "error_event"
        if cut is None:
            return
        self.log.answer(self.request, answer.status, None, False)
        if cut == "reset_after":
            c.reset()
        if cut == "error_event":
            await c.write(frame(encode(answer.error_event, True)) + LAST_CHUNK)
        elif cut == "cut_clean":
            tail = encode(b"", True)
            await c.write((frame(tail) if tail else b"") + LAST_CHUNK)
        elif cut == "bad_chunk":
            await c.write(b"zz-not-hex\r\nrubbish\r\n")
        c.transport.close()
        raise PeerGone


