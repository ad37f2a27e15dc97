"""What is read from the catalogs about the relations that locks are about: names, sizes, indexes.

Raw columns only. Whatever fails is left out and said, never fatal: somebody may hold a lock on a catalog.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from pgdoctor.diagnosis.snapshot import Index, Lock, PreparedTransaction, Relation, Server, Session
from pgdoctor.errors import StatementFailed
from pgdoctor.postgres.door import Door

#: Relations whose names are looked up in one poll, contested ones first.
MOST_RELATIONS = 2_000

_TABLE_KINDS = ("r", "p", "m")


class Evidence:
    """Reads of catalogs that may fail without taking the snapshot with them: somebody may hold a lock on one."""

    def __init__(self, door: Door) -> None:
        self._door = door
        #: What could not be read, in plain words.
        self.unread: list[str] = []

    async def rows(self, name: str, **parameters: object) -> Sequence[Any]:
        """The rows of a statement, none where the server refuses it."""
        try:
            return await self._door.fetch(name, **parameters)
        except StatementFailed as error:
            self.unread.append(f"{name.replace('_', ' ')} could not be read: {error}")
            return ()


async def relations(
    server: Server,
    sessions: Mapping[int, Session],
    prepared: Sequence[PreparedTransaction],
    evidence: Evidence,
) -> dict[int, Relation]:
    """The relations that the locks are about, and the indexes of tables that a running blocker works on."""

    def here(locks: Iterable[Lock]) -> list[int]:
        return [
            lock.relation for lock in locks if lock.relation is not None and lock.database in (server.database_oid, 0)
        ]

    asked = {oid for session in sessions.values() for oid in here(session.requests)}
    evident = [session.locks for session in sessions.values()] + [each.locks for each in prepared]
    held = {oid for locks in evident for oid in here(locks)} - asked
    oids = list(islice((*asked, *sorted(held)), MOST_RELATIONS))
    if not oids:
        return {}
    rows = await evidence.rows("relations", oids=oids)
    tables = {row.oid for row in rows if row.kind in _TABLE_KINDS and not row.is_system}
    worked_on = tables & {
        oid
        for session in sessions.values()
        if session.state == "active" and not session.blockers
        for oid in here(session.held)
    }
    indexes = await _indexes(sorted(worked_on), evidence) if worked_on else {}
    return {
        row.oid: Relation(
            oid=row.oid,
            name=row.name,
            kind=row.kind,
            is_system=row.is_system,
            pages=row.pages,
            live_rows=row.live_rows,
            table=row.table_oid,
            indexes=indexes.get(row.oid),
        )
        for row in rows
    }


async def _indexes(tables: Sequence[int], evidence: Evidence) -> dict[int, tuple[Index, ...]]:
    """The indexes of each table; a table is left out, not given none, where they could not be read."""
    before = len(evidence.unread)
    rows = await evidence.rows("indexes", oids=tables)
    if len(evidence.unread) > before:
        return {}
    found: dict[int, tuple[Index, ...]] = dict.fromkeys(tables, ())
    for row in rows:
        index = Index(
            method=row.method,
            is_usable=row.is_usable,
            is_partial=row.is_partial,
            key_columns=tuple(row.key_columns),
        )
        found[row.table_oid] += (index,)
    return found
