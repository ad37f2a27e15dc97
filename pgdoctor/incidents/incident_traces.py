"""By what an incident is known again, after a pause or a restart of the agent: who blocks, who waits, who asks."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import islice

import msgspec

from pgdoctor.diagnosis.waiting_request import WaitingRequest, find_request
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session

#: Roots and waiting sessions that are kept, the widest reach and the oldest statements first.
_MOST_ROOTS = 10
_MOST_WAITING = 20

#: How long after its last snapshot an incident may come back, and still be the same.
AGAIN = timedelta(minutes=5)


class TracedSession(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A session with its transaction and its statement; None: outside of one, or hidden from our role."""

    pid: int
    backend_start: datetime | None
    xact_start: datetime | None
    query_start: datetime | None


class IncidentTraces(msgspec.Struct, frozen=True):
    """Who took part in an incident, as of one snapshot."""

    at: datetime
    roots: tuple[TracedSession, ...] = ()
    #: The names of prepared transactions among the roots.
    prepared: tuple[str, ...] = ()
    waiting: tuple[TracedSession, ...] = ()
    #: What the widest root blocks on.
    relation: str | None = None
    #: The request for a strong table lock that others queue behind; None: there is none.
    request: WaitingRequest | None = None


def trace_incident(diagnosis: Diagnosis) -> IncidentTraces:
    """What a diagnosis shows of an incident."""
    sessions = diagnosis.snapshot.sessions
    roots = list(islice((each for each in diagnosis.blockers if each.root), _MOST_ROOTS))
    waiting = (sessions[pid] for pid in diagnosis.graph.waiters if pid in sessions)
    oldest = nsmallest(_MOST_WAITING, (each for each in waiting if each.query_start), key=_find_start)
    return IncidentTraces(
        at=diagnosis.captured_at,
        roots=tuple(_trace_sessions(each.session for each in roots)),
        prepared=tuple(each.gid for each in roots if each.gid is not None),
        waiting=tuple(_trace_sessions(oldest)),
        relation=roots[0].relation if roots else None,
        request=find_request(diagnosis),
    )


def is_continued(before: IncidentTraces, now: IncidentTraces) -> bool:
    """Whether the two are of the same incident.

    A transaction that blocks has blocked before, or a statement that waits has waited before; or else, a few minutes
    later at most, the same request is tried again, or a session of then blocks on the same relation again, as the
    sessions in a hot row's queue do.
    """
    if _list_transactions(before.roots) & _list_transactions(now.roots) or set(before.prepared) & set(now.prepared):
        return True
    if _list_statements(before.waiting) & _list_statements(now.waiting):
        return True
    is_soon = timedelta() <= now.at - before.at <= AGAIN
    if is_soon and before.request is not None and before.request.is_same(now.request):
        return True
    took_part = _list_backends((*before.roots, *before.waiting))
    return is_soon and before.relation == now.relation and bool(took_part & _list_backends(now.roots))


def _find_start(session: Session) -> datetime:
    assert session.query_start is not None
    return session.query_start


def _trace_sessions(sessions: Iterable[Session | None]) -> Iterable[TracedSession]:
    for each in sessions:
        if each is not None and each.backend_start is not None:
            yield TracedSession(each.pid, each.backend_start, each.xact_start, each.query_start)


def _list_backends(sessions: Iterable[TracedSession]) -> set[tuple[object, ...]]:
    return {(each.pid, each.backend_start) for each in sessions}


def _list_transactions(sessions: Iterable[TracedSession]) -> set[tuple[object, ...]]:
    return {(each.pid, each.backend_start, each.xact_start) for each in sessions if each.xact_start is not None}


def _list_statements(sessions: Iterable[TracedSession]) -> set[tuple[object, ...]]:
    return {(each.pid, each.backend_start, each.query_start) for each in sessions if each.query_start is not None}
