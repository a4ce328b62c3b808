"""Random orders of what two ends of a connection may do: send, finish sending, close, reset, let bytes lie. Whatever the order, what one end had sent in
full and the other one was there to read arrives in full. A million schedules with KEYHOLE_LONG=1, or SCHEDULES=N; SEED repeats one run."""

import contextlib
import os
import random
import socket
import struct

from real_bridge import LIMIT, BridgeTest

COUNT = int(os.environ.get("SCHEDULES") or (1_000_000 if os.environ.get("KEYHOLE_LONG") else 2000))


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_to_the_end(sock):
    """All bytes, and whether the end was an orderly one."""
    out = bytearray()
    try:
        while part := sock.recv(1 << 16):
            out += part
    except ConnectionError:
        return bytes(out), False
    return bytes(out), True


class Schedules(BridgeTest):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))
        self.proxy = self.start_proxy()
        self.start_bridge()

    def ends(self):
        agent = socket.create_connection((self.host, self.port), LIMIT)
        agent.sendall(b"!")
        upstream = self.proxy.accept()
        upstream.settimeout(LIMIT)
        self.assertEqual(upstream.recv(1), b"!")
        # An end before the first byte of an answer would rightly be a 503.
        upstream.sendall(b"+")
        self.assertEqual(agent.recv(1), b"+")
        return agent, upstream

    def one(self, chance):
        agent, upstream = self.ends()
        ends = {"agent": agent, "proxy": upstream}
        sent = {"agent": b"", "proxy": b""}
        finished, torn = set(), None
        try:
            for _ in range(chance.randrange(1, 8)):
                who = chance.choice(("agent", "proxy"))
                if who in finished:
                    continue
                what = chance.random()
                if what < 0.6:
                    data = chance.randbytes(chance.choice((1, 10, 1000, 30_000)))
                    ends[who].sendall(data)
                    sent[who] += data
                elif what < 0.9:
                    ends[who].shutdown(socket.SHUT_WR)
                    finished.add(who)
                else:
                    torn = who
                    break
            if torn:
                # The other end learns of it, whatever it was doing; it need not get what was under way.
                reset(ends[torn])
                other = ends["proxy" if torn == "agent" else "agent"]
                with contextlib.suppress(ConnectionError):
                    other.sendall(b"?")
                got, _ = read_to_the_end(other)
                self.assertTrue(sent[torn].startswith(got), "bytes that nobody sent")
                return
            for who in {"agent", "proxy"} - finished:
                ends[who].shutdown(socket.SHUT_WR)
            for who, other in (("agent", "proxy"), ("proxy", "agent")):
                got, orderly = read_to_the_end(ends[other])
                self.assertTrue(orderly and got == sent[who], f"{len(got)} of {len(sent[who])} bytes from the {who}, orderly {orderly}")
        finally:
            agent.close()
            upstream.close()

    def test_no_answer_is_cut_whatever_the_order(self):
        for number in range(COUNT):
            with self.subTest(seed=self.seed, number=number):
                self.one(random.Random(self.seed * 1_000_003 + number))
            if number % 1000 == 0:
                self.assertIsNone(self.process.poll(), "the bridge ended")


if __name__ == "__main__":
    import unittest
    unittest.main()
