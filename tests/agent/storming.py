"""An attacker in a process of its own: opens connections at a rate, says half a request on each, and keeps them open.

    python -m tests.agent.storming PORT PER_SECOND NUMBER HELD

It writes a line when it begins, and at the end how many connections a second it made, and its seconds of CPU.
"""

import contextlib
import resource
import socket
import sys
import time
from collections import deque

#: The first half of a request.
SAID = b"GET /metrics HTTP/1.1\r\nHost: x\r\n"


def storm(port: int, per_second: int, number: int, held: int) -> float:
    """Make so many connections, the latest `held` of them open; return how many a second they were."""
    connections: deque[socket.socket] = deque()
    began = time.monotonic()
    for made in range(number):
        # On schedule: an attacker that was held up makes up for it.
        early = began + made / per_second - time.monotonic()
        if early > 0:
            time.sleep(early)
        connection = socket.socket()
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            connection.send(SAID)
        connections.append(connection)
        if len(connections) > held:
            connections.popleft().close()
    return number / (time.monotonic() - began)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("begins", flush=True)
    print(storm(*map(int, sys.argv[1:])), time.process_time(), flush=True)
