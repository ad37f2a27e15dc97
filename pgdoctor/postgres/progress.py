"""What blockers are doing, apart from their locks: how far their commands are, what they change, which tool runs them.

Asked only of those that may have an answer. Nothing here decides who blocks whom.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from pgdoctor.diagnosis.blocker.migration_tools import SCHEMAS, TABLES
from pgdoctor.model.lock_modes import MAY_BE_DDL, STRONG
from pgdoctor.model.snapshot import CommandProgress, Session, ToolTraces, find_blocking
from pgdoctor.sqltext import statement, statement_kinds

#: Blockers that are asked for, to bound what a convoy costs.
MOST_ASKED = 100

#: Kinds of statements that report their progress. DDL may build an index, and a procedure may do anything.
_REPORTING = frozenset({"do", "call", "copy", "copy_from", "copy_to", "replication"})


class ProgressReader(Protocol):
    """Reads the rows of a statement; none where that fails."""

    async def fetch_rows(self, name: str, **parameters: object) -> Sequence[Any]:
        """The rows of a statement of `sql/`."""

    async def answer(self, name: str, **parameters: object) -> Sequence[Any] | None:
        """The same, but None where that fails."""


async def fetch_progress(sessions: Mapping[int, Session], reader: ProgressReader) -> dict[int, CommandProgress]:
    """How far the blockers among the sessions have come, and those that wait for old transactions, by PID."""
    blockers = [session.pid for session in _list_blockers(sessions) if _may_report(session)][:MOST_ASKED]
    waiting = (session.pid for session in sessions.values() if _awaits_transactions(session))
    asked = [*blockers, *islice(waiting, MOST_ASKED)]
    rows = await reader.fetch_rows("progress", pids=asked) if asked else ()
    return {row.pid: CommandProgress(row.command, row.phase, row.done, row.total) for row in rows}


def _awaits_transactions(session: Session) -> bool:
    """It is a CONCURRENTLY command that waits for a transaction to end."""
    return any(lock.locktype == "virtualxid" for lock in session.requests)


class TraceTracker:
    """Finds what gives away the tool behind a blocker, once for each statement of its: that reads all locks again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, ToolTraces | None]] = {}

    async def find_traces(
        self, sessions: Mapping[int, Session], database_oid: int | None, reader: ProgressReader
    ) -> dict[int, ToolTraces]:
        """What gives away the tool behind the blockers among the sessions, by PID."""
        blockers = islice((session for session in _list_blockers(sessions) if _may_migrate(session)), MOST_ASKED)
        points = {session.pid: _session_point(session) for session in blockers}
        self._known = {pid: known for pid, known in self._known.items() if known[0] == points.get(pid)}
        asked = [pid for pid in points if pid not in self._known]
        if asked:
            wanted = {"tables": list(TABLES), "schemas": list(SCHEMAS)}
            rows = await reader.answer("migration_tool_hints", pids=asked, database_oid=database_oid, **wanted)
            if rows is not None:
                self._known |= {
                    pid: (points[pid], _read_traces([row for row in rows if row.pid == pid])) for pid in asked
                }
        return {pid: found for pid, (_, found) in self._known.items() if found is not None}


def _session_point(session: Session) -> object:
    """Where a session is: what it holds changes with its statements, or shows in the locks that are known anyway.

    Of a hidden session that is not known, so it is never where it was.
    """
    if session.backend_start is None:
        return object()
    return session.backend_start, session.query_start, session.state_change, len(session.locks)


class Redefinitions(NamedTuple):
    """By PID: whether its transaction has changed a definition. And PIDs of those that have done so as CLUSTER does."""

    changed: Mapping[int, bool] = {}
    clustering: frozenset[int] = frozenset()


async def fetch_redefinitions(
    sessions: Mapping[int, Session], database_oid: int | None, reader: ProgressReader
) -> Redefinitions:
    """Whether blockers whose lock may be DDL's or LOCK TABLE's have changed a definition, where it shows.

    Only relations that a session waits for are asked about: other changes of a transaction say nothing about them.
    """
    wanted = {
        lock.relation
        for session in sessions.values()
        for lock in session.requests
        if lock.locktype == "relation" and lock.database == database_oid
    }
    asked = [session.pid for session in _list_blockers(sessions) if _may_have_redefined(session, wanted)][:MOST_ASKED]
    if not asked:
        return Redefinitions()
    relations = sorted(filter(None, wanted))
    rows = await reader.fetch_rows("changed_definitions", pids=asked, relations=relations, database_oid=database_oid)
    return Redefinitions(
        {row.pid: row.has_changed for row in rows if row.has_changed is not None},
        frozenset(row.pid for row in rows if row.is_clustered),
    )


def _read_traces(rows: Sequence[Any]) -> ToolTraces | None:
    if not rows:
        return None
    return ToolTraces(
        keys=tuple((row.classid, row.objid, row.objsubid) for row in rows if row.table_name is None),
        tables=tuple(sorted({(row.schema_name, row.table_name) for row in rows if row.table_name is not None})),
    )


def _list_blockers(sessions: Mapping[int, Session]) -> Iterable[Session]:
    blocking = find_blocking(sessions.values())
    return (session for pid, session in sessions.items() if pid in blocking)


def _may_report(session: Session) -> bool:
    if session.state != "active" and session.backend_type == "client backend":
        return False
    text = statement.read_statement(session.statement or "", truncated=session.truncated)
    return text.is_ddl or text.is_maintenance or not _REPORTING.isdisjoint(text.kinds)


def _may_have_redefined(session: Session, wanted: Collection[int | None]) -> bool:
    """Others wait for a lock of it that DDL and LOCK TABLE take, it has an id, and its text is not that of DDL."""
    if not session.has_xid or not any(
        lock.locktype == "relation" and lock.mode in MAY_BE_DDL and lock.relation in wanted for lock in session.held
    ):
        return False
    text = statement.read_statement(session.statement or "", truncated=session.truncated)
    return not text.is_ddl or not statement_kinds.CREATING.isdisjoint(text.kinds)


def _may_migrate(session: Session) -> bool:
    return any(
        lock.locktype == "advisory" or (lock.locktype == "relation" and lock.mode in STRONG) for lock in session.locks
    )
