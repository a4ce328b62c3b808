"""What passes through the bridge: bytes, ends, resets, and nothing else."""

import hashlib
import os
import random
import select
import socket
import subprocess
import sys
import threading
import time

from real_bridge import BRIDGE, BridgeTest, LIMIT, hung_up, receive_all, receive_exactly, reset_on_close, wait_for


class Bytes(BridgeTest):
    def test_any_bytes_pass_both_ways(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        for request in (b"\0", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)), random.Random(1).randbytes(70_000)):
            agent.sendall(request)
            self.assertEqual(receive_exactly(upstream, len(request)), request)
            upstream.sendall(request[::-1])
            self.assertEqual(receive_exactly(agent, len(request)), request[::-1])

    def test_large_transfers_both_ways_at_once_arrive_whole_at_slow_readers(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        size = 24 << 20
        data = {name: random.Random(name).randbytes(1 << 20) for name in ("up", "down")}
        digests = {}

        def send(sock, name):
            for _ in range(size >> 20):
                sock.sendall(data[name])
            sock.shutdown(socket.SHUT_WR)

        def receive(sock, name, step):
            digest, total = hashlib.sha256(), 0
            # Reads of odd sizes, so that every partial write happens: the reader is the slower side.
            while part := sock.recv(step):
                digest.update(part)
                total += len(part)
            digests[name] = (total, digest.hexdigest())

        threads = [threading.Thread(target=send, args=(agent, "up")), threading.Thread(target=send, args=(upstream, "down")),
                   threading.Thread(target=receive, args=(upstream, "up", 4099)),
                   threading.Thread(target=receive, args=(agent, "down", 8191))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        for name in ("up", "down"):
            whole = hashlib.sha256(data[name] * (size >> 20)).hexdigest()
            self.assertEqual(digests[name], (size, whole), name)

    def test_a_thousand_connections_at_once_are_all_served(self):
        proxy = self.start_proxy()
        self.start_bridge()

        def echo():
            poll = select.epoll()
            open_ones = {}
            proxy.listener.setblocking(False)
            poll.register(proxy.listener, select.EPOLLIN)
            while True:
                for fd, _ in poll.poll(LIMIT):
                    if fd == proxy.listener.fileno():
                        connection, _ = proxy.listener.accept()
                        open_ones[connection.fileno()] = connection
                        poll.register(connection, select.EPOLLIN)
                        continue
                    if part := open_ones[fd].recv(4096):
                        open_ones[fd].sendall(part)
                    else:
                        poll.unregister(fd)
                        open_ones[fd].close()
                        done.append(fd)
                        if len(done) == 1000:
                            return

        done = []
        server = threading.Thread(target=echo)
        server.start()
        started = time.monotonic()
        agents = [self.connect() for _ in range(1000)]
        for number, agent in enumerate(agents):
            agent.sendall(b"request %04d" % number)
        for number, agent in enumerate(agents):
            self.assertEqual(receive_exactly(agent, 12), b"request %04d" % number)
        self.assertLess(time.monotonic() - started, 10)
        for agent in agents:
            agent.close()
        server.join(LIMIT)
        self.assertEqual(len(done), 1000)

    def test_ipv6_loopback_is_served(self):
        proxy = self.start_proxy()
        try:
            self.start_bridge(host="::1")
        except OSError:
            self.skipTest("no IPv6 here")
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"six")
        self.assertEqual(receive_exactly(upstream, 3), b"six")
        agent.close()
        self.assertTrue(hung_up(upstream))

    def test_a_socket_path_of_any_length_works(self):
        deep = self.directory
        for _ in range(4):
            deep = deep / ("d" * 60)
        deep.mkdir(parents=True)
        path = deep / ("s" * 60)
        proxy = self.start_proxy(path)
        self.start_bridge(path=path)
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"deep")
        self.assertEqual(receive_exactly(upstream, 4), b"deep")


class Preface(BridgeTest):
    def test_opens_each_connection_with_the_token_and_nothing_else(self):
        proxy = self.start_proxy()
        self.start_bridge(token=b"kh_0123456789\n")
        for _ in range(2):
            agent, upstream = self.connect_through(proxy)
            expected = b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x00\x00\x10" + b"\xe0\x00\x0d" + b"kh_0123456789"
            self.assertEqual(receive_exactly(upstream, len(expected)), expected)
            agent.sendall(b"GET")
            self.assertEqual(receive_exactly(upstream, 3), b"GET")

    def test_is_absent_without_a_token(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"first")
        self.assertEqual(upstream.recv(100), b"first")


class HalfClose(BridgeTest):
    def test_of_the_agent_passes_and_a_late_answer_still_arrives(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"all I have to say")
        agent.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(upstream), b"all I have to say")
        # Longer than the half second after which other relays give up, and than every look at the agent.
        self.assertFalse(hung_up(upstream, limit=1.5), "a half-closed agent that waits was taken for gone")
        upstream.sendall(b"late")
        upstream.close()
        self.assertEqual(receive_all(agent), b"late")

    def test_of_the_proxy_passes_and_the_agent_may_go_on_sending(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        upstream.sendall(b"done")
        upstream.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(agent), b"done")
        agent.sendall(b"x" * 300_000)
        agent.close()
        self.assertEqual(len(receive_all(upstream)), 300_000)

    def test_after_much_data_loses_none_of_it(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        body = random.Random(7).randbytes(5 << 20)
        sender = threading.Thread(target=lambda: (upstream.sendall(body), upstream.close()))
        sender.start()
        self.assertEqual(hashlib.sha256(receive_all(agent)).digest(), hashlib.sha256(body).digest())
        sender.join(LIMIT)


class Abort(BridgeTest):
    """The proxy notices at once that the agent is gone: what it goes on generating is paid for."""

    def test_a_close_of_the_agent_is_a_hang_up(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"request")
        receive_exactly(upstream, 7)
        agent.close()
        self.assertTrue(hung_up(upstream, limit=2))

    def test_a_reset_of_the_agent_is_a_hang_up(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"request")
        receive_exactly(upstream, 7)
        reset_on_close(agent)
        agent.close()
        self.assertTrue(hung_up(upstream, limit=2))

    def test_a_killed_agent_that_had_half_closed_is_a_hang_up(self):
        proxy = self.start_proxy()
        self.start_bridge()
        code = ("import socket, sys\ns = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
                "s.sendall(b'request')\ns.shutdown(socket.SHUT_WR)\ns.recv(1)\n")
        agent = subprocess.Popen([sys.executable, "-c", code, str(self.port)])
        upstream = proxy.accept()
        self.addCleanup(upstream.close)
        self.assertEqual(receive_all(upstream), b"request")
        self.assertFalse(hung_up(upstream, limit=0.3))
        agent.kill()
        agent.wait()
        self.assertTrue(hung_up(upstream, limit=3))

    def test_an_agent_that_leaves_while_the_proxy_is_not_reading_is_a_hang_up(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.setblocking(False)
        sent = 0
        while wait_for(agent, select.POLLOUT, limit=0.3):
            sent += agent.send(b"x" * 65536)
        agent.close()
        self.assertTrue(hung_up(upstream, limit=3), f"{sent} bytes were sent")

    def test_an_agent_that_leaves_while_it_is_not_reading_is_a_hang_up(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        upstream.setblocking(False)
        while wait_for(upstream, select.POLLOUT, limit=0.3):
            upstream.send(b"x" * 65536)
        agent.close()
        self.assertTrue(hung_up(upstream, limit=3))

    def test_a_proxy_that_ends_before_it_answers_is_a_503_that_says_so(self):
        proxy = self.start_proxy()
        self.start_bridge()
        for taken in (0, 7):  # unread: the proxy's end is a reset; read: an end of stream
            agent, upstream = self.connect_through(proxy)
            agent.sendall(b"request")
            self.assertTrue(wait_for(upstream, select.POLLIN))
            upstream.recv(taken) if taken else None
            upstream.close()
            answer = receive_all(agent)
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertIn(b'"code":"proxy_went_away"', answer)

    def test_a_proxy_that_ends_in_the_middle_of_an_answer_gets_no_503_into_it(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"request")
        receive_exactly(upstream, 7)
        upstream.sendall(b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(receive_exactly(agent, 17), b"HTTP/1.1 200 OK\r\n")
        upstream.close()
        # A clean end would let some agents take it for whole.
        with self.assertRaises(ConnectionResetError):
            agent.recv(1)

    def test_an_answer_that_no_http_delimits_ends_as_it_does(self):
        proxy = self.start_proxy()
        self.start_bridge()
        for said in (b"anything else", b"HTTP/1.0 200 OK\r\n\r\nup to the end"):
            agent, upstream = self.connect_through(proxy)
            agent.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertTrue(upstream.recv(100))
            upstream.sendall(said)
            upstream.close()
            self.assertEqual(receive_all(agent), said)

    def test_a_connection_that_rests_when_the_proxy_closes_goes_on_with_the_next_one(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        for _ in range(3):
            for _ in range(2):
                agent.sendall(b"GET / HTTP/1.1\r\n\r\n")
                self.assertTrue(upstream.recv(100))
                upstream.sendall(whole)
                self.assertEqual(receive_exactly(agent, len(whole)), whole)
            upstream.close()
            self.assertFalse(wait_for(agent, select.POLLIN, limit=0.2))
            agent.sendall(b"GET / HTTP/1.1\r\n\r\n")
            upstream = proxy.accept()
            self.assertTrue(upstream.recv(100))
            upstream.sendall(whole)
            self.assertEqual(receive_exactly(agent, len(whole)), whole)
        upstream.close()
        agent.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(agent), b"")

    def test_an_answer_that_says_it_is_the_last_ends_the_connection(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        agent.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(upstream.recv(100))
        last = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        upstream.sendall(last)
        upstream.close()
        self.assertEqual(receive_all(agent), last)


    def test_a_connection_on_which_nothing_was_said_survives_the_proxys_end(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        upstream.close()
        following = proxy.accept()
        self.addCleanup(following.close)
        agent.sendall(b"question")
        self.assertEqual(receive_exactly(following, 8), b"question")

    def test_a_proxy_that_closes_every_connection_at_once_is_not_asked_for_ever(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent = self.connect()
        for _ in range(4):
            proxy.accept().close()
        self.assertEqual(receive_all(agent), b"")

    def test_an_early_refusal_of_a_large_request_reaches_the_agent_whole(self):
        proxy = self.start_proxy()
        self.start_bridge()
        agent, upstream = self.connect_through(proxy)
        refusal = b"HTTP/1.1 402 Payment Required\r\ncontent-length: 6\r\n\r\nbudget"

        def refuse():
            receive_exactly(upstream, 1000)
            upstream.sendall(refusal)
            upstream.close()

        proxy_side = threading.Thread(target=refuse)
        proxy_side.start()
        agent.sendall(b"x" * (16 << 20))
        self.assertEqual(receive_all(agent), refusal)
        proxy_side.join(LIMIT)

    def test_the_end_of_the_proxy_process_ends_the_agents_connection(self):
        code = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\n"
                "print(flush=True)\nc, _ = s.accept()\nc.sendall(b'half an ans')\nprint(flush=True)\nc.recv(1)\n")
        proxy = subprocess.Popen([sys.executable, "-c", code, str(self.path)], stdout=subprocess.PIPE)
        proxy.stdout.readline()
        self.start_bridge()
        agent = self.connect()
        self.assertEqual(receive_exactly(agent, 11), b"half an ans")
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()
        self.assertEqual(agent.recv(1), b"")


class Memory(BridgeTest):
    def test_idle_connections_cost_almost_nothing(self):
        proxy = self.start_proxy()
        self.start_bridge()
        before = self.memory_kib()
        pairs = [self.connect_through(proxy) for _ in range(500)]
        for agent, upstream in pairs:
            agent.sendall(b"x")
            receive_exactly(upstream, 1)
        self.assertLess(self.memory_kib() - before, 1024)

    def test_stalled_connections_hold_at_most_their_buffers_and_give_them_back(self):
        proxy = self.start_proxy()
        self.start_bridge()
        before = self.memory_kib()
        pairs = [self.connect_through(proxy) for _ in range(40)]
        for agent, upstream in pairs:
            for sock in (agent, upstream):
                sock.setblocking(False)
                while wait_for(sock, select.POLLOUT, limit=0.02):
                    sock.send(b"x" * 65536)
        # 64 KiB each way, and a page for each connection's bookkeeping.
        self.assertLess(self.memory_kib() - before, 40 * 132 + 512)
        for agent, upstream in pairs:
            agent.close()
            self.assertTrue(hung_up(upstream))
        self.assertLess(self.memory_kib() - before, 16 * 64 + 768)


class Secrecy(BridgeTest):
    def test_token_stays_home_environment_and_command_line_show_nothing(self):
        self.start_proxy()
        self.start_bridge(token=b"kh_0123456789", env={"SESSION_TOKEN": "kh_0123456789", "PATH": os.environ["PATH"]})
        base = f"/proc/{self.process.pid}/"
        with open(base + "environ", "rb") as environ:
            self.assertEqual(environ.read().strip(b"\0"), b"")
        with open(base + "cmdline", "rb") as cmdline:
            self.assertNotIn(b"kh_", cmdline.read())

    def test_token_stays_home_from_a_process_of_the_same_uid(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become another user")
        import shutil
        program = self.directory / "keyhole-bridge"
        shutil.copy(BRIDGE, program)
        program.chmod(0o711)
        self.start_proxy()
        drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        import real_bridge
        real_bridge_program, real_bridge.BRIDGE = real_bridge.BRIDGE, str(program)
        try:
            self.start_bridge(token=b"kh_0123456789", prefix=drop)
        finally:
            real_bridge.BRIDGE = real_bridge_program
        look = ("import os, sys\nfor name in ('environ', 'mem', 'maps'):\n"
                "  try: open(f'/proc/{sys.argv[1]}/{name}', 'rb').close(); print(name)\n  except PermissionError: pass\n"
                "try: os.listdir(f'/proc/{sys.argv[1]}/fd'); print('fd')\nexcept PermissionError: pass\n")
        seen = subprocess.run([*drop, sys.executable, "-c", look, str(self.process.pid)], capture_output=True, check=True)
        self.assertEqual(seen.stdout, b"")


if __name__ == "__main__":
    import unittest
    unittest.main()
