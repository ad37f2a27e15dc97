"""The HTTP server: uvicorn's HTTP/1.1, on our own entrance, with an end to its patience."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pgdoctor.agent.access import MOST_HEAD_BYTES, Access, Gate
from pgdoctor.agent.entrance import Entrance, Place, Places, most_places
from pgdoctor.agent.refusals import Refusals

#: Seconds that a client has for the head of a request, for taking its answer, and between two requests.
_HEAD_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """uvicorn on a socket that is there already; the signals of the process are not its business."""

    def __init__(self, application: ASGIApp, access: Access, refusals: Refusals) -> None:
        self._gate = Gate(application, access, refusals)
        super().__init__(
            uvicorn.Config(
                self._gate,
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            )
        )
        self._refusals = refusals
        self._places = Places(most_places(), refusals)
        self._entrance = Entrance(self._protocol, self._places, refusals, access.tls)
        self._ending = asyncio.Event()

    async def serve_on(self, listener: socket.socket) -> None:
        """Answer requests until `stop`."""
        await self.serve(sockets=[listener])

    def stop(self) -> None:
        """Take no more requests, and end when the last answer is given."""
        self.should_exit = True
        self._ending.set()

    def use(self, access: Access) -> None:
        """From now on, for new connections and new requests."""
        self._gate.access = access
        self._entrance.tls = access.tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the entrance."""
        self.servers = []
        for listener in sockets or []:
            listener.setblocking(False)
            self._accepting = asyncio.create_task(self._entrance.run(listener))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the entrance, then the connections."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        """Look after the date header once a second; uvicorn's own loop wakes up ten times as often.

        Ends also where nobody is let in any more: a fault that must not look like a quiet day.
        """
        while not await self.on_tick(0) and not self._accepting.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would take the process's handlers away."""
        yield

    def _protocol(self, place: Place) -> asyncio.Protocol:
        protocol = PatientProtocol(self.config, self.server_state, {})
        protocol.sit_down(place, self._places, self._refusals)
        return protocol


class PatientProtocol(H11Protocol):
    """HTTP/1.1 on one place, with a deadline for whatever the client has to do."""

    def sit_down(self, place: Place, places: Places, refusals: Refusals) -> None:
        """Before anything else: where it counts."""
        self._place = place
        self._places = places
        self._refusals = refusals
        self._deadline: asyncio.TimerHandle | None = None
        self._idle = False

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has to say what it wants; without TLS it has, and that is read next."""
        super().connection_made(transport)
        self._place.close = transport.abort
        if self.scheme == "https":
            self._await_client(_HEAD_SECONDS)
        else:
            self._within(_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the place."""
        self._places.leave(self._place)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)
        # After a reset uvicorn lets this timer run on, which keeps all that the connection took for another minute.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """A request begins, or goes on; a byte now and then gives it no more time."""
        answering = self._answering
        if self._idle:
            self._idle = False
            self._await_client(_HEAD_SECONDS)
        super().data_received(data)
        if not self._answering:
            return
        if not answering:
            self._answer()
        if self.conn.trailing_data[0]:
            # Who has the next request on its way already could keep us busy with one connection for ever.
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._idle = True
        # uvicorn closes it before, politely; this is for a client that has not even taken its answer.
        self._await_client(_ANSWER_SECONDS if self.transport.is_closing() else _KEEP_ALIVE_SECONDS + 1)

    def pause_writing(self) -> None:
        """The client does not take what it has asked for."""
        super().pause_writing()
        self._places.await_client(self._place)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._answering:
            self._places.serve(self._place)

    def send_400_response(self, msg: str) -> None:
        """What came was no HTTP."""
        self._refusals.note("malformed", self.client[0] if self.client else None)
        super().send_400_response(msg)

    def shutdown(self) -> None:
        """At the end of the server."""
        if self._answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _await_client(self, seconds: float) -> None:
        self._places.await_client(self._place)
        self._within(seconds)

    def _answer(self) -> None:
        if not self.flow.write_paused:
            self._places.serve(self._place)
        self._within(_ANSWER_SECONDS)

    def _within(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._refusals.note("slow", self.client[0] if self.client else None)
        self.transport.abort()
