"""Connections whose first request is not complete: a socket each, and neither a protocol nor a task.

To a protocol a connection costs 0.35 ms of CPU, here 0.08 ms. The clients in the system's queue are accepted one after
the other, so a scrape waits until the server has dealt with every half request before it. On a busy machine, with a
quarter of a core for the agent, 1,000 half requests a second were more than it could take: scrapes lasted up to 7 s.

Nothing is read here. The server looks at the bytes that have come and leaves them to the protocol, HTTP or TLS.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from pgdoctor.agent.http.auth import MOST_HEAD_BYTES

#: The first byte of a TLS record with a handshake message, and the bytes before its content.
_TLS_HANDSHAKE = 0x16
_TLS_RECORD_HEAD_BYTES = 5

#: Requests that begin with a lower byte are not HTTP.
_FIRST_PRINTABLE = 0x21

#: Close without a goodbye: otherwise the system keeps a closed connection until the client closes it too.
_RESET = struct.pack("ii", 1, 0)


def is_complete(sent: bytes, is_tls: bool) -> bool:
    """Whether a protocol has something to do with the first bytes of a client: an answer, a handshake or a refusal."""
    if len(sent) >= MOST_HEAD_BYTES:
        return True
    if is_tls:
        size = _TLS_RECORD_HEAD_BYTES + int.from_bytes(sent[3:_TLS_RECORD_HEAD_BYTES], "big")
        return sent[0] != _TLS_HANDSHAKE or len(sent) >= max(size, _TLS_RECORD_HEAD_BYTES)
    return sent[0] < _FIRST_PRINTABLE or b"\n\r\n" in sent or b"\n\n" in sent


def reset_connection(client: socket.socket) -> None:
    """Close a connection without a goodbye."""
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


class IncompleteRequest:
    """One connection, until its request is complete or the connection is closed."""

    def __init__(
        self,
        client: socket.socket,
        is_tls: bool,
        on_complete: Callable[[bytes], None],
        on_end: Callable[[bool], None],
    ) -> None:
        self._client = client
        # The loop describes what it does not know yet in an error: a number costs it nothing, a socket 20 µs.
        self._descriptor = client.fileno()
        self._is_tls = is_tls
        #: Takes the socket over, and learns the first bytes that the client has sent; they are still to be read.
        self._on_complete = on_complete
        #: Learns that the client has closed the connection or, with True, that its time is over. The socket is closed.
        self._on_end = on_end
        self._size = 0
        self._loop = asyncio.get_running_loop()

    def begin(self, seconds: float) -> None:
        """Look at the bytes that have come with the connection; if they are not enough, wait for more."""
        self._deadline = self._loop.call_later(seconds, self._end_request, True)
        try:
            self._loop.add_reader(self._descriptor, self._check_request)
        except OSError:
            self._end_request(False)
        else:
            self._check_request()

    def close(self) -> None:
        """Reset the connection, without a call of `on_end`."""
        self._stop_reading()
        reset_connection(self._client)

    def _check_request(self) -> None:
        try:
            sent = self._client.recv(MOST_HEAD_BYTES, socket.MSG_PEEK)
            is_over = len(sent) > self._size and is_complete(sent, self._is_tls)
            # The system reports the connection only when there is a byte more.
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 if is_over else len(sent) + 1)
        except BlockingIOError:
            return
        except OSError:
            sent, is_over = b"", False
        if is_over:
            self._stop_reading()
            self._on_complete(sent)
        elif len(sent) > self._size:
            self._size = len(sent)
        else:
            # A report without more bytes: the client has closed the connection.
            self._end_request(False)

    def _end_request(self, is_late: bool) -> None:
        self.close()
        self._on_end(is_late)

    def _stop_reading(self) -> None:
        self._deadline.cancel()
        if self._client.fileno() >= 0:
            self._loop.remove_reader(self._descriptor)
