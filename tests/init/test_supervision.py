"""PID 1's trade: exit codes, signals, zombies, terminals, leftovers, and a bridge that stays up."""

import os
import pathlib
import pty
import signal
import subprocess
import time

from real_init import AS_USER, LIMIT, PYTHON, TOKEN, UNSHARE, InitTest, wait_until

GET = ("import socket, sys\ns = socket.create_connection(('127.0.0.1', 8080), timeout=20)\n"
       "s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\nsys.exit(0 if s.recv(100).startswith(b'HTTP/1.1 200') else 1)\n")


class ExitCodes(InitTest):
    needs_root = False

    def test_are_the_agents_own(self):
        for code in (0, 1, 2, 7, 64, 125, 126, 127, 128, 200, 255):
            self.assertEqual(self.run_init("sh", "-c", f"exit {code}").returncode, code)

    def test_are_128_and_the_signal_that_ended_it(self):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1):
            self.assertEqual(self.run_init("sh", "-c", f"kill -{number.value} $$").returncode, 128 + number)

    def test_say_that_a_command_is_not_there_or_cannot_run(self):
        missing = self.run_init("no-such-agent")
        self.assertEqual(missing.returncode, 127)
        self.assertIn("no-such-agent: not found", missing.stderr)
        (self.directory / "no-program").write_text("x")
        self.assertEqual(self.run_init(str(self.directory / "no-program")).returncode, 126)
        self.assertEqual(self.run_init("/etc").returncode, 126)

    def test_never_are_a_shells_that_nobody_named(self):
        script = self.directory / "kh-script"
        script.write_text("echo run by a shell\n")
        script.chmod(0o755)
        for words, env in (((str(script),), {}), (("kh-script",), {"PATH": f"/usr/bin:{self.directory}"})):
            result = self.run_init(*words, env=env)
            self.assertEqual((result.returncode, result.stdout), (126, ""), result.stderr)
            self.assertIn("#!/bin/sh", result.stderr)

    def test_are_of_the_first_on_the_path_that_runs(self):
        for folder in ("one", "two", "three"):
            (self.directory / folder).mkdir()
        (self.directory / "two/kh-tool").write_text("#!/bin/sh\necho not for everybody\n")
        (self.directory / "three/kh-tool").write_text("#!/bin/sh\necho third\n")
        (self.directory / "three/kh-tool").chmod(0o755)
        path = ":".join(["/usr/bin", *(str(self.directory / folder) for folder in ("no-such", "one", "two", "three"))])
        self.assertEqual(self.run_init("kh-tool", env={"PATH": path}).stdout, "third\n")
        (self.directory / "three/kh-tool").unlink()
        self.assertEqual(self.run_init("kh-tool", env={"PATH": path}).returncode, 126)

    def test_say_that_the_working_directory_is_wrong(self):
        result = self.run_init("true", env={"AGENT_WORKDIR": "/no/such/place"})
        self.assertEqual(result.returncode, 78)
        self.assertIn("/no/such/place", result.stderr)

    def test_arguments_arrive_as_they_were_given(self):
        words = ["", "two words", "$HOME", "'", '"', "\n", "--", "-x", "\\"]
        code = "import sys; print(sys.argv[1:])"
        self.assertEqual(self.run_init(PYTHON, "-c", code, *words).stdout.strip(), str(words))

    def test_one_argument_is_one_program_not_a_line(self):
        program = self.directory / "two words; ls"
        program.write_text("#!/bin/sh\necho exact\n")
        program.chmod(0o755)
        self.assertEqual(self.run_init(str(program)).stdout, "exact\n")
        line = self.run_init("echo hello | wc")
        self.assertEqual((line.returncode, line.stdout), (127, ""))
        self.assertIn("sh -c", line.stderr)
        self.assertIn("doctor: not found", self.run_init("doctor").stderr)

    def test_command_and_arguments_may_come_from_the_environment(self):
        result = self.run_init("false", env={"AGENT_COMMAND": "echo", "AGENT_ARGS": "hello from sandbox"})
        self.assertEqual(result.stdout, "hello from sandbox\n")


class WorkingDirectory(InitTest):
    def start_in(self, place, **env):
        return self.run_init("pwd", before=["env", "-C", str(place)], env={"AGENT_WORKDIR": None, **env})

    def test_is_the_containers(self):
        place = self.directory / "app"
        place.mkdir()
        place.chmod(0o755)
        result = self.start_in(place)
        self.assertEqual((result.stdout.strip(), result.stderr), (str(place), ""))

    def test_is_what_the_agent_was_told_before_the_containers(self):
        self.assertEqual(self.start_in(self.directory, AGENT_WORKDIR="/usr").stdout, "/usr\n")

    def test_that_the_agent_cannot_enter_is_said(self):
        place = self.directory / "closed"
        place.mkdir(mode=0o700)
        result = self.start_in(place)
        self.assertNotIn(str(place), result.stdout)
        self.assertRegex(result.stderr, "the working directory .*/closed cannot be entered by uid 1000 .Permission denied.")

    def test_that_only_a_descriptor_of_the_engine_leads_to_is_not_taken(self):
        outside = self.directory / "outside"
        outside.mkdir()
        before = ["sh", "-c", f'cd {outside} && mount -t tmpfs none {self.directory}/llm-sock && rmdir {outside} && exec "$@"', "sh"]
        result = self.run_init("pwd", before=before, env={"AGENT_WORKDIR": None})
        self.assertNotIn("outside", result.stdout)
        self.assertEqual(result.returncode, 0, result.stderr)


class Signals(InitTest):
    needs_root = False

    def test_reach_the_agent_and_its_children(self):
        script = "trap 'echo agent; exit 3' TERM; sh -c 'trap \"echo child; exit\" TERM; echo ready; sleep 60 & wait' & echo ready; wait; wait"
        process = self.start("sh", "-c", script, stdout=subprocess.PIPE)
        self.assertEqual([process.stdout.readline() for _ in range(2)], ["ready\n"] * 2)
        self.signal_init(process)
        out = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(LIMIT), 3)
        self.assertIn("agent", out)
        self.assertIn("child", out)

    def test_end_an_agent_that_does_not_handle_them(self):
        process = self.start("sh", "-c", "echo ready; exec sleep 60", stdout=subprocess.PIPE)
        process.stdout.readline()
        started = time.monotonic()
        self.signal_init(process)
        self.assertEqual(process.wait(LIMIT), 143)
        process.stdout.close()
        self.assertLess(time.monotonic() - started, 2)

    def test_of_every_number_are_passed_on(self):
        code = ("import os, signal\nfor n in range(1, 65):\n"
                "  if n not in (9, 17, 19, 32, 33): signal.signal(n, lambda n, _: os.write(1, b'%d\\n' % n))\n"
                "os.write(1, b'ready\\n')\nwhile True: signal.pause()\n")
        process = self.start(PYTHON, "-c", code, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        for number in sorted(set(range(1, 65)) - {9, 19, 17, 32, 33}):
            self.signal_init(process, number)
            self.assertEqual(process.stdout.readline(), f"{number}\n")
        os.kill(self.pid_of_init(process), signal.SIGKILL)
        process.wait(LIMIT)
        process.stdout.close()

    def test_that_ask_a_second_time_to_stop_end_it(self):
        process = self.start("sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 60 & wait $!; done", stdout=subprocess.PIPE)
        process.stdout.readline()
        self.signal_init(process)
        self.assertEqual(process.stdout.readline(), "asked\n")
        self.signal_init(process)
        self.assertEqual(process.wait(LIMIT), 137)
        process.stdout.close()

    def test_that_interrupt_the_start_are_its_exit_code(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start("echo", "ran", env={"SESSION_TOKEN": "kh_0123456789", "KEYHOLE_PROXY_WAIT": "60"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            init = self.pid_of_init(process)
            # PID 1 blocks its signals first of all.
            blocks_all = lambda: any(line.startswith("SigBlk:\tf") for line in pathlib.Path(f"/proc/{init}/status").read_text().splitlines())
            wait_until(blocks_all, "signals are blocked")
            self.signal_init(process, number)
            out, _ = process.communicate(timeout=LIMIT)
            self.assertEqual((process.returncode, out), (128 + number, ""))

    def test_are_as_usual_for_the_agent_although_init_blocks_them(self):
        result = self.run_init("sh", "-c", "grep -E 'Sig(Blk|Ign)|ShdPnd' /proc/self/status",
                               preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))
        for line in result.stdout.splitlines():
            self.assertEqual(int(line.split()[1], 16), 0, line)


    def test_may_be_rewritten(self):
        code = "import os, signal\nsignal.signal(signal.SIGINT, lambda *_: (os.write(1, b'asked\\n'), os._exit(7)))\nprint('ready', flush=True)\nsignal.pause()\n"
        process = self.start(PYTHON, "-c", code, options=["--rewrite", "15:2"], stdout=subprocess.PIPE)
        process.stdout.readline()
        self.signal_init(process)
        self.assertEqual(process.stdout.readline(), "asked\n")
        process.stdout.close()
        self.assertEqual(process.wait(LIMIT), 7)

    def test_that_end_it_as_wanted_may_count_as_success(self):
        self.assertEqual(self.run_init("sh", "-c", "kill -15 $$", options=["--ok-exit", "143"]).returncode, 0)
        self.assertEqual(self.run_init("sh", "-c", "exit 3", options=["--ok-exit", "143"]).returncode, 3)


class Children(InitTest):
    def test_orphans_are_reaped(self):
        code = ("import os, time\nfor _ in range(300):\n  if os.fork() == 0:\n    if os.fork() == 0: os._exit(0)\n    os._exit(0)\n  os.wait()\n"
                "def zombies():\n  n = 0\n  for p in os.listdir('/proc'):\n    if p.isdigit():\n      try: n += ') Z' in open(f'/proc/{p}/stat').read()\n"
                "      except OSError: pass\n  return n\nend = time.monotonic() + 10\n"
                "while zombies() and time.monotonic() < end: pass\nprint(zombies())\n")
        self.assertEqual(self.run_init(PYTHON, "-c", code).stdout, "0\n")

    def test_leftovers_get_sigterm_and_then_sigkill(self):
        marker = self.directory / "marker"
        marker.touch(mode=0o666)
        marker.chmod(0o666)
        script = (f"(trap 'echo asked >> {marker}' TERM; echo ready >> {marker}; while :; do sleep 0.05; done) & "
                  f"while ! grep -q ready {marker}; do :; done; exit 5")
        started = time.monotonic()
        result = self.run_init("sh", "-c", script, options=["--grace", "1"])
        self.assertEqual(result.returncode, 5)
        self.assertIn("asked", marker.read_text())
        self.assertLess(time.monotonic() - started, 6)

    def test_that_cannot_be_signalled_are_not_waited_for(self):
        """Root without CAP_KILL: kill(-1) says that all went well."""
        self.start_proxy()
        sets = "-all,+setuid,+setgid"
        started = time.monotonic()
        result = self.run_init("sh", "-c", "sleep 60 & exit 4", options=["--grace", "8"],
                               before=["sh", "-c", f'ip link set lo up; exec setpriv --bounding-set={sets} --inh-caps={sets} "$@"', "sh"])
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertLess(time.monotonic() - started, 6)

    def test_no_leftovers_no_waiting(self):
        self.start_proxy()
        started = time.monotonic()
        self.assertEqual(self.run_init("true", options=["--grace", "60"]).returncode, 0)
        self.assertLess(time.monotonic() - started, 5)

    def test_an_idle_init_never_wakes(self):
        self.start_proxy()
        process = self.start("sh", "-c", "echo ready; exec sleep 60", stdout=subprocess.PIPE)
        process.stdout.readline()
        init = self.pid_of_init(process)
        bridge = self.find_child(init, "keyhole-bridge")

        def switches():
            return [line for pid in (init, bridge) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                    if line.startswith("voluntary_ctxt")]

        # The start has its own wake-ups, and a busy machine is slow to be done with them; a tick would show in every interval.
        quiet = []
        for _ in range(4):
            before = switches()
            time.sleep(1.2)  # the measured interval
            quiet.append(switches() == before)
            if quiet[-1]:
                break
        self.assertTrue(quiet[-1])
        process.stdout.close()


# Tries to take descriptors and processor time from PID 1 and the bridge, whose uid it has; then the attack that must not hang anything.
LIMITS = r"""
import ctypes, os, resource, sys
def bridge():
    for p in filter(str.isdigit, os.listdir('/proc')):
        try:
            if open(f'/proc/{p}/comm').read() == 'keyhole-bridge\n': return int(p)
        except OSError: pass
own = os.fork()
if own == 0: os.read(os.pipe()[0], 1)
worked = []
for pid in (own, bridge(), 1):
    for what, limit in ((resource.RLIMIT_NOFILE, 4), (resource.RLIMIT_NOFILE, 0), (resource.RLIMIT_CPU, 0), (resource.RLIMIT_AS, 4096)):
        try: resource.prlimit(pid, what, (limit, limit)); worked.append(('limit', pid, what))
        except OSError: pass
    try: os.setpriority(os.PRIO_PROCESS, pid, 19); worked.append(('priority', pid))
    except OSError: pass
    try: os.sched_setaffinity(pid, [0]); worked.append(('processors', pid))
    except OSError: pass
os.kill(own, 9)
print(worked, flush=True)
"""


class LimitsOfOthers(InitTest):
    def test_cannot_be_set_by_an_agent_that_shares_the_uid(self):
        self.start_proxy()
        result = self.run_init(PYTHON, "-c", LIMITS + GET, before=AS_USER)
        self.assertEqual((result.returncode, result.stdout), (0, "[]\n"), result.stderr)

    def test_of_its_own_still_can(self):
        code = "import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\nos.nice(1)\nos.sched_setaffinity(0, os.sched_getaffinity(0))\n"
        self.assertEqual(self.run_init(PYTHON, "-c", code).returncode, 0)
        self.assertEqual(self.run_init("sh", "-c", "ulimit -n 64; ulimit -n").stdout, "64\n")

    def test_that_take_init_its_descriptors_cost_neither_status_nor_signals(self):
        """Where there is no filter, an agent of the same uid, or anybody outside, can."""
        code = ("import os, resource, signal, sys\nresource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))\n"
                "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('ready', flush=True)\nsignal.pause()\n")
        process = self.start(PYTHON, "-c", code, before=AS_USER, env={"KEYHOLE_SECCOMP": "off"}, stdout=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        init = self.pid_of_init(process)
        used = lambda: sum(map(int, pathlib.Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[11:13]))
        before = used()
        time.sleep(0.5)  # the measured interval
        self.assertLess(used() - before, 10, "it spins")
        self.signal_init(process)
        self.assertEqual(process.wait(LIMIT), 7)
        process.stdout.close()


class Program(InitTest):
    """An agent of the owner's uid, on a file system that can be written, puts a program of its own where the bridge is."""

    THIEF = r"""
import contextlib, os, signal, sys, time
name, loot, way = sys.argv[1:]
def bridge():
    for p in filter(str.isdigit, os.listdir('/proc')):
        try:
            if open(f'/proc/{p}/comm').read() == 'keyhole-bridge\n': return int(p)
        except OSError: pass
first = bridge()
script = f'#!/bin/sh\ncat /proc/self/fd/* >{loot}; exit 0\n'
if way == 'rename': os.rename(name, name + '.old')
os.chmod(name, 0o755) if way != 'rename' else None
for _ in range(2):
    with contextlib.suppress(ProcessLookupError): os.kill(bridge() or first, signal.SIGKILL)
    time.sleep(0.3)
    if way == 'mode': break
    try:
        with open(name, 'w') as f: f.write(script)
        os.chmod(name, 0o755)
    except OSError as problem: print(problem)
deadline = time.monotonic() + 1.5
while time.monotonic() < deadline and not os.path.exists(loot): time.sleep(0.02)
print('stolen' if os.path.exists(loot) else 'nothing', flush=True)
"""

    def steal(self, way, *options):
        self.start_proxy()
        self.directory.chmod(0o777)
        loot = self.directory / "loot"
        name = self.directory / "keyhole-bridge"
        if way != "root":
            os.chown(name, 1000, 1000)
            os.chown(self.directory, 1000, 1000)
        result = self.run_init(PYTHON, "-c", self.THIEF, str(name), str(loot), way, before=AS_USER if way != "root" else (), env={"SESSION_TOKEN": TOKEN, **dict(options)})
        self.assertIn("nothing", result.stdout, result.stderr)
        self.assertFalse(loot.exists())
        return result

    def test_that_took_the_bridges_name_gets_no_token(self):
        self.steal("rename")

    def test_that_was_made_readable_gets_no_token(self):
        """Its process could be looked into until it forbids that itself."""
        self.assertIn("was changed since the start", self.steal("mode").stderr)

    def test_that_was_written_into_its_file_gets_no_token(self):
        self.assertIn("was changed since the start", self.steal("write").stderr)


class Bridge(InitTest):
    def test_serves_the_agent(self):
        self.start_proxy()
        self.assertEqual(self.run_init(PYTHON, "-c", GET).returncode, 0)

    def test_is_started_again_when_it_dies(self):
        self.start_proxy()
        process = self.start("sh", "-c", 'echo ready; read line; exec "$0" -c "$1"', PYTHON, GET, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()
        init = self.pid_of_init(process)
        for _ in range(3):
            bridge = self.find_child(init, "keyhole-bridge")
            os.kill(bridge, signal.SIGKILL)
            wait_until(lambda killed=bridge: self.find_child(init, "keyhole-bridge") != killed, "a new bridge")
        _, err = process.communicate("go\n", timeout=LIMIT)
        self.assertEqual(process.returncode, 0)
        self.assertIn("the bridge ended (signal 9), starting it again", err)

    def test_that_shall_not_be_started_again_ends_the_agent(self):
        self.start_proxy()
        for heeds, killed in (("exit 3", False), (":", True)):
            process = self.start("sh", "-c", f"trap '{heeds}' TERM; echo ready; while :; do sleep 0.01; done", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env={"KEYHOLE_BRIDGE_RESTART": "no", "KEYHOLE_GRACE": "1" if killed else "20"})
            process.stdout.readline()
            os.kill(self.find_child(self.pid_of_init(process), "keyhole-bridge"), signal.SIGKILL)
            _, err = process.communicate(timeout=LIMIT)
            self.assertEqual(process.returncode, 69, err)
            self.assertIn("KEYHOLE_BRIDGE_RESTART=no", err)

    def test_that_shall_not_be_started_again_leaves_an_agents_own_end_alone(self):
        self.start_proxy()
        self.assertEqual(self.run_init("sh", "-c", "exit 7", env={"KEYHOLE_BRIDGE_RESTART": "no"}).returncode, 7)

    def test_keeps_its_port_while_it_is_down(self):
        self.start_proxy()
        # In single-uid mode the agent may kill its bridge. It must not be able to take its place.
        code = ("import os, signal, socket, sys\n"
                "def bridges():\n"
                "  for p in os.listdir('/proc'):\n"
                "    try:\n"
                "      if p.isdigit() and open(f'/proc/{p}/comm').read() == 'keyhole-bridge\\n': yield int(p)\n"
                "    except OSError: pass\n"
                "stolen = 0\n"
                "for _ in range(30):\n"
                "  for p in bridges():\n"
                "    try: os.kill(p, signal.SIGKILL)\n"
                "    except ProcessLookupError: pass\n"
                "  for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):\n"
                "    s = socket.socket()\n"
                "    s.setsockopt(socket.SOL_SOCKET, option, 1)\n"
                "    try: s.bind(('127.0.0.1', 8080)); s.listen(); stolen += 1\n"
                "    except OSError: pass\n"
                "    s.close()\n"
                "assert not stolen, stolen\n") + GET
        result = self.run_init(PYTHON, "-c", code, before=AS_USER)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_continues_when_it_is_stopped(self):
        self.start_proxy()
        process = self.start("sh", "-c", 'echo ready; read line; exec "$0" -c "$1"', PYTHON, GET, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        process.stdout.readline()
        bridge = self.find_child(self.pid_of_init(process), "keyhole-bridge")
        os.kill(bridge, signal.SIGSTOP)
        process.communicate("go\n", timeout=LIMIT)
        self.assertEqual(process.returncode, 0)

    def test_joins_the_group_of_a_directory_that_only_its_group_may_search(self):
        """Root without CAP_DAC_OVERRIDE cannot look into it either."""
        self.start_proxy(mode=0o660)
        os.chown(self.socket_directory / "llm.sock", 997, 4242)
        os.chown(self.socket_directory, 997, 4242)
        self.socket_directory.chmod(0o750)
        sets = "-all,+setuid,+setgid,+kill"
        up = ["ip", "link", "set", "lo", "up"]
        result = self.run_init(PYTHON, "-c", GET, before=["sh", "-c", f'{" ".join(up)}; exec setpriv --bounding-set={sets} --inh-caps={sets} "$@"', "sh"])
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_joins_the_group_of_a_socket_that_only_its_group_may_use(self):
        proxy = self.start_proxy(mode=0o660)
        os.chown(self.socket_directory / "llm.sock", 0, 4242)
        self.assertEqual(self.run_init(PYTHON, "-c", GET).returncode, 0)
        direct = "import socket, sys\ntry: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\nexcept PermissionError: sys.exit(9)\n"
        self.assertEqual(self.run_init(PYTHON, "-c", direct, str(self.socket_directory / "llm.sock")).returncode, 9)
        self.assertTrue(proxy.received)


    def test_gets_its_limits_from_the_containers_variables(self):
        self.start_proxy()
        code = ("import os, signal\n"
                "for p in os.listdir('/proc'):\n"
                "  if p.isdigit() and open(f'/proc/{p}/comm').read() == 'keyhole-bridge\\n': print(open(f'/proc/{p}/cmdline').read().replace('\\0', ' '))\n")
        result = self.run_init(PYTHON, "-c", code, env={"KEYHOLE_CONNECT_WAIT": "7", "KEYHOLE_MAX_CONNECTIONS": "99"})
        self.assertIn("--connect-wait 7 ", result.stdout, result.stderr)
        self.assertIn("--max-connections 99 ", result.stdout)

    def test_waits_for_an_absent_proxy_as_long_as_it_is_told(self):
        proxy = self.start_proxy()
        ask = ("import http.client, os, sys, time\nos.unlink(sys.argv[1]) if os.access(os.path.dirname(sys.argv[1]), os.W_OK) else None\n"
               "begun = time.monotonic()\nc = http.client.HTTPConnection('127.0.0.1', 8080, timeout=30)\nc.request('GET', '/')\n"
               "print(c.getresponse().status, int(time.monotonic() - begun))\n")
        for wait in (0, 2):
            process = self.start(PYTHON, "-c", "input('ready')\n" + ask, str(self.socket_directory / "llm.sock"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 env={"KEYHOLE_CONNECT_WAIT": str(wait), "KEYHOLE_HAND_OFF": "no"})
            self.assertEqual(process.stdout.read(5), "ready")
            proxy.stop()
            out, _ = process.communicate("\n", timeout=LIMIT)
            self.assertEqual(out.split(), ["503", str(wait)])
            os.unlink(self.socket_directory / "llm.sock")
            proxy = self.start_proxy()


class FailsClosed(InitTest):
    needs_root = False

    def test_when_a_base_url_is_set_and_there_is_no_socket(self):
        for variable in ("OPENAI_API_BASE", "ANTHROPIC_BASE_URL"):
            result = self.run_init("echo", "ran", env={variable: "http://localhost:8080", "LLM_PROXY_SOCKET": None})
            self.assertEqual(result.returncode, 1)
            self.assertIn("tmpfs", result.stderr)
            self.assertEqual(result.stdout, "")

    def test_when_the_sockets_directory_is_closed_whether_a_proxy_is_expected_or_not(self):
        if not self.namespaces:
            self.skipTest("needs root")
        self.start_proxy()
        os.chown(self.socket_directory, 997, 4242)
        self.socket_directory.chmod(0o750)
        for env in ({"SESSION_TOKEN": TOKEN}, {}):
            result = self.run_init("echo", "ran", before=AS_USER, env=env)
            self.assertEqual((result.returncode, result.stdout), (1, ""), result.stderr)
            self.assertIn("(owner 997:4242, mode 0750)", result.stderr)
            self.assertIn("--group-add 4242", result.stderr)

    def test_when_the_socket_is_closed_and_says_who_asked(self):
        if not self.namespaces:
            self.skipTest("needs root")
        self.start_proxy(mode=0o660)
        os.chown(self.socket_directory / "llm.sock", 997, 4242)
        result = self.run_init("echo", "ran", before=AS_USER)
        self.assertEqual((result.returncode, result.stdout), (1, ""), result.stderr)
        self.assertIn("as uid 1000, gid 1000", result.stderr)
        self.assertIn("--group-add 4242", result.stderr)

    def test_when_a_token_is_set_and_there_is_no_socket(self):
        result = self.run_init("echo", "ran", env={"SESSION_TOKEN": "kh_0123456789"})
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertNotIn("kh_0123456789", result.stderr)

    def test_when_nobody_listens_on_the_socket(self):
        self.start_proxy().stop()
        result = self.run_init("echo", "ran")
        self.assertEqual((result.returncode, result.stdout), (1, ""), result.stderr)

    def test_but_runs_without_models_when_none_are_expected(self):
        result = self.run_init("env", env={"LLM_PROXY_SOCKET": None})
        self.assertEqual(result.returncode, 0)
        self.assertNotIn("127.0.0.1:8080", result.stdout)

    def test_when_the_bridge_cannot_be_run(self):
        self.start_proxy()
        result = self.run_init("echo", "ran", options=["--bridge", "/no/such/bridge"])
        self.assertEqual((result.returncode, result.stdout), (69, ""))

    def test_when_it_is_not_pid_1(self):
        result = subprocess.run([str(self.directory / "keyhole-init"), "true"], capture_output=True, text=True, env={})
        self.assertEqual(result.returncode, 64)
        self.assertIn("--init", result.stderr)


class Terminal(InitTest):
    def open(self, code, before=(), **env):
        """The namespaces' first process, so that it leads the terminal's foreground as it does under `docker run -it`."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvpe(UNSHARE[0], [*UNSHARE, *before, str(self.directory / "keyhole-init"), "--", PYTHON, "-c", code], self.environment(env))
        self.addCleanup(os.close, terminal)
        self.seen = b""
        self.read_until(terminal, b"ready")
        return pid, terminal

    def read_until(self, terminal, word):
        while word not in self.seen:
            self.seen += os.read(terminal, 1024)

    def test_belongs_to_the_agent_and_ctrl_c_reaches_it(self):
        pid, terminal = self.open("import os, signal, sys\nassert os.tcgetpgrp(0) == os.getpgrp() == os.getpid()\n"
                                  "signal.signal(signal.SIGINT, lambda *_: sys.exit(42))\nprint('ready', flush=True)\nsignal.pause()\n")
        os.write(terminal, b"\x03")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 42)

    def test_belongs_to_a_session_of_the_agents_own_where_that_is_asked_for(self):
        """PID 1 leads the terminal's session first, as an engine has it."""
        pid, terminal = self.open("import os, signal, sys\nassert os.getsid(0) == os.getpgrp() == os.getpid() == os.tcgetpgrp(0)\n"
                                  "os.close(os.open('/dev/tty', os.O_RDWR))\n"
                                  "signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))\n"
                                  "signal.signal(signal.SIGINT, lambda *_: sys.exit(44))\nprint('ready', flush=True)\nsignal.pause()\n",
                                  before=["setsid", "--ctty"], KEYHOLE_NEW_SESSION="1")
        os.write(terminal, b"\x03")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 44)

    def test_that_is_none_is_no_hindrance_to_a_session_of_its_own(self):
        done = self.run_init(PYTHON, "-c", "import os; print(os.getsid(0) == os.getpid())", env={"KEYHOLE_NEW_SESSION": "1"}, stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stdout), (0, "True\n"), done.stderr)

    def test_ctrl_z_suspends_nothing_for_ever(self):
        """Nobody in a container could type `fg`."""
        pid, terminal = self.open("import os, signal, sys\nsignal.signal(signal.SIGCONT, lambda *_: os.write(1, b'back\\n'))\nprint('ready', flush=True)\n"
                                  "sys.exit(int(sys.stdin.readline()))\n")
        os.write(terminal, b"\x1a")
        self.read_until(terminal, b"back")
        os.write(terminal, b"43\n")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 43)


if __name__ == "__main__":
    import unittest
    unittest.main()
