"""Attacks on other sessions and on the way to the proxy (C1 9, C2 10-15, and the workspace's links)."""
import contextlib
import os
import socket
import struct
import time

from kit import (HEALTH, MODE, SOCKET, attempt, connect_bridge, connect_socket, is_answered, post, probe, report, statuses, talk)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
NEIGHBOUR = os.environ.get("NEIGHBOUR_TOKEN", "").encode()
NEIGHBOURS_DIRECTORY = os.environ.get("NEIGHBOUR_DIRECTORY", "")
ADMIN = os.environ.get("ADMIN_SOCKET", "/run/keyhole-admin/admin.sock")


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def preface(body=b"", verb=0x21, family=0x00, length=None):
    return SIGNATURE + struct.pack("!BBH", verb, family, len(body) if length is None else length) + body


def admitted(prefix, make, *lines):
    """The statuses where a model request behind this prefix was let through."""
    got = statuses(talk(prefix + post(*lines), make, 3))
    return got if 200 in got else ""


def others_tokens():
    bearer = b"authorization: Bearer " + NEIGHBOUR

    def refused(*lines):
        got = statuses(talk(post(*lines), connect_bridge, 5))
        return "" if got[:1] and got[0] in (400, 401, 403) else got or "no answer"
    for place, line in (("authorization", bearer), ("x-api-key", b"x-api-key: " + NEIGHBOUR), ("x-goog-api-key", b"x-goog-api-key: " + NEIGHBOUR),
                        ("api-key", b"api-key: " + NEIGHBOUR)):
        attempt(10, f"another session's token as {place}", lambda line=line: refused(line), lambda: NEIGHBOUR and is_answered())
    attempt(10, "another session's token in the query",
            lambda: admitted_path(b"/v1/chat/completions?key=" + NEIGHBOUR), is_answered)
    # It is no token, so it counts for nothing: the connection's own session answers for it, or nobody.
    attempt(10, "another session's id as a token on the bare socket",
            lambda: admitted(b"", connect_socket, b"authorization: Bearer " + os.environ["NEIGHBOUR_ID"].encode()) if MODE != "own socket" else "", is_answered)


def admitted_path(path):
    got = statuses(talk(post(path=path), connect_bridge, 5))
    return got if 200 in got else ""


def others_places():
    def look():
        found = []
        for path in ("/llm-sock/..", "/llm-sock/../" + os.environ["NEIGHBOUR_ID"], NEIGHBOURS_DIRECTORY, "/run/keyhole-sessions", os.path.dirname(ADMIN)):
            with contextlib.suppress(OSError):
                names = set(os.listdir(path))
                if names & {os.environ["NEIGHBOUR_ID"], "admin.sock"} or path == NEIGHBOURS_DIRECTORY:
                    found.append((path, sorted(names)[:8]))
        for fd in range(256):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{fd}")
                if target.startswith("/") and os.path.isdir(target):
                    os.stat(f"/proc/self/fd/{fd}/..")
                    found.append(("inherited directory", target))
        return found
    attempt(11, "another session's socket directory", look, lambda: os.listdir("/llm-sock") == ["llm.sock"])
    probes()


def probes():
    probe(11, "connecting to another session's own socket", lambda: connect_socket(NEIGHBOURS_DIRECTORY + "/llm.sock"))
    probe(9, "connecting to the admin socket", lambda: connect_socket(ADMIN))


def admin_routes():
    def look():
        got = {}
        for verb, path in (("GET", "/admin/v1/sessions"), ("POST", "/admin/v1/sessions"), ("GET", "/metrics"), ("GET", "/v1/sessions"), ("POST", "/v1/sessions"),
                           ("GET", "/readyz"), ("GET", "/debug/pprof"), ("GET", "/admin"), ("DELETE", "/admin/v1/sessions/" + os.environ["NEIGHBOUR_ID"])):
            for make in (connect_bridge, connect_socket):
                with contextlib.suppress(OSError):
                    answer = talk(f"{verb} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}".encode(), make)
                    if statuses(answer)[:1] in ([200], [201], [204]) or b"keyhole_" in answer:
                        got[verb + " " + path] = statuses(answer)
        return got
    attempt(9, "admin and metrics routes", look, lambda: is_answered(HEALTH))


def replace_the_socket(directory="/llm-sock"):
    socket_path = os.path.join(directory, "llm.sock")

    def bind(path):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        return True
    acts = {"unlink": lambda: os.unlink(socket_path) or True, "rename": lambda: os.rename(socket_path, socket_path + ".o") or True,
            "a socket of one's own beside it": lambda: bind(os.path.join(directory, "mine.sock")),
            "mkfifo": lambda: os.mkfifo(os.path.join(directory, "fifo")) or True, "a file": lambda: open(os.path.join(directory, "x"), "w"),
            "a symbolic link": lambda: os.symlink("/tmp/mine", os.path.join(directory, "llm.sock2")) or True,
            "a hard link": lambda: os.link(socket_path, os.path.join(directory, "hard")) or True, "mkdir": lambda: os.mkdir(os.path.join(directory, "d")) or True}
    got = []
    for name, act in acts.items():
        with contextlib.suppress(OSError):
            if act():
                got.append(name)
    return got


def socket_attacks():
    os.makedirs("/tmp/socket-of-mine", exist_ok=True)
    with socket.socket(socket.AF_UNIX) as s:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/tmp/socket-of-mine/llm.sock")
        s.bind("/tmp/socket-of-mine/llm.sock")
        attempt(12, "replacing, moving, linking beside the proxy's socket", replace_the_socket,
                lambda: len(replace_the_socket("/tmp/socket-of-mine")) >= 6)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/tmp/mode.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("/tmp/mode.sock")
        attempt(12, "changing its mode, owner and times", lambda: modes(SOCKET) + modes("/llm-sock"), lambda: "chmod" in modes("/tmp/mode.sock"))
    attempt(12, "a bind mount over the socket's directory", lambda: mount_over("/llm-sock"), lambda: os.path.isdir("/llm-sock"))

    def links():
        """The workspace's links lead the attacker only where he may go anyway."""
        got = []
        for target in (ADMIN, NEIGHBOURS_DIRECTORY + "/llm.sock", "/proc/1/root/etc/shadow", "/proc/1/cwd", "/var/run/docker.sock", "/proc/1/environ", "/etc/shadow"):
            link = "/workspace/link"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(target, link)
            with contextlib.suppress(OSError):
                if os.path.islink(link) and os.stat(link).st_mode & 0o170000 == 0o140000:
                    connect_socket(link)
                elif os.path.isdir(link):
                    os.listdir(link)
                else:
                    open(link, "rb").read(1)
                got.append(target)
        os.unlink(link)
        return [t for t in got if not (os.getuid() == 0 and t == "/etc/shadow")]

    def a_link_works():
        with open("/workspace/file", "w") as f:
            f.write("x")
        os.symlink("/workspace/file", "/workspace/link-of-mine")
        ok = open("/workspace/link-of-mine").read() == "x"
        os.unlink("/workspace/link-of-mine")
        os.unlink("/workspace/file")
        return ok
    attempt(12, "symbolic links in the workspace to what is elsewhere", links, a_link_works)


def modes(path):
    got = []
    for name, act in (("chmod", lambda: os.chmod(path, 0o666)), ("chown", lambda: os.chown(path, os.getuid(), os.getgid())), ("utime", lambda: os.utime(path))):
        with contextlib.suppress(OSError):
            act()
            got.append(name)
    return got


def mount_over(path):
    from kit import libc
    return ["mounted"] if libc.mount(b"/tmp", path.encode(), None, 4096, None) == 0 else []


def guess_tokens():
    """Wrong tokens, as fast as one connection gives answers."""
    def guess():
        end, tries, let_through = time.monotonic() + 2, 0, 0
        with connect_socket() as s:
            while time.monotonic() < end:
                token = b"kh_" + os.urandom(24).hex().encode()
                try:
                    s.sendall(post(b"authorization: Bearer " + token, close=False))
                    answer = s.recv(65536)
                except OSError:
                    break
                if not answer:
                    break
                tries += 1
                let_through += answer.startswith(b"HTTP/1.1 200")
        report(13, "guessed tokens", tries=tries)
        return f"{let_through} of {tries}" if let_through or not tries else ""
    attempt(13, "guessing tokens", guess, is_answered)


def prefaces():
    """Straight to the socket, past the bridge, with every preface that a bridge could write, and some that none would."""
    good, bad = tlv(0xE0, b"kh_" + b"x" * 46), tlv(0xE0, b"")
    forged = {
        "nothing": b"", "an empty preface": preface(), "a forged token": preface(good), "an empty token": preface(bad),
        "an address": preface(b"\x7f\0\0\1" * 2 + b"\0\1\0\2", family=0x11), "a unix address": preface(b"/x".ljust(216, b"\0"), family=0x31),
        "LOCAL": preface(good, verb=0x20), "a session's id as UNIQUE_ID": preface(tlv(0x05, os.environ["NEIGHBOUR_ID"].encode())),
        "NETNS": preface(tlv(0x30, b"host")), "AUTHORITY": preface(tlv(0x02, b"admin")), "SSL": preface(tlv(0x20, b"\x07\0\0\0\0")),
        "a session's id as token": preface(tlv(0xE0, os.environ["NEIGHBOUR_ID"].encode())), "version 1": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        "a version that is none": preface(good, verb=0x31), "a command that is none": preface(good, verb=0x2F), "a family that is none": preface(good, family=0xFF),
        "a length of 65535": preface(good, length=65535), "a length too short": preface(good, length=3), "a TLV that is longer than the preface": preface(struct.pack("!BH", 0xE0, 500) + b"kh_x"),
        "half a TLV": preface(b"\xe0"), "15 bytes of it": preface(good)[:15], "two tokens": preface(good + good), "60 KiB of padding": preface(tlv(0x04, b"\0" * 60000)),
        "a token of 600 bytes": preface(tlv(0xE0, b"k" * 600)), "a token with a line feed": preface(tlv(0xE0, b"kh_aaaaaaaaaa\r\nx: y")),
        "two prefaces": preface() + preface(good)}
    if MODE == "own socket":
        # The socket says who it is; what is said over it changes nothing: the driver looks whether the neighbour was charged.
        attempt(15, "another session's token in the preface on one's own socket", lambda: talk(preface(tlv(0xE0, NEIGHBOUR)) + post(), connect_socket) and "",
                lambda: NEIGHBOUR and is_answered(make=connect_socket))
        attempt(15, "another session's token in a header on one's own socket",
                lambda: admitted(b"", connect_socket, b"authorization: Bearer " + NEIGHBOUR), lambda: is_answered(make=connect_socket))
        return
    for name, prefix in forged.items():
        attempt(15, f"a preface: {name}", lambda prefix=prefix: admitted(prefix, connect_socket), lambda: is_answered() and statuses(talk(HEALTH, connect_socket)) == [200])
    attempt(15, "a preface behind the bridge's own", lambda: admitted(preface(tlv(0xE0, NEIGHBOUR)), connect_bridge), is_answered)
    attempt(15, "one byte at a time", lambda: dribble(preface(good) + post()), lambda: dribble(HEALTH) == [200])


def dribble(data):
    with connect_socket() as s:
        with contextlib.suppress(OSError):
            for i in range(len(data)):
                s.send(data[i:i + 1])
        s.settimeout(3)
        with contextlib.suppress(OSError):
            got = statuses(s.recv(65536))
            return got if 200 in got else ""
    return ""


def run():
    others_tokens()
    others_places()
    admin_routes()
    socket_attacks()
    if MODE != "own socket":
        guess_tokens()
    prefaces()
