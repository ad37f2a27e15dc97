"""Reads the surroundings of the waits. Each part may fail alone: what cannot be read is left out, and said."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from pgdoctor.model.server_context import (
    FRESH_SECONDS,
    AlteredRelation,
    ClientApplication,
    DatabaseStats,
    FreezeAge,
    HorizonHolder,
    LatestStatement,
    LockStranger,
    ReplicationSlotState,
    ServerContext,
    ServerLimits,
    Standby,
)
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.connection import APPLICATION_NAME, Connection
from pgdoctor.postgres.role_names import RoleNames
from pgdoctor.postgres.rows import read_row
from pgdoctor.postgres.signal import LEADER_KEY
from pgdoctor.sqltext.redact import redact

#: Rows of each part that are read, the most telling first: a server may have thousands of databases and slots.
_MOST = 20

#: Sessions whose latest statements are read, and bytes of each: enough to tell one from another, and what it is.
_MOST_STATEMENTS = 50
_STATEMENT_BYTES = 256

# Programs send the same texts again and again; taking the values out of one costs 0.3 ms (measured).
_redacted = lru_cache(maxsize=256)(redact)


async def fetch_server_context(door: Connection, names: RoleNames, since: int | None = None) -> ServerContext | None:
    """What stands around the waits, now; None where not even the server's limits can be read.

    `since`: the `oldest_xid` of the look before; without it nothing is known to have been altered.
    Gives up at the first locked catalog: nobody is to wait for this.
    """
    evidence = CatalogReader(door, most_timeouts=1)
    standing = await evidence.rows("server_limits")
    if not standing:
        return None
    fresh = timedelta(seconds=FRESH_SECONDS)
    clients = await evidence.rows("clients_by_application", fresh=fresh, most=_MOST)
    latest = await evidence.rows("latest_statements", statement_bytes=_STATEMENT_BYTES, most=_MOST_STATEMENTS)
    holders = await evidence.rows("xmin_horizon", most=_MOST)
    slots = await evidence.rows("slots", most=_MOST)
    standbys = await evidence.rows("standbys", most=_MOST)
    is_written = since is not None and standing[0].next_xid > since
    altered = await evidence.rows("recent_ddl", since=since, most=_MOST) if is_written else ()
    strangers = await evidence.rows("lock_strangers", key=LEADER_KEY, own_application=APPLICATION_NAME, most=_MOST)
    work = await evidence.rows("database_stats", most=_MOST)
    await names.learn((*clients, *latest, *holders, *strangers), evidence)
    return ServerContext(
        read_at=standing[0].read_at,
        standing=read_row(ServerLimits, standing[0]),
        clients=tuple(_client(row, names) for row in clients),
        connections=clients[0].all_connections if clients else 0,
        fresh=clients[0].all_fresh if clients else 0,
        latest=tuple(_latest(row, names) for row in latest),
        work={row.database: read_row(DatabaseStats, row, since=row.stats_reset) for row in work},
        deadlocks=work[0].all_deadlocks if work else 0,
        deadlocks_since=work[0].all_since if work else None,
        ages=tuple(read_row(FreezeAge, row) for row in await evidence.rows("freeze_age", most=_MOST)),
        holders=tuple(_holder(row, names) for row in holders),
        slots=tuple(_slot(row, names) for row in slots),
        standbys=tuple(_standby(row) for row in standbys),
        lock_strangers=tuple(_lock_stranger(row, names) for row in strangers),
        altered=tuple(read_row(AlteredRelation, row) for row in altered),
        oldest_xid=standing[0].oldest_xid,
        unread=tuple(evidence.unread),
    )


async def lock_strangers(door: Connection) -> tuple[LockStranger, ...]:
    """Those who hold locks of the leader election and are no pgdoctor of our role; none where it cannot be read."""
    evidence, names = CatalogReader(door, most_timeouts=1), RoleNames()
    rows = await evidence.rows("lock_strangers", key=LEADER_KEY, own_application=APPLICATION_NAME, most=_MOST)
    await names.learn(rows, evidence)
    return tuple(_lock_stranger(row, names) for row in rows)


def _client(row: Any, names: RoleNames) -> ClientApplication:
    user = names.roles.get(row.role_oid)
    return read_row(ClientApplication, row, application=row.application_name, user=user, address=row.client_addr)


def _latest(row: Any, names: RoleNames) -> LatestStatement:
    return LatestStatement(
        statement=_redacted((row.statement or b"").decode("utf-8", errors="replace")),
        began=row.query_start,
        application=row.application_name,
        user=names.roles.get(row.role_oid),
        is_troubled=row.is_troubled,
        database=names.databases.get(row.database_oid),
    )


def _holder(row: Any, names: RoleNames) -> HorizonHolder:
    user, database = names.roles.get(row.role_oid), names.databases.get(row.database_oid)
    return read_row(HorizonHolder, row, user=user, database=database, application=row.application_name)


def _lock_stranger(row: Any, names: RoleNames) -> LockStranger:
    return read_row(
        LockStranger,
        row,
        user=names.roles.get(row.role_oid),
        address=row.client_addr,
        application=row.application_name,
        database=names.databases.get(row.database_oid),
    )


def _slot(row: Any, names: RoleNames) -> ReplicationSlotState:
    return read_row(ReplicationSlotState, row, left=row.safe_wal_size, database=names.databases.get(row.database_oid))


def _standby(row: Any) -> Standby:
    return read_row(Standby, row, application=row.application_name, address=row.client_addr)
