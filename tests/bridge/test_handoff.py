"""Hand-off, the bridge's side: the agent's connection itself goes to the proxy, and nothing of it is lost when the proxy ends."""

import select
import signal
import socket
import struct

from real_bridge import LIMIT, BridgeTest, hung_up, receive_all, receive_exactly, wait_for

NO_NUMBER = 0xFFFFFFFF


class Channel:
    """The proxy's end of a hand-off channel."""

    def __init__(self, connection):
        self.connection = connection
        head = receive_exactly(connection, 16)
        assert head[:12] == b"\r\n\r\n\0\r\nQUIT\n", head
        self.command = head[12]
        self.token = None
        if length := struct.unpack("!H", head[14:])[0]:
            kind, size = struct.unpack("!BH", receive_exactly(connection, 3))
            assert (kind, size + 3) == (0xE0, length)
            self.token = receive_exactly(connection, size)

    def tell(self, word, number=NO_NUMBER):
        self.connection.sendall(word + b"\0\0\0" + struct.pack("<I", number))

    def welcome(self, most=1000):
        self.tell(b"K", most)
        return self

    def take(self):
        """The next connection: its number and itself."""
        message, descriptors, flags, _ = socket.recv_fds(self.connection, 8, 4)
        assert len(message) == 8 and message[:4] == b"H\0\0\0", message
        assert len(descriptors) == 1 and not flags & socket.MSG_CTRUNC, descriptors
        taken = socket.socket(fileno=descriptors[0])
        taken.settimeout(LIMIT)
        return struct.unpack("<I", message[4:])[0], taken

    def close(self):
        self.connection.close()


class HandOff(BridgeTest):
    def accept_channel(self, proxy, most=1000):
        channel = Channel(proxy.accept()).welcome(most)
        self.addCleanup(channel.close)
        return channel

    def take(self, channel):
        number, taken = channel.take()
        self.addCleanup(taken.close)
        return number, taken

    def handed_over(self, proxy, **more):
        """One connection, handed over on a new channel."""
        self.start_bridge(hand_off="yes", **more)
        agent = self.connect()
        channel = self.accept_channel(proxy)
        number, taken = self.take(channel)
        return agent, channel, number, taken

    def assert_refused(self, agent, code):
        answer = receive_all(agent)
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b'"code":"' + code + b'"', answer)

    def test_the_proxy_gets_the_agents_connection_itself(self):
        proxy = self.start_proxy()
        agent, _, _, taken = self.handed_over(proxy)
        self.assertEqual(taken.family, socket.AF_INET)
        self.assertEqual(taken.getpeername(), agent.getsockname())
        # Nothing passes through the bridge any more: it may as well stand still.
        self.process.send_signal(signal.SIGSTOP)
        agent.sendall(b"question")
        self.assertEqual(receive_exactly(taken, 8), b"question")
        taken.sendall(b"answer")
        self.assertEqual(receive_exactly(agent, 6), b"answer")
        self.process.send_signal(signal.SIGCONT)

    def test_bytes_sent_before_the_hand_off_arrive(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        agent = self.connect()
        agent.sendall(b"early")
        _, taken = self.take(self.accept_channel(proxy))
        self.assertEqual(receive_exactly(taken, 5), b"early")

    def test_one_channel_serves_all_connections(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        agents = [self.connect() for _ in range(300)]
        channel = self.accept_channel(proxy)
        numbers = set()
        peers = set()
        for _ in agents:
            number, taken = self.take(channel)
            numbers.add(number)
            peers.add(taken.getpeername())
        self.assertEqual(len(numbers), 300)
        self.assertEqual(peers, {agent.getsockname() for agent in agents})

    def test_the_greeting_vouches_with_the_token_and_is_no_request(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes", token=b"kh_a_session_token\n")
        self.connect()
        channel = Channel(proxy.accept())
        self.addCleanup(channel.close)
        self.assertEqual(channel.token, b"kh_a_session_token")
        self.assertEqual(channel.command, 0x22)

    def test_a_proxy_that_does_not_know_it_gets_a_relayed_connection_at_once(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        agent = self.connect()
        agent.sendall(b"ping")
        Channel(proxy.accept()).close()
        relayed = proxy.accept()
        self.addCleanup(relayed.close)
        self.assertEqual(receive_exactly(relayed, 4), b"ping")
        # And the next one without another greeting.
        agent, relayed = self.connect_through(proxy)
        agent.sendall(b"again")
        self.assertEqual(receive_exactly(relayed, 5), b"again")

    def test_a_proxy_that_does_not_greet_back_gets_a_relayed_connection(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        agent = self.connect()
        agent.sendall(b"ping")
        silent = proxy.accept()
        self.addCleanup(silent.close)
        relayed = proxy.accept()
        self.addCleanup(relayed.close)
        self.assertEqual(receive_exactly(relayed, 4), b"ping")

    def test_a_proxy_that_takes_none_from_this_user_gets_a_relayed_connection(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        agent = self.connect()
        agent.sendall(b"ping")
        channel = Channel(proxy.accept())
        channel.tell(b"N")
        channel.close()
        relayed = proxy.accept()
        self.addCleanup(relayed.close)
        self.assertEqual(receive_exactly(relayed, 4), b"ping")

    def test_a_connection_whose_descriptor_got_lost_is_relayed(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        agent.sendall(b"ping")
        taken.close()
        channel.tell(b"N", number)
        relayed = proxy.accept()
        self.addCleanup(relayed.close)
        self.assertEqual(receive_exactly(relayed, 4), b"ping")

    def test_beyond_what_the_proxy_takes_an_agent_is_told_so(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        taken.close()
        channel.tell(b"F", number)
        self.assert_refused(agent, b"too_many_connections")

    def test_the_end_of_a_connection_reaches_the_agent(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        taken.sendall(b"all")
        taken.close()
        channel.tell(b"D", number)
        self.assertEqual(receive_all(agent), b"all")

    def test_numbers_that_nobody_handed_over_mean_nothing(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        for wrong in (0, 1, 2, 4096, 2**31, NO_NUMBER - 1):
            for word in (b"D", b"R", b"F", b"N", b"W", b"?", b"\0"):
                if wrong != number:
                    channel.tell(word, wrong)
        taken.sendall(b"still here")
        self.assertEqual(receive_exactly(agent, 10), b"still here")
        self.assertIsNone(self.process.poll())

    def test_words_in_pieces_are_put_together(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        taken.close()
        for byte in b"D\0\0\0" + struct.pack("<I", number):
            channel.connection.sendall(bytes([byte]))
        self.assertEqual(receive_all(agent), b"")


class AgentsEnd(HandOff):
    def test_an_agent_that_only_finished_sending_is_left_alone(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        agent.sendall(b"all")
        agent.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(taken), b"all")
        channel.tell(b"W", number)
        self.assertFalse(wait_for(taken, 0, limit=0.5))
        taken.sendall(b"answer")
        self.assertEqual(receive_exactly(agent, 6), b"answer")

    def test_an_agent_that_left_is_noticed_although_it_only_seemed_to_finish_sending(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        agent.close()
        self.assertEqual(taken.recv(1), b"")
        self.assertFalse(wait_for(taken, 0, limit=0))
        channel.tell(b"W", number)
        self.assertTrue(wait_for(taken, 0) & select.POLLHUP)

    def test_an_agent_that_leaves_after_it_finished_sending_is_noticed(self):
        proxy = self.start_proxy()
        agent, channel, number, taken = self.handed_over(proxy)
        agent.shutdown(socket.SHUT_WR)
        self.assertEqual(taken.recv(1), b"")
        channel.tell(b"W", number)
        self.assertFalse(wait_for(taken, 0, limit=0.3))
        agent.close()
        self.assertTrue(wait_for(taken, 0) & select.POLLHUP)


class ProxyEnds(HandOff):
    def test_an_untouched_connection_is_handed_to_the_next_proxy(self):
        for unread in (b"", b"question"):
            proxy = self.start_proxy()
            agent, channel, _, taken = self.handed_over(proxy)
            agent.sendall(unread)
            taken.close()
            channel.close()
            _, again = self.take(self.accept_channel(proxy))
            self.assertEqual(receive_exactly(again, len(unread)), unread)
            again.sendall(b"answer")
            self.assertEqual(receive_exactly(agent, 6), b"answer")
            self.stop_bridge()

    def test_descriptors_that_nobody_received_are_not_lost(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        agents = [self.connect() for _ in range(20)]
        channel = self.accept_channel(proxy)
        for _ in range(5):
            channel.take()[1].close()
        channel.close()
        channel = self.accept_channel(proxy)
        self.assertEqual({self.take(channel)[1].getpeername() for _ in agents}, {agent.getsockname() for agent in agents})

    def test_a_request_that_was_read_and_not_answered_is_a_503_that_says_so(self):
        proxy = self.start_proxy()
        agent, channel, _, taken = self.handed_over(proxy)
        agent.sendall(b"question")
        receive_exactly(taken, 8)
        taken.close()
        channel.close()
        self.assert_refused(agent, b"proxy_went_away")

    def test_an_answer_that_breaks_off_is_a_reset(self):
        proxy = self.start_proxy()
        agent, channel, _, taken = self.handed_over(proxy)
        agent.sendall(b"question")
        receive_exactly(taken, 8)
        taken.sendall(b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(receive_exactly(agent, 17), b"HTTP/1.1 200 OK\r\n")
        taken.close()
        channel.close()
        with self.assertRaises(ConnectionResetError):
            agent.recv(1)

    def test_a_proxy_that_drains_gives_back_what_it_did_not_touch(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        busy, idle = self.connect(), self.connect()
        channel = self.accept_channel(proxy)
        _, served = self.take(channel)
        number, untouched = self.take(channel)
        if served.getpeername() != busy.getsockname():
            busy, idle = idle, busy
        proxy.stop()
        untouched.close()
        channel.tell(b"R", number)
        channel.tell(b"X")
        idle.sendall(b"question")
        following = self.start_proxy()
        _, again = self.take(self.accept_channel(following))
        self.assertEqual(receive_exactly(again, 8), b"question")
        # The old proxy finishes what it serves.
        served.sendall(b"the rest")
        self.assertEqual(receive_exactly(busy, 8), b"the rest")

    def test_while_no_proxy_is_there_agents_wait_and_then_get_a_503(self):
        proxy = self.start_proxy()
        _, channel, _, taken = self.handed_over(proxy)
        self.stop_bridge()
        self.start_bridge("--connect-wait", "0", hand_off="yes")
        proxy.stop()
        self.assert_refused(self.connect(), b"proxy_socket_absent")
        taken.close()
        channel.close()


class BridgeEnds(HandOff):
    def test_a_killed_bridge_ends_no_connection(self):
        proxy = self.start_proxy()
        agent, _, _, taken = self.handed_over(proxy)
        self.process.kill()
        self.process.wait(LIMIT)
        taken.sendall(b"answer")
        self.assertEqual(receive_exactly(agent, 6), b"answer")

    def test_sigterm_leaves_connections_to_the_proxy(self):
        proxy = self.start_proxy()
        agent, channel, _, taken = self.handed_over(proxy)
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(LIMIT), 0)
        self.assertTrue(hung_up(channel.connection))
        taken.sendall(b"answer")
        self.assertEqual(receive_exactly(agent, 6), b"answer")

    def test_two_thousand_connections_cost_the_bridge_less_than_a_kilobyte_each(self):
        proxy = self.start_proxy()
        self.start_bridge(hand_off="yes")
        self.connect()
        channel = self.accept_channel(proxy, most=100_000)
        self.take(channel)
        before = self.memory_kib()
        count = 2000
        agents = []
        for _ in range(count):
            agents.append(self.connect())
            number, taken = channel.take()
            taken.close()
        self.assertLess(self.memory_kib() - before, count, "KiB")
        self.assertIsNone(self.process.poll())


if __name__ == "__main__":
    import unittest
    unittest.main()
