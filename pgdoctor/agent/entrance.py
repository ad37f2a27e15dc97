"""Accepting connections, so that those that do nothing are never in the way of those that ask.

There are so many places. When all are taken, one that waits for its client makes room: its client has sent half a
request, has not said anything yet, does not take its answer, or is idle between two requests. It is one of the address
that has the most of them, and of those the one that waits the longest. Who asks at once is the newest, and is served,
from whatever address: a proxy or a NAT in front is no trouble. Where all are being answered, the next one waits for
a place, and those behind it in the system's queue: a burst of health checks is answered, not turned away.

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

from pgdoctor.agent.refusals import Refusals

#: Connections at the same time; fewer where the process may not have so many file descriptors.
MOST_PLACES = 1024

#: Seconds that a TLS handshake may take, and that the client has for its goodbye.
_HANDSHAKE_SECONDS = 5.0
_GOODBYE_SECONDS = 1.0

#: Connections accepted before the others get their turn.
_AT_ONCE = 8

#: Seconds until accepting is tried again after the system had no means to.
_PAUSE = 0.05

#: Seconds until it is looked again whether a place has become free.
_TURN = 0.01

#: How long a client may be silent before it has to make room, in seconds and, since what it has sent at once is read
#: only then, in turns of the loop. Whoever opens connections and says nothing gets 256 of them in so many seconds.
_BENEFIT = 0.2
_NEW_TURNS = 4

#: Bytes that are read from a TLS connection at once: one record. asyncio keeps a buffer of that size for each of them,
#: by itself of 256 KB: a crowd of a thousand would be the end of a small container.
SSLProtocol.max_size = 16_384

_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Place:
    """A connection's place. `close` gives it up at once."""

    def __init__(self, address: str) -> None:
        self.address = address
        #: Since when nothing is done but to wait for the client (monotonic); None while its answer is being made.
        self.waiting_since: float | None = time.monotonic()
        self.is_new = True
        self.close: Callable[[], object] = lambda: None


class Places:
    """All connections that there are."""

    def __init__(self, most: int, refusals: Refusals) -> None:
        self._most = most
        self._refusals = refusals
        self._taken: set[Place] = set()

    def take(self, place: Place) -> bool:
        """Whether there is room, or could be made."""
        if len(self._taken) >= self._most and not self.make_room():
            return False
        self._taken.add(place)
        return True

    def make_room(self) -> bool:
        """Close a connection that waits for its client; False where none has for more than a moment."""
        crowds: dict[str, list[tuple[float, int, Place]]] = {}
        for number, place in enumerate(self._taken):
            if place.waiting_since is not None and not place.is_new:
                crowds.setdefault(place.address, []).append((place.waiting_since, number, place))
        if not crowds:
            return False
        crowd = max(crowds.values(), key=len)
        since, _, chosen = min(crowd)
        if time.monotonic() - since < _BENEFIT:
            return False
        self.leave(chosen)
        chosen.close()
        self._refusals.note("crowded", chosen.address)
        return True

    def leave(self, place: Place) -> None:
        """The connection is closed."""
        self._taken.discard(place)


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
        self._meetings: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket) -> None:
        """Accept, for ever, from a listening socket that does not block."""
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
        place = Place(address)
        try:
            while not self._places.take(place):  # noqa: ASYNC110 (time makes room too)
                await asyncio.sleep(_TURN)
        except asyncio.CancelledError:
            client.close()
            raise
        meeting = asyncio.create_task(self._meet(client, place))
        self._meetings.add(meeting)
        place.close = meeting.cancel

        def met(task: asyncio.Task[None]) -> None:
            self._meetings.discard(task)
            if task.cancelled():
                self._places.leave(place)
                client.close()

        meeting.add_done_callback(met)

    async def _meet(self, client: socket.socket, place: Place) -> None:
        loop = asyncio.get_running_loop()
        patience = (_HANDSHAKE_SECONDS, _GOODBYE_SECONDS) if self.tls else (None, None)
        # A handshake takes as many turns as its client pleases.
        place.is_new = self.tls is None
        try:
            await loop.connect_accepted_socket(
                lambda: self._make_protocol(place),
                client,
                ssl=self.tls,
                ssl_handshake_timeout=patience[0],
                ssl_shutdown_timeout=patience[1],
            )
            for _ in range(_NEW_TURNS if place.is_new else 0):
                await asyncio.sleep(0)
            place.is_new = False
        except OSError:
            # Only a handshake fails; asyncio has closed the socket.
            self._places.leave(place)
            self._refusals.note("tls", place.address)
