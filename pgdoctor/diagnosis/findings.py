"""What is wrong beside locks, and what could not be seen."""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.graph import WaitGraph
from pgdoctor.diagnosis.snapshot import Snapshot
from pgdoctor.diagnosis.words import count

#: Share of `max_connections` from which on new clients will soon be refused.
SATURATION = 0.9


def findings(snapshot: Snapshot, graph: WaitGraph) -> tuple[Note, ...]:
    """Everything worth saying that is not a wait."""
    return tuple(
        note for rule in (_blind, _unread, _saturated, _cycles, _other_waits) for note in rule(snapshot, graph)
    )


def _blind(snapshot: Snapshot, _: WaitGraph) -> Iterator[Note]:
    hidden = snapshot.server.hidden_sessions
    if hidden:
        yield Note(
            "visibility",
            "warning",
            f"{count(hidden, 'session')} of other users or of the server cannot be seen: state, statement and "
            "times are hidden, so the causes of blocking may stay unknown",
            "grant pg_monitor to pgdoctor's role (see: pgdoctor setup)",
        )


def _unread(snapshot: Snapshot, _: WaitGraph) -> Iterator[Note]:
    for what in snapshot.unread:
        yield Note("evidence", "warning", what, "the diagnosis rests on the evidence that is left")


def _saturated(snapshot: Snapshot, _: WaitGraph) -> Iterator[Note]:
    server = snapshot.server
    if server.connections >= SATURATION * server.max_connections:
        yield Note(
            "connection_saturation",
            "critical" if server.connections >= server.max_connections else "warning",
            f"{server.connections} of {server.max_connections} connections are in use, "
            f"{server.connections_by_state.idle} of them idle",
            "release idle connections, put a pooler in transaction mode in front",
        )


def _cycles(_: Snapshot, graph: WaitGraph) -> Iterator[Note]:
    for cycle in graph.cycles:
        members = ", ".join(map(str, cycle))
        yield Note(
            "deadlock",
            "warning",
            f"sessions {members} wait for each other",
            "the server cancels one of them after deadlock_timeout; signal none",
        )


def _other_waits(snapshot: Snapshot, _: WaitGraph) -> Iterator[Note]:
    server = snapshot.server
    if server.snapshot_waiters:
        yield Note(
            "safe_snapshot",
            "info",
            f"{count(server.snapshot_waiters, 'session')} wait for a safe snapshot (SERIALIZABLE READ ONLY DEFERRABLE)",
            "they wait for concurrent serializable transactions to end; no lock is involved",
        )
    if server.pin_waiters:
        yield Note(
            "buffer_pin",
            "info",
            f"{count(server.pin_waiters, 'session')} wait for a buffer that another session has pinned",
            "often VACUUM behind an open cursor; no lock is involved",
        )
