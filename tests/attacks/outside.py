"""What is tried on a sandbox from around it: how it is started, stopped and misconfigured, and what is left of a secret on the host."""
import contextlib
import json
import os
import signal
import subprocess
import threading
import time

import identity
from agents import judge, together
from world import MODES, THREE_CAPABILITIES, wait_for

SHELL = ["--entrypoint=/bin/sh"]


def docker_exec(world):
    """05: the engine gives every exec'd process the container's configured variables again, so there must be no secret among them."""
    own, session = world.session("--own-socket"), world.session()
    seen = {}
    for name, more in (("exec-own", {"own": own}), ("exec-token", {"session": session})):
        world.run("run", "-d", *world.sandbox(name, ["--user=1000:1000"], **more), world.image, "sleep", "60")
        seen[name] = world.run("exec", f"{world.name}-{name}", "sh", "-c", "env; cat /proc/*/environ 2>/dev/null", check=False).stdout
        world.run("rm", "-f", f"{world.name}-{name}")
    world.board("05 docker exec finds no token where the session has a socket of its own", "kh_" not in seen["exec-own"] and "SESSION" not in seen["exec-own"])
    world.board("05 oracle: docker exec does hand out what -e said", session["token"] in seen["exec-token"])


def pass_connections(world):
    """14: a connection handed to another sandbox stays its maker's: what is asked over it is the maker's."""
    for how in ("bridge", "socket"):
        giver, taker = world.session("--own-socket"), world.session("--own-socket")
        shared = ["-v", f"{world.work}/shared:/shared", "--user=1000:1000"]
        place = world.work / "shared/pass.sock"
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        give = subprocess.Popen([world.docker, "run", "--rm", *world.sandbox(f"give-{how}", shared, own=giver), world.image, "python3", "/attacks/colluder.py", "give", how],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for("the giver's socket", place.exists)
        done = world.run("run", "--rm", *world.sandbox(f"take-{how}", shared, own=taker), world.image, "python3", "/attacks/colluder.py", "take", how, check=False)
        give.wait(30)
        rows = wait_for("the row", lambda: world.rows(giver) or world.rows(taker))
        world.board(f"14 a connection by the {how} passed to another sandbox is charged to its maker", "[200]" in done.stdout and len(rows) == 1 and not world.rows(taker),
                    f"{done.stdout} {done.stderr[-500:]} {rows}")


def ids(world):
    """32: uids that a sloppy reader takes for root."""
    values = ["0", "00", "-1", "4294967295", "4294967296", "18446744073709551616", "1000 ", " 1000", "0x3e8", "1e3", "+5", "1000\nroot:x:0:0::/:/bin/sh", "0" * 5000, "", "9" * 5000]
    script = 'for v do AGENT_UID="$v" /usr/local/bin/keyhole-init --subreaper -- id -u >/tmp/out 2>/tmp/err; echo "$? $(cat /tmp/out)"; done'
    done = world.run("run", "--rm", *world.sandbox("ids", [*THREE_CAPABILITIES, *SHELL], sockets=False), world.image, "-c", script, "sh", *values, "1000")
    lines = done.stdout.splitlines()
    for value, line in zip(values, lines):
        expected = "0 1000" if value == "" else "64 "
        world.board(f"32 AGENT_UID={value[:24]!r} ({len(value)} characters)", line.strip() == expected.strip(), line)
    world.board("32 oracle: AGENT_UID=1000 runs", lines[-1:] == ["0 1000"], str(lines[-1:]))
    for name in ("root", "0", "nobody-here"):
        done = world.run("run", "--rm", *world.sandbox(f"user-{name}", [*THREE_CAPABILITIES, "-e", f"AGENT_USER={name}"], sockets=False), world.image, "id", "-u", check=False)
        world.board(f"32 AGENT_USER={name}", done.returncode in (64, 67) and not done.stdout, f"{done.returncode} {done.stdout}")
    done = world.run("run", "--rm", *world.sandbox("no-caps", [], sockets=False), world.image, "id", "-u", check=False)
    world.board("32 root that cannot become anybody runs nothing, and says what is missing", done.returncode == 77 and not done.stdout and "SETUID SETGID" in done.stderr, done.stderr)


def change_owner(world):
    """33: PID 1 makes the home directory the agent's, while somebody swaps it for a link to what is root's."""
    racer = ("import ctypes, os\nlibc = ctypes.CDLL(None)\nos.chdir('/home')\n"
             "while True: libc.syscall(EXCHANGE, -100, b'/home/agent', -100, b'/home/link', 2)\n").replace("EXCHANGE", "316" if os.uname().machine == "x86_64" else "276")
    careless = ("import contextlib, os, time\nend = time.monotonic() + 20\n"
                "while os.stat('/decoy').st_uid == 0 and time.monotonic() < end:\n  for _ in range(100):\n    with contextlib.suppress(OSError): os.chown('/home/agent', 5000, 5000)\n")
    script = ("chown 1000:1000 /home; rm -rf /home/agent; mkdir -p /decoy /home/agent; ln -s /decoy /home/link; "
              f"setpriv --reuid 1000 --regid 1000 --clear-groups python3 -c \"{racer}\" & "
              "i=0; while [ $i -lt 100 ]; do AGENT_UID=5000 KEYHOLE_ADOPT=1 /usr/local/bin/keyhole-init --subreaper -- true 2>/dev/null; i=$((i+1)); done; "
              f"stat -c '%u' /decoy; python3 -c \"{careless}\"; stat -c %u /decoy; kill %1")
    done = world.run("run", "--rm", "--network=none", "--name", f"{world.name}-owner", *SHELL, world.image, "-c", script, check=False)
    world.containers.append(f"{world.name}-owner")
    lines = done.stdout.split()
    world.board("33 a home that is swapped for a link during the start: what is behind the link keeps its owner", lines[:1] == ["0"], done.stdout + done.stderr[-500:])
    world.board("33 oracle: a chown that follows links loses that race", lines[1:] == ["5000"], done.stdout)


def traps_in_secrets(world):
    """34: what lies in /run/secrets need not be files."""
    folder = world.work / "traps"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "environ").symlink_to("/proc/1/environ")
    (folder / "shadow").symlink_to("/etc/shadow")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "directory").mkdir()
    with open(folder / "large", "wb") as f:
        f.truncate(1 << 30)
    with open(os.fsencode(folder) + b"/\xff\xfe", "wb") as f:
        f.write(b"x")
    (folder / "ld-preload").write_text("/evil.so")
    (folder / "good-one").write_text("GOOD\n")
    begun = time.monotonic()
    done = world.run("run", "--rm", *world.sandbox("traps", [*THREE_CAPABILITIES, "-v", f"{folder}:/run/secrets:ro"], sockets=False), world.image, "env", timeout=30)
    names = {line.split("=", 1)[0] for line in done.stdout.splitlines()}
    world.board("34 traps in /run/secrets: no hang, no variable, every one named", not names & {"FIFO", "ENVIRON", "SHADOW", "ZERO", "DIRECTORY", "LARGE", "LD_PRELOAD"}
                and time.monotonic() - begun < 20 and all(word in done.stderr for word in ("fifo", "environ", "large", "ld-preload")), done.stderr)
    world.board("34 oracle: a good secret among them arrives", "GOOD_ONE=GOOD" in done.stdout, done.stdout)
    (folder / "session_token").symlink_to("/proc/self/environ")
    done = world.run("run", "--rm", *world.sandbox("trap-token", [*THREE_CAPABILITIES, "-v", f"{folder}:/run/secrets:ro"], sockets=False), world.image, "env", check=False, timeout=30)
    world.board("34 a link instead of the session token's file stops the start", done.returncode == 78 and not done.stdout, f"{done.returncode} {done.stderr}")


def stop(world):
    """36: SIGTERM from outside."""
    for mode, options in MODES.items():
        name = "stop-" + mode.replace(" ", "-")
        world.run("run", "-d", *world.sandbox(name, options, sockets=False), world.image, "sleep", "600")
        # The engine's own start is not over when it says so: a stop that early ends its helper, not us.
        wait_for("the agent's start", lambda name=name: "sleep 600" in world.run("top", f"{world.name}-{name}", "-o", "pid,cmd").stdout.replace("keyhole-init -- sleep", ""))
        begun = time.monotonic()
        world.run("stop", "-t", "10", f"{world.name}-{name}")
        took = time.monotonic() - begun
        code = world.run("inspect", "-f", "{{.State.ExitCode}}", f"{world.name}-{name}").stdout.strip()
        world.board(f"36 SIGTERM from outside ends the agent, {mode}", code == "143" and took < 8, f"exit code {code} after {took:.1f} s")


def exit_codes(world):
    """37: every one of them."""
    script = ("for c in $(seq 0 255); do /usr/local/bin/keyhole-init --subreaper -- sh -c \"exit $c\"; echo $?; done; "
              "for s in 1 2 3 6 9 11 13 14 15; do /usr/local/bin/keyhole-init --subreaper -- sh -c \"kill -$s \\$\\$\" 2>/dev/null; echo $?; done; "
              "/usr/local/bin/keyhole-init --subreaper -- /no/such 2>/dev/null; echo $?; /usr/local/bin/keyhole-init --subreaper -- /etc 2>/dev/null; echo $?")
    done = world.run("run", "--rm", *world.sandbox("codes", ["--user=1000:1000", *SHELL], sockets=False), world.image, "-c", script)
    expected = [*range(256), *(128 + s for s in (1, 2, 3, 6, 9, 11, 13, 14, 15)), 127, 126]
    world.board("37 every exit code and signal arrives as it is", list(map(int, done.stdout.split())) == expected, done.stdout[-300:])


LOOK_AROUND = """
import contextlib, json, os, sys
seen = {"uid": os.getuid(), "forks": 0, "descriptors": 0, "bytes": 0, "terminal": sys.stdin.isatty()}
with contextlib.suppress(OSError):
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            os.read(0, 1) if seen["terminal"] else __import__("time").sleep(5)
            os._exit(0)
        seen["forks"] += 1
with contextlib.suppress(OSError):
    for _ in range(100):
        os.dup(1)
        seen["descriptors"] += 1
os.closerange(3, 200)
with contextlib.suppress(OSError), open("/tmp/large", "wb", 0) as f:
    for _ in range(64):
        seen["bytes"] += f.write(bytes(1024))
print(json.dumps(seen), flush=True)
"""


def starvation(world):
    """39: what is missing or full is a defined failure, and no way around: the agent runs as itself, or nothing runs and the exit code says why."""
    plenty = lambda seen: seen["forks"] == 10 and seen["descriptors"] == 100 and seen["bytes"] == 64 * 1024  # noqa: E731
    cases = {"nothing": ([], plenty), "16 descriptors": (["--ulimit=nofile=16:16"], lambda seen: seen["descriptors"] < 16),
             "no terminal, no input": (["-i=false"], lambda seen: not seen["terminal"]),
             "a full /tmp and home": (["--tmpfs=/tmp:size=4k", "--tmpfs=/home/agent:size=4k,uid=1000,gid=1000"], lambda seen: seen["bytes"] <= 4096),
             "4 processes": (["--pids-limit=4"], lambda seen: seen["forks"] < 4), "2 processes": (["--pids-limit=2"], lambda seen: seen["forks"] < 2)}
    for name, (options, is_scarce) in cases.items():
        session = world.session()
        done = world.run("run", "--rm", *world.sandbox("starve-" + name.replace(" ", "-").replace("/", "").replace(",", ""), [*THREE_CAPABILITIES, *options], session=session),
                         world.image, "python3", "-c", LOOK_AROUND, check=False, timeout=60)
        lines = list(eval_lines(done.stdout.splitlines()))
        told = f"{done.returncode} {done.stdout} {done.stderr[-400:]}"
        ran = done.returncode == 0 and len(lines) == 1 and lines[0]["uid"] == 1000
        refused = done.returncode in (69, 71) and not done.stdout and "keyhole-init" in done.stderr
        world.board(f"39 {name} missing: the agent runs as itself, or nothing does and stderr says why", ran or (refused and "processes" in name), told)
        world.board(f"39 {name} missing: no token in what it says", session["token"] not in done.stdout + done.stderr, told)
        world.board(f"39 oracle: {name} is missing indeed", refused or (lines and is_scarce(lines[0])), told)


def bounding_set(world):
    """30: empty where PID 1 may empty it; the oracle is the same line of a container's first process."""
    show = ["grep", "CapBnd", "/proc/self/status"]
    with_setpcap = [*THREE_CAPABILITIES, "--cap-add=SETPCAP"]
    done = world.run("run", "--rm", *world.sandbox("bounding", with_setpcap, sockets=False), world.image, *show)
    world.board("30 the agent's bounding set is empty where PID 1 has SETPCAP", done.stdout.split()[1:] == ["0" * 16], done.stdout + done.stderr)
    bare = world.run("run", "--rm", *world.sandbox("bounding-bare", [*with_setpcap, "--entrypoint=grep"], sockets=False), world.image, *show[1:])
    world.board("30 oracle: without keyhole-init it is what the container was given", int(bare.stdout.split()[1], 16) == 0x1E0, bare.stdout)


def working_directory(world):
    """31: a working directory that is a descriptor of the engine's (CVE-2024-21626) leads nowhere."""
    for n in (7, 8, 9):
        done = world.run("run", "--rm", *world.sandbox(f"workdir-{n}", [*THREE_CAPABILITIES, "-w", f"/proc/self/fd/{n}"], sockets=False), world.image,
                         "sh", "-c", "pwd -P; ls -a ..", check=False)
        world.board(f"31 a working directory /proc/self/fd/{n}", done.returncode != 0 or done.stdout.startswith("/workspace\n"), done.stdout[:300])


def restarts(world):
    """38: the proxy is killed under load, again and again; its agents see an answer or a 503, and never wait for long."""
    own = world.session("--own-socket")
    process = subprocess.Popen([world.docker, "run", "--rm", *world.sandbox("restarts", ["--user=1000:1000"], own=own), world.image, "python3", "-u", "/attacks/neighbour.py"],
                               stdout=subprocess.PIPE, text=True)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(eval_lines(process.stdout)), daemon=True)
    first = process.stdout.readline()
    thread.start()
    for _ in range(5):
        world.proxy.send_signal(signal.SIGKILL)
        world.proxy.wait()
        time.sleep(0.3)
        world.start_proxy()
    second = subprocess.run(world.proxy_command(), env=world.proxy_environment(), capture_output=True, text=True, timeout=60)
    world.board("38 a second proxy does not take over a socket that is served", second.returncode != 0 and world.is_ready(), f"{second.returncode} {second.stderr[-300:]}")
    time.sleep(1)
    world.run("kill", f"{world.name}-restarts", check=False)
    process.wait()
    thread.join(10)
    bad = [s for s in seen if s["status"] not in (200, 502, 503)]
    cut = [s for s in seen if s["status"] == 0]
    world.board("38 five proxies killed under load: answers, 503, or the connection that was cut", first and len(cut) <= 5 and len(bad) <= len(cut), str(bad[:5]))
    world.board("38 nobody waited for long", max(s["ms"] for s in seen) < 10_000, f"{max(s['ms'] for s in seen):.0f} ms")
    world.board("38 and it works afterwards", seen[-1]["status"] == 200 and len(seen) > 20, str(seen[-1:]))
    world.board.note(f"38 {len(seen)} requests over five kills: {len(cut)} cut, {sum(s['status'] == 503 for s in seen)} times 503, longest {max(s['ms'] for s in seen):.0f} ms")


def eval_lines(stream):
    for line in stream:
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def race_the_start(world):
    """3, 4: where the agent may not end its bridge, this test does, and the agent races each new one for its memory, its descriptors and its cores."""
    session = world.session()
    words = world.sandbox("race", THREE_CAPABILITIES, session=session)
    process = subprocess.Popen([world.docker, "run", "--rm", *words, "-e", "ATTACK_MODE=three uids", world.image, "python3", "-u", "/attacks/agent.py", "race"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    init, ended = world.pid_of("race"), 0
    while process.poll() is None:
        pid = bridge_below(init)
        if pid:
            with contextlib.suppress(OSError):
                os.kill(pid, (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)[ended % 3])
                ended += 1
        time.sleep(0.1)
    lines = list(eval_lines(process.stdout))
    world.board("03 the race ran to its end", process.returncode == 0 and ended >= 5 and lines, f"{process.returncode} {ended} {process.stderr.read()[-1000:]}")
    world.board.note(f"03 {ended} bridges ended from outside")
    judge(world, "three uids, ended from outside", lines, {"a crash leaves a core": core_is_found(world)})


def bridge_below(init):
    with contextlib.suppress(OSError, ValueError):
        for child in open(f"/proc/{init}/task/{init}/children").read().split():
            if open(f"/proc/{child}/comm").read() == "keyhole-bridge\n":
                return int(child)
    return 0


def core_is_found(world):
    done = world.run("run", "--rm", "--user=1000", "--ulimit=core=-1", "--network=none", "--tmpfs=/tmp:exec", "--entrypoint=python3", world.image, "-c",
                     "import sys; sys.path.insert(0, '/attacks'); from processes import core_of_mine; print(bool(core_of_mine()))", check=False)
    return done.stdout.strip() == "True"


def left_on_the_host(world):
    """40: after a run, the keys are nowhere but where they belong."""
    session = world.session("--own-socket")
    world.run("run", *world.sandbox("left", ["--user=1000:1000"], own=session), world.image, "python3", "-c",
              "import sys; sys.path.insert(0, '/attacks'); from kit import *; print(is_answered()); print(talk(post(b'authorization: Bearer sk-mine-not-a-key')))")
    name = f"{world.name}-left"
    texts = {"docker inspect": world.run("inspect", name).stdout, "docker logs": "".join((d := world.run("logs", name)).stdout + d.stderr), "the proxy's log": (world.work / "log").read_text(),
             "the image": world.run("history", "--no-trunc", world.image).stdout, "usage as exported": world.keyhole("requests", "--jsonl")}
    files = {str(p): p.read_bytes() for folder in ("state", "own", "admin", "sockets", "shared", "workspace-left")
             for p in (world.work / folder).rglob("*") if p.is_file() and not p.is_symlink()}
    texts.update({f: data.decode("latin-1") for f, data in files.items()})
    for provider, key in world.keys.items():
        world.board(f"40 the {provider} key is in no log, no inspection, no ledger", not [where for where, text in texts.items() if key in text], str([w for w, t in texts.items() if key in t]))
    world.board("40 oracle: the search finds the session's id", any(session["id"] in text for text in texts.values()))
    world.board("40 and the sandbox did work", "True" in texts["docker logs"], texts["docker logs"][-300:])


USUAL_WORK = """
import asyncio, concurrent.futures, mmap, multiprocessing, os, signal, socket, subprocess, sys, tempfile, threading

async def talk():
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(answer, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b'hello\\n')
    line = await reader.read()
    child = await asyncio.create_subprocess_exec('echo', 'child', stdout=subprocess.PIPE)
    return line == b'HELLO\\n' and (await child.communicate())[0] == b'child\\n'

def double(x):
    return 2 * x

checks = {
    'asyncio': lambda: asyncio.run(talk()), 'processes': lambda: multiprocessing.Pool(2).map(double, [1, 2]) == [2, 4],
    'threads': lambda: list(concurrent.futures.ThreadPoolExecutor(4).map(double, range(9)))[8] == 16,
    'interfaces': lambda: socket.if_nameindex()[0][1] == 'lo', 'unix pairs': lambda: socket.socketpair()[0].fileno() > 0,
    'datagrams': lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).fileno() > 0, 'names': lambda: socket.getaddrinfo('localhost', 80) != [],
    'shared memory': lambda: len(mmap.mmap(-1, 4096)) == 4096, 'memfd': lambda: os.memfd_create('x') > 0, 'pipes': lambda: subprocess.check_output('echo x | cat', shell=True) == b'x\\n',
    'terminals': lambda: __import__('pty').openpty()[0] > 0,
    'home': lambda: open(os.path.expanduser('~/x'), 'w').close() is None, 'temporary files': lambda: tempfile.NamedTemporaryFile().name,
    'name': lambda: __import__('getpass').getuser() != 'root'}
for name, check in checks.items():
    try:
        good = check()
    except Exception as problem:
        good = False
        print(name, repr(problem))
    if not good:
        print(name, 'does not work')
"""


def usual_work(world):
    """21: what refuses attacks lets an agent work."""
    for name, options in {**MODES, "a uid without an entry": ["--user=1234:1234"]}.items():
        if name == "root agent":
            continue
        done = world.run("run", "--rm", *world.sandbox("work-" + name.replace(" ", "-"), options), world.image, "python3", "-c", USUAL_WORK, check=False)
        world.board(f"21 an agent's usual work goes on, {name}", done.returncode == 0 and not done.stdout, done.stdout + done.stderr[-800:])


def run(world):
    together(world, lambda: docker_exec(world), lambda: pass_connections(world), lambda: ids(world), lambda: change_owner(world), lambda: traps_in_secrets(world),
             lambda: stop(world), lambda: exit_codes(world), lambda: starvation(world), lambda: working_directory(world), lambda: bounding_set(world), lambda: usual_work(world))
    race_the_start(world)
    identity.run(world)
    restarts(world)
    left_on_the_host(world)
