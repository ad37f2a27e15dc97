"""Since when waiting statements have been blocked, from one snapshot or gate poll to the next.

A statement has been blocked since the first of them from which on each has shown it waiting. Its lock's own `waitstart`
says less where a lock changes hands, for then every waiter queues again; a single snapshot knows no more than that.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec.structs import replace

from pgdoctor.model.snapshot import Session, Snapshot

#: A session's PID and when its statement began; before its first statement, when the session did.
Statement = tuple[int, datetime | None]

BlockedSince = Mapping[Statement, datetime]


def add_waiting_statements(known: BlockedSince, waiting: Iterable[Statement], at: datetime) -> BlockedSince:
    """What is known after a gate poll, which names all that wait."""
    return {each: min(known.get(each, at), at) for each in waiting}


def add_snapshot(known: BlockedSince, snapshot: Snapshot) -> BlockedSince:
    """What is known after a snapshot. One without sessions has been read by the gate only, and says nothing."""
    if not snapshot.sessions:
        return known
    return {
        each: min((known.get(each, snapshot.captured_at), snapshot.captured_at, *_find_waitstarts(session)))
        for session in snapshot.sessions.values()
        if (session.blockers or session.requests) and (each := find_statement(session)) is not None
    }


def with_blocked_since(snapshot: Snapshot, known: BlockedSince) -> Snapshot:
    """The snapshot with what is known of its sessions."""
    found = {
        pid: known[each]
        for pid, session in snapshot.sessions.items()
        if (each := find_statement(session)) is not None and each in known
    }
    return replace(snapshot, blocked_since=found) if found else snapshot


def find_statement(session: Session) -> Statement | None:
    """The identity of this statement within its session; None where that is hidden from our role."""
    began = session.query_start or session.backend_start
    return (session.pid, began) if began is not None else None


def _find_waitstarts(session: Session) -> Iterable[datetime]:
    return (lock.waitstart for lock in session.requests if lock.waitstart is not None)
