"""Attacks on the network's absence (C2 19, C3 20-22): every way to a socket that leads out. Probes: the driver runs them
where all is allowed as well, and there they must succeed."""
import contextlib
import ctypes
import mmap
import os
import socket
import struct

from kit import SOCKET, attempt, call, forked, libc, probe

HOST_TCP, HOST_UDP = int(os.environ.get("HOST_TCP", "0")), int(os.environ.get("HOST_UDP", "0"))
HOST_ABSTRACT = os.environ.get("HOST_ABSTRACT", "")
SYS = {"x86_64": dict(add_key=248, keyctl=250, setns=308, io_uring_setup=425, bpf=321, perf=298, userfaultfd=323, unshare=272),
       "aarch64": dict(add_key=217, keyctl=219, setns=268, io_uring_setup=425, bpf=280, perf=241, userfaultfd=282, unshare=97)}[os.uname().machine]
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def open_socket(family, kind, protocol=0):
    with socket.socket(family, kind, protocol):
        return True


def tcp(where, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        s.connect((where, port))
        return True


def udp(where, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect((where, port))
        s.send(b"ask")
        return s.recv(64) == b"answer"


def reach_host():
    probe(20, "TCP to a listener of the host's loopback", lambda: tcp("127.0.0.1", HOST_TCP))
    probe(20, "UDP to a listener of the host's loopback", lambda: udp("127.0.0.1", HOST_UDP))
    probe(22, "an abstract socket of the host", lambda: connect_abstract(HOST_ABSTRACT))


def reach():
    """The host's own listeners, and the addresses where a host is found."""
    reach_host()

    def anywhere():
        got = []
        for where in ("1.1.1.1", "8.8.8.8", "10.0.0.1", "172.17.0.1", "192.168.0.1", "169.254.169.254", "100.100.100.200", "100.64.0.1", "224.0.0.1", "255.255.255.255",
                      "198.51.100.1"):
            for port in (53, 80, 443):
                with contextlib.suppress(OSError):
                    if tcp(where, port):
                        got.append((where, port))
                with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    s.sendto(b"x", (where, port))
                    got.append((where, port, "udp"))
        for where in ("2606:4700:4700::1111", "fd00:ec2::254", "fe80::1%lo", "ff02::1", "64:ff9b::101:101", "2002:101:101::1"):
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
                s.sendto(b"x", (where, 53))
                got.append((where, "udp"))
        return [g for g in got if g[0] not in ("fe80::1%lo", "ff02::1")]
    attempt(20, "addresses outside, IPv4 and IPv6, TCP and UDP", anywhere, lambda: tcp("127.0.0.1", 8080))
    attempt(20, "resolving a name", resolve, lambda: socket.getaddrinfo("127.0.0.1", 80))


def resolve():
    got = []
    for name in ("example.com", "metadata.google.internal", "host.docker.internal", "gateway.docker.internal"):
        with contextlib.suppress(OSError):
            got.append(socket.getaddrinfo(name, 80)[0][4])
    return got


def families():
    for number, name, args in (
            (19, "packet sockets (sniffing the loopback)", (socket.AF_PACKET, socket.SOCK_RAW, 0x0300)), (20, "raw IPv4", (socket.AF_INET, socket.SOCK_RAW, 255)),
            (20, "raw ICMP", (socket.AF_INET, socket.SOCK_RAW, 1)), (20, "raw IPv6", (socket.AF_INET6, socket.SOCK_RAW, 58)),
            (21, "vsock", (socket.AF_VSOCK, socket.SOCK_STREAM, 0)), (21, "vsock datagrams", (socket.AF_VSOCK, socket.SOCK_DGRAM, 0)),
            (21, "AF_ALG", (socket.AF_ALG, socket.SOCK_SEQPACKET, 0)), (21, "bluetooth", (31, socket.SOCK_RAW, 1)), (21, "AF_XDP", (44, socket.SOCK_RAW, 0)),
            (21, "generic netlink", (socket.AF_NETLINK, socket.SOCK_RAW, 16)), (21, "uevent netlink", (socket.AF_NETLINK, socket.SOCK_RAW, 15)),
            (21, "netfilter netlink", (socket.AF_NETLINK, socket.SOCK_RAW, 12)), (21, "audit netlink", (socket.AF_NETLINK, socket.SOCK_RAW, 9)),
            (21, "TIPC", (30, socket.SOCK_STREAM, 0)), (21, "RDS", (21, socket.SOCK_SEQPACKET, 0)), (21, "CAN", (29, socket.SOCK_RAW, 1)), (21, "AF_KEY", (15, socket.SOCK_RAW, 2))):
        probe(number, name, lambda args=args: open_socket(*args))


def new_link():
    """RTM_NEWLINK: a dummy interface by route netlink, which is open for listing."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.bind((0, 0))
        kind = struct.pack("HH", 9, 1) + b"dummy\0\0\0"
        info = struct.pack("HH", 4 + len(kind), 18) + kind
        body = struct.pack("BxHiII", 0, 0, 0, 0, 0) + info
        s.send(struct.pack("IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        answer = s.recv(4096)
        error = -struct.unpack_from("i", answer, 16)[0]
        # EOPNOTSUPP: this kernel has no dummy driver, but it would have.
        if error in (0, 95):
            return True
        raise OSError(error, os.strerror(error))


def add_address():
    """RTM_NEWADDR on the loopback interface."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.bind((0, 0))
        body = struct.pack("BBBBi", 2, 32, 0, 0, socket.if_nametoindex("lo")) + struct.pack("HH4s", 8, 2, b"\x7f\x01\x02\x03")
        s.send(struct.pack("IHHII", 16 + len(body), 20, 0x605, 1, 0) + body)
        error = -struct.unpack_from("i", s.recv(4096), 16)[0]
        if error in (0, 17):
            return True
        raise OSError(error, os.strerror(error))


def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page))), page


def socket_by_32_bit_calls():
    # mov eax, 359 (socket); mov ebx, AF_UNIX; mov ecx, SOCK_STREAM; xor edx, edx; int 0x80; in a child: it may end it.
    def ask():
        function, _ = machine_code(b"\x53\xb8\x67\x01\x00\x00\xbb\x01\x00\x00\x00\xb9\x01\x00\x00\x00\x31\xd2\xcd\x80\x5b\x48\x98\xc3")
        return function() >= 0
    return forked(ask)


def kernel():
    probe(21, "io_uring", lambda: call(SYS["io_uring_setup"], 4, ctypes.create_string_buffer(120)) >= 0)
    probe(20, "a network interface by netlink", new_link)
    probe(20, "an address by netlink", add_address)
    probe(20, "a user and network namespace by unshare", lambda: forked(lambda: call(SYS["unshare"], CLONE_NEWUSER | CLONE_NEWNET) == 0))
    probe(20, "a user namespace by clone", lambda: forked(clone_user))
    probe(20, "joining a network namespace", lambda: forked(lambda: join("/proc/self/ns/net")))
    probe(21, "keyctl: the session's keyring", lambda: call(SYS["keyctl"], 0, -3, 0) >= 0)
    probe(21, "add_key", lambda: call(SYS["add_key"], b"user", b"keyhole-test", b"x", 1, -3) >= 0)
    probe(21, "bpf", lambda: os.close(call(SYS["bpf"], 0, ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1) + bytes(112)), 128)) is None)
    probe(2, "perf_event_open", lambda: os.close(call(SYS["perf"], ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 1) + bytes(112)), 0, -1, -1, 0)) is None)
    probe(2, "userfaultfd", lambda: os.close(call(SYS["userfaultfd"], 0)) is None)
    if os.uname().machine == "x86_64":
        probe(21, "a socket by 32-bit system calls", socket_by_32_bit_calls)


def clone_user():
    pid = libc.syscall(56 if os.uname().machine == "x86_64" else 220, ctypes.c_long(CLONE_NEWUSER | 17), None, None, None, None)
    if pid == 0:
        os._exit(0)
    return pid > 0


def join(path):
    fd = os.open(path, os.O_RDONLY)
    return call(SYS["setns"], fd, 0) == 0


def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(1)
        s.connect("\0" + name)
        return True


def sockets_around():
    def found():
        seen = []
        for folder, names, files in os.walk("/", topdown=True):
            if folder in ("/proc", "/sys"):
                names[:] = []
            for f in files:
                path = os.path.join(folder, f)
                with contextlib.suppress(OSError):
                    if os.lstat(path).st_mode & 0o170000 == 0o140000:
                        seen.append(path)
        return seen
    mine = "/tmp/oracle.sock"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(mine)
    with socket.socket(socket.AF_UNIX) as s, socket.socket(socket.AF_UNIX) as a:
        s.bind(mine)
        a.bind("\0keyhole-oracle")
        a.listen()
        there = found()
        attempt(22, "unix sockets in the file system", lambda: [p for p in there if p not in (SOCKET, mine) and not p.startswith("/tmp/")], lambda: mine in there)

        def abstract():
            return [line.split()[-1] for line in open("/proc/net/unix").read().splitlines()[1:] if line.split()[-1].startswith("@")]
        attempt(22, "abstract unix sockets", lambda: [n for n in abstract() if n != "@keyhole-oracle"], lambda: "@keyhole-oracle" in abstract() and connect_abstract("keyhole-oracle"))
    os.unlink(mine)


def probes():
    families()
    kernel()


def run():
    reach()
    families()
    kernel()
    sockets_around()
