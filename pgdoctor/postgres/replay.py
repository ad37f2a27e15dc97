"""What replay on a standby waits for, and the sessions that may hold it up."""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from pgdoctor.errors import ServerError
from pgdoctor.formatting import format_name
from pgdoctor.model.lock_modes import mode_strength
from pgdoctor.model.replay import Replay, ReplayHolder
from pgdoctor.model.snapshot import ServerInfo
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.database_visit import visit_database
from pgdoctor.postgres.role_names import RoleNames
from pgdoctor.sqltext.redact import redact

#: Sessions that are read, the oldest first, and bytes of the statement of each.
MOST_HOLDERS = 20
_STATEMENT_BYTES = 1_024

#: Seconds that a poll waits for another database, and for which its answer is good, none too.
_PATIENCE = 0.5
_GOOD_FOR = 30.0

_redacted = lru_cache(maxsize=64)(redact)


class ReplayReader:
    """Reads the startup process, and remembers the names that it has read in other databases."""

    def __init__(self, connection: Connection, names: RoleNames) -> None:
        self._connection = connection
        self._names = names
        #: By database and relation: the name, or None, and until when it is good.
        self._elsewhere: dict[tuple[int, int], tuple[str | None, float]] = {}

    async def fetch(self, server: ServerInfo, evidence: CatalogReader) -> Replay | None:
        """The startup process, now, and the sessions that it may wait for; None where it cannot be seen."""
        rows = await evidence.fetch_rows("replay")
        if not rows:
            return None
        replay = Replay(**rows[0]._asdict())
        if replay.conflict is None:
            return replay
        holders = await evidence.fetch_rows(
            "replay_holders",
            startup_pid=replay.pid,
            conflict=replay.conflict,
            statement_bytes=_STATEMENT_BYTES,
            most=MOST_HOLDERS,
        )
        return await self._add_holders(replay, holders, server, evidence)

    async def _add_holders(
        self, replay: Replay, rows: Sequence[Any], server: ServerInfo, evidence: CatalogReader
    ) -> Replay:
        if not rows:
            return replay
        await self._names.learn_names(rows, evidence)
        request = rows[0]
        relation = request.locked_relation
        return replace(
            replay,
            relation=relation,
            database=request.locked_database,
            relation_name=await self._name_relation(relation, request.locked_database, server, evidence),
            lock_since=request.waitstart,
            holders=tuple(_build_holder(row, self._names) for row in rows if row.pid is not None),
            holders_total=request.total,
        )

    async def _name_relation(
        self, relation: int | None, database: int | None, server: ServerInfo, evidence: CatalogReader
    ) -> str | None:
        """The relation's name, with its database where that is not the connected one."""
        if relation is None or database is None:
            return None
        if database in (server.database_oid, 0):
            rows = await evidence.fetch_rows("relations_alone", oids=[relation])
            return rows[0].name if rows else None
        name, good_until = self._elsewhere.get((database, relation), (None, 0.0))
        if time.monotonic() >= good_until:
            name = await self._read_elsewhere(relation, database)
            self._elsewhere = {(database, relation): (name, time.monotonic() + _GOOD_FOR)}
        return name

    async def _read_elsewhere(self, relation: int, database: int) -> str | None:
        async def read(connection: Connection) -> str | None:
            rows = await connection.fetch("relations_alone", oids=[relation])
            return rows[0].name if rows else None

        try:
            for row in await self._connection.fetch("other_databases", oids=[database]):
                if name := await visit_database(self._connection, row, read, _PATIENCE):
                    return f"{name} of database {format_name(row.name)}"
        except ServerError:
            if not self._connection.is_open:
                raise
        return None


def _build_holder(row: Any, names: RoleNames) -> ReplayHolder:
    return ReplayHolder(
        pid=row.pid,
        user=names.roles.get(row.role_oid),
        database=names.databases.get(row.database_oid),
        application=row.application_name,
        address=row.client_addr,
        state=row.state,
        since=row.xact_start,
        statement=_redacted((row.statement or b"").decode("utf-8", errors="replace")),
        mode=max(row.modes, key=mode_strength) if row.modes else None,
        xids=row.xids,
    )
