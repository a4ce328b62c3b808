"""One JSON line for everything that happens, flushed before anything is answered: the tests' other witness beside the ledger.
Credential values never stand in it, only whether they were the real key."""

import hashlib
import json
import os
import time

CREDENTIALS = {"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie",
               "x-amz-security-token", "x-keyhole-token"}


class RequestLog:
    def __init__(self, path, keys):
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) if path else None
        self._keys = {k for k in keys if k}
        self._number = 0

    def write(self, event, **fields):
        if self._fd is None:
            return
        line = json.dumps({"event": event, "time": time.time(), **fields}, ensure_ascii=False) + "\n"
        os.write(self._fd, line.encode("utf-8", "surrogatepass"))

    def veiled(self, name, value):
        if name.lower() not in CREDENTIALS:
            return value
        bare = value[7:] if value[:7].lower() == "bearer " else value
        return "<real key ok>" if bare in self._keys else "<wrong>"

    def head(self, request, connection):
        """The head of a request arrived. Returns the number that later lines about it carry."""
        self._number += 1
        self.write("head", n=self._number, connection=connection.number, serial=connection.serial, method=request.method,
                   target=request.target, path=request.path, headers=[[k, self.veiled(k, v)] for k, v in request.headers],
                   client_request_id=request.get("x-client-request-id"))
        return self._number

    def body(self, request):
        self.write("request", n=request.n, method=request.method, path=request.path, body_bytes=len(request.body),
                   body_sha256=hashlib.sha256(request.body).hexdigest(), model=request.model, trailers=len(request.trailers),
                   client_request_id=request.get("x-client-request-id"))

    def answer(self, request, status, usage, whole):
        """The answer is on its way to the peer to its last byte (whole), or was cut on purpose."""
        self.write("answer", n=request.n, status=status, usage=usage, whole=whole, path=request.path, model=request.model,
                   client_request_id=request.get("x-client-request-id"))

    def gone(self, request, events):
        self.write("gone", n=request.n, events=events, client_request_id=request.get("x-client-request-id"))
