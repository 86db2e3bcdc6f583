"""A loop as most people write it: one worker, a sleep between sends, timed from the send.

send_timed.py PORT RATE SECONDS        prints ns of each exchange
"""

import socket
import sys
import time

port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
message = bytes(64)
link = socket.create_connection(("127.0.0.1", port))
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
end = time.monotonic() + seconds
following = time.monotonic()
while (now := time.monotonic()) < end:
    time.sleep(max(0.0, following - now))
    # The next is due a pause after this one, never in the past: nothing is made up for.
    following = max(following, now) + 1 / rate
    began = time.monotonic_ns()
    link.sendall(message)
    got = 0
    while got < len(message):
        data = link.recv(len(message) - got)
        if not data:
            sys.exit("the server closed the connection")
        got += len(data)
    print(time.monotonic_ns() - began)
