"""The HTTP server: uvicorn's HTTP/1.1 on connections that we accept, each for one request and with time limits."""

import asyncio
import socket
import time
from collections.abc import Awaitable
from email.utils import formatdate
from functools import lru_cache
from typing import TypeVar

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.server import ServerState

from pgdoctor.agent.http.auth import MOST_HEAD_BYTES, Access, AuthMiddleware
from pgdoctor.agent.http.connection_limiter import (
    MOST_TLS_PLACES,
    Acceptor,
    ConnectionSlot,
    ConnectionSlots,
    most_slots,
)
from pgdoctor.agent.http.rejections import RejectionCounter
from pgdoctor.agent.http.repeated_scrapes import RepeatedScrapes

T = TypeVar("T")

#: Seconds that a client has for the head of its request after a TLS handshake, and from then on for everything else:
#: sending its body, taking its answer, closing.
_HEAD_SECONDS = 5.0
_ANSWER_SECONDS = 30.0

#: Seconds that running answers have when the server stops.
_SHUTDOWN_SECONDS = 0.8

#: The path whose requests come again and again, and the status of an answer to them.
SCRAPED_PATH = "/metrics"
_OK = 200

#: The key of the connection in a request's state.
_CONNECTION = "connection"


class HttpServer:
    """Answers HTTP on a socket that is there already. `scrapes` are answered without the application."""

    def __init__(
        self,
        application: ASGIApp,
        access: Access,
        refusals: RejectionCounter,
        scrapes: RepeatedScrapes | None = None,
    ) -> None:
        self._gate = AuthMiddleware(application, access, refusals)
        self._refusals = refusals
        self._places = ConnectionSlots(0, refusals)
        self._most_places = most_slots()
        self._scrapes = scrapes
        self._entrance = Acceptor(self._make_protocol, self._places, refusals, None, self._find_answer)
        self._stopped = asyncio.Event()
        # Of uvicorn only what is between bytes and ASGI: its server knows no limit that is of use here.
        self._uvicorn = uvicorn.Config(
            SingleRequests(self._gate, scrapes),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
        )
        self._uvicorn.load()
        self._state = ServerState()
        self.use(access)

    async def serve_on(self, listener: socket.socket) -> None:
        """Answer requests until `stop`, or until no connection is accepted any more, which is a fault."""
        listener.setblocking(False)
        accepting = asyncio.create_task(self._entrance.run(listener))
        stopping = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (accepting, stopping):
            task.cancel()
        await asyncio.wait({accepting, stopping})
        listener.close()
        await self._places.close(_SHUTDOWN_SECONDS)

    def stop(self) -> None:
        """Take no more requests, and end when the last answer is given."""
        self._stopped.set()

    def use(self, access: Access) -> None:
        """From now on, for new connections and new requests."""
        self._gate.access = access
        if self._scrapes is not None:
            self._scrapes.forget()
        self._entrance.tls = access.tls
        self._places.most = min(self._most_places, MOST_TLS_PLACES) if access.tls else self._most_places

    def _find_answer(self, sent: bytes) -> bytes | None:
        return self._scrapes.find_answer(sent, _format_headers(int(time.time()))) if self._scrapes else None

    def _make_protocol(self, place: ConnectionSlot) -> asyncio.Protocol:
        connection = HttpConnection(place, self._places, self._refusals)
        # As uvicorn's own server does it. The state comes with each request.
        connection.http = self._uvicorn.http_protocol_class(  # type: ignore[call-arg]
            config=self._uvicorn, server_state=self._state, app_state={_CONNECTION: connection}
        )
        return connection


class HttpConnection(asyncio.Protocol):
    """Between the socket and uvicorn's HTTP: keeps the connection's slot and its time limit."""

    http: asyncio.Protocol

    def __init__(self, place: ConnectionSlot, places: ConnectionSlots, refusals: RejectionCounter) -> None:
        self._place = place
        self._places = places
        self._refusals = refusals
        #: What the client has sent, if it came at once; else nothing.
        self.sent: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The request comes next."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._place.close = transport.abort
        self._set_limit(_HEAD_SECONDS)
        self.http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Uvicorn closes the connection here, with status 400, only if the data is no HTTP."""
        self.sent = data if self.sent is None else b""
        was_closing = self._transport.is_closing()
        self.http.data_received(data)
        if self._transport.is_closing() and not was_closing:
            self._refusals.count_rejection("malformed", self._place.address)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self.http.eof_received()

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        self.http.pause_writing()

    def resume_writing(self) -> None:
        """The client takes its answer."""
        self.http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the slot."""
        self._deadline.cancel()
        self._places.release_slot(self._place)
        self.http.connection_lost(exc)
        # It leads back here: without a circle the memory is free at once.
        del self.http

    def begin_request(self) -> None:
        """The request has come."""
        self._deadline.cancel()
        self._set_limit(_ANSWER_SECONDS)
        self._place.has_request = True
        self._places.serve(self._place)

    def end_request(self) -> None:
        """The answer is written; the client has to take it."""
        self._places.await_client(self._place)

    async def await_client(self, step: Awaitable[T]) -> T:
        """Do something that lasts only as long as the client lets it."""
        self._places.await_client(self._place)
        try:
            return await step
        finally:
            self._places.serve(self._place)

    def _set_limit(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._refusals.count_rejection("slow", self._place.address)
        self._transport.abort()


class SingleRequests:
    """ASGI middleware: closes each connection after its answer, and says when the server waits for the client.

    So no connection is idle, and no request waits behind another one on the same connection: neither needs limits.
    """

    def __init__(self, application: ASGIApp, scrapes: RepeatedScrapes | None) -> None:
        self._application = application
        self._scrapes = scrapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer."""
        connection: HttpConnection = scope["state"][_CONNECTION]

        async def receive_body() -> Message:
            return await connection.await_client(receive())

        async def send_answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_list_headers(int(time.time()))]}
                if self._scrapes is not None and message["status"] == _OK:
                    _remember_scrape(self._scrapes, scope, connection.sent)
            await connection.await_client(send(message))

        connection.begin_request()
        try:
            await self._application(scope, receive_body, send_answer)
        finally:
            connection.end_request()


def _remember_scrape(scrapes: RepeatedScrapes, scope: Scope, sent: bytes | None) -> None:
    if sent and scope["path"] == SCRAPED_PATH and scope["method"] == "GET":
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        scrapes.remember(sent, accept.decode("latin-1"))


@lru_cache(maxsize=1)
def _list_headers(at: int) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of each answer at this second of Unix time."""
    return (b"date", formatdate(at, usegmt=True).encode()), (b"connection", b"close")


@lru_cache(maxsize=1)
def _format_headers(at: int) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in _list_headers(at))
