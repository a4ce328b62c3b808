"""Runs inside the sandbox as the agent and attacks it: the processes that hold the session, the port, the socket, the framing of requests, the
credential that the proxy adds. Prints one JSON object: {attempt: "held" or what broke}. NO_WAY_AROUND, KEY_STAYS_HOME, TOKEN_STAYS_HOME.
"""
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

results = {}
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_SEIZE, SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 16, 0x4206, 434, 438


def attempt(name, broke):
    """broke: empty, or what the attacker got."""
    results[name] = str(broke)[:300] if broke else "held"


def others():
    """PID 1 and the bridge."""
    mine = {os.getpid(), os.getppid()}
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            name = open(f"/proc/{pid}/comm").read().strip()
        except OSError:
            continue
        if pid == 1 or name.startswith("keyhole"):
            if pid not in mine - {1}:
                yield pid, name


def processes():
    read, seen = [], []
    for pid, name in others():
        seen.append(name)
        for entry in ("environ", "mem", "auxv", "maps", "smaps", "pagemap", "io", "stack", "syscall", "fd", "fdinfo", "cwd", "root", "exe", "map_files", "ns/net"):
            path = f"/proc/{pid}/{entry}"
            try:
                if entry in ("fd", "fdinfo", "map_files"):
                    read.append((path, os.listdir(path)))
                elif entry in ("cwd", "root", "exe", "ns/net"):
                    read.append((path, os.readlink(path)))
                else:
                    with open(path, "rb") as f:
                        if f.read(64):
                            read.append((path, "bytes"))
            except OSError:
                pass
        for word, request in (("attach", PTRACE_ATTACH), ("seize", PTRACE_SEIZE)):
            if libc.ptrace(request, pid, None, None) == 0:
                read.append((pid, word))
        # iovec pairs: read 16 bytes of whatever lies at a common address
        buffer = ctypes.create_string_buffer(16)
        local = struct.pack("PN", ctypes.addressof(buffer), 16)
        remote = struct.pack("PN", 0x400000, 16)
        if libc.process_vm_readv(pid, local, 1, remote, 1, 0) > 0:
            read.append((pid, "process_vm_readv"))
        pidfd = libc.syscall(SYS_PIDFD_OPEN, pid, 0)
        if pidfd >= 0:
            for fd in range(3, 32):
                if libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0) >= 0:
                    read.append((pid, f"pidfd_getfd {fd}"))
            os.close(pidfd)
    attempt("reading, tracing or borrowing descriptors of init and bridge", read if read else "" if len(seen) >= 2 else f"seen only {seen}")


def port():
    got = []
    for family, where in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")):
        for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            try:
                s = socket.socket(family)
                if option:
                    s.setsockopt(socket.SOL_SOCKET, option, 1)
                s.bind((where, 8080))
                s.listen()
                if where in ("127.0.0.1", "0.0.0.0"):
                    got.append((where, option))
                s.close()
            except OSError:
                pass
    attempt("stealing the bridge's port", got)


def kill_the_bridge():
    """Where the uid is the bridge's own: it comes back, and nobody else had the port meanwhile."""
    before = dict(others())
    for pid in [p for p in before if p != 1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except PermissionError:
            attempt("killing the bridge", "")
            return
    port()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if status_of(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")[:1] == [200]:
            attempt("killing the bridge", "")
            return
    attempt("killing the bridge", "it did not come back")


def files():
    got = []
    for what, act in {"removing the socket": lambda: os.unlink("/llm-sock/llm.sock"), "a socket beside it": lambda: open("/llm-sock/x", "w"),
                      "a link over it": lambda: os.symlink("/tmp/mine", "/llm-sock/llm.sock2"), "moving it": lambda: os.rename("/llm-sock/llm.sock", "/llm-sock/o"),
                      "another mode": lambda: os.chmod("/llm-sock/llm.sock", 0o777), "the bridge's program": lambda: open("/usr/local/bin/keyhole-bridge", "rb"),
                      "init's program": lambda: open("/usr/local/bin/keyhole-init", "rb"), "writing over it": lambda: open("/usr/local/bin/keyhole-bridge", "ab"),
                      "secrets": lambda: open("/run/secrets/session_token"), "admin's socket": lambda: os.stat("/run/keyhole-admin/admin.sock"),
                      "other sessions' sockets": lambda: os.listdir("/run/keyhole-sessions")}.items():
        try:
            act()
            got.append(what)
        except OSError:
            pass
    attempt("files: the socket, the programs, secrets, admin's and others' sockets", got)
    names = [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:] if line.split()[-1].startswith("@")]
    reached = []
    for name in names:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect("\0" + name[1:])
            reached.append(name)
        except OSError:
            pass
    attempt("abstract sockets", reached)
    ran = subprocess.run(["/usr/local/bin/keyhole-init", "--subreaper", "--single-uid", "--bridge", "/bin/cat", "--", "env"], capture_output=True, text=True,
                         env={"LLM_PROXY_PORT": "8099", "PATH": os.environ["PATH"]})
    attempt("running init again with a bridge of one's own", "kh_" in ran.stdout + ran.stderr and ran.stdout)


def talk(request, make, wait=5.0):
    s = make()
    s.settimeout(wait)
    answer = b""
    try:
        s.sendall(request)
        while len(answer) < 1 << 20:
            piece = s.recv(65536)
            if not piece:
                break
            answer += piece
    except OSError:
        pass
    s.close()
    return answer


def by_bridge():
    return socket.create_connection(("127.0.0.1", 8080), 5)


def by_socket():
    s = socket.socket(socket.AF_UNIX)
    s.connect("/llm-sock/llm.sock")
    return s


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


def status_of(request, make=by_bridge, wait=5.0):
    try:
        return statuses(talk(request, make, wait))
    except OSError:
        return []


BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}'


def post(*lines, body=BODY, path=b"/v1/chat/completions", length=True, close=True):
    head = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-type: application/json", *lines]
    head += [b"content-length: %d" % len(body)] if length else []
    head += [b"connection: close"] if close else []
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def requests():
    """What may come back for each attack; a status outside is a finding."""
    second = b"GET /v1/models HTTP/1.1\r\nhost: smuggled\r\n\r\n"
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    refused, fine = {400, 501}, {200}
    table = [
        ("length and chunks", post(b"transfer-encoding: chunked", body=b"0\r\n\r\n" + second), refused),
        ("two lengths", post(b"content-length: 3"), refused),
        ("a list of lengths", post(b"content-length: %d, 3" % len(BODY), length=False), refused),
        ("a length with a sign", post(b"content-length: +%d" % len(BODY), length=False), refused),
        ("an unknown coding", post(b"transfer-encoding: xchunked", length=False, body=chunked), refused),
        ("chunked, identity", post(b"transfer-encoding: chunked, identity", length=False, body=chunked), refused),
        ("chunked behind a tab", post(b"transfer-encoding:\tchunked", length=False, body=chunked), refused | fine),
        ("a space before the colon", post(b"transfer-encoding : chunked", length=False, body=chunked), refused),
        ("a folded field", post(b"x-a: 1\r\n transfer-encoding: chunked"), refused),
        ("a bare CR in a value", post(b"x-a: 1\rauthorization: Bearer mine"), refused),
        ("a bare LF in a value", post(b"x-a: 1\nauthorization: Bearer mine"), refused | fine),
        ("a NUL in a value", post(b"x-a: 1\0b"), refused),
        ("two hosts", post(b"host: y"), refused),
        ("connection names the framing", post(b"connection: content-length, authorization, host, x-api-key", close=False, body=BODY), fine | refused),
        ("an absolute URI elsewhere", post(path=b"http://169.254.169.254/v1/chat/completions"), fine | {400, 403, 404, 421}),
        ("authority form", b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n", {400, 405}),
        ("a second preface", b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x07\xe0\x00\x04kh_x" + post(), {400}),
        ("admin's sessions", b"GET /admin/v1/sessions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {404}),
        ("the registry", b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", {404}),
        ("metrics", b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {404}),
        ("h2c", post(b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__", b"connection: upgrade, http2-settings", close=False), {200, 400, 426}),
        ("prior knowledge of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 505}),
        ("a WebSocket", b"GET /v1/responses HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
                        b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", {426}),
        ("dots in the path", b"GET /v1/models/../../admin HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 404}),
        ("encoded dots", b"GET /v1/models/%2e%2e/%2e%2e/v1/organization/admin_api_keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 404}),
        ("an encoded slash in an id", b"GET /v1/files/..%2f..%2fv1%2forganization%2fadmin_api_keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 404}),
        ("an encoded backslash in an id", b"GET /v1/models/..%5c..%5corganization HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 404}),
        ("a dot segment as id", b"DELETE /v1/files/.. HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 404, 403}),
        ("TRACE", b"TRACE /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {400, 404, 405}),
        ("an organisation's keys", b"GET /v1/organization/admin_api_keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", {404}),
    ]
    for name, request, allowed in table:
        got = status_of(request, wait=3)
        attempt(f"request: {name}", "" if got and got[0] in allowed and len(got) <= 1 or not got and 400 in allowed else got)
    for name, lines in {"every credential of one's own": [b"authorization: Bearer mine-1", b"x-goog-api-key: mine-3", b"api-key: mine-4", b"cookie: a=mine-5",
                                                          b"proxy-authorization: Basic mine-6"],
                        "x_api_key": [b"x_api_key: mine-7"], "two authorizations": [b"authorization: Bearer mine-8", b"authorization: Bearer mine-9"]}.items():
        answer = talk(post(*lines), by_bridge, 3)
        attempt(f"credentials: {name}", b"sk-" in answer and answer)


def direct():
    try:
        by_socket().close()
    except OSError:
        attempt("the socket without the bridge: not admitted", "")
        return
    for name, prefix in {"nothing": b"", "an empty preface": b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00", "a forged token": b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x07\xe0\x00\x04kh_x",
                         "an address of another": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + b"\x7f\0\0\1" * 2 + b"\0\1\0\2"}.items():
        got = status_of(prefix + post(), by_socket)
        attempt(f"the socket without the bridge: {name}", "" if not got or got[0] in (400, 401, 403) else got)


def slow():
    """Many connections that never finish a head: an honest request is answered all the same."""
    crowd = []
    for make in (by_bridge, by_socket):
        for _ in range(1500):
            try:
                s = make()
                s.setblocking(False)
                s.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
                crowd.append(s)
            except OSError:
                break
    got = status_of(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    attempt("many slow heads: there were many", "" if len(crowd) >= 1000 else len(crowd))
    for s in crowd:
        s.close()
    deadline = time.monotonic() + 10
    after = []
    while after[:1] != [200] and time.monotonic() < deadline:
        after = status_of(post())
    attempt("many slow heads: an honest request while they last", "" if got[:1] in ([200], [503]) else got)
    attempt("many slow heads: an honest request after they left", "" if after[:1] == [200] else after)


processes()
port()
files()
requests()
direct()
kill_the_bridge()
slow()
print(json.dumps(results))
sys.exit(0)
