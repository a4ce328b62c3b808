"""What the bridge does when the proxy, the system or its caller fail it."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import threading
import time

from real_bridge import BRIDGE, LIMIT, BridgeTest, free_port, hung_up, receive_all, receive_exactly, wait_for


def parse_refusal(answer):
    head, body = answer.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert int(headers["content-length"]) == len(body), answer
    return lines[0], headers, json.loads(body)


class ProxyAway(BridgeTest):
    def assert_refused(self, agent, code):
        status, headers, body = parse_refusal(receive_all(agent))
        self.assertEqual(status, "HTTP/1.1 503 Service Unavailable")
        self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(headers["connection"], "close")
        self.assertEqual(body["error"]["code"], code)
        self.assertTrue(body["error"]["cause"])
        self.assertTrue(body["error"]["remedy"])

    def test_an_absent_socket_is_a_503_that_says_so(self):
        self.start_bridge("--connect-wait", "0")
        agent = self.connect()
        agent.sendall(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000)
        self.assert_refused(agent, "proxy_socket_absent")

    def test_a_stale_socket_is_a_503_that_says_so(self):
        proxy = self.start_proxy()
        proxy.listener.close()
        self.start_bridge("--connect-wait", "0")
        self.assert_refused(self.connect(), "proxy_not_listening")

    def test_a_file_in_its_place_is_a_503_that_says_so(self):
        self.path.write_text("not a socket")
        self.start_bridge("--connect-wait", "0")
        self.assert_refused(self.connect(), "proxy_socket_invalid")

    def test_a_link_to_a_socket_is_a_503_that_says_so(self):
        self.start_proxy(self.directory / "another.sock")
        self.path.symlink_to(self.directory / "another.sock")
        self.start_bridge("--connect-wait", "3600")
        self.assert_refused(self.connect(), "proxy_socket_invalid")

    def test_a_forbidden_socket_is_a_503_at_once(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become a user whom the socket does not admit")
        self.start_proxy(mode=0o600)
        self.start_bridge("--connect-wait", "3600", prefix=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
        self.assert_refused(self.connect(), "proxy_socket_forbidden")

    def test_a_connection_waits_for_a_proxy_that_restarts(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        proxy.stop()
        waiting = [self.connect() for _ in range(20)]
        for number, each in enumerate(waiting):
            each.sendall(b"%02d" % number)
        # The old connection outlives the listener.
        agent.sendall(b"old")
        self.assertEqual(receive_exactly(upstream, 3), b"old")
        self.assertFalse(wait_for(waiting[0], select.POLLIN, limit=0.3))
        proxy.start()
        seen = sorted(receive_exactly(proxy.accept(), 2) for _ in waiting)
        self.assertEqual(seen, sorted(b"%02d" % number for number in range(20)))

    def test_a_new_socket_renamed_into_place_is_used_at_once(self):
        self.start_proxy()
        self.start_bridge()
        second = self.start_proxy(self.directory / "next.sock")
        os.rename(self.directory / "next.sock", self.path)
        agent, upstream = self.connect_through(second)
        agent.sendall(b"new")
        self.assertEqual(receive_exactly(upstream, 3), b"new")

    def test_an_agent_that_gives_up_waiting_is_forgotten(self):
        self.start_bridge("--connect-wait", "3600")
        for _ in range(50):
            self.connect().close()
        proxy = self.start_proxy()
        agent = self.connect()
        agent.sendall(b"the one")
        upstream, said = proxy.accept_speaker()
        upstream.close()
        self.assertEqual(said, b"the one")

    def test_two_hundred_restarts_lose_no_new_connection(self):
        proxy = self.start_proxy()
        self.start_bridge()
        for number in range(200):
            if number % 2:
                proxy.stop()
                agent = self.connect()
                proxy.start()
            else:
                agent = self.connect()
            upstream = proxy.accept()
            agent.sendall(b"ping")
            self.assertEqual(receive_exactly(upstream, 4), b"ping")
            upstream.close()
            agent.close()


class Limits(BridgeTest):
    def test_beyond_the_limit_an_agent_is_told_so(self):
        proxy = self.start_proxy()
        self.start_bridge("--max-connections", "2")
        held = [self.connect_through(proxy) for _ in range(2)]
        _, _, body = parse_refusal(receive_all(self.connect()))
        self.assertEqual(body["error"]["code"], "too_many_connections")
        held[0][0].close()
        self.assertTrue(hung_up(held[0][1]))
        held[0][1].close()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"again")
        self.assertEqual(receive_exactly(upstream, 5), b"again")

    def test_running_out_of_descriptors_passes(self):
        proxy = self.start_proxy()
        self.start_bridge(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)))
        crowd = [self.connect() for _ in range(100)]
        for agent in crowd:
            agent.close()
        self.assertIsNone(self.process.poll())
        answering = threading.Thread(target=self.answer_one, args=(proxy,), daemon=True)
        answering.start()
        deadline = time.monotonic() + LIMIT
        answer = b""
        # While the crowd is being cleared up an agent is told that there is no room; then there is.
        while answer != b"served" and time.monotonic() < deadline:
            agent = self.connect()
            agent.sendall(b"after the storm")
            answer = receive_all(agent)
            agent.close()
        self.assertEqual(answer, b"served")
        answering.join(LIMIT)

    def test_with_no_descriptor_left_an_agent_is_told_so(self):
        """Descriptors may be taken away while it runs: then one that it kept back says so, again and again."""
        proxy = self.start_proxy()
        self.start_bridge("--connect-wait", "0")
        held = self.connect_through(proxy)
        numbers = sorted(int(each) for each in os.listdir(f"/proc/{self.process.pid}/fd"))
        self.assertEqual(numbers, list(range(len(numbers))), "no gap for another one")
        _, most = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (len(numbers), most))
        for _ in range(5):
            agent = self.connect()
            agent.sendall(b"GET / HTTP/1.1\r\n\r\n")
            _, _, body = parse_refusal(receive_all(agent))
            self.assertEqual(body["error"]["code"], "bridge_exhausted")
            agent.close()
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (most, most))
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"again")
        self.assertEqual(receive_exactly(upstream, 5), b"again")
        held[0].close()

    @staticmethod
    def answer_one(proxy):
        upstream, _ = proxy.accept_speaker()
        upstream.sendall(b"served")
        upstream.close()

    def test_a_slow_agent_does_not_delay_another(self):
        proxy = self.start_proxy()
        self.start_bridge()
        slow, slow_upstream = self.connect_through(proxy)
        flood = threading.Thread(target=self.flood, args=(slow_upstream,), daemon=True)
        flood.start()
        agent, upstream = self.connect_through(proxy)
        for _ in range(100):
            agent.sendall(b"ping")
            self.assertEqual(receive_exactly(upstream, 4), b"ping")
        slow.close()
        flood.join(LIMIT)

    @staticmethod
    def flood(sock):
        try:
            while True:
                sock.sendall(b"x" * 65536)
        except OSError:
            pass


class Life(BridgeTest):
    def test_sigterm_lets_open_connections_finish(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        self.process.send_signal(signal.SIGTERM)
        # The listener is gone once a connection is refused.
        while True:
            try:
                self.connect().close()
            except ConnectionError:
                break
        upstream.sendall(b"the rest")
        self.assertEqual(receive_exactly(agent, 8), b"the rest")
        agent.close()
        self.assertEqual(self.process.wait(LIMIT), 0)

    def test_a_second_sigterm_ends_at_once_and_resets_the_agent(self):
        proxy = self.start_proxy()
        self.start_bridge("--drain", "3600")
        agent, _ = self.connect_through(proxy)
        self.process.send_signal(signal.SIGTERM)
        while True:
            try:
                self.connect().close()
            except ConnectionError:
                break
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(LIMIT), 0)
        with self.assertRaises(ConnectionResetError):
            agent.recv(1)

    def test_sighup_and_sigpipe_do_not_end_it(self):
        proxy = self.start_proxy()
        self.start_bridge()
        for number in (signal.SIGHUP, signal.SIGPIPE):
            self.process.send_signal(number)
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"alive")
        self.assertEqual(receive_exactly(upstream, 5), b"alive")

    def test_the_probe_reports_whether_the_proxy_answers(self):
        for present, expected in ((True, b"+"), (False, b"-")):
            proxy = self.start_proxy() if present else None
            ready_read, ready_write = os.pipe()
            process = subprocess.Popen([BRIDGE, "--socket", str(self.path), "--listen", f"127.0.0.1:{free_port()}", "--probe", "0",
                                        "--ready-fd", str(ready_write)], pass_fds=[ready_write], stderr=subprocess.DEVNULL)
            os.close(ready_write)
            with os.fdopen(ready_read, "rb") as ready:
                self.assertEqual(ready.read(1), expected)
            process.kill()
            process.wait()
            if proxy:
                proxy.stop()

    def test_it_ends_with_its_parent(self):
        port = free_port()
        parent = subprocess.Popen(["/bin/sh", "-c", f'"$0" --listen 127.0.0.1:{port} --socket {self.path} --parent $$ & echo $!; wait',
                                   BRIDGE], stdout=subprocess.PIPE)
        bridge = int(parent.stdout.readline())
        watcher = os.pidfd_open(bridge)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        self.assertTrue(wait_for(watcher, select.POLLIN), "the bridge outlives its parent")
        os.close(watcher)

    def test_inherited_listening_sockets_are_served(self):
        proxy = self.start_proxy()
        listener = socket.create_server(("127.0.0.1", 0))
        process = subprocess.Popen([BRIDGE, "--hand-off", "no", "--socket", str(self.path), "--listen-fd", str(listener.fileno())],
                                   pass_fds=[listener.fileno()])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        with socket.create_connection(listener.getsockname()) as agent:
            agent.sendall(b"inherited")
            self.assertEqual(receive_exactly(proxy.accept(), 9), b"inherited")
        listener.close()


class Mistakes(BridgeTest):
    def run_bridge(self, *options, **more):
        return subprocess.run([BRIDGE, *options], capture_output=True, timeout=LIMIT, text=True, **more)

    def test_help_and_version_say_what_they_should(self):
        self.assertIn("exit codes", self.run_bridge("--help").stdout)
        self.assertRegex(self.run_bridge("--version").stdout, r"^keyhole-bridge \d+\.\d+\.\d+\n$")

    def test_a_wrong_option_is_exit_code_64_and_named(self):
        result = self.run_bridge("--listen", "0.0.0.0:8080")
        self.assertEqual(result.returncode, 64)
        self.assertIn("--any-address", result.stderr)

    def test_a_taken_port_is_exit_code_69_and_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = self.run_bridge("--listen", f"127.0.0.1:{port}")
        self.assertEqual(result.returncode, 69)
        self.assertIn("LLM_PROXY_PORT", result.stderr)

    def test_a_wrong_token_is_exit_code_78_and_never_shown(self):
        for token in (b"", b"short", b"has a blank in it", b"x" * 5000):
            read, write = os.pipe()
            os.write(write, token)
            os.close(write)
            result = self.run_bridge("--token-fd", str(read), "--listen", f"127.0.0.1:{free_port()}", pass_fds=[read])
            os.close(read)
            self.assertEqual(result.returncode, 78, result)
            if token:
                self.assertNotIn(token[:200].decode(), result.stderr)


if __name__ == "__main__":
    import unittest
    unittest.main()
