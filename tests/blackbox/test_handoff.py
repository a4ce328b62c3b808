"""Hand-off, the proxy's side: a bridge passes connections as descriptors, and a hostile sender gains nothing by it (NO_WAY_AROUND).
Every attack proves its oracle first: the same steps with an honest descriptor are served."""

import fcntl
import os
import socket
import struct
import tempfile
import threading
import time
import unittest

from harness import BlackBox, chat_body, wait_until
from test_identity import preface
from wire import Client, request_bytes

HAND_OFF = 0x22
LIMIT = 20


class Channel:
    """A bridge's end of a hand-off channel."""

    def __init__(self, path, token=None, greeting=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(path)
        self.sock.sendall(greeting or preface(token, command=HAND_OFF))
        self.most = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def word(self):
        """The next word and its number; None: closed."""
        text = b""
        while len(text) < 8:
            try:
                part = self.sock.recv(8 - len(text))
            except ConnectionResetError:
                part = b""
            if not part:
                return None
            text += part
        return text[:1].decode(), struct.unpack("<I", text[4:])[0]

    def welcomed(self):
        word, self.most = self.word()
        assert word == "K", word
        return self

    def send(self, number, descriptors, message=None):
        text = message or b"H\0\0\0" + struct.pack("<I", number)
        socket.send_fds(self.sock, [text], descriptors)

    def until(self, word):
        """Reads words up to this one; its number."""
        while (got := self.word()) is not None:
            if got[0] == word:
                return got[1]
        raise AssertionError(f"the channel ended before {word}")


class Pair:
    """A TCP connection: the agent's end, and the end that a bridge would hand over."""

    def __init__(self, family=socket.AF_INET):
        with socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family) as listener:
            self.agent = socket.create_connection(listener.getsockname()[:2], timeout=LIMIT)
            self.accepted, _ = listener.accept()

    def close(self):
        self.agent.close()
        self.accepted.close()

    def client(self):
        """The agent's end as an HTTP client."""
        client = Client.__new__(Client)
        client.where, client.sock, client.buffer, client.received = None, self.agent, b"", bytearray()
        return client


class HandOff(BlackBox):
    config = {"agents": {"hand_off_uids": [os.geteuid()]}, "agent_gone": {"policy": "cancel"}}

    def pair(self, **more):
        pair = Pair(**more)
        self.addCleanup(pair.close)
        return pair

    def channel(self, token=None, path=None, **more):
        channel = Channel(path or self.keyhole.socket, token, **more)
        self.addCleanup(channel.sock.close)
        return channel

    def ask(self, client, token=None):
        return client.call("POST", "/v1/chat/completions", [("authorization", f"Bearer {token}")] if token else [], chat_body())

    def in_flight(self):
        return self.keyhole.metrics().get("keyhole_journal_slots_used")

    def assert_served(self, channel, number=7, token=None):
        """The oracle: an honest connection over this channel works."""
        pair = self.pair()
        channel.send(number, [pair.accepted.fileno()])
        self.assertEqual(self.ask(pair.client(), token).status, 200)
        return pair


class Served(HandOff):
    # A drain waits for what a test holds, however slow the machine is.
    config = HandOff.config | {"server": {"shutdown_grace": 30}}

    def test_a_connection_that_was_handed_over_is_served(self):
        token = self.keyhole.token()
        channel = self.channel(token).welcomed()
        for family in (socket.AF_INET, socket.AF_INET6):
            with self.subTest(family.name):
                pair = self.pair(family=family)
                channel.send(1, [pair.accepted.fileno()])
                pair.accepted.close()
                client = pair.client()
                for _ in range(3):
                    self.assertEqual(self.ask(client).status, 200)
                pair.agent.close()
                self.assertEqual(channel.until("D"), 1)

    def test_several_at_a_time_are_served(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        pairs = [self.pair() for _ in range(100)]
        for number, pair in enumerate(pairs):
            channel.send(number, [pair.accepted.fileno()])
            pair.accepted.close()
        for pair in pairs:
            self.assertEqual(self.ask(pair.client()).status, 200)
            pair.agent.close()
        self.assertEqual({channel.until("D") for _ in pairs}, set(range(100)))

    def test_a_connection_without_a_vouched_token_brings_its_own(self):
        channel = self.channel().welcomed()
        self.assert_served(channel, token=self.keyhole.token())
        pair = self.pair()
        channel.send(2, [pair.accepted.fileno()])
        self.assertEqual(self.ask(pair.client()).status, 401)

    def test_a_sessions_own_socket_holds_for_what_is_handed_over_through_it(self):
        session = self.keyhole.session(own_socket=True)
        channel = self.channel(path=session["socket"]).welcomed()
        self.assert_served(channel)
        other = self.keyhole.token()
        pair = self.pair()
        channel.send(2, [pair.accepted.fileno()])
        answer = self.ask(pair.client(), other)
        self.assertEqual((answer.status, answer.code), (403, "conflicting_credentials"))

    def test_an_agent_that_finished_sending_gets_its_answer(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        pair = self.pair()
        channel.send(3, [pair.accepted.fileno()])
        pair.accepted.close()
        client = pair.client()
        client.request("POST", "/v1/chat/completions", [("x-demo", "gate=finished")], chat_body())
        client.half_close()
        self.assertEqual(channel.until("W"), 3)
        self.provider.open_gate("finished")
        self.assertEqual(client.answer().status, 200)

    def test_an_agent_that_the_bridge_finds_gone_is_gone(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        pair = self.pair()
        channel.send(3, [pair.accepted.fileno()])
        client = pair.client()
        client.request("POST", "/v1/chat/completions", [("x-demo", "gate=never")], chat_body())
        client.close()
        self.assertEqual(channel.until("W"), 3)
        pair.accepted.shutdown(socket.SHUT_RDWR)
        self.assertEqual(channel.until("D"), 3)

    def test_an_agent_that_leaves_while_it_uploads_frees_its_place_at_once(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        for number in range(20):
            pair = self.pair()
            channel.send(number, [pair.accepted.fileno()])
            pair.accepted.close()
            client = pair.client()
            client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{")
            client.send(b" " * 1000)
            pair.agent.close()
        self.assertEqual({channel.until("D") for _ in range(20)}, set(range(20)))

    def test_an_upgraded_bridge_falls_back_where_its_user_is_not_listed(self):
        self.keyhole.stop()
        self.keyhole.config["agents"]["hand_off_uids"] = [4_000_000]
        self.keyhole.start()
        self.addCleanup(self.restore)
        channel = self.channel(self.keyhole.token())
        self.assertEqual(channel.word(), ("N", 0xFFFFFFFF))
        self.assertIsNone(channel.word())

    def restore(self):
        self.keyhole.stop()
        self.keyhole.config["agents"]["hand_off_uids"] = [os.geteuid()]
        self.keyhole.start()

    def test_revoking_a_session_cuts_what_was_handed_over(self):
        session = self.keyhole.session()
        channel = self.channel(session["token"]).welcomed()
        pair = self.pair()
        channel.send(4, [pair.accepted.fileno()])
        client = pair.client()
        client.request("POST", "/v1/chat/completions", [("x-demo", "gate=never@2")], chat_body(stream=True))
        answer = client.answer()
        self.assertTrue(answer.until(b"\n\n"))
        self.keyhole.revoke(session["id"])
        # At once, although the bridge still holds its copy.
        answer.read()
        self.assertEqual((answer.whole, answer.end), (False, "reset"))
        self.assertEqual(channel.until("D"), 4)

    def test_a_drain_gives_back_what_was_not_touched_and_finishes_the_rest(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        busy, idle = self.pair(), self.pair()
        channel.send(1, [busy.accepted.fileno()])
        channel.send(2, [idle.accepted.fileno()])
        client = busy.client()
        client.request("POST", "/v1/chat/completions", [("x-demo", "gate=drain")], chat_body())
        wait_until(self.in_flight, what="the request at the provider")
        self.keyhole.process.terminate()
        self.addCleanup(lambda: self.keyhole.process.poll() is None or self.keyhole.start())
        self.assertEqual(channel.until("R"), 2)
        # Nothing was done to it: its bytes and its life are whoever's is next.
        idle.agent.sendall(b"ping")
        self.assertEqual(idle.accepted.recv(4), b"ping")
        self.provider.open_gate("drain")
        self.assertEqual(client.answer().status, 200)
        self.assertEqual(self.keyhole.process.wait(LIMIT), 0)


class Attacks(HandOff):
    def strange_descriptors(self):
        """name -> (descriptor to send, what keeps it alive)"""
        out = {}
        held = tempfile.TemporaryFile()
        out["file"] = (held.fileno(), held)
        read, write = os.pipe()
        out["pipe"] = (read, (os.fdopen(read), os.fdopen(write, "wb")))
        listening = socket.create_server(("127.0.0.1", 0))
        out["listening socket"] = (listening.fileno(), listening)
        unix, other = socket.socketpair()
        out["unix stream socket"] = (unix.fileno(), (unix, other))
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.connect(("127.0.0.1", 9))
        out["UDP socket"] = (datagram.fileno(), datagram)
        fresh = socket.socket()
        out["unconnected socket"] = (fresh.fileno(), fresh)
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        out["netlink socket"] = (netlink.fileno(), netlink)
        directory = os.open("/proc/self", os.O_PATH)
        out["directory"] = (directory, None)
        terminal, far = os.openpty()
        out["terminal"] = (terminal, far)
        event = os.eventfd(0)
        out["eventfd"] = (event, None)
        return out

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.keyhole.process.pid}/fd"))

    def test_strange_descriptors_are_refused_and_closed(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        self.assert_served(channel).close()
        channel.until("D")
        before = self.open_descriptors()
        for number, (name, (descriptor, _)) in enumerate(self.strange_descriptors().items()):
            with self.subTest(name):
                channel.send(number, [descriptor])
                self.assertEqual(channel.word(), ("N", number))
        wait_until(lambda: self.open_descriptors() <= before, what="all that was refused to be closed")
        self.assert_served(channel)

    def test_a_connection_whose_agent_is_gone_is_done_at_once(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        pair = self.pair()
        pair.agent.close()
        channel.send(9, [pair.accepted.fileno()])
        self.assertEqual(channel.until("D"), 9)

    def test_a_message_without_a_descriptor_or_with_several_takes_none(self):
        channel = self.channel(self.keyhole.token()).welcomed()
        self.assert_served(channel).close()
        channel.until("D")
        before = self.open_descriptors()
        channel.sock.sendall(b"H\0\0\0" + struct.pack("<I", 1))
        self.assertEqual(channel.word(), ("N", 1))
        pairs = [self.pair() for _ in range(253)]
        for count in (2, 3, 253):
            channel.send(count, [pair.accepted.fileno() for pair in pairs[:count]])
            self.assertEqual(channel.word(), ("N", count))
        wait_until(lambda: self.open_descriptors() <= before, what="all that came to be closed")

    def test_messages_that_no_bridge_sends_end_the_channel_and_leave_nothing_open(self):
        token = self.keyhole.token()
        before = None
        for text in (b"H", b"H\0\0\0\0\0\0", b"GET / HT", b"X\0\0\0\0\0\0\0", b"H\1\0\0\0\0\0\0", b"\0" * 8, b"H\0\0\0\0\0\0\0x" * 3):
            with self.subTest(text=text):
                channel = self.channel(token).welcomed()
                self.assert_served(channel).close()
                channel.until("D")
                if before is None:
                    before = self.open_descriptors()
                pair = self.pair()
                channel.send(1, [pair.accepted.fileno()], message=text)
                if len(text) == 25:
                    channel.sock.shutdown(socket.SHUT_WR)
                while (word := channel.word()) is not None and word[0] != "X":
                    pass
                channel.sock.close()
        wait_until(lambda: self.open_descriptors() <= before, what="every channel's end")
        self.assert_served(self.channel(token).welcomed())

    def test_descriptors_beside_ordinary_bytes_go_nowhere(self):
        token = self.keyhole.token()
        with Client(self.keyhole.socket) as client:
            self.assertEqual(self.ask(client, token).status, 200)  # the oracle
            before = self.open_descriptors()
            pair = self.pair()
            text = request_bytes("POST", "/v1/chat/completions", [], chat_body(), token)
            for at in range(0, len(text), 5):
                socket.send_fds(client.sock, [text[at: at + 5]], [pair.accepted.fileno()] * 8)
            self.assertEqual(client.answer().status, 200)
        wait_until(lambda: self.open_descriptors() <= before, what="no descriptor to have been taken")

    def test_descriptors_beside_a_greeting_go_nowhere(self):
        before = self.open_descriptors()
        pair = self.pair()
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LIMIT)
        sock.connect(self.keyhole.socket)
        socket.send_fds(sock, [preface(self.keyhole.token(), command=HAND_OFF)], [pair.accepted.fileno()] * 100)
        self.assertEqual(sock.recv(1), b"K")
        sock.close()
        wait_until(lambda: self.open_descriptors() <= before, what="no descriptor to have been taken")

    def test_a_sender_that_makes_its_copy_blocking_blocks_nobody(self):
        """O_NONBLOCK belongs to the open file: the sender clears it while the proxy writes into a full socket."""
        token = self.keyhole.token()
        channel = self.channel(token).welcomed()
        hostile = []
        for number in range(8):  # every worker gets some
            pair = self.pair()
            pair.agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            channel.send(number, [pair.accepted.fileno()])
            client = pair.client()
            client.request("POST", "/v1/chat/completions", [("x-demo", "words=20000")], chat_body(stream=True))
            hostile.append(pair)
        stop = threading.Event()

        def keep_blocking():
            while not stop.is_set():
                for pair in hostile:
                    flags = fcntl.fcntl(pair.accepted, fcntl.F_GETFL)
                    fcntl.fcntl(pair.accepted, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)

        thread = threading.Thread(target=keep_blocking)
        thread.start()
        try:
            for _ in range(40):
                with Client(self.keyhole.socket, timeout=LIMIT) as client:
                    self.assertEqual(self.ask(client, token).status, 200)
        finally:
            stop.set()
            thread.join()

    def test_a_sender_that_sets_a_long_linger_delays_no_close(self):
        token = self.keyhole.token()
        channel = self.channel(token).welcomed()
        for number in range(8):
            pair = self.pair()
            pair.agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            pair.accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
            channel.send(number, [pair.accepted.fileno()])
            pair.accepted.close()  # the proxy holds the last copy
            pair.client().request("POST", "/v1/chat/completions", [("x-demo", "words=20000"), ("connection", "close")], chat_body(stream=True))
        session = self.keyhole.session()
        for _ in range(20):
            with Client(self.keyhole.socket, timeout=LIMIT) as client:
                self.assertEqual(self.ask(client, session["token"]).status, 200)

    def test_one_connection_under_many_numbers_is_served_once_and_its_flood_ends_the_channel(self):
        """Every event of a connection wakes all that serve it: 10,000 copies of one would occupy a worker for a minute."""
        token = self.keyhole.token()
        channel = self.channel(token).welcomed()
        pair = self.assert_served(channel)
        sent = 0
        try:
            for sent in range(20_000):
                channel.send(sent, [pair.accepted.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(sent, 2_000)
        channel.until("X")
        # The one that is served goes on, and others are as before.
        self.assertEqual(self.ask(pair.client()).status, 200)
        self.assert_served(self.channel(token).welcomed())

    def test_a_flood_of_half_open_channels_shuts_nobody_out(self):
        token = self.keyhole.token()
        whole = preface(token, command=HAND_OFF)
        half_open = []
        for n in range(300):
            sock = socket.socket(socket.AF_UNIX)
            self.addCleanup(sock.close)
            sock.connect(self.keyhole.socket)
            sock.sendall(whole[:n % (len(whole) - 1)])
            half_open.append(sock)
        self.assert_served(self.channel(token).welcomed())

    def test_a_greeting_over_tcp_is_no_channel(self):
        sock = socket.create_connection(("127.0.0.1", self.keyhole.tcp_port), timeout=LIMIT)
        self.addCleanup(sock.close)
        sock.sendall(preface(self.keyhole.token(), command=HAND_OFF))
        self.assertEqual(sock.recv(1), b"")

    def test_a_greeting_in_a_connection_that_was_handed_over_is_no_channel(self):
        channel = self.channel().welcomed()
        pair = self.pair()
        channel.send(1, [pair.accepted.fileno()])
        pair.agent.sendall(preface(self.keyhole.token(), command=HAND_OFF))
        self.assertEqual(channel.until("D"), 1)

    def test_another_sessions_token_in_the_greeting_of_an_own_socket_changes_nothing(self):
        mine = self.keyhole.session(own_socket=True)
        theirs = self.keyhole.session()
        channel = self.channel(theirs["token"], path=mine["socket"]).welcomed()
        self.assert_served(channel)
        wait_until(lambda: self.keyhole.rows(session=mine["id"]), what="the row of the session whose socket it was")
        self.assertFalse(self.keyhole.rows(session=theirs["id"]))

    def test_malformed_greetings_are_dropped(self):
        whole = preface("x" * 40, command=HAND_OFF)
        self.channel(greeting=whole).welcomed()  # the oracle
        for name, text in {"length beyond the bound": whole[:14] + b"\xff\xff" + whole[16:], "another command": preface("x" * 40, command=0x23),
                           "version 1": preface("x" * 40, command=0x12), "a TLV past the end": whole[:17] + b"\xff\xff" + whole[19:],
                           "two tokens": preface(tlvs=[(0xE0, b"a" * 40), (0xE0, b"b" * 40)], command=HAND_OFF),
                           "bytes behind it": whole + b"GET / HTTP/1.1\r\n\r\n"}.items():
            with self.subTest(name):
                channel = self.channel(greeting=text)
                self.assertIn(channel.word(), (None, ("N", 0xFFFFFFFF)))


class Floods(HandOff):
    config = HandOff.config | {"limits": {"max_connections": 64}}

    def test_a_flood_of_descriptors_is_bounded_and_shuts_nobody_out(self):
        token = self.keyhole.token()
        with Client(self.keyhole.socket) as busy:
            busy.request("POST", "/v1/chat/completions", [("x-demo", "gate=flood@1")], chat_body(stream=True), token)
            answer = busy.answer()
            self.assertTrue(answer.until(b"\n\n"))
            channel = self.channel(token).welcomed()
            self.assertEqual(channel.most, 48)
            self.assert_served(channel)
            pairs = [self.pair() for _ in range(400)]
            for number, pair in enumerate(pairs):
                channel.send(number, [pair.accepted.fileno()])
            # What is too much is refused, never kept.
            refused = set()
            while len(refused) < 400 - 48:
                word, number = channel.word()
                if word in "FD":
                    refused.add(number)
            # Neither one who comes now, nor one who was there, is shut out.
            with Client(self.keyhole.socket) as other:
                self.assertEqual(self.ask(other, token).status, 200)
            self.provider.open_gate("flood")
            answer.read()
            self.assertTrue(answer.whole)

    def test_two_floods_of_half_requests_displace_one_another_and_no_third(self):
        token = self.keyhole.token()
        quiet = self.channel(token).welcomed()
        kept = self.assert_served(quiet).client()  # the connection that is there longest, but for its channel
        floods = [self.channel(token).welcomed() for _ in range(2)]
        for number in range(150):
            for flood in floods:
                pair = self.pair()
                pair.agent.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
                flood.send(number, [pair.accepted.fileno()])
                pair.accepted.close()
        wait_until(lambda: self.keyhole.metrics().get("keyhole_agent_connections") >= 60, what="the proxy to be full")
        for number in range(10, 20):
            self.assertEqual(self.ask(kept).status, 200)
            self.assert_served(quiet, number)


if __name__ == "__main__":
    unittest.main()
