"""What a login would have given the agent, for every uid that a container may be started with: a home, a name, secrets, nothing of root's."""

import os
import pathlib
import subprocess

from real_init import PYTHON, InitTest

SHOW = 'echo "$HOME"; echo "$USER"; id -u; touch "$HOME/written" && echo written'


class Home(InitTest):
    def setUp(self):
        super().setUp()
        self.home = self.directory / "home"
        self.home.mkdir()

    def as_user(self, uid, *, temporary="mount -t tmpfs none /tmp -o mode=1777"):
        """Some uid without an entry, in a mount namespace whose /tmp is its own."""
        code = ("import fcntl, os, socket, struct, sys\nfcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x49) + bytes(22))\n"
                f"os.setgroups([])\nos.setresgid({uid}, {uid}, {uid})\nos.setresuid({uid}, {uid}, {uid})\nos.execvp(sys.argv[1], sys.argv[1:])\n")
        # The programs lie below /tmp: bound elsewhere before it is hidden.
        keep = f"mkdir -p /run/kh-test && mount -t tmpfs none /run/kh-test && cp -a {self.directory}/keyhole-* /run/kh-test/ && chmod 755 /run/kh-test"
        return ["sh", "-c", f'set -e; {keep}; {temporary}; program=$1; shift; exec {PYTHON} -c "$0" /run/kh-test/$(basename $program) "$@"', code]

    def show(self, uid, env=None, **more):
        result = self.run_init("sh", "-c", SHOW, before=self.as_user(uid, **more), env={"AGENT_UID": None, "AGENT_GID": None, **(env or {})})
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout.splitlines(), result.stderr

    def test_is_a_temporary_one_for_a_uid_that_nobody_knows(self):
        (home, user, uid, written), said = self.show(54321, env={"HOME": "/"})
        self.assertEqual((home, uid, written), ("/tmp/home-54321", "54321", "written"))
        self.assertTrue(user.startswith("agent"))
        self.assertIn("uid 54321 has no line in /etc/passwd (and it gets none: Permission denied)", said)
        self.assertIn(f"{user}:x:54321:54321::/tmp/home-54321:/bin/sh", said)

    def test_is_the_given_one_where_that_can_be_written(self):
        self.home.chmod(0o777)
        (home, _, _, _), said = self.show(54321, env={"HOME": "/dev/shm"})
        self.assertEqual(home, "/dev/shm")
        pathlib.Path("/dev/shm/written").unlink()
        self.assertNotIn("cannot write its home", said)

    def test_that_cannot_be_written_is_replaced_and_said(self):
        (home, _, _, written), said = self.show(54321, env={"HOME": "/root"})
        self.assertEqual((home, written), ("/tmp/home-54321", "written"))
        self.assertIn("uid 54321 cannot write its home /root (Permission denied): HOME is /tmp/home-54321", said)

    EXTRA_USERS = "mount -t tmpfs none /tmp -o mode=1777; mount -t tmpfs none /var/lib; ln -s /tmp/.extrausers /var/lib/extrausers"

    def test_has_its_name_among_the_extra_users_where_the_image_has_the_module(self):
        result = self.run_init("sh", "-c", 'cat /var/lib/extrausers/passwd; echo "$USER"', before=self.as_user(54321, temporary=self.EXTRA_USERS),
                               env={"AGENT_UID": None, "AGENT_GID": None, "HOME": "/"})
        line, user = result.stdout.splitlines()
        self.assertEqual(line, f"{user}:x:54321:54321::/tmp/home-54321:/bin/sh", result.stderr)
        self.assertNotIn("has no line", result.stderr)

    def test_extra_users_are_roots_to_say_wherever_pid_1_is_root(self):
        """NO_WAY_AROUND: who defines a user with the bridge's uid becomes it with the password of his choice."""
        nothing = ":"
        planted = "mkdir /tmp/.extrausers; echo evil >/tmp/.extrausers/passwd; chown -R 1000:1000 /tmp/.extrausers"
        open_one = "mkdir -m 0777 /tmp/.extrausers"
        link = "mkdir -m 0777 /tmp/x; ln -s /tmp/x /tmp/.extrausers"
        for before in (nothing, planted, open_one, link):
            with self.subTest(before):
                result = self.run_init("sh", "-c", "stat -c %u:%a:%F /tmp/.extrausers; cat /var/lib/extrausers/passwd; mv /tmp/.extrausers /tmp/y; "
                                       "echo evil >/var/lib/extrausers/passwd; echo ended", before=self.as_user(0, temporary=f"{self.EXTRA_USERS}; {before}"))
                self.assertEqual(result.stdout, "0:755:directory\nended\n", result.stderr)

    def test_extra_users_that_somebody_else_prepared_are_not_written_into(self):
        for trap in ("mkdir -m 0777 /tmp/.extrausers", "ln -s /var/lib /tmp/.extrausers; chmod 0777 /var/lib", "touch /tmp/.extrausers"):
            with self.subTest(trap):
                result = self.run_init("sh", "-c", "ls /var/lib /tmp/.extrausers; echo ended", before=self.as_user(54321, temporary=f"{self.EXTRA_USERS}; {trap}"),
                                       env={"AGENT_UID": None, "AGENT_GID": None, "HOME": "/"})
                self.assertIn("ended", result.stdout)
                self.assertNotIn("passwd", result.stdout)
                self.assertIn("uid 54321 has no line in /etc/passwd", result.stderr)

    def test_that_somebody_else_prepared_is_not_taken(self):
        trap = "mount -t tmpfs none /tmp -o mode=1777; mkdir -m 0777 /tmp/home-54321; mount -t tmpfs none /dev/shm -o mode=1777"
        (home, *_), _ = self.show(54321, env={"HOME": "/"}, temporary=trap)
        self.assertEqual(home, "/dev/shm/home-54321")

    def test_of_a_dropped_root_is_the_agents_own(self):
        result = self.run_init("sh", "-c", 'echo "$HOME"; stat -c %u:%a "$HOME"', env={"HOME": "/root", "AGENT_UID": "54322", "AGENT_GID": "54322"})
        home, mode = result.stdout.split()
        self.assertNotEqual(home, "/root")
        if home.startswith("/tmp/home-"):
            os.rmdir(home)
            self.assertEqual(mode, "54322:700")

    def test_and_passwd_are_left_alone_unless_it_is_asked_for(self):
        before = pathlib.Path("/etc/passwd").read_bytes()
        self.run_init("true", env={"AGENT_UID": "54323", "AGENT_GID": "54323", "HOME": "/"})
        self.assertEqual(pathlib.Path("/etc/passwd").read_bytes(), before)
        subprocess.run(["rm", "-rf", "/tmp/home-54323"], check=True)

    def test_adoption_gives_a_line_and_a_home(self):
        """In a mount namespace whose /etc/passwd is a tmpfs's."""
        passwd = ("mount -t tmpfs none /mnt; mkdir -m 0700 /mnt/home; mkdir /mnt/etc; "
                  "printf 'root:x:0:0::/root:/bin/sh\\nagent:x:1000:1000::/mnt/home:/bin/sh' >/mnt/etc/passwd; mount --bind /mnt/etc/passwd /etc/passwd")
        before = ["sh", "-c", f'set -e; {passwd}; exec "$@"', "sh"]
        env = {"AGENT_UID": "54321", "AGENT_GID": "54321", "KEYHOLE_ADOPT": "1"}
        result = self.run_init("sh", "-c", "id -un; tail -n 1 /etc/passwd; tail -n 2 /etc/passwd | head -n 1; echo $HOME; touch ~/x && stat -c %u ~",
                               before=before, env=env)
        self.assertEqual(result.stdout.splitlines(), ["agent-54321", "agent-54321:x:54321:54321::/mnt/home:/bin/sh", "agent:x:1000:1000::/mnt/home:/bin/sh",
                                                      "/mnt/home", "54321"], result.stderr)


class Secrets(InitTest):
    def test_become_variables_of_the_agent_and_of_nobody_else(self):
        secrets = self.directory / "secrets"
        secrets.mkdir()
        (secrets / "github-token").write_text("ghp_1234\n")
        (secrets / "github-token").chmod(0o400)
        result = self.run_init("sh", "-c", "echo $GITHUB_TOKEN; cat /proc/1/environ 2>/dev/null; tr '\\0' '\\n' </proc/1/cmdline", env={"KEYHOLE_SECRETS": str(secrets)})
        self.assertEqual(result.stdout.splitlines()[0], "ghp_1234", result.stderr)
        self.assertNotIn("ghp_1234", result.stdout.split("\n", 1)[1])

    def test_that_are_a_providers_key_stop_the_start(self):
        secrets = self.directory / "secrets"
        secrets.mkdir()
        (secrets / "openai-api-key").write_text("sk-proj-" + "aB3dE5gH7j" * 5)
        result = self.run_init("echo", "ran", env={"KEYHOLE_SECRETS": str(secrets)})
        self.assertEqual((result.returncode, result.stdout), (78, ""))
        self.assertIn("OPENAI_API_KEY", result.stderr)

    def test_of_the_orchestrator_may_have_any_name(self):
        result = self.run_init("sh", "-c", "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'",
                               env={"FLEET_TOKEN": "canary-1", "RUN_SECRET": "canary-2", "KEYHOLE_DROP_ENV": "FLEET_*,RUN_SECRET", "KEPT": "kept"})
        self.assertNotIn("canary", result.stdout)
        self.assertIn("KEPT=kept", result.stdout)


class Capabilities(InitTest):
    def test_that_are_missing_are_named(self):
        for kept, missing in (("", "SETUID SETGID"), ("+setuid", "SETGID"), ("+setgid", "SETUID")):
            sets = "-all" + (f",{kept}" if kept else "")
            result = self.run_init("echo", "ran", before=["setpriv", f"--bounding-set={sets}", f"--inh-caps={sets}"])
            self.assertEqual((result.returncode, result.stdout), (77, ""), result.stderr)
            self.assertIn(f"lacks {missing};", result.stderr)


if __name__ == "__main__":
    import unittest
    unittest.main()
