"""Reads the surroundings of the waits. Each part may fail alone: what cannot be read is left out, and said."""

from collections.abc import Iterable
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
        standing=_standing(standing[0]),
        clients=tuple(_client(row, names) for row in clients),
        connections=clients[0].all_connections if clients else 0,
        fresh=clients[0].all_fresh if clients else 0,
        latest=tuple(_latest(row, names) for row in latest),
        work={row.database: _work(row) for row in work},
        deadlocks=work[0].all_deadlocks if work else 0,
        deadlocks_since=work[0].all_since if work else None,
        ages=tuple(
            FreezeAge(row.database, row.xids, row.multixacts) for row in await evidence.rows("freeze_age", most=_MOST)
        ),
        holders=tuple(_holder(row, names) for row in holders),
        slots=tuple(_slot(row, names) for row in slots),
        standbys=tuple(_standbys(standbys)),
        lock_strangers=tuple(_lock_stranger(row, names) for row in strangers),
        altered=tuple(_altered(altered)),
        oldest_xid=standing[0].oldest_xid,
        unread=tuple(evidence.unread),
    )


async def lock_strangers(door: Connection) -> tuple[LockStranger, ...]:
    """Those who hold locks of the leader election and are no pgdoctor of our role; none where it cannot be read."""
    evidence, names = CatalogReader(door, most_timeouts=1), RoleNames()
    rows = await evidence.rows("lock_strangers", key=LEADER_KEY, own_application=APPLICATION_NAME, most=_MOST)
    await names.learn(rows, evidence)
    return tuple(_lock_stranger(row, names) for row in rows)


def _standing(row: Any) -> ServerLimits:
    return ServerLimits(
        started=row.started,
        configured=row.configured,
        reserved_connections=row.reserved_connections,
        freeze_max_age=row.freeze_max_age,
        multixact_freeze_max_age=row.multixact_freeze_max_age,
        max_wal_size=row.max_wal_size,
        max_slot_wal_keep_size=row.max_slot_wal_keep_size,
        synchronous_standby_names=row.synchronous_standby_names,
        hot_standby_feedback=row.hot_standby_feedback,
        replay_paused=row.replay_paused,
        unreplayed=row.unreplayed,
        sync_waiters=row.sync_waiters,
        oldest_sync_wait=row.oldest_sync_wait,
    )


def _client(row: Any, names: RoleNames) -> ClientApplication:
    return ClientApplication(
        application=row.application_name,
        user=names.roles.get(row.role_oid),
        address=row.client_addr,
        connections=row.connections,
        idle=row.idle,
        idle_in_transaction=row.idle_in_transaction,
        fresh=row.fresh,
        oldest=row.oldest,
        addresses=row.addresses,
    )


def _latest(row: Any, names: RoleNames) -> LatestStatement:
    return LatestStatement(
        statement=_redacted((row.statement or b"").decode("utf-8", errors="replace")),
        began=row.query_start,
        application=row.application_name,
        user=names.roles.get(row.role_oid),
        is_troubled=row.is_troubled,
        database=names.databases.get(row.database_oid),
    )


def _work(row: Any) -> DatabaseStats:
    return DatabaseStats(
        commits=row.commits,
        rollbacks=row.rollbacks,
        sessions=row.sessions,
        deadlocks=row.deadlocks,
        blocks_hit=row.blocks_hit,
        blocks_read=row.blocks_read,
        since=row.stats_reset,
    )


def _holder(row: Any, names: RoleNames) -> HorizonHolder:
    return HorizonHolder(
        kind=row.kind,
        name=row.name,
        xids=row.xids,
        since=row.since,
        state=row.state,
        user=names.roles.get(row.role_oid),
        database=names.databases.get(row.database_oid),
        application=row.application_name,
    )


def _lock_stranger(row: Any, names: RoleNames) -> LockStranger:
    return LockStranger(
        pid=row.pid,
        gid=row.gid,
        locks=row.locks,
        may_signal=row.may_signal,
        user=names.roles.get(row.role_oid),
        address=row.client_addr,
        application=row.application_name,
        database=names.databases.get(row.database_oid),
    )


def _slot(row: Any, names: RoleNames) -> ReplicationSlotState:
    return ReplicationSlotState(
        name=row.name,
        is_logical=row.is_logical,
        is_active=row.is_active,
        wal_status=row.wal_status,
        retained=row.retained,
        left=row.safe_wal_size,
        database=names.databases.get(row.database_oid),
        inactive_since=row.inactive_since,
    )


def _standbys(rows: Iterable[Any]) -> Iterable[Standby]:
    for row in rows:
        yield Standby(row.application_name, row.client_addr, row.state, row.sync_state, row.behind, row.lag)


def _altered(rows: Iterable[Any]) -> Iterable[AlteredRelation]:
    for row in rows:
        yield AlteredRelation(row.oid, row.written_by, row.kind, row.name, row.bare_name, row.table_oid)
