"""The HTTP endpoints. None of them waits for the database; all read the state of the last poll."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pgdoctor import __version__
from pgdoctor.agent.http.auth import DISARM, WEBHOOK
from pgdoctor.agent.http.http_server import SCRAPED_PATH
from pgdoctor.agent.http.incidents import IncidentEndpoints
from pgdoctor.agent.http.responses import HEADERS, Pieces
from pgdoctor.agent.http.status import monitoring_status, server_row
from pgdoctor.agent.http.webhook import WebhookReceiver
from pgdoctor.agent.metrics_page import MetricsPage, accepts_gzip
from pgdoctor.agent.polling.server_monitor import ServerMonitor, ServerMonitors
from pgdoctor.agent.polling.state import ServerState
from pgdoctor.escape import encode_json
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.postgres.offload import offload
from pgdoctor.render.page import render_page
from pgdoctor.render.report import Report, make_report, to_json
from pgdoctor.render.servers_page import render_servers_page
from pgdoctor.render.web.monitoring_status import Arming
from pgdoctor.topics import render_topic

#: What the deep health check rests on is at most this old, if the server answers within the patience.
_HEALTH_AGE = 2.0
_HEALTH_PATIENCE = 0.8

#: A page of metrics from so many bytes on is compressed for clients that take it: that of several servers.
_COMPRESSED_BYTES = 65_536

#: Characters of a reason.
MOST_REASON = 500

#: Characters of a line of the manual.
_EXPLAIN_WIDTH = 100

#: How long a report is kept for others who ask.
_KEPT_SECONDS = 10.0


class Endpoints:
    """What answers the requests. `mode` says how mitigation is switched; `disarm`, given a reason and by whom, stops it
    everywhere, and says whether that is recorded."""

    def __init__(
        self,
        monitors: ServerMonitors,
        exposition: MetricsPage,
        webhook: WebhookReceiver,
        mode: Callable[[], str],
        disarm: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._monitors = monitors
        self._webhook = webhook
        self._disarm_all = disarm
        self._exposition = exposition
        self._mode = mode
        self._reports: dict[str | None, Reports] = defaultdict(Reports)
        self._incidents = IncidentEndpoints(monitors, self._choose_monitor)

    def application(self) -> Starlette:
        """The ASGI application."""
        answers = {
            "/": self._serve_page,
            SCRAPED_PATH: self._serve_metrics,
            "/health": self._serve_health,
            "/health/deep": self._deep_health,
            "/diagnosis": self._serve_diagnosis,
            "/explain/{name}": self._serve_manual,
            "/openapi.json": self._serve_description,
            "/incidents": self._incidents.serve_list,
            "/incidents/{id}": self._incidents.serve_page,
            "/incidents/{id}/{file}": self._incidents.serve_file,
        }
        orders = {WEBHOOK: self._receive_alert, DISARM: self._disarm_servers}
        application = Starlette(
            routes=[
                *(Route(path, answer, methods=["GET"]) for path, answer in answers.items()),
                *(Route(path, answer, methods=["POST"]) for path, answer in orders.items()),
            ],
            exception_handlers={HTTPException: _refuse_request, Exception: _report_failure},
        )
        application.router.redirect_slashes = False
        return application

    async def _serve_metrics(self, request: Request) -> Response:
        accept, encodings = (",".join(request.headers.getlist(name)) for name in ("accept", "accept-encoding"))
        answer = self.respond_to_scrape(accept)
        if answer is not None:
            return answer
        body, content_type = self._exposition.page_of_this_turn(accept)
        headers = _scrape_headers(content_type)
        if accepts_gzip(encodings):
            body, headers = await self._exposition.compress(body), headers | {"Content-Encoding": "gzip"}
        return Pieces(body, headers=headers)

    def respond_to_scrape(self, accept: str) -> Response | None:
        """The metrics page for an Accept header; None where it is big, and may be compressed."""
        body, content_type = self._exposition.page_of_this_turn(accept)
        # The page of one server is not compressed, though Prometheus would take it: of so few KB nothing is gained, and
        # during a storm the slowest answers took twice as long (ten scrapers, 500 waiters).
        return None if len(body) >= _COMPRESSED_BYTES else Pieces(body, headers=_scrape_headers(content_type))

    async def _serve_health(self, _: Request) -> Response:
        return _respond_json({"status": "UP", "service": "pgdoctor", "version": __version__})

    async def _deep_health(self, _: Request) -> Response:
        monitors = tuple(self._monitors)
        asked = [monitor.poller.recent(_HEALTH_AGE, _HEALTH_PATIENCE) for monitor in monitors]
        states = dict(zip((monitor.name for monitor in monitors), await asyncio.gather(*asked), strict=True))
        answer = describe_health(states, datetime.now(UTC), time.monotonic())
        return _respond_json(answer, 200 if answer["status"] == "UP" else 503)

    async def _serve_diagnosis(self, request: Request) -> Response:
        monitor = self._choose_monitor(request)
        state = monitor.poller.state
        if state.diagnosis is None:
            return _respond_json({"error": state.error, "state": state.connection or None}, 503)
        found = await self._reports[monitor.name].build_report(state.diagnosis)
        return Pieces(found.json, headers=HEADERS, media_type="application/json")

    async def _serve_page(self, request: Request) -> Response:
        if len(self._monitors) > 1 and "server" not in request.query_params:
            rows = [server_row(monitor) for monitor in self._monitors]
            return Response(
                render_servers_page(rows, __version__, Arming(self._mode())), headers=HEADERS, media_type="text/html"
            )
        monitor = self._choose_monitor(request)
        diagnosis = monitor.poller.state.diagnosis
        found = await self._reports[monitor.name].build_report(diagnosis) if diagnosis is not None else None
        shown = render_page(await monitoring_status(monitor, self._mode()), found.report if found else None)
        return Pieces(shown, headers=HEADERS, media_type="text/html")

    async def _serve_manual(self, request: Request) -> Response:
        page = render_topic(request.path_params["name"], _EXPLAIN_WIDTH)
        if page is None:
            raise HTTPException(404, "no such topic; pgdoctor explain lists all")
        return Pieces(f"{page}\n", headers=HEADERS, media_type="text/plain")

    async def _serve_description(self, _: Request) -> Response:
        # Here, not above: the types of all answers would be in memory for a description that is rarely asked for.
        from pgdoctor.agent.http.openapi import openapi_to_json

        return Pieces(openapi_to_json(), headers=HEADERS, media_type="application/json")

    async def _receive_alert(self, request: Request) -> Response:
        return _respond_json(await self._webhook.receive(request), 202)

    async def _disarm_servers(self, request: Request) -> Response:
        reason = request.query_params.get("reason", "no reason given")
        if len(reason) > MOST_REASON or not reason.isprintable():
            raise HTTPException(400, f"a reason has at most {MOST_REASON} characters, on one line")
        is_recorded = await self._disarm_all(reason, "POST /mitigation/disarm")
        return _respond_json({"disarmed": True, "recorded": is_recorded, "until": 'pgdoctor mitigate arm --reason "…"'})

    def _choose_monitor(self, request: Request) -> ServerMonitor:
        """The server that a request is about. Raises HTTPException where it names none of several, or another."""
        name = request.query_params.get("server")
        if name is None and len(self._monitors) == 1:
            return next(iter(self._monitors))
        names = ", ".join(monitor.name for monitor in self._monitors if monitor.name)
        if name is None:
            raise HTTPException(400, f"several servers are watched: add ?server= with one of {names}")
        monitor = self._monitors.find_monitor(name)
        if monitor is None:
            raise HTTPException(404, f"no such server; there is {names or 'only one, without a name: omit ?server='}")
        return monitor


class Written(msgspec.Struct, frozen=True):
    """A diagnosis as a report, and the report as JSON."""

    report: Report
    json: bytes


class Reports:
    """Writes the report of a diagnosis once, at the first request for it."""

    def __init__(self) -> None:
        self._diagnosis: Diagnosis | None = None
        self._written: asyncio.Future[Written] | None = None

    async def build_report(self, diagnosis: Diagnosis) -> Written:
        """The report; several who ask at the same time get the same one."""
        if self._written is None or self._diagnosis is not diagnosis:
            self._diagnosis = diagnosis
            self._written = asyncio.ensure_future(_write_report(diagnosis))
            # That of a convoy is tens of megabytes, and may never be requested again.
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._forget_diagnosis, diagnosis)
        return await asyncio.shield(self._written)

    def _forget_diagnosis(self, diagnosis: Diagnosis) -> None:
        if self._diagnosis is diagnosis:
            self._diagnosis = self._written = None


async def _write_report(diagnosis: Diagnosis) -> Written:
    return await offload(len(diagnosis.snapshot.sessions), _encode_report, diagnosis)


def _encode_report(diagnosis: Diagnosis) -> Written:
    facts = make_report(diagnosis)
    return Written(facts, to_json(facts))


#: From good to bad.
_STATUSES = ("UP", "DEGRADED", "DOWN")


def describe_health(states: Mapping[str | None, ServerState], at: datetime, now: float) -> dict[str, object]:
    """The deep contract: UP, DEGRADED (connected, but blind or late, or others cannot log in) or DOWN.

    Of several servers each is a component, and `database` is the worst of them.
    """
    components = {name: _describe_component(state, now) for name, state in states.items()}
    worst = max(components.values(), key=lambda component: _STATUSES.index(str(component["status"])))
    named = {name: component for name, component in components.items() if name and len(components) > 1}
    return {
        "status": worst["status"],
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "service": "pgdoctor",
        "version": __version__,
        "components": {"database": worst, **named},
    }


def _describe_component(state: ServerState, now: float) -> dict[str, object]:
    """One database, in this order.

    How full a server is that has no connection left is known from the last poll that succeeded; other servers that
    cannot be asked have null there.
    """
    late = state.up and now - state.found_at > _HEALTH_AGE + state.duration
    is_degraded = late or state.is_blind or (state.login is not None and state.login.error is not None)
    status = "DOWN" if not state.up else "DEGRADED" if is_degraded else "UP"
    full = state.connection == "too_many_connections"
    database: dict[str, object] = {"status": status}
    if status != "UP":
        database["error"] = "Connection pool exhausted" if full else state.error or _explain_degraded(state, now)
    if state.up:
        database["latency_ms"] = round(state.latency * 1000, 2)
    active, most = state.slots if state.slots and (state.up or full) else (None, None)
    return database | {"active_connections": active, "max_connections": most}


def _explain_degraded(state: ServerState, now: float) -> str:
    if state.is_blind:
        return "the role may not read other sessions' activity: grant pg_monitor"
    if state.login is not None and state.login.error is not None:
        return f"no new connection is possible: {state.login.error}"
    return f"the last answer is {now - state.found_at:.1f} s old"


def _scrape_headers(content_type: str) -> dict[str, str]:
    return HEADERS | {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}


async def _refuse_request(_: Request, error: Exception) -> Response:
    status, headers, said = 500, None, "refused"
    if isinstance(error, HTTPException):
        status, headers, said = error.status_code, error.headers, error.detail
    allowed = "POST" if headers and headers.get("Allow") == "POST" else "GET"
    words = {"Not Found": "no such path", "Method Not Allowed": f"allowed methods: {allowed}"}
    return _respond_json({"error": words.get(said, said)}, status, headers)


async def _report_failure(_: Request, error: Exception) -> Response:
    return _respond_json({"error": f"internal error: {type(error).__name__}"}, 500)


def _respond_json(value: object, status: int = 200, headers: object = None) -> Response:
    more = dict(headers) if isinstance(headers, dict) else {}
    return Response(encode_json(value), status, headers=HEADERS | more, media_type="application/json")
