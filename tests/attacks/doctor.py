"""`keyhole-init doctor` in real containers: all ok in a hardened one, however it is started; and each guarantee that is broken on purpose is found,
with a cause and a remedy."""
import json
import os
import queue
import shutil
import socket
import stat
import subprocess
import threading

from world import HARDENED, THREE_CAPABILITIES

ONE = ["--user=1000:1000"]
UNCONFINED = ["--security-opt=seccomp=unconfined"]
OFF = ["-e", "KEYHOLE_SECCOMP=off"]
A_KEY = "sk-ant-api03-" + "aB3dE5gH7j" * 9
SHELL = "/usr/local/bin/keyhole-init doctor --json"

# A network: an address and a resolver on the loopback of a container that may, for another container to join.
A_NETWORK = r"""
import os, socket, struct, sys, threading
sys.path.insert(0, '/attacks')
def add(address):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.bind((0, 0))
        body = struct.pack('BBBBi', 2, 32, 0, 0, socket.if_nametoindex('lo')) + struct.pack('HH4s', 8, 2, socket.inet_aton(address))
        s.send(struct.pack('IHHII', 16 + len(body), 20, 0x605, 1, 0) + body)
        assert struct.unpack_from('i', s.recv(4096), 16)[0] == 0
add('169.254.169.254')
metadata, dns, abstract = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
metadata.bind(('169.254.169.254', 80))
metadata.listen(16)
dns.bind(('127.0.0.53', 53))
abstract.bind('\0somebody-else')
abstract.listen(16)
print('ready', flush=True)
while True:
    question, who = dns.recvfrom(512)
    dns.sendto(question, who)
"""


class Doctor:
    def __init__(self, world):
        self.world, self.board = world, world.board
        self.session = world.session("--own-socket", "--name", "doctor's")
        self.folder = world.work / "doctor"
        self.folder.mkdir()
        self.number = 0
        self.lock = threading.Lock()

    def words(self, options, **more):
        with self.lock:
            self.number += 1
            name = f"doctor-{self.number}"
        more.setdefault("own", self.session)
        return self.world.sandbox(name, options, **more), f"{self.world.name}-{name}"

    def report(self, done):
        try:
            # On a terminal the messages of others stand beside it.
            return json.loads(done.stdout[done.stdout.index('{"ok"'):done.stdout.rindex("}") + 1])
        except ValueError:
            return {"ok": None, "guarantees": [], "said": f"{done.returncode} {done.stdout[-300:]} {done.stderr[-800:]}"}

    def ask(self, options, command=("doctor", "--json"), entrypoint=(), **more):
        words, _ = self.words([*options, *entrypoint], **more)
        done = self.world.run("run", "--rm", *words, self.world.image, *command, check=False, timeout=60)
        return self.report(done), done

    def ask_by_exec(self, options, user, **more):
        words, name = self.words(options, **more)
        self.world.run("run", "-d", *words, self.world.image, "sleep", "60")
        done = self.world.run("exec", "-u", user, name, "/usr/local/bin/keyhole-init", "doctor", "--json", check=False, timeout=60)
        self.world.run("rm", "-f", name)
        return self.report(done), done

    def is_all_ok(self, name, options, **more):
        report, done = self.ask(options, **more)
        broken = [each for each in report["guarantees"] if each["state"] == "broken"]
        self.board(f"doctor: all ok, {name}", report["ok"] is True and done.returncode == 0 and len(report["guarantees"]) > 30, str(broken or report.get("said")))
        return report

    def finds(self, guarantees, how, asked, may_be_impossible=()):
        report, done = asked
        found = {each["guarantee"]: each for each in report["guarantees"]}
        for name in guarantees:
            each = found.get(name) or next((f for n, f in found.items() if n.startswith(name)), {})
            good = each.get("state") == "broken" and each["cause"] and each["remedy"] and report["ok"] is False and done.returncode == 1
            if not good and name in may_be_impossible and each.get("state") == "ok":
                self.board.cannot_be_proven(f"doctor: {name}", "it cannot be broken on this kernel")
            else:
                self.board(f"doctor: finds '{name}' broken by {how}", good, str(each or report.get("said") or sorted(found)))


def in_parallel(world, jobs, workers=4):
    waiting = queue.Queue()
    for job in jobs:
        waiting.put(job)

    def work():
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                job()
            except Exception as problem:
                world.board("doctor: a test ran to its end", False, repr(problem)[:1500])
    threads = [threading.Thread(target=work) for _ in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def breaks(d):
    """One job for each way to break something."""
    def by_run(guarantees, how, options, impossible=(), **more):
        return lambda: d.finds(guarantees, how, d.ask(options, **more), impossible)

    def by_agent(guarantees, how, script):
        return lambda: d.finds(guarantees, how, d.ask(ONE, ("sh", "-c", script)))

    def by_exec(guarantees, how, options, user, **more):
        return lambda: d.finds(guarantees, how, d.ask_by_exec(options, user, **more))

    plain = ["--network=none", "--read-only"]
    readable = d.folder / "readable"
    shutil.copy(d.world.work / "image/keyhole-bridge", readable)
    readable.chmod(0o755)
    writable = d.folder / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    token = d.folder / "token"
    token.write_text("kh_0123456789abcdefghij\n")
    token.chmod(0o444)
    engine = socket.socket(socket.AF_UNIX)
    engine.bind(str(d.folder / "docker.sock"))
    os.chmod(d.folder / "docker.sock", 0o666)
    engine.listen()
    nested = d.folder / "nested" / "a b" / "deep"
    nested.mkdir(parents=True)
    d.nested = socket.socket(socket.AF_UNIX)
    d.nested.bind(str(nested / "control"))
    os.chmod(nested / "control", 0o666)
    d.nested.listen()
    owned = d.folder / "owned"
    shutil.copy(d.world.work / "image/keyhole-bridge", owned)
    os.chown(owned, 1000, 1000)
    owned.chmod(0o111)
    d.engine = engine
    profile = d.folder / "profile"
    profile.write_text("")
    profile.chmod(0o666)
    looks_like_one = d.folder / "looks-like-one"
    looks_like_one.write_text("kh_" + "aB3dE5gH7j" * 4)
    looks_like_one.chmod(0o444)
    fuse = d.folder / "fuse"
    os.mknod(fuse, stat.S_IFCHR | 0o666, os.makedev(10, 229))
    alice = d.folder / "alice"
    (alice / ".ssh").mkdir(parents=True)
    crowd = d.folder / "crowd"
    crowd.mkdir()
    for i in range(20_000):
        os.mknod(crowd / str(i))
    tabs = d.folder / "tabs"
    tabs.write_text("search example.org\nnameserver\t127.0.0.53\n")
    d.tabs = tabs
    allowed = ["-e", "KEYHOLE_ALLOW_SECRETS=session_token"]
    return [
        by_run(["system files"], "a writable /etc/profile.d", [*ONE, "-v", f"{writable}:/etc/profile.d"]),
        by_run(["system files"], "a writable /usr/lib/python3", [*ONE, "-v", f"{writable}:/usr/lib/python3"]),
        by_run(["system files"], "a writable /etc/bash.bashrc", [*ONE, "-v", f"{profile}:/etc/bash.bashrc"]),
        by_run(["system files"], "an agent that owns what it cannot write yet", [*ONE, "-v", f"{owned}:/usr/share/tool"]),
        by_run(["session token's file"], "SESSION_TOKEN_FILE elsewhere", [*ONE, *allowed, "-v", f"{token}:/etc/tok:ro", "-e", "SESSION_TOKEN_FILE=/etc/tok"]),
        by_run(["session token's file"], "the name session-token", [*ONE, *allowed, "-v", f"{token}:/run/secrets/session-token:ro"]),
        by_run(["session token's file"], "another name", [*ONE, "-v", f"{looks_like_one}:/run/secrets/notes:ro"]),
        by_run(["session token's file"], "a file mounted anywhere", [*ONE, "-v", f"{looks_like_one}:/srv/notes:ro"]),
        by_exec(["session token's file"], "docker exec, SESSION_TOKEN_FILE elsewhere", [*ONE, *allowed, "-v", f"{token}:/etc/tok:ro", "-e", "SESSION_TOKEN_FILE=/etc/tok"], "1000:1000"),
        by_run(["devices"], "a device under another name", [*ONE, f"--device={fuse}:/dev/null2"]),
        by_run(["devices"], "a usual device under a name of its own", [*ONE, "--device=/dev/zero:/dev/mydev"]),
        by_run(["host directories"], "somebody's home, whatever it is called", [*ONE, "-v", f"{alice}:/srv/project"]),
        by_run(["host directories"], "/var/log", [*ONE, "-v", "/var/log:/mnt/log:ro"]),
        by_run(["engine and host sockets"], "a socket of the host behind 20,000 files", [*ONE, "-v", f"{crowd}:/a:ro", "-v", f"{d.folder}/nested:/b:ro"]),
        by_run(["set-user-id programs"], "a container without no-new-privileges", ONE, hardened=plain),
        by_exec(["set-user-id programs"], "docker exec without no-new-privileges", ONE, "1000:1000", hardened=plain),
        by_run(["not root"], "KEYHOLE_SINGLE_UID=1", ["-e", "KEYHOLE_SINGLE_UID=1"]),
        by_run(["not in root's group"], "--user 1000:0", ["--user=1000:0"]),
        by_exec(["capabilities", "not root"], "docker exec as root", THREE_CAPABILITIES, "0"),
        by_exec(["no new privileges", "capability bounding set", "core dumps"], "docker exec without precautions", ["--ulimit=core=-1"], "1000:1000", hardened=plain),
        by_exec(["environment: orchestrator"], "docker exec where -e SESSION_TOKEN was given", ONE, "1000:1000", own=None, session=d.world.session()),
        by_run(["environment: provider keys"], "-e of a real key", [*ONE, "-e", f"OPENAI_API_KEY={A_KEY}", "-e", "KEYHOLE_ALLOW_SECRETS=OPENAI_API_KEY"]),
        by_agent(["descriptors"], "a descriptor too many", f"exec 5</dev/null; {SHELL}"),
        by_agent(["environ of every readable process"], "a process that was given a token", f"SESSION_TOKEN=kh_0123456789 sleep 60 & {started('sleep')}; {SHELL}"),
        by_agent(["command lines"], "a key among a process's arguments", f"sh -c 'echo >/tmp/began; sleep 60; :' {joined_by_a_shell(A_KEY)} & until [ -e /tmp/began ]; do :; done; {SHELL}"),
        by_agent_process(d),
        by_run(["PID 1"], "a shell that stays PID 1", [*ONE, "--entrypoint=/bin/sh"], command=("-c", "/usr/local/bin/keyhole-init --subreaper doctor --json; exit $?")),
        by_run(["process namespace"], "--pid host", [*ONE, "--pid=host", "--entrypoint=/usr/local/bin/keyhole-init"], command=("--subreaper", "doctor", "--json")),
        by_run(["seccomp", "sockets", "io_uring", "kernel keyrings", "user namespaces (unshare)", "user namespaces (clone)", "user namespaces (clone3)", "other namespaces", "mounting",
                "32-bit system calls", "bpf", "perf events", "userfaultfd", "x32 system calls"], "seccomp=unconfined and KEYHOLE_SECCOMP=off", [*ONE, *UNCONFINED, *OFF],
               ("bpf", "perf events", "userfaultfd", "x32 system calls")),
        by_run(["terminal input"], "a terminal without a filter", [*ONE, *UNCONFINED, *OFF, "-t"], ("terminal input",)),
        by_run(["network interfaces", "network routes"], "--network host", [*ONE, "--network=host"], ("network interfaces", "network routes"),
               hardened=[w for w in HARDENED if w != "--network=none"]),
        by_run(["system files"], "a writable /usr/local/lib", [*ONE, "-v", f"{writable}:/usr/local/lib"]),
        by_run(["kernel settings"], "a writable /sys/fs/cgroup", [*ONE, "-v", f"{writable}:/sys/fs/cgroup"]),
        by_run(["devices"], "--device", [*ONE, "--device=/dev/null:/dev/fuse"]),
        by_run(["engine and host sockets"], "the engine's socket", [*ONE, "-v", f"{d.folder}/docker.sock:/var/run/docker.sock"]),
        by_run(["engine and host sockets"], "a socket of the host under another name", [*ONE, "-v", f"{d.folder}/docker.sock:/srv/x"]),
        by_run(["engine and host sockets"], "a socket of the host in a directory", [*ONE, "-v", f"{d.folder}/nested:/data:ro"]),
        by_run(["shared memory"], "--ipc host", [*ONE, "--ipc=host"]),
        by_agent(["environment: session token"], "a token under another name", f"OPENAI_API_KEY={joined_by_a_shell('kh_' + 'aB3dE5gH7j' * 5)} {SHELL}"),
        by_run(["not the bridge's user"], "--user 998", ["--user=998:998"]),
        by_run(["programs"], "COPY --chown to the agent", [*ONE, "-v", f"{owned}:/usr/local/bin/keyhole-bridge"]),
        by_other_session(d),
        by_file(d),
        by_run(["host directories"], "the host's /etc", [*ONE, "-v", "/etc:/host/etc:ro"]),
        by_run(["programs"], "mode 0755", [*ONE, "-v", f"{readable}:/usr/local/bin/keyhole-bridge:ro"]),
        by_run(["session token's file"], "mode 0444", [*ONE, "-v", f"{token}:/run/secrets/session_token:ro", "-e", "KEYHOLE_ALLOW_SECRETS=session_token"]),
        by_crowd(d),
        by_owner(d),
        by_writable(d),
        by_agent(["models"], "a port where nobody listens", f"LLM_PROXY_PORT=9 {SHELL}"),
        lambda: a_network(d),
    ]


def run(world):
    d = Doctor(world)
    in_parallel(world, [
        lambda: d.is_all_ok("uid 1000", ONE), lambda: d.is_all_ok("root at start, three uids", THREE_CAPABILITIES),
        lambda: d.is_all_ok("a uid without an entry", ["--user=1234:1234"]),
        lambda: d.is_all_ok("a token and the shared socket", THREE_CAPABILITIES, own=None, session=world.session()),
        lambda: d.is_all_ok("no proxy at all", ONE, own=None, sockets=False),
        lambda: d.is_all_ok("asked by the agent itself", ONE, command=("/usr/local/bin/keyhole-init", "doctor", "--json")),
        lambda: for_people(d), *breaks(d)])


def for_people(d):
    words, _ = d.words(ONE)
    done = d.world.run("run", "--rm", *words, d.world.image, "doctor", check=False)
    d.board("doctor: the same for people", done.returncode == 0 and done.stdout.endswith("all ok: nothing leaks\n") and "\nok      models: " in done.stdout, done.stdout[-500:])


def joined_by_a_shell(secret):
    """As a word of a command that keyhole-init starts: it refuses one with a secret in it."""
    return f'{secret[:3]}""{secret[3:]}'


def started(program):
    """For a shell: until its last background process is that program."""
    return f'until [ "$(cat /proc/$!/comm)" = {program} ]; do :; done'


def by_agent_process(d):
    script = f"cp /bin/sleep /tmp/keyhole-other; /tmp/keyhole-other 60 & {started('keyhole-other')}; {SHELL}"

    def job():
        report, done = d.ask(ONE, ("sh", "-c", script))
        each = next((g for g in report["guarantees"] if "(keyhole-other)" in g["guarantee"]), {})
        d.board("doctor: finds a process of ours that can be read", each.get("state") == "broken" and done.returncode == 1, str(each or report.get("said")))
    return job


def by_owner(d):
    def job():
        session = d.world.session("--own-socket")
        os.chown(session["socket"], 1000, 1000)
        d.finds(["socket's owner"], "the agent's own uid", d.ask(ONE, own=session))
    return job


def by_other_session(d):
    """The directory of all sessions' directories, where the agent may list it."""
    def job():
        other = d.world.session("--own-socket")
        sessions = os.path.dirname(os.path.dirname(other["socket"]))
        d.finds(["engine and host sockets"], "another session's socket", d.ask([*ONE, "-v", f"{sessions}:/run/keyhole-sessions:ro", "--group-add=0"]))
    return job


def by_file(d):
    def job():
        socket_file = d.session["socket"]
        d.finds(["socket's mount"], "llm.sock mounted as a file", d.ask([*ONE, "-v", f"{socket_file}:/llm-sock/llm.sock"], own=None, sockets=False))
    return job


def by_crowd(d):
    def job():
        session = d.world.session("--own-socket")
        with open(os.path.join(os.path.dirname(session["socket"]), "other.sock"), "w"):
            pass
        d.finds(["one socket"], "another file beside it", d.ask(ONE, own=session))
    return job


def by_writable(d):
    def job():
        session = d.world.session("--own-socket")
        folder = os.path.dirname(session["socket"])
        os.chmod(folder, 0o777)
        d.finds(["socket directory"], "a mount that can be written", d.ask([*ONE, "-v", f"{folder}:/llm-sock"], own=None, sockets=False))
    return job


def a_network(d):
    name = f"{d.world.name}-network"
    d.world.containers.append(name)
    helper = subprocess.Popen([d.world.docker, "run", "--rm", "--name", name, "--network=none", "--user=0", "--cap-add=NET_ADMIN", "--entrypoint=python3", d.world.image, "-c",
                               A_NETWORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if helper.stdout.readline() != "ready\n":
        d.board("doctor: a network to be found", False, helper.stderr.read()[-800:])
        return
    resolv = d.folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.53\n")
    d.finds(["DNS", "cloud metadata", "abstract unix sockets"], "a network with a resolver and a metadata service",
            d.ask([*ONE, f"--network=container:{name}", "-v", f"{resolv}:/etc/resolv.conf:ro"], hardened=[w for w in HARDENED if w != "--network=none"]))
    d.finds(["DNS"], "a resolver behind a tab in resolv.conf",
            d.ask([*ONE, f"--network=container:{name}", "-v", f"{d.tabs}:/etc/resolv.conf:ro"], hardened=[w for w in HARDENED if w != "--network=none"]))
    d.world.run("kill", name, check=False)
    helper.wait()
