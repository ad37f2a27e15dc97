"""Reads who holds or awaits a lock: by relation, by advisory key, or all locks of a session."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pgdoctor.diagnosis.blocker.lock_names import format_advisory_key
from pgdoctor.errors import StatementFailed, UsageError
from pgdoctor.formatting import format_name
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.lock_holders import ListedLock, LockHolders, LockTarget
from pgdoctor.model.snapshot import Lock, PreparedTransaction, Relation, ServerInfo, Session, find_blocking
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.collect import STATEMENT_BYTES, Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.role_names import RoleNames

#: Locks and relations of a family that are read.
MOST_LOCKS = 10_000
_MOST_RELATIONS = 10_000

#: invalid_parameter_value: `parse_ident` was given what is no name.
_NO_NAME = "22023"


async def fetch_lock_target(connection: Connection, typed: str) -> LockTarget:
    """The relation of that name, and all that belongs to it. Raises UsageError where there is none, or several."""
    try:
        rows = await connection.fetch("find_relation", typed=typed)
    except StatementFailed as error:
        if error.sqlstate != _NO_NAME:
            raise
        raise UsageError(f"{format_name(typed)} is not the name of a relation: write public.orders") from None
    chosen = [row for row in rows if row.is_own] or list(rows)
    if not chosen:
        database = format_name(connection.connection.info.dbname)
        raise UsageError(f"no relation {format_name(typed)} in database {database}: check its schema, and -d")
    if len(chosen) > 1:
        names = ", ".join(format_name(row.name) for row in chosen)
        raise UsageError(f"{format_name(typed)} is the name of several relations: {names}")
    family = await connection.fetch("relation_family", oid=chosen[0].oid, most=_MOST_RELATIONS)
    relations = {row.oid: _build_relation(row) for row in family}
    return LockTarget("relation", chosen[0].name, relations)


async def fetch_lock_holders(connection: Connection, target: LockTarget) -> LockHolders:
    """Who holds or awaits a lock on it, now. Raises ServerError, and UsageError for a session that is not there."""
    gate = await Collector(connection).fetch_gate(wait_threshold=0.0)
    evidence, names = CatalogReader(connection), RoleNames()
    rows = await connection.fetch(
        "lock_holders",
        relations=list(target.relations),
        classids=[classid for classid, _, _ in target.keys],
        objids=[objid for _, objid, _ in target.keys],
        objsubids=[objsubid for _, _, objsubid in target.keys],
        transactions=list(target.transactions),
        pid=target.pid,
        most=MOST_LOCKS,
    )
    pids = {row.session_pid for row in rows if row.session_pid is not None} | ({target.pid} - {None})
    sessions = await fetch_sessions(connection, pids, names, evidence)
    if target.pid is not None and target.pid not in sessions:
        raise UsageError(f"no session has PID {target.pid}")
    ahead = find_blocking(sessions.values()) - sessions.keys() - {0}
    sessions |= await fetch_sessions(connection, ahead, names, evidence)
    locks = tuple(_build_lock(row, names) for row in rows)
    return LockHolders(
        captured_at=gate.captured_at,
        server=gate.server,
        target=target,
        locks=locks,
        locks_total=rows[0].total if rows else 0,
        sessions=sessions,
        prepared=await _build_prepared(locks, sessions.values(), names, evidence),
        relations=target.relations or await _fetch_relations(locks, gate.server, evidence),
        unread=tuple(evidence.unread),
    )


async def fetch_sessions(
    connection: Connection, pids: Iterable[int | None], names: RoleNames, evidence: CatalogReader
) -> dict[int, Session]:
    """The sessions of these PIDs that are there, by PID."""
    asked = sorted(pid for pid in pids if pid is not None)
    if not asked:
        return {}
    rows = await connection.fetch("session_facts", pids=asked, statement_bytes=STATEMENT_BYTES)
    await names.learn_names(rows, evidence)
    return {row.pid: _build_session(row, names) for row in rows}


async def _build_prepared(
    locks: Sequence[ListedLock], sessions: Iterable[Session], names: RoleNames, evidence: CatalogReader
) -> tuple[PreparedTransaction, ...]:
    """The prepared transactions, if one has a lock or a session waits for one."""
    if all(each.pid is not None for each in locks) and not any(0 in session.blockers for session in sessions):
        return ()
    rows = await evidence.fetch_rows("prepared_transactions")
    await names.learn_names(rows, evidence)
    return tuple(
        PreparedTransaction(
            node=-place,
            gid=row.gid,
            prepared=row.prepared,
            owner=names.roles.get(row.role_oid),
            datname=names.databases.get(row.database_oid),
        )
        for place, row in enumerate(rows, start=1)
    )


async def _fetch_relations(
    locks: Sequence[ListedLock], server: ServerInfo, evidence: CatalogReader
) -> Mapping[int, Relation]:
    oids = {each.lock.relation for each in locks if each.lock.database in (server.database_oid, 0)} - {None}
    rows = await evidence.fetch_rows("relations_alone", oids=sorted(oids)) if oids else ()  # type: ignore[type-var]
    return {row.oid: _build_relation(row) for row in rows}


def _build_relation(row: Any) -> Relation:
    return Relation(oid=row.oid, name=row.name, kind=row.kind, is_system=False, pages=0, live_rows=0.0)


def _build_lock(row: Any, names: RoleNames) -> ListedLock:
    lock = Lock(*(getattr(row, name) for name in Lock.__struct_fields__))
    return ListedLock(lock, row.session_pid, row.gid, row.fastpath, names.databases.get(row.database_oid))


def _build_session(row: Any, names: RoleNames) -> Session:
    return Session(
        pid=row.pid,
        blockers=tuple(row.blocker_pids),
        datname=names.databases.get(row.database_oid),
        usename=names.roles.get(row.role_oid),
        application_name=row.application_name,
        client_addr=row.client_addr,
        backend_type=row.backend_type,
        state=row.state,
        statement=None if row.statement is None else row.statement.decode("utf-8", errors="replace"),
        wait_event_type=row.wait_event_type,
        wait_event=row.wait_event,
        backend_start=row.backend_start,
        xact_start=row.xact_start,
        query_start=row.query_start,
        state_change=row.state_change,
        has_xid=row.has_xid,
    )


def advisory_target(key: AdvisoryKey) -> LockTarget:
    """An advisory lock by its key, as `pg_locks` has it."""
    return LockTarget("advisory", f"advisory key {format_advisory_key(key)}", keys=(key,))


def session_target(pid: int) -> LockTarget:
    """All locks of a session."""
    return LockTarget("session", f"session {pid}", pid=pid)
