"""An HTTP/1.1 client that hides nothing: raw bytes out, and an answer that says how it ended (complete, cut, reset)."""

import json
import socket
import struct
import time

TIMEOUT = 30


class Client:
    """One connection, to a unix socket (a path) or TCP (host, port)."""

    def __init__(self, where, timeout=TIMEOUT):
        self.where = where
        if isinstance(where, (str, bytes)):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
        self.sock.settimeout(timeout)
        self.sock.connect(where)
        if not isinstance(where, (str, bytes)):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.received = bytearray()  # every byte that ever came: the leak tests read it

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def recv(self):
        """More bytes into the buffer; False at the end. ConnectionResetError and TimeoutError pass."""
        data = self.sock.recv(65536)
        self.buffer += data
        self.received += data
        return bool(data)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def request(self, method, target, headers=(), body=None, token=None, chunked=False):
        self.send(request_bytes(method, target, headers, body, token, chunked))
        self.last_method = method
        return self

    def answer(self, method=None):
        """Reads the head of the next answer (over 1xx ones); the body is read by the Answer."""
        while True:
            while b"\r\n\r\n" not in self.buffer:
                try:
                    if not self.recv():
                        return Answer(self, 0, "", [], "none", "eof")
                except (ConnectionResetError, BrokenPipeError):
                    return Answer(self, 0, "", [], "none", "reset")
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            version, status, reason = (lines[0].split(" ", 2) + [""])[:3]
            assert version in ("HTTP/1.1", "HTTP/1.0"), lines[0]
            status = int(status)
            fields = []
            for line in lines[1:]:
                name, colon, value = line.partition(":")
                assert colon, f"malformed answer field {line!r}"
                fields.append((name, value.strip()))
            if status >= 200:
                break
        answer = Answer(self, status, reason, fields, "", None)
        if (method or getattr(self, "last_method", "")) == "HEAD" or status in (204, 304):
            answer.framing = "none"
            answer.end = "complete"
        elif answer.get("transfer-encoding").lower() == "chunked":
            answer.framing = "chunked"
        elif answer.get("content-length"):
            answer.framing = "length"
            answer.left = int(answer.get("content-length"))
            if answer.left == 0:
                answer.end = "complete"
        else:
            answer.framing = "eof"
        return answer

    def call(self, *args, **kwargs):
        return self.request(*args, **kwargs).answer().read()

    def closed_by_peer(self, timeout=5):
        """Whether the other side ends the connection without saying anything more."""
        self.sock.settimeout(timeout)
        try:
            return self.sock.recv(65536) == b"" and not self.buffer
        except (ConnectionResetError, BrokenPipeError):
            return True
        except TimeoutError:
            return False


class Answer:
    def __init__(self, client, status, reason, fields, framing, end):
        self.client, self.status, self.reason, self.fields, self.framing = client, status, reason, fields, framing
        self.end = end   # None while it runs, then complete | eof | reset | timeout | malformed
        self.left = 0
        self._body = bytearray()
        self._size = None  # of the chunk that is being read

    def get(self, name, default=""):
        values = self.all(name)
        return values[0] if values else default

    def all(self, name):
        return [v for k, v in self.fields if k.lower() == name.lower()]

    @property
    def whole(self):
        return self.end == "complete"

    @property
    def body(self):
        return bytes(self._body)

    def json(self):
        return json.loads(self._body)

    @property
    def code(self):
        """Of an error body, whatever its shape."""
        try:
            error = self.json().get("error", {})
            return error.get("code") or error.get("type")
        except (ValueError, AttributeError):
            return None

    def some(self):
        """The next bytes of the body as soon as there are any; b"" at the end (see .end)."""
        while self.end is None:
            out = self._decode()
            if out or self.end is not None:
                self._body += out
                return out
            try:
                if not self.client.recv():
                    self.end = "complete" if self.framing == "eof" else "eof"
            except (ConnectionResetError, BrokenPipeError):
                self.end = "reset"
            except TimeoutError:
                self.end = "timeout"
        return b""

    def _decode(self):
        c = self.client
        if self.framing == "eof":
            out, c.buffer = c.buffer, b""
            return out
        if self.framing == "length":
            out, c.buffer = c.buffer[: self.left], c.buffer[self.left:]
            self.left -= len(out)
            if self.left == 0:
                self.end = "complete"
            return out
        out = b""
        while True:
            if self._size is None:
                line, mark, rest = c.buffer.partition(b"\r\n")
                if not mark:
                    return out
                try:
                    self._size = int(line.split(b";")[0], 16)
                except ValueError:
                    self.end = "malformed"
                    return out
                c.buffer = rest
            if self._size == 0:
                if b"\r\n" not in c.buffer:
                    return out
                c.buffer = c.buffer.partition(b"\r\n")[2]
                self.end = "complete"
                return out
            if not c.buffer:
                return out
            if self._size > 0:
                piece, c.buffer = c.buffer[: self._size], c.buffer[self._size:]
                out += piece
                self._size -= len(piece)
                if self._size > 0:
                    return out
                self._size = -2  # the CRLF behind the data
            if len(c.buffer) < 2:
                return out
            if c.buffer[:2] != b"\r\n":
                self.end = "malformed"
                return out
            c.buffer = c.buffer[2:]
            self._size = None

    def read(self):
        while self.some():
            pass
        return self

    def until(self, text, seconds=TIMEOUT):
        """Reads until `text` stands in the body; False if the body ended before."""
        limit = time.monotonic() + seconds
        while text not in self._body:
            if time.monotonic() > limit or not self.some():
                return text in self._body
        return True


def request_bytes(method, target, headers=(), body=None, token=None, chunked=False):
    names = {name.lower() for name, _ in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append("host: localhost:8080")
    if token is not None:
        lines.append(f"authorization: Bearer {token}")
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        if "content-type" not in names:
            lines.append("content-type: application/json")
    lines += [f"{name}: {value}" for name, value in headers]
    if chunked:
        lines.append("transfer-encoding: chunked")
        pieces = [body[i: i + 1000] for i in range(0, len(body), 1000)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    elif body is not None and "content-length" not in names:
        lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def call(where, method, target, headers=(), body=None, token=None, timeout=TIMEOUT, **more):
    """One request on a connection of its own, answered to the end."""
    with Client(where, timeout) as client:
        return client.call(method, target, headers, body, token, **more)


def multipart(**parts):
    """A form's body and content type; a part is text or (filename, bytes)."""
    mark = "----demo-form-7d1f"
    out = b""
    for name, value in parts.items():
        disposition = f'form-data; name="{name}"'
        kind = ""
        if isinstance(value, tuple):
            disposition += f'; filename="{value[0]}"'
            kind = "content-type: application/octet-stream\r\n"
            value = value[1]
        else:
            value = value.encode()
        out += f"--{mark}\r\ncontent-disposition: {disposition}\r\n{kind}\r\n".encode() + value + b"\r\n"
    return out + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"
