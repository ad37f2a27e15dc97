"""One session by its PID, whether it takes part in a wait or not."""

from typing import Any, NamedTuple

from pgdoctor.model.snapshot import Session
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.collect import STATEMENT_BYTES
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.role_names import RoleNames
from pgdoctor.postgres.rows import read_row


class FoundSession(NamedTuple):
    """A session, and what its blockers or waiters do not say."""

    session: Session
    #: The leader of a parallel worker; None: it is none.
    leader_pid: int | None


async def fetch_session(connection: Connection, pid: int) -> FoundSession | None:
    """The session of that PID, now; None: there is no such process. Raises ServerError.

    What a locked catalog hides stays unknown: the names, and whether our role may signal it.
    """
    rows = await connection.fetch("session_facts", pids=[pid], statement_bytes=STATEMENT_BYTES)
    if not rows:
        return None
    [row] = rows
    evidence, names = CatalogReader(connection), RoleNames()
    await names.learn_names(rows, evidence)
    oids = [row.role_oid] if row.role_oid is not None else []
    rights = await evidence.fetch_rows("signal_rights", role_oids=oids) if oids else ()
    roles = await evidence.answer("memberships", role_oids=oids) if oids else None
    visible = row.backend_type is not None
    session = read_row(
        Session,
        row,
        datname=names.databases.get(row.database_oid),
        usename=names.roles.get(row.role_oid),
        statement=_decode_text(row.statement) if visible else None,
        truncated=row.statement is not None and len(row.statement) >= STATEMENT_BYTES,
        is_superuser=any(each.is_superuser for each in rights),
        may_signal=rights[0].may_signal if rights else None,
        roles=frozenset(each.name for each in roles) if roles else None,
    )
    return FoundSession(session, row.leader_pid if row.leader_pid != row.pid else None)


def _decode_text(raw: Any) -> str | None:
    return None if raw is None else bytes(raw).decode("utf-8", errors="replace")
