"""What a running blocker waits for itself: I/O, its client, another server, a standby; and for how long.

The server says what a session waits for, not since when. A lock wait has its own beginning; of the others, the
statement's age is an upper bound, and earlier snapshots of the same statement in the same wait are a lower one.
Source: PostgreSQL documentation, "Wait Events"; names of dblink and postgres_fdw since 17.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec.structs import replace

from pgdoctor.diagnosis.blocker import command_status
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.formatting import format_duration
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import Session, Snapshot, find_blocking

#: A statement in a wait, and when a snapshot first showed it there.
Waits = Mapping[tuple[Identity, str, str], datetime]

#: By event, where the type says too little; then by the beginning of the event, and by type.
_BY_EVENT = {
    "ClientRead": "for its client to send something",
    "ClientWrite": "for its client to read what it sends",
    "SyncRep": "for a synchronous standby",
    "PgSleep": "in pg_sleep()",
    "VacuumDelay": "because of the cost-based vacuum delay",
    "ParallelFinish": "for its parallel workers",
    "ExecuteGather": "for its parallel workers",
    "ArchiveCleanupCommand": "for a command of the server",
    "BackupWaitWalArchive": "for WAL to be archived",
}
_BY_BEGINNING = {
    "Dblink": "for another server, through dblink",
    "PostgresFdw": "for another server, through postgres_fdw",
}
_BY_TYPE = {
    "IO": "for I/O",
    "LWLock": "for an internal lock of the server",
    "BufferPin": "for another session to release a page",
    "Client": "for its client",
    "IPC": "for another process of the server",
    "Timeout": "for a time to pass",
    "Extension": "inside an extension (dblink and postgres_fdw wait so for another server)",
}


def describe_own_wait(facts: BlockerFacts) -> Iterator[str]:
    """What the blocker waits for, in a sentence; nothing if it is idle, computes, or is hidden from our role."""
    session = facts.session
    if facts.is_waiting:
        yield from command_status.describe_command_wait(facts)
    elif session is not None and facts.is_running and (what := _name_wait(session)):
        since = facts.snapshot.seconds_since(facts.snapshot.known_events.get(session.pid))
        event = f"({session.wait_event_type}:{session.wait_event})"
        if since:
            yield f"has waited {what} {event} in each snapshot for {format_duration(since)}"
        else:
            yield f"waits {what} {event}, for {format_duration(facts.statement_seconds)} at most"


def record_known_events(snapshot: Snapshot, before: Waits) -> Waits:
    """The blockers that wait for something else than a lock, each with the first snapshot of that wait."""
    found: dict[tuple[Identity, str, str], datetime] = {}
    for session in _list_blocking(snapshot):
        key = _wait_key(session)
        if key is not None:
            found[key] = before.get(key, snapshot.captured_at)
    return found


def with_known_events(snapshot: Snapshot, before: Waits) -> Snapshot:
    """The snapshot with the first moment at which each blocker was seen in the wait that it is in."""
    found = {
        session.pid: before[key]
        for session in _list_blocking(snapshot)
        if (key := _wait_key(session)) is not None and key in before
    }
    return replace(snapshot, known_events=found) if found else snapshot


def _list_blocking(snapshot: Snapshot) -> Iterator[Session]:
    blocking = find_blocking(snapshot.sessions.values())
    return (snapshot.sessions[pid] for pid in blocking if pid in snapshot.sessions)


def _wait_key(session: Session) -> tuple[Identity, str, str] | None:
    identity = Identity.of(session)
    if identity is None or session.state != "active" or session.wait_event_type in (None, "Lock"):
        return None
    return identity, session.wait_event_type or "", session.wait_event or ""


def _name_wait(session: Session) -> str | None:
    event = session.wait_event or ""
    if event in _BY_EVENT:
        return _BY_EVENT[event]
    for beginning, what in _BY_BEGINNING.items():
        if event.startswith(beginning):
            return what
    if session.wait_event_type == "Extension" and "dblink" in (session.statement or "").lower():
        return _BY_BEGINNING["Dblink"]
    return _BY_TYPE.get(session.wait_event_type or "")
