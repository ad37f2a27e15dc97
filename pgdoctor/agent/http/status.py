"""What the page says of the agent itself, from what it knows; nothing here asks a database."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from pgdoctor import __version__
from pgdoctor.agent.polling.server_monitor import ServerMonitor
from pgdoctor.agent.polling.state import compute_figures
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.mitigation.audit_records import Brakes
from pgdoctor.mitigation.circumstances import AgentState, find_lapse
from pgdoctor.render.server_name import describe_place
from pgdoctor.render.servers_page import ServerRow
from pgdoctor.render.web.monitoring_status import Arming, MonitoringStatus


async def monitoring_status(monitor: ServerMonitor, mode: str) -> MonitoringStatus:
    """How the agent is, as far as one server is concerned. `mode`: how mitigation is switched."""
    state = monitor.poller.state
    around = state.diagnosis.snapshot.surroundings if state.diagnosis else None
    return MonitoringStatus(
        error=state.error,
        connection=state.connection,
        age=None if state.last_success is None else max(time.time() - state.last_success, 0.0),
        hidden_sessions=state.server.hidden_sessions if state.server else 0,
        arming=await arming_status(monitor.mitigator, mode, datetime.now(UTC)),
        version=__version__,
        server=monitor.name,
        looked=time.monotonic() - state.looked_at if state.up else 0.0,
        incident=monitor.poller.incident,
        ended=tuple(monitor.poller.ended),
        now=datetime.now(UTC),
        slots=state.slots,
        clients=around.clients if around else (),
        recent=monitor.poller.last_hour.list_values(time.monotonic()),
    )


async def arming_status(mitigator: Mitigator, mode: str, now: datetime) -> Arming:
    """How mitigation is."""
    why = find_lapse(mitigator.settings, AgentState(armed=mitigator.armed), now) if mode == "enforce" else None
    may_act = mode in ("dry_run", "enforce")
    held_back = tuple(_held_back(mitigator, await mitigator.read_brakes(), why, now)) if may_act else ()
    return Arming("lapsed" if why else mode, held_back, mitigator.history.actions, mitigator.standing.leads)


def _held_back(mitigator: Mitigator, brakes: Brakes, why: str | None, now: datetime) -> Iterator[str]:
    if why is not None:
        yield f"Dry run only: {why}."
    if not mitigator.standing.leads:
        yield f"This agent is not the leader: {mitigator.standing.rival or 'leadership is lost, or not gained yet'}."
    if brakes.kill_switch is not None:
        yield f"Stopped, no session is signalled: {brakes.kill_switch}."
    if brakes.maintenance_until is not None and now < brakes.maintenance_until:
        yield f"Maintenance, no session is signalled until {brakes.maintenance_until.isoformat(timespec='seconds')}."
    if mitigator.sharing_error is not None:
        yield f"No session is signalled: {mitigator.sharing_error}."
    for decision in mitigator.plan.decisions:
        if decision.state == "pending_approval":
            yield f"An action waits for approval: pgdoctor mitigate approve {decision.id}."
    if mitigator.plan.opening is not None:
        yield f"The breaker is open, no session is signalled: {mitigator.plan.opening.reason}."
    for stop in mitigator.plan.stops:
        yield f"Stopped until pgdoctor mitigate reset: {stop.reason}."


def server_row(monitor: ServerMonitor) -> ServerRow:
    """One server on the page of all servers."""
    state = monitor.poller.state
    found = state.figures or compute_figures(None)
    return ServerRow(
        name=monitor.name or "",
        error=state.error,
        hidden_sessions=state.server.hidden_sessions if state.server else 0,
        blocked_sessions=found.blocked_sessions,
        oldest_wait=found.oldest_wait,
        leading=found.leading,
        recent=monitor.poller.last_hour.list_values(time.monotonic()),
        slots=state.slots,
        place=describe_place(state.server.database, state.server.host, state.server.port) if state.server else "",
    )
