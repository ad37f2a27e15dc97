"""Real receivers on loopback, good ones and bad ones."""

import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

#: What a receiver does with a connection once it has read the request.
Manner = Callable[[socket.socket], None]


class Receiving:
    """Takes one request a connection, and answers it in the next of its manners; the last one stays."""

    def __init__(self, *manners: Manner, tls: ssl.SSLContext | None = None) -> None:
        self._manners = itertools.chain(manners, itertools.repeat(manners[-1]))
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hook/very-secret-path?key=k1"
        #: The first lines and headers of the requests, what came as their bodies, and when (monotonic).
        self.heads: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client, next(self._manners)), daemon=True).start()

    def _serve(self, client: socket.socket, manner: Manner) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._open.append(client)
            self._read(client)
            manner(client)
        except OSError:
            pass
        finally:
            if manner not in (hang, half_close):
                client.close()

    def _read(self, client: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += _some(client)
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += _some(client)
        self.times.append(time.monotonic())
        self.heads.append(head.decode())
        try:
            self.bodies.append(json.loads(body))
        except ValueError:
            self.bodies.append({"text": body.decode()})


def _some(client: socket.socket) -> bytes:
    if not (found := client.recv(65_536)):
        raise ConnectionResetError
    return found


def answer(status: int = 204, **headers: str) -> Manner:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()

    def say(client: socket.socket) -> None:
        client.sendall(head)

    return say


def answer_json(status: int, said: Any) -> Manner:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def say(client: socket.socket) -> None:
        client.sendall(head.encode() + body)

    return say


def redirect(to: str) -> Manner:
    return answer(307, Location=to)


def hang(client: socket.socket) -> None:
    """Never answer."""


def drip(client: socket.socket) -> None:
    """A byte of the answer now and then, for ever."""
    client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        client.sendall(b"x")
        time.sleep(0.02)


def flood(client: socket.socket) -> None:
    """Headers without end."""
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X: " + b"x" * 60_000 + b"\r\n")


def break_off(client: socket.socket) -> None:
    """Half of an answer."""
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


def slam(client: socket.socket) -> None:
    """Close without a word."""


def half_close(client: socket.socket) -> None:
    """Say that nothing will come, and stay connected."""
    client.shutdown(socket.SHUT_WR)


def garbage(client: socket.socket) -> None:
    client.sendall(b"\x00\xff\xfe hello\r\n\r\n" * 10)


BAD: Iterable[Manner] = (hang, drip, flood, break_off, slam, half_close, garbage)


def nobody() -> str:
    """The address of a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/hook"
