"""HTTP/1.1 over asyncio, close to the bytes: keep-alive, Content-Length and chunked both ways, and full control of how an answer
is cut into writes. The demo provider needs to misbehave precisely, which no HTTP library allows."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 256 * 1024


class PeerGone(Exception):
    """The other side closed the connection."""


class BadRequest(Exception):
    """The request can't be framed; the connection ends."""


@dataclass
class Request:
    method: str
    target: str
    headers: list  # of (name as sent, value), in order
    body: bytes = b""
    path: str = ""
    query: dict = field(default_factory=dict)
    trailers: list = field(default_factory=list)

    def get(self, name, default=""):
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return default


class Connection(asyncio.Protocol):
    """One peer. Incoming bytes are kept in `buffer`; `gone` is set as soon as the peer closes, also while nothing is read."""

    def __init__(self, serve):
        self._serve = serve
        self.buffer = bytearray()
        self.gone = asyncio.Event()
        self.number = 0
        self.serial = 0
        self._data = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.transport = None
        self.task = None

    # asyncio.Protocol
    def connection_made(self, transport):
        self.transport = transport
        self.task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data):
        self.buffer += data
        self._data.set()
        if len(self.buffer) > 8 * 1024 * 1024:
            self.transport.pause_reading()

    def eof_received(self):
        self._end()
        return False

    def connection_lost(self, exc):
        self._end()

    def pause_writing(self):
        self._may_write.clear()

    def resume_writing(self):
        self._may_write.set()

    def _end(self):
        self.gone.set()
        self._data.set()
        self._may_write.set()

    async def _run(self):
        try:
            await self._serve(self)
        except (PeerGone, BadRequest, ConnectionError):
            pass
        finally:
            self.transport.close()

    # reading
    async def _more(self):
        if self.gone.is_set():
            raise PeerGone
        self._data.clear()
        self.transport.resume_reading()
        await self._data.wait()

    async def _take_until(self, mark, limit):
        start = 0
        while True:
            at = self.buffer.find(mark, start)
            if at >= 0:
                taken = bytes(self.buffer[:at])
                del self.buffer[: at + len(mark)]
                return taken
            if len(self.buffer) > limit:
                raise BadRequest("no end of line or head within the limit")
            start = max(0, len(self.buffer) - len(mark))
            await self._more()

    async def _take(self, size):
        while len(self.buffer) < size:
            await self._more()
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    async def read_head(self):
        """The next request without its body; None when the peer closed between two requests."""
        while not self.buffer:
            if self.gone.is_set():
                return None
            try:
                await self._more()
            except PeerGone:
                return None
        raw = await self._take_until(b"\r\n\r\n", MAX_HEAD)
        lines = raw.decode("latin-1").split("\r\n")
        try:
            method, target, version = lines[0].split(" ")
        except ValueError as error:
            raise BadRequest("request line") from error
        if version != "HTTP/1.1":
            raise BadRequest("version")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest("header field")
            headers.append((name, value.strip()))
        request = Request(method, target, headers)
        path, _, query = target.partition("?")
        request.path = unquote(path)
        request.query = dict(parse_qsl(query, keep_blank_values=True))
        self.serial += 1
        return request

    async def read_body(self, request):
        lengths = [v for k, v in request.headers if k.lower() == "content-length"]
        codings = [v for k, v in request.headers if k.lower() == "transfer-encoding"]
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise BadRequest("two framings: a proxy must never send this")
        if request.get("expect").lower() == "100-continue":
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if codings:
            if codings[0].lower() != "chunked":
                raise BadRequest("transfer coding")
            request.body = await self._read_chunks(request)
        elif lengths:
            if not lengths[0].isdigit():
                raise BadRequest("content-length")
            request.body = await self._take(int(lengths[0]))

    async def _read_chunks(self, request):
        body = bytearray()
        while True:
            line = await self._take_until(b"\r\n", 4096)
            size = int(line.split(b";")[0].strip(), 16)
            if size == 0:
                break
            body += await self._take(size)
            if await self._take(2) != b"\r\n":
                raise BadRequest("chunk end")
        while line := await self._take_until(b"\r\n", 16384):
            name, _, value = line.decode("latin-1").partition(":")
            request.trailers.append((name, value.strip()))
        return bytes(body)

    # writing
    async def write(self, data):
        if self.gone.is_set():
            raise PeerGone
        self.transport.write(data)
        if self.transport.is_closing():
            raise PeerGone
        if not self._may_write.is_set():
            await self._may_write.wait()
        if self.gone.is_set():
            raise PeerGone

    async def wait(self, awaitable):
        """Waits for it, or raises PeerGone as soon as the peer leaves."""
        wanted = asyncio.ensure_future(awaitable)
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait({wanted, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                raise PeerGone
            return wanted.result()
        finally:
            wanted.cancel()
            gone.cancel()

    async def sleep(self, seconds):
        if seconds > 0:
            await self.wait(asyncio.sleep(seconds))

    async def hang(self):
        """Says nothing until the peer gives up."""
        await self.gone.wait()
        raise PeerGone

    def reset(self):
        """Ends the connection with RST, so that the peer can't take it for an orderly end."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        raise PeerGone


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"

REASONS = {200: "OK", 201: "Created", 204: "No Content", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
           403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
           413: "Request Entity Too Large", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
           503: "Service Unavailable", 504: "Gateway Timeout", 529: "Overloaded"}


def head(status, fields):
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
