"""`keyhole-init doctor` in namespaces of this machine: what it finds broken. All of it in a real container: tests/attacks."""

import json

from real_init import AS_USER, PYTHON, TOKEN, InitTest

# A default route through the loopback interface is route enough: struct rtentry, SIOCADDRT.
ROUTE = [PYTHON, "-c",
         "import ctypes, fcntl, os, socket, struct, sys\n"
         "s = socket.socket()\n"
         "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x49) + bytes(22))\n"
         "device = ctypes.create_string_buffer(b'lo')\n"
         "any_address = struct.pack('H14x', socket.AF_INET)\n"
         "entry = struct.pack('8x16s16s16sH6x8x8xH6xQ24x', any_address, any_address, any_address, 1, 0, ctypes.addressof(device))\n"
         "fcntl.ioctl(s, 0x890B, entry)\n"
         "os.execvp(sys.argv[1], sys.argv[1:])\n"]


class Doctor(InitTest):
    def examine(self, **more):
        result = self.run_init("doctor", "--json", own=True, **more)
        report = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0 if report["ok"] else 1, result.stderr)
        self.assertNotIn(TOKEN, result.stdout)
        return {each["guarantee"]: each for each in report["guarantees"]}

    def test_finds_what_init_gives_wherever_it_runs(self):
        self.start_proxy()
        for before in ((), AS_USER):
            found = self.examine(before=before, env={"SESSION_TOKEN": TOKEN})
            for name in ("not root", "not in root's group", "capabilities", "no new privileges", "capability bounding set", "core dumps",
                         "environment: orchestrator", "environment: provider keys", "descriptors", "PID 1", "process 1 (keyhole-init)",
                         "environ of every readable process", "command lines", "seccomp", "sockets", "io_uring", "user namespaces (unshare)",
                         "kernel keyrings", "32-bit system calls", "network interfaces", "network routes", "DNS", "cloud metadata",
                         "abstract unix sockets", "socket directory", "one socket", "models", "programs"):
                self.assertEqual(found[name]["state"], "ok", found[name])
            bridge = [each for name, each in found.items() if "(keyhole-bridge)" in name]
            self.assertEqual([each["state"] for each in bridge], ["ok"])

    def test_finds_a_socket_that_can_be_replaced(self):
        self.start_proxy()
        self.socket_directory.chmod(0o777)
        found = self.examine()["socket directory"]
        self.assertEqual((found["state"], found["remedy"]), ("broken", "mount it read-only"))

    def test_finds_a_network(self):
        self.start_proxy()
        found = self.examine(before=ROUTE)["network routes"]
        self.assertEqual(found["state"], "broken")
        self.assertIn("--network none", found["remedy"])

    def test_finds_that_the_filter_is_off(self):
        found = self.examine(env={"KEYHOLE_SECCOMP": "off"})
        self.assertEqual(found["io_uring"]["state"], "broken", found["io_uring"])

    def test_finds_a_tokens_file_wherever_it_was_named(self):
        self.start_proxy()
        token = self.directory / "some-file"
        token.write_text(TOKEN)
        found = self.examine(env={"SESSION_TOKEN_FILE": str(token), "KEYHOLE_ALLOW_SECRETS": "session_token"})["session token's file"]
        self.assertEqual(found["state"], "broken")
        self.assertIn(str(token), found["cause"])

    def test_finds_what_looks_like_a_token_among_the_secrets(self):
        secrets = self.directory / "secrets/deeper"
        secrets.mkdir(parents=True)
        (secrets / "a").write_text("authorization: Bearer kh_" + "aB3dE5gH7j" * 4)
        (secrets / "b").write_text("ghp_of_the_agents_own")
        found = self.examine(env={"KEYHOLE_SECRETS": str(secrets.parent)})["session token's file"]
        self.assertEqual(found["state"], "broken")
        self.assertIn(str(secrets / "a"), found["cause"])
        self.assertNotIn("deeper/b", found["cause"])

    def test_takes_no_other_option_wherever_it_is_called(self):
        for words in (["nonsense"], ["--json", "--json"], ["--jsn"]):
            # The second: called inside.
            for command, own in ((["doctor", *words], True), ([str(self.directory / "keyhole-init"), "doctor", *words], False)):
                result = self.run_init(*command, own=own)
                self.assertEqual((result.returncode, result.stdout), (64, ""), result.stderr)
                self.assertIn("--json only", result.stderr)

    def test_says_the_same_to_people(self):
        self.start_proxy()
        self.socket_directory.chmod(0o777)
        result = self.run_init("doctor", own=True)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stdout, r"BROKEN  socket directory: .* can be replaced\n        -> mount it read-only\n")


if __name__ == "__main__":
    import unittest
    unittest.main()
