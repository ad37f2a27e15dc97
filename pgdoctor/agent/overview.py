"""What the page says of the agent itself, from what it knows; nothing here asks a database."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from pgdoctor import __version__
from pgdoctor.agent.state import figures
from pgdoctor.agent.watcher import Watcher
from pgdoctor.mitigation.circumstances import Circumstances, lapsed
from pgdoctor.mitigation.execute import Mitigator
from pgdoctor.render.index import Row
from pgdoctor.render.web.watch import Arming, Watch


def watch(watcher: Watcher, mode: str) -> Watch:
    """How the agent is, as far as one server is concerned. `mode`: how mitigation is switched."""
    state = watcher.poller.state
    return Watch(
        error=state.error,
        connection=state.connection,
        age=None if state.last_success is None else max(time.time() - state.last_success, 0.0),
        hidden_sessions=state.server.hidden_sessions if state.server else 0,
        arming=arming(watcher.mitigator, mode, datetime.now(UTC)),
        version=__version__,
        server=watcher.name,
        looked=time.monotonic() - state.looked_at if state.up else 0.0,
        incident=watcher.poller.incident,
        ended=tuple(watcher.poller.ended),
        now=datetime.now(UTC),
        slots=state.slots,
    )


def arming(mitigator: Mitigator, mode: str, now: datetime) -> Arming:
    """How mitigation is."""
    held_back = tuple(_held_back(mitigator, now)) if mode == "enforce" else ()
    return Arming(mode, held_back, mitigator.history.actions)


def _held_back(mitigator: Mitigator, now: datetime) -> Iterator[str]:
    why = lapsed(mitigator.settings, Circumstances(), now)
    if why is not None:
        yield f"No more than a dry run: {why}."
    if mitigator.plan.opening is not None:
        yield f"The breaker is open, nobody is signalled: {mitigator.plan.opening.reason}."


def row(watcher: Watcher) -> Row:
    """One server on the page of all servers."""
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
