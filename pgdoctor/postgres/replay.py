"""What replay on a standby waits for, and the sessions that may hold it up."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from pgdoctor.model.lock_modes import mode_strength
from pgdoctor.model.replay import Replay, ReplayHolder
from pgdoctor.model.snapshot import ServerInfo
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.role_names import RoleNames
from pgdoctor.sqltext.redact import redact

#: Sessions that are read, the oldest first, and bytes of the statement of each.
MOST_HOLDERS = 20
_STATEMENT_BYTES = 1_024

_redacted = lru_cache(maxsize=64)(redact)


async def fetch_replay(server: ServerInfo, names: RoleNames, evidence: CatalogReader) -> Replay | None:
    """The startup process, now, and the sessions that it may wait for; None where it cannot be seen."""
    rows = await evidence.rows("replay")
    if not rows:
        return None
    replay = Replay(**rows[0]._asdict())
    if replay.conflict is None:
        return replay
    holders = await evidence.rows(
        "replay_holders",
        startup_pid=replay.pid,
        conflict=replay.conflict,
        statement_bytes=_STATEMENT_BYTES,
        most=MOST_HOLDERS,
    )
    return await _with_holders(replay, holders, server, names, evidence)


async def _with_holders(
    replay: Replay, rows: Sequence[Any], server: ServerInfo, names: RoleNames, evidence: CatalogReader
) -> Replay:
    if not rows:
        return replay
    await names.learn_names(rows, evidence)
    request = rows[0]
    relation = request.locked_relation
    return replace(
        replay,
        relation=relation,
        database=request.locked_database,
        relation_name=await _name_relation(relation, request.locked_database, server, evidence),
        lock_since=request.waitstart,
        holders=tuple(_build_holder(row, names) for row in rows if row.pid is not None),
        holders_total=request.total,
    )


async def _name_relation(
    relation: int | None, database: int | None, server: ServerInfo, evidence: CatalogReader
) -> str | None:
    """The relation's name, where it is of the connected database or shared by all."""
    if relation is None or database not in (server.database_oid, 0):
        return None
    rows = await evidence.rows("relations_alone", oids=[relation])
    return rows[0].name if rows else None


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
