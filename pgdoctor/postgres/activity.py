"""Reads what all sessions do, for the live view: one statement, at each of its refreshes."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pgdoctor.model.activity import ActiveSession, Activity, DatabaseCounters
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.offload import offload
from pgdoctor.postgres.role_names import RoleNames

#: Sessions and bytes of a statement that are read.
_MOST_SESSIONS = 1_000
_STATEMENT_BYTES = 4_096

# Lax: the server writes OIDs as JSON strings.
_decode_counters = msgspec.json.Decoder(dict[int, DatabaseCounters], strict=False).decode


class ActivityReader:
    """Reads through one connection, and remembers the names of roles and databases."""

    def __init__(self, connection: Connection) -> None:
        self._door = connection
        self._names = RoleNames()

    async def read_activity(self) -> Activity:
        """The sessions as they are now. Raises ServerError."""
        rows = await self._door.fetch("activity", most=_MOST_SESSIONS, statement_bytes=_STATEMENT_BYTES)
        await self._names.learn_names(rows, CatalogReader(self._door))
        return await offload(len(rows), _build_activity, rows, self._names, self._door.cost.statements)


def _build_activity(rows: Sequence[Any], names: RoleNames, own_transactions: int) -> Activity:
    # Our own session is always there, and carries the sums.
    first = rows[0]
    others = tuple(_build_session(row, names) for row in rows if not row.is_own)
    return Activity(
        captured_at=first.captured_at,
        sessions=others,
        all_sessions=first.all_sessions - 1,
        counters=_read_counters(first.counters),
        own_transactions=own_transactions,
        own_pid=first.pid,
        own_start=first.backend_start,
    )


def _read_counters(text: str | None) -> Mapping[int, DatabaseCounters]:
    return _decode_counters(text) if text else {}


def _build_session(row: Any, names: RoleNames) -> ActiveSession:
    is_visible = row.backend_type is not None
    return ActiveSession(
        pid=row.pid,
        database=names.databases.get(row.database_oid),
        user=names.roles.get(row.role_oid),
        application=row.application_name,
        client=row.client_addr,
        backend_type=row.backend_type,
        state=row.state,
        wait_event_type=row.wait_event_type,
        wait_event=row.wait_event,
        backend_start=row.backend_start,
        xact_start=row.xact_start,
        query_start=row.query_start,
        state_change=row.state_change,
        statement=row.statement.decode("utf-8", errors="replace") if is_visible and row.statement else None,
    )
