"""A TCP port that nobody listens on, for programs that must be told one."""

import random
import socket

# Below what the kernel gives to outgoing connections (from 32768): such a port isn't lost between this look and the program's bind().
RANGE = (10240, 32767)


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    for _ in range(200):
        port = random.randint(*RANGE)
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port between {RANGE[0]} and {RANGE[1]} is free on {host}")
