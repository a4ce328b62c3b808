"""Runs inside the sandbox as the agent: reads everything it can reach and prints where the secrets it is told of stand.

Arguments: hexadecimal SHA-256 digests and lengths of the secrets ("name:length:digest"), so that the search itself carries none.
"""
import hashlib
import json
import os
import re
import socket
import stat
import sys

WANTED = [(n, int(size), digest) for n, size, digest in (a.split(":") for a in sys.argv[1:])]
WORD = re.compile(rb"[A-Za-z0-9_-]{12,}")
found = []
looked = {"files": 0, "bytes": 0, "proc": 0, "sockets": [], "ports": []}


def search(where, data):
    """Every run of token bytes, at every offset where a secret of a wanted length could begin."""
    for word in WORD.findall(data):
        for name, size, digest in WANTED:
            if len(word) < size:
                continue
            for prefix in (b"sk-", b"kh_"):
                at = word.find(prefix)
                while at != -1:
                    if hashlib.sha256(word[at:at + size]).hexdigest() == digest:
                        found.append(f"{name} in {where}")
                    at = word.find(prefix, at + 1)


def read(path, most=8 << 20):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return os.read(fd, most)
    except OSError:
        return None
    finally:
        os.close(fd)


for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
    for name in ("environ", "cmdline", "maps", "mountinfo", "status", "auxv"):
        data = read(f"/proc/{pid}/{name}")
        if data is not None:
            looked["proc"] += 1
            search(f"/proc/{pid}/{name}", data)
    if int(pid) != os.getpid():
        try:
            fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        except OSError:
            continue
        with open(f"/proc/{pid}/maps") as maps:
            for line in maps:
                begin, end = (int(x, 16) for x in line.split()[0].split("-"))
                if " r" in line and end - begin < 64 << 20:
                    try:
                        search(f"/proc/{pid}/mem", os.pread(fd, end - begin, begin))
                    except OSError:
                        pass
        os.close(fd)

sockets = []
# The image's own files are the same in every mode: one search of them is enough.
SKIPPED = ("/proc", "/sys", *os.environ.get("SEARCH_NOT_IN", "").split(":"))
for folder, names, files in os.walk("/", topdown=True):
    if folder in SKIPPED:
        names[:] = []
        continue
    for f in files:
        path = os.path.join(folder, f)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            continue
        if stat.S_ISSOCK(mode):
            sockets.append(path)
        data = read(path) if stat.S_ISREG(mode) else None
        if data is not None:
            looked["files"] += 1
            looked["bytes"] += len(data)
            search(path, data)


def ask(connect, where, request):
    try:
        s = connect()
        s.settimeout(3)
        s.sendall(request)
        answer = b""
        while len(answer) < 1 << 20:
            piece = s.recv(65536)
            if not piece:
                break
            answer += piece
    except OSError:
        return
    search(where, answer)


def unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    return s


PROBES = [f"{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
          for verb, path in (("GET", "/"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/admin/v1/sessions"), ("GET", "/v1/sessions"),
                             ("GET", "/v1/health"), ("POST", "/v1/chat/completions"), ("TRACE", "/"), ("OPTIONS", "*"), ("GET", "/v1/nothing"))]
for path in sockets:
    looked["sockets"].append(path)
    for probe in PROBES:
        ask(lambda: unix(path), path, probe)
    ask(lambda: unix(path), path, b"garbage\r\n\r\n")
def listening():
    """The kernel's own list; a whole search does not believe it and tries every port."""
    if len(SKIPPED) == 3:
        return range(1, 65536)
    rows = [line.split() for table in ("tcp", "tcp6") for line in open(f"/proc/net/{table}").read().splitlines()[1:]]
    return sorted({int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == "0A"})


for port in listening():
    s = socket.socket()
    s.settimeout(0.2)
    if s.connect_ex(("127.0.0.1", port)) == 0:
        looked["ports"].append(port)
        for probe in PROBES:
            ask(lambda: socket.create_connection(("127.0.0.1", port), 3), f"127.0.0.1:{port}", probe)
    s.close()
looked["uid"] = os.getuid()
looked["interfaces"] = [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]]
print(json.dumps({"found": found, "looked": looked}))
