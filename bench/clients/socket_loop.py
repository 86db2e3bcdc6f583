"""A bare socket: send all, receive all, again; prints ns of each exchange.

    socket_loop.py kept|churn PORT SEND RECEIVE WARM COUNT      (SEND, RECEIVE: bytes)

`churn` connects for each exchange, and the connecting counts.
"""

import socket
import sys
import time

how = sys.argv[1]
port, send, receive, warm, count = map(int, sys.argv[2:])
message, room = memoryview(bytes(send)), memoryview(bytearray(receive))


def connect():
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


kept = connect() if how == "kept" else None


def exchange():
    link = kept or connect()
    link.sendall(message)
    got = 0
    while got < receive:
        n = link.recv_into(room[got:])
        if not n:
            sys.exit("the server closed the connection")
        got += n
    if link is not kept:
        link.close()


for _ in range(warm):
    exchange()
for _ in range(count):
    began = time.monotonic_ns()
    exchange()
    print(time.monotonic_ns() - began)
