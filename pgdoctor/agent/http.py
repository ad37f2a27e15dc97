"""The HTTP endpoints. None of them waits for the database; all read the state of the last poll."""

import asyncio
import base64
import contextlib
import hashlib
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from pgdoctor import __version__
from pgdoctor.agent.metrics import Exposition
from pgdoctor.agent.state import State, figures
from pgdoctor.agent.watcher import Watcher, Watchers
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.render.index import Row, index
from pgdoctor.render.page import STYLE, Watch, page
from pgdoctor.render.report import Report, report, to_json

#: Connections at the same time; more are answered with 503.
_MOST_CONNECTIONS = 64
#: Bytes of a request's head.
_MOST_HEADER_BYTES = 16_384
#: Seconds that a connection may be idle between requests, and that a client has to ask or to take its answer.
_KEEP_ALIVE_SECONDS = 75
_CLIENT_SECONDS = 30.0

#: What the deep health check rests on is at most this old, if the server answers within the patience.
_HEALTH_AGE = 2.0
_HEALTH_PATIENCE = 0.8

#: Sessions from which on a report is written in a thread.
_MANY_SESSIONS = 25

#: How long a report is kept for others who ask.
_KEPT_SECONDS = 10.0

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Endpoints:
    """What answers the requests. `mode` says how mitigation is switched."""

    def __init__(self, watchers: Watchers, exposition: Exposition, mode: Callable[[], str]) -> None:
        self._watchers = watchers
        self._exposition = exposition
        self._mode = mode
        self._reports: dict[str | None, Reports] = defaultdict(Reports)

    def application(self) -> Starlette:
        """The ASGI application."""
        answers = {
            "/": self._page,
            "/metrics": self._metrics,
            "/health": self._health,
            "/health/deep": self._deep_health,
            "/diagnosis": self._diagnosis,
        }
        application = Starlette(
            routes=[Route(path, answer, methods=["GET"]) for path, answer in answers.items()],
            exception_handlers={HTTPException: _refuse, Exception: _fail},
        )
        application.router.redirect_slashes = False
        return application

    async def _metrics(self, request: Request) -> Response:
        body, content_type = self._exposition.page(request.headers.get("accept", ""))
        return Response(body, headers=_HEADERS | {"Content-Type": content_type})

    async def _health(self, _: Request) -> Response:
        return _json({"status": "UP", "service": "pgdoctor", "version": __version__})

    async def _deep_health(self, _: Request) -> Response:
        watchers = tuple(self._watchers)
        asked = [watcher.poller.recent(_HEALTH_AGE, _HEALTH_PATIENCE) for watcher in watchers]
        states = dict(zip((watcher.name for watcher in watchers), await asyncio.gather(*asked), strict=True))
        answer = health(states, datetime.now(UTC), time.monotonic())
        return _json(answer, 200 if answer["status"] == "UP" else 503)

    async def _diagnosis(self, request: Request) -> Response:
        watcher = self._chosen(request)
        state = watcher.poller.state
        if state.diagnosis is None:
            return _json({"error": state.error, "state": state.connection or None}, 503)
        found = await self._reports[watcher.name].of(state.diagnosis)
        return Response(found.json, headers=_HEADERS, media_type="application/json")

    async def _page(self, request: Request) -> Response:
        if len(self._watchers) > 1 and "server" not in request.query_params:
            rows = [_row(watcher) for watcher in self._watchers]
            return Response(index(rows, __version__), headers=_HEADERS, media_type="text/html")
        watcher = self._chosen(request)
        state = watcher.poller.state
        found = await self._reports[watcher.name].of(state.diagnosis) if state.diagnosis is not None else None
        watch = Watch(
            error=state.error,
            connection=state.connection,
            age=None if state.last_success is None else max(time.time() - state.last_success, 0.0),
            hidden_sessions=state.server.hidden_sessions if state.server else 0,
            mode=self._mode(),
            version=__version__,
            server=watcher.name,
            looked=time.monotonic() - state.looked_at if state.up else 0.0,
        )
        return Response(page(watch, found.report if found else None), headers=_HEADERS, media_type="text/html")

    def _chosen(self, request: Request) -> Watcher:
        """The server that a request is about. Raises HTTPException where it names none of several, or another."""
        name = request.query_params.get("server")
        if name is None and len(self._watchers) == 1:
            return next(iter(self._watchers))
        names = ", ".join(watcher.name for watcher in self._watchers if watcher.name)
        if name is None:
            raise HTTPException(400, f"several servers are watched: say ?server= and one of {names}")
        watcher = self._watchers.named(name)
        if watcher is None:
            raise HTTPException(404, f"no such server; there is {names or 'only one, without a name: leave it out'}")
        return watcher


def _row(watcher: Watcher) -> Row:
    state = watcher.poller.state
    found = state.figures or figures(None)
    return Row(
        name=watcher.name or "",
        error=state.error,
        hidden_sessions=state.server.hidden_sessions if state.server else 0,
        blocked_sessions=found.blocked_sessions,
        oldest_wait=found.oldest_wait,
        leading=found.leading,
    )


class Written(msgspec.Struct, frozen=True):
    """A diagnosis as a report, and the report as JSON."""

    report: Report
    json: bytes


class Reports:
    """Writes the report of a diagnosis once, and only if somebody asks."""

    def __init__(self) -> None:
        self._diagnosis: Diagnosis | None = None
        self._written: asyncio.Future[Written] | None = None

    async def of(self, diagnosis: Diagnosis) -> Written:
        """The report; several who ask at the same time get the same one."""
        if self._written is None or self._diagnosis is not diagnosis:
            self._diagnosis = diagnosis
            self._written = asyncio.ensure_future(_write(diagnosis))
            # That of a convoy is tens of megabytes, and nobody may ever ask again.
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._forget, diagnosis)
        return await asyncio.shield(self._written)

    def _forget(self, diagnosis: Diagnosis) -> None:
        if self._diagnosis is diagnosis:
            self._diagnosis = self._written = None


async def _write(diagnosis: Diagnosis) -> Written:
    many = len(diagnosis.snapshot.sessions) >= _MANY_SESSIONS
    return await asyncio.to_thread(_written, diagnosis) if many else _written(diagnosis)


def _written(diagnosis: Diagnosis) -> Written:
    facts = report(diagnosis)
    return Written(facts, to_json(facts))


#: From good to bad.
_STATUSES = ("UP", "DEGRADED", "DOWN")


def health(states: Mapping[str | None, State], at: datetime, now: float) -> dict[str, object]:
    """The deep contract: UP, DEGRADED (connected, but blind or late) or DOWN.

    Of several servers each is a component, and `database` is the worst of them.
    """
    components = {name: _component(state, now) for name, state in states.items()}
    worst = max(components.values(), key=lambda component: _STATUSES.index(str(component["status"])))
    named = {name: component for name, component in components.items() if name and len(components) > 1}
    return {
        "status": worst["status"],
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "service": "pgdoctor",
        "version": __version__,
        "components": {"database": worst, **named},
    }


def _component(state: State, now: float) -> dict[str, object]:
    late = state.up and now - state.found_at > _HEALTH_AGE + state.duration
    status = "DOWN" if not state.up else "DEGRADED" if late or state.is_blind else "UP"
    database: dict[str, object] = {"status": status}
    if state.server is not None:
        database["latency_ms"] = round(state.latency * 1000, 2)
        database["active_connections"] = state.server.connections
        database["max_connections"] = state.server.max_connections
    if status != "UP":
        database["error"] = state.error or _degraded(state, now)
    return database


def _degraded(state: State, now: float) -> str:
    if state.is_blind:
        return "the role may not see other sessions' activity: grant pg_monitor"
    return f"the last answer is {now - state.found_at:.1f} s old"


async def _refuse(_: Request, error: Exception) -> Response:
    status, headers, said = 500, None, "refused"
    if isinstance(error, HTTPException):
        status, headers, said = error.status_code, error.headers, error.detail
    words = {"Not Found": "no such path", "Method Not Allowed": "only GET is answered here"}
    return _json({"error": words.get(said, said)}, status, headers)


async def _fail(_: Request, error: Exception) -> Response:
    return _json({"error": f"internal error: {type(error).__name__}"}, 500)


def _json(value: object, status: int = 200, headers: object = None) -> Response:
    more = dict(headers) if isinstance(headers, dict) else {}
    return Response(msgspec.json.encode(value), status, headers=_HEADERS | more, media_type="application/json")


class Server(uvicorn.Server):
    """uvicorn on a socket that is there already; the signals of the process are not its business."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
            )
        )

        self._ending = asyncio.Event()

    async def serve_on(self, listener: socket.socket) -> None:
        """Answer requests until `stop`."""
        await self.serve(sockets=[listener])

    def stop(self) -> None:
        """Take no more requests, and end when the last answer is given."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Look after the date header once a second; uvicorn's own loop wakes up ten times as often."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would take the process's handlers away."""
        yield


class PatientProtocol(H11Protocol):
    """HTTP/1.1, with an end to the patience for clients that send half a request or do not take their answer.

    Each of them would hold one of the few connections for ever.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start watching."""
        super().connection_made(transport)
        self._seen: object = None
        self._watch = self.loop.call_later(_CLIENT_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close if it stands where it stood at the last look, other than idle between two requests."""
        idle = self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is not None
        stands = self._seen is self.cycle
        if stands and not idle:
            self.transport.abort()
            return
        self._seen = self.cycle
        self._watch = self.loop.call_later(_CLIENT_SECONDS, self._look)
