"""Reads the server context of the waits. Each part may fail alone: unreadable parts are left out, and reported."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from pgdoctor.diagnosis.transaction_polling import asks_for_transactions
from pgdoctor.diagnosis.tried_lock_request import TriedLockRequest, read_tried_request
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.server_context import (
    FRESH_SECONDS,
    AdvisoryHolder,
    AlteredRelation,
    ClientApplication,
    DatabaseStats,
    FreezeAge,
    HorizonHolder,
    LatestStatement,
    LockStranger,
    LockTable,
    LockTableHolder,
    OpenTransaction,
    ReplicationSlotState,
    ServerContext,
    ServerLimits,
    Standby,
    TransactionWait,
    TriedLock,
)
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.dsn import APPLICATION_NAME
from pgdoctor.postgres.read_batch import Rows, reading_together
from pgdoctor.postgres.role_names import RoleNames
from pgdoctor.postgres.rows import read_row
from pgdoctor.postgres.signal import LEADER_KEY
from pgdoctor.sqltext.redact import redact

#: Rows of each part that are read, the most telling first: a server may have thousands of databases and slots.
_MOST = 20

#: Tools that wait for transactions to end, of which one reads for which.
_MOST_TOOLS = 3

#: In a statement that asks for an advisory lock without waiting; and how many of them are looked up.
_TRIES = b"pg_try_advisory_"
_MOST_TRIES = 10

#: Sessions with the most locks that are read in each survey.
_MOST_LOCK_HOLDERS = 5

#: Sessions whose latest statements are read, and bytes of each: enough to tell one from another, and what it is.
_MOST_STATEMENTS = 50
_STATEMENT_BYTES = 256

# Programs send the same texts again and again; taking the values out of one costs 0.3 ms (measured).
_redacted = lru_cache(maxsize=256)(redact)


async def fetch_server_context(
    connection: Connection, names: RoleNames, since: int | None = None
) -> ServerContext | None:
    """What stands around the waits, now; None where not even the server's limits can be read.

    `since`: the `oldest_xid` of the poll before; without it nothing is known to have been altered. Gives up at the
    first locked catalog: no poll may wait for it.
    """
    evidence = CatalogReader(connection, most_timeouts=1)
    fresh = timedelta(seconds=FRESH_SECONDS)
    stranger_keys = {"key": LEADER_KEY, "own_application": APPLICATION_NAME}
    async with reading_together() as group:
        limits = group.create_task(evidence.fetch_rows("server_limits"))
        client_rows = group.create_task(evidence.fetch_rows("clients_by_application", fresh=fresh, most=_MOST))
        latest_rows = group.create_task(
            evidence.fetch_rows("latest_statements", statement_bytes=_STATEMENT_BYTES, most=_MOST_STATEMENTS)
        )
        holder_rows = group.create_task(evidence.fetch_rows("xmin_horizon", most=_MOST))
        slot_rows = group.create_task(evidence.fetch_rows("slots", most=_MOST))
        standby_rows = group.create_task(evidence.fetch_rows("standbys", most=_MOST))
        stranger_rows = group.create_task(evidence.fetch_rows("lock_strangers", **stranger_keys, most=_MOST))
        work_rows = group.create_task(evidence.fetch_rows("database_stats", most=_MOST))
        table_rows = group.create_task(
            evidence.fetch_rows("lock_table", statement_bytes=_STATEMENT_BYTES, most=_MOST_LOCK_HOLDERS)
        )
        age_rows = group.create_task(evidence.fetch_rows("freeze_age", most=_MOST))
    if not limits.result():
        return None
    [standing], clients, latest = limits.result(), client_rows.result(), latest_rows.result()
    lock_table = table_rows.result()
    holders, strangers, work = holder_rows.result(), stranger_rows.result(), work_rows.result()
    is_written = since is not None and standing.next_xid > since
    async with reading_together() as group:
        waits = group.create_task(_read_transaction_waits(latest, names, evidence))
        snapshot_rows = group.create_task(_read_transactions(evidence, "snapshot_blockers", standing.snapshot_waiters))
        pin_rows = group.create_task(_read_transactions(evidence, "pin_holders", standing.pin_waiters))
        tried = group.create_task(_read_tried_locks(latest, names, evidence))
        altered = group.create_task(_read_altered(evidence, since if is_written else None))
        group.create_task(names.learn_names((*clients, *latest, *holders, *strangers, *lock_table), evidence))
    await names.learn_names((*snapshot_rows.result(), *pin_rows.result()), evidence)
    return ServerContext(
        read_at=standing.read_at,
        standing=read_row(ServerLimits, standing, timeline=_parse_timeline(standing.wal_timeline)),
        clients=tuple(_read_client(row, names) for row in clients),
        connections=clients[0].all_connections if clients else 0,
        fresh=clients[0].all_fresh if clients else 0,
        latest=tuple(_read_latest(row, names) for row in latest),
        work={row.database: read_row(DatabaseStats, row, since=row.stats_reset) for row in work},
        deadlocks=work[0].all_deadlocks if work else 0,
        deadlocks_since=work[0].all_since if work else None,
        ages=tuple(read_row(FreezeAge, row) for row in age_rows.result()),
        holders=tuple(_read_holder(row, names) for row in holders),
        slots=tuple(_read_slot(row, names) for row in slot_rows.result()),
        standbys=tuple(_read_standby(row) for row in standby_rows.result()),
        lock_strangers=tuple(_lock_stranger(row, names) for row in strangers),
        lock_table=_lock_table(lock_table, names),
        transaction_waits=tuple(_transaction_wait(row, found, names) for row, found in waits.result()),
        snapshot_blockers=tuple(_open_transaction(row, names) for row in snapshot_rows.result()),
        pin_holders=tuple(_open_transaction(row, names) for row in pin_rows.result()),
        tried_locks=_list_tried_locks(*tried.result(), names),
        altered=tuple(read_row(AlteredRelation, row) for row in altered.result() or ()),
        is_altered_read=since is not None and altered.result() is not None and len(altered.result() or ()) < _MOST,
        oldest_xid=standing.oldest_xid,
        next_xid=standing.next_xid,
        system_identifier=connection.known_system_identifier,
        in_recovery=standing.in_recovery,
        unread=tuple(evidence.unread),
    )


async def _read_altered(evidence: CatalogReader, since: int | None) -> Rows | None:
    return () if since is None else await evidence.answer("recent_ddl", since=since, most=_MOST)


async def _read_transactions(evidence: CatalogReader, statement: str, waiters: int) -> Rows:
    """Those that sessions wait for without a lock; not asked for while none waits."""
    if not waiters:
        return ()
    return await evidence.fetch_rows(statement, statement_bytes=_STATEMENT_BYTES, most=_MOST_LOCK_HOLDERS)


async def lock_strangers(connection: Connection) -> tuple[LockStranger, ...]:
    """Those who hold locks of the leader election and are no pgdoctor of our role; none where it cannot be read."""
    evidence, names = CatalogReader(connection, most_timeouts=1), RoleNames()
    rows = await evidence.fetch_rows("lock_strangers", key=LEADER_KEY, own_application=APPLICATION_NAME, most=_MOST)
    await names.learn_names(rows, evidence)
    return tuple(_lock_stranger(row, names) for row in rows)


def _parse_timeline(digits: str | None) -> int | None:
    return int(digits, 16) if digits else None


async def _read_transaction_waits(latest: Rows, names: RoleNames, evidence: CatalogReader) -> list[tuple[Any, Rows]]:
    """Of each tool that asks whether transactions have ended: its statement, and the oldest transactions there."""
    found = []
    for row in [row for row in latest if asks_for_transactions(_read_latest(row, names).statement)][:_MOST_TOOLS]:
        oldest = await evidence.fetch_rows(
            "oldest_transactions",
            database_oid=row.database_oid,
            before=row.query_start,
            own_pid=row.pid,
            own_application=row.application_name or None,
            statement_bytes=_STATEMENT_BYTES,
            most=_MOST_LOCK_HOLDERS,
        )
        found.append((row, oldest))
    return found


def _transaction_wait(row: Any, oldest: Rows, names: RoleNames) -> TransactionWait:
    return TransactionWait(_read_latest(row, names), tuple(_open_transaction(each, names) for each in oldest))


async def _read_tried_locks(
    latest: Rows, names: RoleNames, evidence: CatalogReader
) -> tuple[list[tuple[Any, TriedLockRequest]], Rows]:
    """The latest statements that asked for an advisory lock without waiting, and the locks that sessions hold."""
    tried = [
        (row, request)
        for row in latest
        if row.application_name != APPLICATION_NAME and _TRIES in (row.statement or b"").lower()
        if (request := read_tried_request(_decode_statement(row))) is not None
    ][:_MOST_TRIES]
    if not tried:
        return [], ()
    keys = [request.key or (None, None, None) for _, request in tried]
    holders = await evidence.fetch_rows(
        "advisory_holders",
        own_key=LEADER_KEY,
        databases=[row.database_oid for row, _ in tried],
        classids=[high for high, _, _ in keys],
        objids=[low for _, low, _ in keys],
        objsubids=[form for _, _, form in keys],
        most=_MOST,
    )
    await names.learn_names(holders, evidence)
    return tried, holders


def _list_tried_locks(
    tried: list[tuple[Any, TriedLockRequest]], holders: Rows, names: RoleNames
) -> tuple[TriedLock, ...]:
    found = (_tried_lock(row, request, holders, names) for row, request in tried)
    return tuple(each for each in found if each.holders)


def _tried_lock(row: Any, request: TriedLockRequest, holders: Rows, names: RoleNames) -> TriedLock:
    """What one session tried to get. A session that holds such a lock itself has got it, so that none is in its way."""
    there = [
        each
        for each in holders
        if each.database_oid == row.database_oid and request.key in (None, _read_advisory_key(each))
    ]
    is_in_vain = all(each.pid != row.pid for each in there)
    in_its_way = tuple(_advisory_holder(each, names) for each in there) if is_in_vain else ()
    return TriedLock(_read_latest(row, names), request.key, in_its_way)


def _advisory_holder(row: Any, names: RoleNames) -> AdvisoryHolder:
    return AdvisoryHolder(
        pid=row.pid,
        key=_read_advisory_key(row),
        since=row.since,
        state=row.state,
        user=names.roles.get(row.role_oid),
        application=row.application_name,
    )


def _read_advisory_key(row: Any) -> AdvisoryKey:
    return row.classid, row.objid, row.objsubid


def _decode_statement(row: Any) -> str:
    return bytes(row.statement or b"").decode("utf-8", errors="replace")


def _open_transaction(row: Any, names: RoleNames) -> OpenTransaction:
    return OpenTransaction(
        pid=row.pid,
        since=row.since,
        state=row.state,
        user=names.roles.get(row.role_oid),
        application=row.application_name,
        statement=_redacted(_decode_statement(row)) or None,
    )


async def fetch_lock_table(connection: Connection) -> LockTable | None:
    """How full the lock table is, and by whom; None where it cannot be read."""
    evidence, names = CatalogReader(connection, most_timeouts=1), RoleNames()
    rows = await evidence.fetch_rows("lock_table", statement_bytes=_STATEMENT_BYTES, most=_MOST)
    await names.learn_names(rows, evidence)
    return _lock_table(rows, names)


def _lock_table(rows: Rows, names: RoleNames) -> LockTable | None:
    if not rows:
        return None
    return LockTable(
        objects=rows[0].objects,
        max_locks_per_transaction=rows[0].max_locks_per_transaction,
        max_connections=rows[0].max_connections,
        max_prepared_transactions=rows[0].max_prepared_transactions,
        overflowed=rows[0].all_overflowed or 0,
        holders=tuple(_lock_table_holder(row, names) for row in rows if row.locks is not None),
    )


def _lock_table_holder(row: Any, names: RoleNames) -> LockTableHolder:
    return LockTableHolder(
        pid=row.pid,
        gid=row.gid,
        locks=row.locks,
        overflowed=row.overflowed,
        ids=row.ids,
        user=names.roles.get(row.role_oid),
        database=names.databases.get(row.database_oid),
        application=row.application_name,
        backend_type=row.backend_type,
        state=row.state,
        since=row.since,
        statement=_redacted(_decode_statement(row)) or None,
    )


def _read_client(row: Any, names: RoleNames) -> ClientApplication:
    user = names.roles.get(row.role_oid)
    return read_row(ClientApplication, row, application=row.application_name, user=user, address=row.client_addr)


def _read_latest(row: Any, names: RoleNames) -> LatestStatement:
    return LatestStatement(
        statement=_redacted(_decode_statement(row)),
        began=row.query_start,
        application=row.application_name,
        user=names.roles.get(row.role_oid),
        is_troubled=row.is_troubled,
        database=names.databases.get(row.database_oid),
        pid=row.pid,
    )


def _read_holder(row: Any, names: RoleNames) -> HorizonHolder:
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


def _read_slot(row: Any, names: RoleNames) -> ReplicationSlotState:
    return read_row(ReplicationSlotState, row, left=row.safe_wal_size, database=names.databases.get(row.database_oid))


def _read_standby(row: Any) -> Standby:
    return read_row(Standby, row, application=row.application_name, address=row.client_addr)
