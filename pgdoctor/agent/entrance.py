"""Accepting connections, so that those that do nothing are never in the way of those that ask.

There are so many places. When all are taken, one that waits for its client makes room: its client has sent half a
request, has not said anything yet, does not take its answer, or is idle between two requests. It is one of the address
that has the most of them, and of those the one that waits the longest. Who asks at once is the newest, and is served,
from whatever address: a proxy or a NAT in front is no trouble. Where all are being answered, the next one waits for
a place, and those behind it in the system's queue: a burst of health checks is answered, not turned away.

A client may have had its time in the system's queue already. In a full house such a half request is closed at once.

Not asyncio's own server: it has no end of places, waits a minute for a TLS handshake, and tells of a connection only
after that.
"""

import asyncio
import errno
import resource
import socket
import ssl
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable

from pgdoctor.agent.incomplete_requests import IncompleteRequest, has_complete_request, reset, seconds_of_silence
from pgdoctor.agent.refusals import Refusals
from pgdoctor.agent.waiting_places import WaitingPlaces

#: Connections at the same time; fewer where the process may not have so many file descriptors.
MOST_PLACES = 1024

#: Seconds that a client has until its first request, or its first message of a TLS handshake, is complete.
_FIRST_SECONDS = 5.0

#: Seconds that a TLS handshake may take, and that the client has for its goodbye.
_HANDSHAKE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0

#: Connections accepted before the others get their turn.
_AT_ONCE = 8

#: Seconds until accepting is tried again after the system had no means to.
_PAUSE = 0.05

#: Seconds until it is looked again whether a place has become free.
_TURN = 0.01

#: Seconds that a client may be silent before it has to make room.
_BENEFIT = 0.2

#: Bytes that are read from a TLS connection at once: one record. asyncio keeps a buffer of that size for each of them,
#: by itself of 256 KB: a crowd of a thousand would be the end of a small container.
SSLProtocol.max_size = 16_384

_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def _do_nothing() -> None:
    """What closes a connection that is not there."""


class Place:
    """A connection's place. `close` gives it up at once."""

    def __init__(self, address: str) -> None:
        self.address = address
        #: Since when nothing is done but to wait for the client (monotonic); of use only while that is so.
        self.waiting_since = 0.0
        self.close: Callable[[], object] = _do_nothing


class Places:
    """All connections that there are."""

    def __init__(self, most: int, refusals: Refusals) -> None:
        self._most = most
        self._refusals = refusals
        self._taken: set[Place] = set()
        self._waiting: WaitingPlaces[Place] = WaitingPlaces()

    def take(self, place: Place) -> bool:
        """Whether there is room, or could be made. From now on the place waits for its client."""
        if len(self._taken) >= self._most and not self.make_room():
            return False
        self._taken.add(place)
        self.await_client(place)
        return True

    def await_client(self, place: Place) -> None:
        """From now on the client has to do something."""
        self.serve(place)
        if place in self._taken:
            place.waiting_since = time.monotonic()
            self._waiting.add(place.address, place)

    def serve(self, place: Place) -> None:
        """The client has asked, and waits for its answer."""
        self._waiting.remove(place.address, place)

    def is_crowded_by(self, address: str) -> bool:
        """Whether all places are taken, and with one more no address would have more that wait than this one."""
        return len(self._taken) >= self._most and self._waiting.has_most(address)

    def make_room(self) -> bool:
        """Close a connection that waits for its client; False where none has for more than a moment."""
        chosen = self._waiting.find_oldest()
        if chosen is None or time.monotonic() - chosen.waiting_since < _BENEFIT:
            return False
        chosen.close()
        self.leave(chosen)
        self._refusals.note("crowded", chosen.address)
        return True

    def leave(self, place: Place) -> None:
        """The connection is closed."""
        self._taken.discard(place)
        self._waiting.remove(place.address, place)
        # It leads back to the place: without a circle the memory is free at once.
        place.close = _do_nothing


def most_places() -> int:
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


class Entrance:
    """Accepts connections until it is cancelled. `tls` may be changed at any time."""

    def __init__(
        self,
        make_protocol: Callable[[Place], asyncio.Protocol],
        places: Places,
        refusals: Refusals,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._make_protocol = make_protocol
        self._places = places
        self._refusals = refusals
        self.tls = tls
        self._incomplete: set[IncompleteRequest] = set()
        self._meetings: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket) -> None:
        """Accept, for ever, from a listening socket that does not block."""
        try:
            await self._accept(listener)
        finally:
            for request in tuple(self._incomplete):
                request.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Accepting does not yield by itself while others queue, and those who are in want to be served.
            await asyncio.sleep(0)
            try:
                for _ in range(_AT_ONCE):
                    client, address = await loop.sock_accept(listener)
                    await self._admit(client, address[0])
            except OSError as error:
                if not self._find_descriptor(error):
                    await asyncio.sleep(_PAUSE)

    def _find_descriptor(self, error: OSError) -> bool:
        """Whether accepting may work now."""
        if error.errno not in _SCARCE:
            return False
        self._refusals.note("descriptors")
        return self._places.make_room()

    async def _admit(self, client: socket.socket, address: str) -> None:
        if self._places.is_crowded_by(address) and self._is_silent(client):
            # It would be accepted only to be closed, and all those behind it in the queue would wait for that.
            reset(client)
            self._refusals.note("crowded", address)
            return
        place = Place(address)
        try:
            while not self._places.take(place):  # noqa: ASYNC110 (time makes room too)
                await asyncio.sleep(_TURN)
        except asyncio.CancelledError:
            client.close()
            raise
        tls = self.tls

        def meet() -> None:
            if tls is None:
                # Its request is there, and read in the next turns. A handshake takes as many turns as a client pleases.
                self._places.serve(place)
            self._start_meeting(client, place, tls)

        def end(is_late: bool) -> None:
            self._places.leave(place)
            if is_late:
                self._refusals.note("slow" if tls is None else "tls", address)

        request = IncompleteRequest(client, tls is not None, self._incomplete, meet, end)
        place.close = request.close
        request.begin(_FIRST_SECONDS)

    def _is_silent(self, client: socket.socket) -> bool:
        """Whether a client had its time in the system's queue, and has not asked."""
        return seconds_of_silence(client) >= _BENEFIT and not has_complete_request(client, self.tls is not None)

    def _start_meeting(self, client: socket.socket, place: Place, tls: ssl.SSLContext | None) -> None:
        meeting = asyncio.create_task(self._meet(client, place, tls))
        self._meetings.add(meeting)
        place.close = meeting.cancel

        def met(task: asyncio.Task[None]) -> None:
            self._meetings.discard(task)
            if task.cancelled():
                self._places.leave(place)
                client.close()

        meeting.add_done_callback(met)

    async def _meet(self, client: socket.socket, place: Place, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        patience = (_HANDSHAKE_SECONDS, _GOODBYE_SECONDS) if tls else (None, None)
        try:
            await loop.connect_accepted_socket(
                lambda: self._make_protocol(place),
                client,
                ssl=tls,
                ssl_handshake_timeout=patience[0],
                ssl_shutdown_timeout=patience[1],
            )
        except OSError:
            # Only a handshake fails; asyncio has closed the socket.
            self._places.leave(place)
            self._refusals.note("tls", place.address)
