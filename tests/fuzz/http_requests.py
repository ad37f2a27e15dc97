"""Bytes that may be no HTTP to a running agent: it answers or closes, lives on, and says nothing of a secret."""

import random
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.fuzz.sockets import TOKEN, agent, check_alive, cpu_seconds, exchanged
from tests.fuzz.trial import SECRET, TRACE, Trial

NAME = "HTTP requests"

_PATHS = (
    *("/", "/metrics", "/health", "/health/deep", "/diagnosis", "/webhook", "/mitigation/disarm"),
    *("/../etc/passwd", "//", "*"),
    *("/%00", "/%2e%2e/", "/\u202e", "/?a=" + "b" * 3_000, "/" + "a" * 70_000, "http://evil/health"),
    *("/health;x", "/health?", ""),
)
_METHODS = (
    *("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"),
    *("TRACE", "CONNECT", "PRI", "get", "G\x00T", "", "X" * 9_000),
)
_VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 x", "", "http/1.1")
_HEADERS = (
    *("Host: 127.0.0.1", "Host: a\r\nHost: b", "Connection: keep-alive"),
    *("Connection: upgrade\r\nUpgrade: websocket", "Expect: 100-continue"),
    *("Content-Length: 5", "Content-Length: -1", "Content-Length: 9" + "9" * 30, "Content-Length: 0x5"),
    *("Content-Length: 5, 6",),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip", ": x"),
    *("a", " folded: x"),
    *("Accept: " + "a/b;q=0.1," * 800, "Accept: */*;q=x", "Accept-Encoding: gzip, br", "Range: bytes=0-,0-,0-"),
    *("Cookie: a=b",),
    *(f"Authorization: Bearer {SECRET}", f"Authorization: Basic {SECRET}", f"X-Planted: {SECRET}"),
    *(f"Authorization: Bearer {TOKEN}",),
    *("X: \x00", "X: \x1b[2J\u202e", "X:" + "y" * 70_000, "\r\n".join(["a: b"] * 500), "Origin: null"),
    *("Content-Type: application/json",),
)
_BODIES = (
    *(b"", b"hello", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\nx", b"-1\r\n"),
    *(b"5;ext=1\r\nhello\r\n0\r\nT: x\r\n\r\n",),
    *(b"zz\r\n", b"x" * 100_000, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 50),
    *(b'{"alertId": "a", "status": "firing"}', b"\x16\x03\x01\x02\x00"),
)

#: After so many the agent is looked at, and so many clients stop in the middle of what they say.
_LOOK_EVERY = 200
_SLOW = 20


def made(rng: random.Random) -> bytes:
    """A request, or nearly one."""
    line = f"{rng.choice(_METHODS[:6] if rng.random() < 0.8 else _METHODS)} "
    line += f"{rng.choice(_PATHS)} {rng.choice(_VERSIONS[:2] if rng.random() < 0.8 else _VERSIONS)}"
    headers = [rng.choice(_HEADERS) for _ in range(rng.choice((0, 1, 2, 3, 8)))]
    end = rng.choice(("\r\n", "\r\n", "\r\n", "\n", "\r"))
    head = end.join([line, *headers, "", ""]).encode(errors="replace")
    raw = head + rng.choice(_BODIES)
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        place = rng.randint(0, len(raw))
        match rng.randrange(4):
            case 0:
                raw = raw[:place]
            case 1:
                raw = raw[:place] + rng.randbytes(rng.randint(1, 20)) + raw[place:]
            case 2:
                raw = raw[:place] + raw[place + rng.randint(1, 20) :]
            case _:
                raw = raw * 2
    return raw


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one request; now and then a crowd that stops halfway."""
    with agent() as running:
        exchanged(running, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        slow: list[socket.socket] = []

        def attempt(trial: Trial, rng: random.Random, number: int) -> None:
            raw = made(rng)
            trial.begin(number, raw.decode("latin-1"))
            answer = trial.timed("request", lambda: exchanged(running, raw), lambda: cpu_seconds(running))
            _judge(trial, answer or b"")
            if number % _LOOK_EVERY == 0:
                with suppress(OSError):
                    while len(slow) < _SLOW:
                        slow.append(socket.create_connection(("127.0.0.1", running.port), timeout=5))
                        slow[-1].sendall(raw[: rng.randint(0, 40)])
                check_alive(trial, running)
                for each in slow:
                    each.close()
                slow.clear()

        last = Trial()
        yield attempt
        check_alive(last, running)
        assert not last.failures, last.failures[0]


def _judge(trial: Trial, answer: bytes) -> None:
    for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", answer[:2_000]):
        # 503 is what a health check says of a server that is down.
        if status.startswith(b"5") and status not in (b"501", b"503", b"505"):
            trial.fail("request", f"answered {status.decode()}")
    if TRACE.encode() in answer:
        trial.fail("request", "the answer shows the planted value")
