"""C2 14: `give` hands its connection to the proxy to another sandbox through a shared directory; `take` uses it."""
import array
import os
import socket
import sys

from kit import connect_socket, connect_bridge, post, statuses

PLACE = "/shared/pass.sock"
HOW = {"bridge": connect_bridge, "socket": connect_socket}[sys.argv[2]]

if sys.argv[1] == "give":
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(PLACE + ".new")
        os.chmod(PLACE + ".new", 0o666)
        s.listen()
        os.rename(PLACE + ".new", PLACE)
        s.settimeout(30)
        other, _ = s.accept()
        with other, HOW() as mine:
            other.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [mine.fileno()]))])
            other.recv(1)
else:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(PLACE)
        _, ancillary, _, _ = s.recvmsg(1, socket.CMSG_SPACE(4))
        fd = array.array("i", ancillary[0][2][:4])[0]
        with socket.socket(fileno=fd) as theirs:
            theirs.settimeout(10)
            theirs.sendall(post())
            print(statuses(theirs.recv(65536)))
        s.send(b"x")
