"""Accepts connections within a limit, so that connections that do nothing never delay a client that asks.

When all slots are taken, the server closes the connection that has waited for its client the longest: the client has
sent half a request, nothing, does not finish its TLS handshake, or does not read its answer. A client that sends its
request at once is served, from any address. When all connections are being answered, the next one waits for a slot,
and those behind it in the system's queue: a burst of health checks is answered, not rejected.

asyncio's own server has no limit, and reports a connection only after its TLS handshake; uvicorn's `limit_concurrency`
answers 503 to all clients once the limit is reached, and has no time limit for a request's head.
"""

import asyncio
import errno
import resource
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from pgdoctor.agent.http.incomplete_requests import IncompleteRequest
from pgdoctor.agent.http.rejections import RejectionCounter

#: Connections at the same time; fewer if the process may not have so many file descriptors.
MOST_PLACES = 1024

#: The same with TLS: asyncio takes 290 KB for each.
MOST_TLS_PLACES = 256

#: Seconds that a client has until its first request, or its first message of a TLS handshake, is complete.
_FIRST_SECONDS = 5.0

#: Seconds that a TLS handshake may take, and that the client has to take its answer and close.
_HANDSHAKE_SECONDS = 5.0
_GOODBYE_SECONDS = 30.0

#: Connections accepted before the others get their turn.
_AT_ONCE = 8

#: Seconds until accepting is tried again after the system had no means to.
_PAUSE = 0.05

#: Seconds between two checks for a free slot.
_TURN = 0.01

#: Seconds that a connection may wait for its client before it is closed for another.
_BENEFIT = 0.2

_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def _do_nothing() -> None:
    """What closes a connection that is not there."""


class ConnectionSlot:
    """A connection. `close` closes it at once."""

    def __init__(self, address: str) -> None:
        self.address = address
        #: Since when the connection waits for its client (monotonic); of use only while that is so.
        self.waiting_since = 0.0
        #: Whether its request has come.
        self.has_request = False
        self.close: Callable[[], object] = _do_nothing


class ConnectionSlots:
    """All connections that there are. `most` may be changed at any time."""

    def __init__(self, most: int, refusals: RejectionCounter) -> None:
        self.most = most
        self._refusals = refusals
        self._taken: set[ConnectionSlot] = set()
        #: The longest wait first. An ordered dictionary finds its first key at once, also after many were removed.
        self._waiting: OrderedDict[ConnectionSlot, None] = OrderedDict()

    def acquire_slot(self, place: ConnectionSlot) -> bool:
        """Whether there is room, or could be made. From now on the connection waits for its client."""
        if len(self._taken) >= self.most and not self.make_room():
            return False
        self._taken.add(place)
        self.await_client(place)
        return True

    def await_client(self, place: ConnectionSlot) -> None:
        """From now on the client has to do something."""
        if place in self._taken and place not in self._waiting:
            place.waiting_since = time.monotonic()
            self._waiting[place] = None

    def serve(self, place: ConnectionSlot) -> None:
        """The client has done its part, and waits for the server."""
        self._waiting.pop(place, None)

    def make_room(self) -> bool:
        """Close the connection that has waited for its client the longest; False if none has for more than 200 ms."""
        oldest = next(iter(self._waiting), None)
        if oldest is None or time.monotonic() - oldest.waiting_since < _BENEFIT:
            return False
        self._close_slot(oldest)
        self._refusals.count_rejection("crowded", oldest.address)
        return True

    def release_slot(self, place: ConnectionSlot) -> None:
        """The connection is closed."""
        self._taken.discard(place)
        self._waiting.pop(place, None)
        # It leads back to the place: without a circle the memory is free at once.
        place.close = _do_nothing

    async def close(self, seconds: float) -> None:
        """Close all connections; those with a request after their answer, or after so many seconds."""
        end = time.monotonic() + seconds
        while any(place.has_request for place in self._taken) and time.monotonic() < end:  # noqa: ASYNC110 (time ends it too)
            await asyncio.sleep(_TURN)
        for place in tuple(self._taken):
            self._close_slot(place)

    def _close_slot(self, place: ConnectionSlot) -> None:
        place.close()
        self.release_slot(place)


def most_slots() -> int:
    """How many connections this process can afford: half of its file descriptors are for everything else.

    It takes as many of these as it may have: by custom a process begins with fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_PLACES
    if soft < 2 * MOST_PLACES:
        soft = 2 * MOST_PLACES if hard == resource.RLIM_INFINITY else min(2 * MOST_PLACES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(min(MOST_PLACES, soft // 2), 1)


class Acceptor:
    """Accepts connections until it is cancelled. `tls` may be changed at any time.

    `find_answer` has what is to be sent to a client that has sent some bytes, without a protocol; or None.
    """

    def __init__(
        self,
        make_protocol: Callable[[ConnectionSlot], asyncio.Protocol],
        places: ConnectionSlots,
        refusals: RejectionCounter,
        tls: ssl.SSLContext | None,
        find_answer: Callable[[bytes], bytes | None],
    ) -> None:
        self._make_protocol = make_protocol
        self._find_answer = find_answer
        self._places = places
        self._refusals = refusals
        self.tls = tls
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket) -> None:
        """Accept, for ever, from a listening socket that does not block."""
        loop = asyncio.get_running_loop()
        while True:
            # Accepting does not yield by itself while others queue, and connections that are in want to be served.
            await asyncio.sleep(0)
            try:
                for _ in range(_AT_ONCE):
                    client, address = await loop.sock_accept(listener)
                    await self._admit_client(client, address[0])
            except OSError as error:
                if not self._find_descriptor(error):
                    await asyncio.sleep(_PAUSE)

    def _find_descriptor(self, error: OSError) -> bool:
        """Whether accepting may work now."""
        if error.errno not in _SCARCE:
            return False
        self._refusals.count_rejection("descriptors")
        return self._places.make_room()

    async def _admit_client(self, client: socket.socket, address: str) -> None:
        """Wait for a slot, then for the first request, or for the first message of a TLS handshake."""
        place = ConnectionSlot(address)
        try:
            while not self._places.acquire_slot(place):  # noqa: ASYNC110 (time makes room too)
                await asyncio.sleep(_TURN)
        except asyncio.CancelledError:
            client.close()
            raise
        tls = self.tls

        def open_connection(sent: bytes) -> None:
            if tls is None:
                # Its request is there, and read in the next turns. A handshake takes as many turns as a client pleases.
                self._places.serve(place)
                answer = self._find_answer(sent)
                if answer is not None:
                    self._send_answer(client, place, sent, answer)
                    return
            self._open_task(client, place, self._connect_protocol(client, place, tls))

        def end(is_late: bool) -> None:
            self._places.release_slot(place)
            if is_late:
                self._refusals.count_rejection("slow" if tls is None else "tls", address)

        request = IncompleteRequest(client, tls is not None, open_connection, end)
        place.close = request.close
        request.begin(_FIRST_SECONDS)

    def _send_answer(self, client: socket.socket, place: ConnectionSlot, request: bytes, answer: bytes) -> None:
        """Read the request, send its answer, and close; the system takes most answers at once."""
        try:
            client.recv(len(request))
            sent = client.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(answer)
        if sent < len(answer):
            self._places.await_client(place)
            self._open_task(client, place, self._send_rest(client, place, answer[sent:]))
        else:
            client.close()
            self._places.release_slot(place)

    async def _send_rest(self, client: socket.socket, place: ConnectionSlot, rest: bytes) -> None:
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await asyncio.get_running_loop().sock_sendall(client, rest)
        except TimeoutError:
            self._refusals.count_rejection("slow", place.address)
        except OSError:
            pass
        client.close()
        self._places.release_slot(place)

    def _open_task(self, client: socket.socket, place: ConnectionSlot, work: Coroutine[Any, Any, None]) -> None:
        opening = asyncio.create_task(work)
        self._opening.add(opening)
        place.close = opening.cancel

        def finish(task: asyncio.Task[None]) -> None:
            self._opening.discard(task)
            if task.cancelled():
                self._places.release_slot(place)
                client.close()

        opening.add_done_callback(finish)

    async def _connect_protocol(self, client: socket.socket, place: ConnectionSlot, tls: ssl.SSLContext | None) -> None:
        """Give the socket to HTTP, after the TLS handshake."""
        limits = (_HANDSHAKE_SECONDS, _GOODBYE_SECONDS) if tls else (None, None)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(place),
                client,
                ssl=tls,
                ssl_handshake_timeout=limits[0],
                ssl_shutdown_timeout=limits[1],
            )
        except OSError:
            # Only a handshake fails; asyncio has closed the socket.
            self._places.release_slot(place)
            self._refusals.count_rejection("tls", place.address)
