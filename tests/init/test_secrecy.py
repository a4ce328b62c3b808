"""TOKEN_STAYS_HOME and NO_WAY_AROUND, attacked by the agent itself: what it can read, inherit, become and reach."""

import json
import os
import pathlib
import subprocess

from real_init import AS_USER, PYTHON, TOKEN, InitTest

# Reads everything that this process may read in /proc and prints where the canary is. Its own child holds another canary in its
# environment, which must be found: a scanner that finds nothing proves nothing.
SCAN = r"""
import json, os, re, subprocess, sys
canary, oracle = (bytes.fromhex(h) for h in sys.argv[1:3])
child = subprocess.Popen(['sleep', '60'], env={'ORACLE': oracle.decode()})
found = {'canary': [], 'oracle': []}
def look(where, data):
    if canary in data: found['canary'].append(where)
    if oracle in data: found['oracle'].append(where)
def read(path, limit=1 << 20):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b''
    try:
        return os.read(fd, limit)
    except OSError:
        return b''
    finally:
        os.close(fd)
def memory(pid):
    try:
        regions = open(f'/proc/{pid}/maps').read().splitlines()
        mem = open(f'/proc/{pid}/mem', 'rb', 0)
    except OSError:
        return
    for line in regions:
        low, high = (int(x, 16) for x in line.split()[0].split('-'))
        try:
            mem.seek(low)
            look(f'{pid}/mem', mem.read(min(high - low, 1 << 24)))
        except (OSError, ValueError, OverflowError):
            pass
me = str(os.getpid())
for pid in filter(str.isdigit, os.listdir('/proc')):
    if pid == me: continue
    for name in ('environ', 'cmdline', 'comm', 'status', 'auxv', 'stack', 'syscall'):
        look(f'{pid}/{name}', read(f'/proc/{pid}/{name}'))
    memory(pid)
    try:
        for fd in os.listdir(f'/proc/{pid}/fd'):
            look(f'{pid}/fd/{fd}', read(f'/proc/{pid}/fd/{fd}', 4096))
    except OSError:
        pass
look('own environment', '\n'.join(f'{k}={v}' for k, v in os.environ.items() if k != 'ORACLE').encode())
for base in sys.argv[3:]:
    for folder, _, files in os.walk(base):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path): look(path, read(path))
child.kill()
print(json.dumps(found))
"""


class Token(InitTest):
    def scan(self, before=(), **more):
        self.start_proxy()
        oracle = "kh_oracle_0123456789"
        result = self.run_init(PYTHON, "-c", SCAN, TOKEN.encode().hex(), oracle.encode().hex(), str(self.directory), "/run", before=before,
                               env={"SESSION_TOKEN": TOKEN, "CONTROL_PLANE_URL": TOKEN, "SESSION_ID": TOKEN}, **more)
        self.assertEqual(result.returncode, 0, result.stderr)
        found = json.loads(result.stdout)
        self.assertTrue(found["oracle"], "the scanner does not work")
        self.assertEqual(found["canary"], [])
        self.assertNotIn(TOKEN, result.stderr)

    def test_token_stays_home_from_an_agent_with_its_own_uid(self):
        self.scan()

    def test_token_stays_home_from_an_agent_that_shares_the_uid(self):
        self.scan(before=AS_USER)

    def test_the_original_environment_is_overwritten(self):
        self.start_proxy()
        process = self.start("sh", "-c", "echo ready; exec sleep 60", env={"SESSION_TOKEN": TOKEN}, stdout=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        init = self.pid_of_init(process)
        for pid in (init, self.find_child(init, "keyhole-bridge")):
            # As root from outside, who may read it.
            self.assertEqual(pathlib.Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0"), b"")
            self.assertNotIn(TOKEN.encode(), pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())

    def test_reaches_the_proxy_in_the_preface(self):
        proxy = self.start_proxy()
        get = ("import socket\ns = socket.create_connection(('127.0.0.1', 8080))\ns.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\ns.recv(100)\n")
        self.assertEqual(self.run_init(PYTHON, "-c", get, env={"SESSION_TOKEN": TOKEN}).returncode, 0)
        token = TOKEN.encode()
        preface = b"\r\n\r\n\0\r\nQUIT\n\x21\x00" + (len(token) + 3).to_bytes(2, "big") + b"\xe0" + len(token).to_bytes(2, "big") + token
        self.assertIn(preface + b"GET / HTTP/1.1\r\n\r\n", proxy.received)

    def test_may_come_from_a_file_that_only_root_reads(self):
        proxy = self.start_proxy()
        secrets = self.directory / "secrets"
        secrets.mkdir()
        (secrets / "session_token").write_text(TOKEN + "\n")
        (secrets / "session_token").chmod(0o400)
        get = ("import socket\ns = socket.create_connection(('127.0.0.1', 8080))\ns.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\ns.recv(100)\n")
        result = self.run_init(PYTHON, "-c", get, env={"SESSION_TOKEN_FILE": str(secrets / "session_token")})
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(any(TOKEN.encode() in data for data in proxy.received))

    def test_a_token_file_that_the_agent_cannot_read_stays_for_the_next_start(self):
        proxy = self.start_proxy()
        token = self.directory / "session_token"
        token.write_text(TOKEN)
        token.chmod(0o400)
        for _ in range(2):
            result = self.run_init("echo", "ran", env={"SESSION_TOKEN_FILE": str(token)})
            self.assertEqual((result.returncode, result.stdout), (0, "ran\n"), result.stderr)
        self.assertEqual(token.read_text(), TOKEN)
        self.assertIsNotNone(proxy)

    def test_a_token_file_that_the_agent_could_read_is_removed_and_missed_at_the_next_start(self):
        self.start_proxy()
        token = self.directory / "session_token"
        token.write_text(TOKEN)
        token.chmod(0o444)
        env = {"SESSION_TOKEN_FILE": str(token)}
        first = self.run_init("echo", "ran", env=env)
        self.assertEqual((first.returncode, first.stdout), (0, "ran\n"), first.stderr)
        self.assertIn("was removed", first.stderr)
        second = self.run_init("echo", "ran", env=env)
        self.assertEqual((second.returncode, second.stdout), (78, ""), second.stderr)
        self.assertIn(str(token), second.stderr)

    def test_a_readable_token_file_goes_even_where_a_variable_brought_the_token(self):
        self.start_proxy()
        token = self.directory / "session_token"
        token.write_text(TOKEN)
        token.chmod(0o444)
        result = self.run_init("cat", str(token), env={"SESSION_TOKEN": TOKEN, "SESSION_TOKEN_FILE": str(token)})
        self.assertNotIn(TOKEN, result.stdout + result.stderr)
        self.assertFalse(token.exists())

    def test_under_another_name_is_kept_from_the_agent(self):
        self.start_proxy()
        result = self.run_init("env", env={"SESSION_TOKEN": TOKEN, "MY_TOKEN": TOKEN, "HEADERS": f"authorization: Bearer {TOKEN}", "KEPT": "yes"})
        self.assertNotIn(TOKEN, result.stdout + result.stderr)
        self.assertIn("KEPT=yes", result.stdout, result.stderr)
        self.assertIn("MY_TOKEN holds the session token", result.stderr)

    def test_a_token_file_that_the_agent_could_read_and_that_cannot_be_removed_stops_the_start(self):
        self.start_proxy()
        token = self.directory / "session_token"
        token.write_text(TOKEN)
        token.chmod(0o444)
        mount = ["sh", "-c", f'mount --bind {token} {token} && exec "$@"', "sh"]
        env = {"SESSION_TOKEN_FILE": str(token)}
        result = self.run_init("echo", "ran", before=mount, env=env)
        self.assertEqual((result.returncode, result.stdout), (78, ""), result.stderr)
        allowed = self.run_init("echo", "ran", before=mount, env={**env, "KEYHOLE_ALLOW_SECRETS": "session_token"})
        self.assertEqual(allowed.returncode, 0, allowed.stderr)

    def mounted_secret(self, name, text, mode=0o444):
        """A file of a directory of secrets that cannot be changed, and how to mount it."""
        secrets = self.directory / "secrets"
        secrets.mkdir(exist_ok=True)
        (secrets / name).write_text(text)
        (secrets / name).chmod(mode)
        return ["sh", "-c", f'mount --bind {secrets} {secrets} && mount -o remount,bind,ro {secrets} && exec "$@"', "sh"], {"KEYHOLE_SECRETS": str(secrets)}

    def test_a_file_that_can_only_be_meant_as_the_tokens_is_the_tokens(self):
        proxy = self.start_proxy()
        get = ("import socket\ns = socket.create_connection(('127.0.0.1', 8080))\ns.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\ns.recv(100)\n")
        for name in ("session-token", "SESSION_TOKEN", "session_token"):
            mount, env = self.mounted_secret(name, TOKEN + "\n", 0o400)
            result = self.run_init(PYTHON, "-c", get, before=mount, env=env)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertTrue(any(TOKEN.encode() in data for data in proxy.received), name)
            (self.directory / "secrets" / name).unlink()
            proxy.received.clear()

    def test_whatever_the_tokens_file_is_called_a_readable_one_that_stays_stops_the_start(self):
        self.start_proxy()
        for name, given in (("session-token", {}), ("SESSION_TOKEN", {}), ("session-token", {"SESSION_TOKEN": TOKEN}), ("notes", {"SESSION_TOKEN": TOKEN})):
            mount, env = self.mounted_secret(name, TOKEN)
            result = self.run_init("echo", "ran", before=mount, env={**env, **given})
            self.assertEqual((result.returncode, result.stdout), (78, ""), result.stderr)
            self.assertIn(f"secrets/{name} can be read by the agent", result.stderr)
            self.assertNotIn(TOKEN, result.stderr)
            (self.directory / "secrets" / name).unlink()

    def test_a_secret_among_the_commands_words_stops_the_start_and_is_not_shown(self):
        self.start_proxy()
        key = "sk-ant-api03-" + "aB3dE5gH7j" * 9
        for words, env, place in ((("echo", "-k", TOKEN), {}, "argument 2"), (("echo", f"--header=Bearer {TOKEN}"), {}, "argument 1"),
                                  (("echo", key), {}, "argument 1"), ((f"echo {key}",), {}, "the command's name"),
                                  ((), {"AGENT_COMMAND": "echo", "AGENT_ARGS": f"--api-key {TOKEN}"}, "argument 2"),
                                  (("echo", "kh_" + "aB3dE5gH7j" * 4), {}, "argument 1")):
            result = self.run_init(*words, env={"SESSION_TOKEN": TOKEN, **env})
            self.assertEqual((result.returncode, result.stdout), (78, ""), result.stderr)
            self.assertIn(place, result.stderr)
            for secret in (TOKEN, key):
                self.assertNotIn(secret, result.stderr)
        allowed = self.run_init("echo", key, env={"KEYHOLE_ALLOW_SECRETS": "arguments"})
        self.assertEqual((allowed.returncode, allowed.stdout), (0, key + "\n"), allowed.stderr)
        told = self.run_init("echo", TOKEN, env={"SESSION_TOKEN": TOKEN, "KEYHOLE_ALLOW_SECRETS": "session_token"})
        self.assertEqual((told.returncode, told.stdout), (0, TOKEN + "\n"), told.stderr)

    def test_a_wrong_token_stops_the_start_and_is_not_shown(self):
        self.start_proxy()
        for token in ("short", "with a blank in it", "x" * 600):
            result = self.run_init("echo", "ran", env={"SESSION_TOKEN": token})
            self.assertEqual((result.returncode, result.stdout), (78, ""))
            self.assertNotIn(token, result.stderr)


class Inheritance(InitTest):
    def test_the_agent_gets_three_descriptors(self):
        extra = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(5)]
        self.addCleanup(lambda: [os.close(fd) for fd in extra])
        self.start_proxy()
        result = self.run_init(PYTHON, "-c", "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])", pass_fds=extra)
        self.assertEqual(result.stdout, "[0, 1, 2]\n")

    def test_the_agent_has_no_rights_left(self):
        self.start_proxy()
        result = self.run_init("cat", "/proc/self/status", env={"AGENT_GID": "1234"})
        status = dict(line.split(":\t", 1) for line in result.stdout.splitlines())
        self.assertEqual(status["Uid"].split(), ["1000"] * 4)
        self.assertEqual(status["Gid"].split(), ["1234"] * 4)
        self.assertEqual(status["Groups"].split(), [])
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[capabilities], 16), 0, capabilities)
        self.assertEqual(status["NoNewPrivs"], "1")

    def test_init_and_bridge_keep_only_what_they_need(self):
        self.start_proxy()
        process = self.start("sh", "-c", "echo ready; exec sleep 60", stdout=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        init = self.pid_of_init(process)
        kill, setgid, setuid = 1 << 5, 1 << 6, 1 << 7
        for pid, uid, most in ((init, "0", kill | setgid | setuid), (self.find_child(init, "keyhole-bridge"), "998", 0)):
            status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
            self.assertEqual(status["Uid"].split()[0], uid)
            self.assertEqual(int(status["CapEff"], 16) & ~most, 0)
            self.assertEqual(status["NoNewPrivs"], "1")

    def test_variables_are_filtered_and_the_clients_find_the_bridge(self):
        self.start_proxy()
        given = {"LD_PRELOAD": "", "BASH_ENV": "/x", "CONTROL_SECRET": "x", "OPENAI_API_BASE": "http://localhost:8080", "KEPT": "yes"}
        result = self.run_init("env", env=given)
        env = dict(line.split("=", 1) for line in result.stdout.splitlines())
        for name in ("LD_PRELOAD", "BASH_ENV", "CONTROL_SECRET", "KEYHOLE_PROXY_WAIT"):
            self.assertNotIn(name, env)
        self.assertEqual(env["OPENAI_API_BASE"], "http://localhost:8080")
        self.assertEqual(env["ANTHROPIC_BASE_URL"], "http://127.0.0.1:8080")
        self.assertEqual(env["KEPT"], "yes")
        self.assertIn("BASH_ENV is kept from the agent", result.stderr)

    def test_key_stays_home_a_real_key_in_the_environment_stops_the_start(self):
        self.start_proxy()
        key = "sk-ant-api03-" + "aB3dE5gH7j" * 9
        result = self.run_init("echo", "ran", env={"ANTHROPIC_API_KEY": key})
        self.assertEqual((result.returncode, result.stdout), (78, ""))
        self.assertIn("ANTHROPIC_API_KEY", result.stderr)
        self.assertNotIn(key, result.stderr)
        allowed = self.run_init("echo", "ran", env={"ANTHROPIC_API_KEY": key, "KEYHOLE_ALLOW_SECRETS": "ANTHROPIC_API_KEY"})
        self.assertEqual((allowed.returncode, allowed.stdout), (0, "ran\n"))

    def test_ids_that_are_none_stop_the_start(self):
        for uid in ("0", "-1", "4294967295", "4294967296", "1000 ", "0x3e8", "1e3", "998", "9" * 100_000):
            result = self.run_init("id", "-u", env={"AGENT_UID": uid})
            self.assertEqual((result.returncode, result.stdout), (64, ""), uid[:40])

    def test_without_the_right_to_drop_root_nothing_runs(self):
        self.start_proxy()
        result = self.run_init("echo", "ran", before=["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
        self.assertEqual(result.stdout, "")
        self.assertIn(result.returncode, (69, 77), result.stderr)


if __name__ == "__main__":
    import unittest
    unittest.main()
