"""The agent attacks from inside, in every mode at once; what it may read is searched for every secret."""
import json
import os
import subprocess
import sys
import threading
import traceback

from world import HERE, MODES, told


def together(world, *functions):
    """In threads; one that breaks is a failure, and the others go on."""
    def guarded(function):
        try:
            function()
        except Exception:
            world.board("a test ran to its end", False, traceback.format_exc()[-2500:])
    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def ask_where_all_is_allowed(world, neighbour):
    """name -> whether the probe works somewhere: for root in namespaces of its own, on the host itself (what is reached, nothing is changed), for an
    ordinary user in a container without precautions (set-user-id programs)."""
    pairs = variables(world, "", neighbour)[1::2]
    inside = [sys.executable, "-B", str(HERE / "inside/agent.py")]
    unconfined = [world.docker, "run", "--rm", "--user=1000", "--security-opt=seccomp=unconfined", "--network=none", "--tmpfs=/tmp:exec", "--entrypoint=python3",
                  world.image, "/attacks/agent.py", "probes"]
    works = {}
    for words in (["unshare", "--mount", "--uts", "--net", "--ipc", *inside, "probes"], [*inside, "reach"], unconfined):
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **dict(p.split("=", 1) for p in pairs)}, timeout=120)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if not lines:
            raise RuntimeError(f"the oracles did not run: {words}: {done.stderr[-2000:]}")
        for line in lines:
            works[line["name"]] = works.get(line["name"], False) or line["worked"]
    return works


def judge(world, mode, lines, works):
    for line in lines:
        name = f"{line['number']:02} {line['name']}, {mode}"
        if line["kind"] == "report":
            world.board.note(f"{name}: " + ", ".join(f"{k} {v}" for k, v in line.items() if k not in ("kind", "number", "name")))
        elif line["kind"] == "attempt":
            if not line["oracle"]:
                world.board(name, False, f"its oracle does not work: {line['oracle_error']}")
            else:
                world.board(name, not line["loot"] and not line["error"], line["loot"] or line["error"])
        elif line["kind"] == "probe":
            if line["worked"] or line["error"].startswith("!"):
                world.board(name, False, line["error"] or "it worked")
            elif not works.get(line["name"], False):
                world.board.cannot_be_proven(f"{line['number']:02} {line['name']}", "it works for nobody here")
            else:
                world.board(name, True, line["error"])


def variables(world, mode, neighbour):
    pairs = [*world.listeners.variables(), f"ATTACK_MODE={mode}", f"NEIGHBOUR_TOKEN={neighbour['token']}", f"NEIGHBOUR_ID={neighbour['id']}",
             f"NEIGHBOUR_DIRECTORY={neighbour['directory']}", f"ADMIN_SOCKET={world.work}/admin/admin.sock", f"KEY_PART={world.keys['openai'][20:40]}",
             "OPENAI_API_BASE=http://localhost:8080"]
    return [word for pair in pairs for word in ("-e", pair)]


def attack(world, mode, options, groups, works, neighbour, session=None, own=None):
    name = "agent-" + mode.replace(" ", "-")
    lines, done = world.lines(*world.sandbox(name, options, session=session, own=own), *variables(world, mode, neighbour), world.image,
                              "python3", "/attacks/agent.py", *groups)
    world.board(f"the attacker ran to its end, {mode}", done.returncode == 0, f"{done.returncode}: {done.stderr[-1500:]}")
    judge(world, mode, lines, works)


def provider_repeats_its_key(world):
    """The oracle of the attempts to make it repeat its key: asked directly it does."""
    import urllib.error
    import urllib.request
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "metadata": {"demo": "echo_key_success"}}).encode()
    request = urllib.request.Request(world.provider_urls["openai"] + "/v1/chat/completions", body,
                                     {"content-type": "application/json", "authorization": "Bearer " + world.keys["openai"]})
    try:
        answer = urllib.request.urlopen(request, timeout=10).read()
    except urllib.error.HTTPError as error:
        answer = error.read()
    world.board("06 oracle: the provider repeats its key when it is asked directly", world.keys["openai"].encode() in answer)


def both_ways(world):
    """A neighbour with a token, and another with a socket; an attacker may try both."""
    by_socket = world.session("--name", "neighbour by socket", "--own-socket")
    return {**world.session("--name", "neighbour"), "directory": os.path.dirname(by_socket["socket"])}


def run(world):
    neighbour = both_ways(world)
    works = ask_where_all_is_allowed(world, neighbour)
    provider_repeats_its_key(world)
    own = world.session("--own-socket", "--name", "own socket")
    before = world.keyhole("requests", "--json", "--session", neighbour["id"])
    groups = ["privileges", "network", "processes", "sessions", "web", "last"]
    jobs = [lambda mode=mode, options=options: attack(world, mode, options, groups, works, neighbour, session=world.session("--name", mode))
            for mode, options in MODES.items()]
    jobs.append(lambda: attack(world, "own socket", ["--user=1000:1000"], ["sessions"], works, neighbour, own=own))
    together(world, *jobs)
    after = world.keyhole("requests", "--json", "--session", neighbour["id"])
    world.board("10 the neighbour was never charged", json.loads(after) == json.loads(before), after[:300])


def search(world):
    session = world.session("--name", "searched")
    own = world.session("--own-socket", "--name", "searched own")
    wanted = [told("session token", session["token"]), *(told(f"{p} key", k) for p, k in world.keys.items())]

    def look(label, options, whole=False, **more):
        quick = [] if whole else ["-e", "SEARCH_NOT_IN=/usr:/lib:/var/lib"]
        lines, done = world.lines(*world.sandbox("search-" + label.replace(" ", "-"), [*options, *quick], **more), world.image, "python3", "/attacks/search.py", *wanted)
        world.board(f"01 the search ran to its end, {label}", done.returncode == 0 and lines, done.stderr[-1000:])
        return lines[-1] if lines else {"found": ["nothing was searched"], "looked": {}}

    def judged(label, options, uid, whole=False, **more):
        seen = look(label, options, whole, **more)
        looked = seen["looked"]
        world.board(f"01 no key and no token in any file, environ, cmdline, memory, socket or port, {label}", not seen["found"], "; ".join(seen["found"])[:600])
        world.board(f"05 one socket, loopback alone, the bridge's port, {label}", looked.get("sockets") == ["/llm-sock/llm.sock"] and looked["interfaces"] == ["lo"]
                    and 8080 in looked["ports"], str(looked))
        world.board(f"05 the search was thorough, and by the right user, {label}", looked.get("uid") == uid and looked["files"] > (2000 if whole else 50) and looked["proc"] > 2,
                    str(looked))

    def planted():
        seen = look("oracle", ["--user=1000:1000", "-e", f"PLANTED={session['token']}"])  # a token that keyhole-init knows is kept from the agent
        world.board("01 oracle: the same search finds a token that is planted", any("session token" in f for f in seen["found"]), str(seen["found"])[:300])
    together(world, *(lambda mode=mode, options=options: judged(mode, options, 0 if mode == "root agent" else 1000, mode == "three uids", session=session)
                      for mode, options in MODES.items()), lambda: judged("own socket", ["--user=1000:1000"], 1000, own=own), planted)
