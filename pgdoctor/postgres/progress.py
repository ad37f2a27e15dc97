"""What blockers are doing, apart from their locks: how far their commands are, what they change, which tool runs them.

Asked only of those that may have an answer. Nothing here decides who blocks whom.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from pgdoctor.diagnosis import statement
from pgdoctor.diagnosis.locks import AMBIGUOUS, STRONG
from pgdoctor.diagnosis.makers import SCHEMAS, TABLES
from pgdoctor.diagnosis.snapshot import Progress, Session, Traces

#: Blockers that are asked for, to bound what a convoy costs.
MOST_ASKED = 100

#: Kinds of statements that report their progress. DDL may build an index, and a procedure may do anything.
_REPORTING = frozenset({"do", "call", "copy", "copy_from", "copy_to", "replication"})


class Reader(Protocol):
    """Reads the rows of a statement; none where that fails."""

    async def rows(self, name: str, **parameters: object) -> Sequence[Any]:
        """The rows of a statement of `sql/`."""


async def progress(sessions: Mapping[int, Session], reader: Reader) -> dict[int, Progress]:
    """How far the blockers among the sessions have come, by PID."""
    asked = [session.pid for session in _blockers(sessions) if _may_report(session)][:MOST_ASKED]
    rows = await reader.rows("progress", pids=asked) if asked else ()
    return {row.pid: Progress(row.command, row.phase, row.done, row.total) for row in rows}


async def traces(sessions: Mapping[int, Session], database_oid: int | None, reader: Reader) -> dict[int, Traces]:
    """What gives away the tool behind the blockers among the sessions, by PID."""
    asked = [session.pid for session in _blockers(sessions) if _may_migrate(session)][:MOST_ASKED]
    if not asked:
        return {}
    rows = await reader.rows(
        "traces", pids=asked, database_oid=database_oid, tables=list(TABLES), schemas=list(SCHEMAS)
    )
    return {pid: _traces([row for row in rows if row.pid == pid]) for pid in {row.pid for row in rows}}


async def redefines(sessions: Mapping[int, Session], database_oid: int | None, reader: Reader) -> dict[int, bool]:
    """Whether blockers whose lock may be DDL's or LOCK TABLE's have changed a definition, by PID, where it shows."""
    asked = [session.pid for session in _blockers(sessions) if _may_have_redefined(session)][:MOST_ASKED]
    rows = await reader.rows("definitions", pids=asked, database_oid=database_oid) if asked else ()
    return {row.pid: row.has_changed for row in rows if row.has_changed is not None}


def _traces(rows: Sequence[Any]) -> Traces:
    return Traces(
        keys=tuple((row.classid, row.objid, row.objsubid) for row in rows if row.table_name is None),
        tables=tuple(sorted({(row.schema_name, row.table_name) for row in rows if row.table_name is not None})),
    )


def _blockers(sessions: Mapping[int, Session]) -> Iterable[Session]:
    blocking = set(chain.from_iterable(session.blockers for session in sessions.values()))
    return (session for pid, session in sessions.items() if pid in blocking)


def _may_report(session: Session) -> bool:
    if session.state != "active" and session.backend_type == "client backend":
        return False
    text = statement.read(session.statement or "", truncated=session.truncated)
    return text.is_ddl or text.is_maintenance or not _REPORTING.isdisjoint(text.kinds)


def _may_have_redefined(session: Session) -> bool:
    """It holds a lock that DDL and LOCK TABLE take, has an id, and its text is that of another statement."""
    if not session.has_xid or not any(lock.locktype == "relation" and lock.mode in AMBIGUOUS for lock in session.held):
        return False
    text = statement.read(session.statement or "", truncated=session.truncated)
    return not (text.is_ddl or text.is_lock_table or text.is_maintenance)


def _may_migrate(session: Session) -> bool:
    return any(
        lock.locktype == "advisory" or (lock.locktype == "relation" and lock.mode in STRONG) for lock in session.locks
    )
