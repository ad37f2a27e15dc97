"""Reads the server into a `Snapshot`: the gate first, more only when a session waits for a lock."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.index_advice.value_requests import joined_names
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.replay import Replay, find_conflict
from pgdoctor.model.server_context import ServerContext
from pgdoctor.model.snapshot import Connections, Lock, PreparedTransaction, ServerInfo, Session, Snapshot
from pgdoctor.observer.blocked_since import Statement
from pgdoctor.postgres.cancel_handlers import fetch_catching
from pgdoctor.postgres.catalog import CatalogReader, fetch_read_tables, fetch_relations, warm_up_catalog
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.database_reading import DatabaseReader, SessionsSeen, with_databases
from pgdoctor.postgres.explain_statements import explain_searches
from pgdoctor.postgres.locked_objects import fetch_locked_objects
from pgdoctor.postgres.offload import offload
from pgdoctor.postgres.other_databases import (
    OFF,
    POOLED,
    DatabaseAnswer,
    DatabaseReading,
    OtherDatabases,
    Readings,
)
from pgdoctor.postgres.permissions import SignalRight, fetch_signal_rights
from pgdoctor.postgres.progress import TraceTracker, fetch_progress, fetch_redefinitions
from pgdoctor.postgres.read_batch import Rows, reading_together
from pgdoctor.postgres.replay import ReplayReader
from pgdoctor.postgres.role_names import RoleNames
from pgdoctor.postgres.row_lockers import fetch_row_lockers
from pgdoctor.postgres.server_context import fetch_server_context
from pgdoctor.postgres.value_shares import fetch_value_shares

#: Bytes of a statement that are fetched; `track_activity_query_size` may be a megabyte.
STATEMENT_BYTES = 16_384

#: Bytes. The server cuts in front of a character that does not fit, so a cut text may be that much shorter.
_LONGEST_CHARACTER = 4

#: From this version on `pg_stat_activity` shows sessions that are still logging in.
SHOWS_LOGINS = 180_000

#: The PID under which `lock_waits.sql` gives the locks of prepared transactions, as `pg_blocking_pids()` does.
_ORPHANS = 0

#: Sessions that the gate counts, from which on a snapshot in which none waits is doubted.
_QUEUE = 3

#: Seconds that a person waits for what is read in other databases.
_PATIENCE = 2.0

# Lax: the server writes OIDs and transaction ids as JSON strings.
_decode_locks = msgspec.json.Decoder(tuple[Lock, ...], strict=False).decode
# The last one again where nothing has changed: for 200 waiters a tenth of what a gate costs the agent.
_decode_waiting = lru_cache(maxsize=1)(msgspec.json.Decoder(frozenset[Statement]).decode)


class Gate(msgspec.Struct, frozen=True):
    """What the gate of a poll says: enough to know whether to look at the locks."""

    captured_at: datetime
    server: ServerInfo
    #: Backends, parallel workers too, that may have waited for a lock for as long as was asked.
    lock_waiters: int
    #: `track_activity_query_size`.
    statement_bytes: int
    #: The statements that wait for a lock now, however short; those of parallel workers are their leader's.
    waiting: frozenset[Statement] = frozenset()
    #: Of the sessions that count as waiting, and those that were watched: equal for as long as none of them changes.
    activity_hash: int | None = None
    #: Of a standby whose replay waits for something that a session may hold.
    replay: Replay | None = None
    #: What of that could not be read, in plain words.
    unread: tuple[str, ...] = ()

    @property
    def is_quiet(self) -> bool:
        """No session waits. Never so for a role that may not see what others do: to it every server looks quiet."""
        return not (self.lock_waiters or self.server.hidden_sessions)


class Collector:
    """Reads snapshots through one connection, and remembers the names of roles and databases between them."""

    def __init__(self, connection: Connection, *, explains: bool = False) -> None:
        #: The planner is asked too.
        self.explains = explains
        self._connection = connection
        #: Seconds after which a snapshot goes without what is read in other databases.
        self.patience = _PATIENCE
        self._names = RoleNames()
        self._tracker = TraceTracker()
        self._elsewhere = DatabaseReader()
        self._replay = ReplayReader(connection, self._names)
        #: It is prepared for a full poll.
        self.is_warm = False
        #: Of the sessions of the last full poll, by PID: a number for the state of each.
        self.activity_hashes: Mapping[int, int] = {}
        #: Sessions that the gate watches, as an array of the server.
        self._watched = "{}"
        #: The oldest transaction that was running when the server context was last read.
        self._oldest_xid: int | None = None

    async def fetch_snapshot(self, *, even_if_quiet: bool = False) -> Snapshot:
        """The server as it is now, by gate and full poll; all waits count, however short.

        Where no session seems to wait only the gate is asked. `even_if_quiet` reads the locks in any case. Raises
        ServerError if the server cannot be asked.
        """
        gate = await self.fetch_gate(wait_threshold=0.0)
        return (
            await self.make_quiet_snapshot(gate)
            if gate.is_quiet and not even_if_quiet
            else await self.run_full_poll(gate)
        )

    async def fetch_gate(self, wait_threshold: float) -> Gate:
        """The one cheap statement of every poll. Sessions that are known to have waited for less than so many seconds
        do not count."""
        return await self._judge_gate(await self._connection.fetch("gate", **self._gate_parameters(wait_threshold)))

    def watch_sessions(self, pids: Iterable[int]) -> None:
        """Have the gate say, from now on, whether one of these sessions has changed."""
        self._watched = f"{{{','.join(map(str, pids))}}}"

    def _gate_parameters(self, wait_threshold: float) -> dict[str, object]:
        return {"wait_threshold": _seconds(wait_threshold), "watched": self._watched}

    async def _judge_gate(self, rows: Rows) -> Gate:
        [pulse] = rows
        waiting = _decode_waiting(pulse.waiting) if pulse.waiting else frozenset()
        gate = Gate(
            pulse.captured_at,
            self._read_server(pulse),
            pulse.lock_waiters,
            pulse.statement_bytes,
            waiting,
            pulse.activity_hash,
        )
        if find_conflict(pulse.replay_wait_type, pulse.replay_wait) is None:
            return gate
        evidence = CatalogReader(self._connection, most_timeouts=1)
        replay = await self._replay.fetch(gate.server, evidence)
        return replace(gate, replay=replay, unread=tuple(evidence.unread))

    async def gate_of_waiters(self, wait_threshold: float, counted: Gate) -> Gate | None:
        """The gate with the waiters of now and what `counted` knows of all sessions, on a server with many sessions.

        None where a session has waited for the threshold, or where sessions do not say enough: ask `gate`.
        """
        if counted.server.in_recovery or counted.server.hidden_sessions:
            return None
        [row] = await self._connection.fetch("lock_waiters", wait_threshold=_seconds(wait_threshold))
        if row.lock_waiters or row.in_recovery or not row.tracks_activities:
            return None
        server = replace(counted.server, snapshot_waiters=row.snapshot_waiters, pin_waiters=row.pin_waiters)
        waiting = _decode_waiting(row.waiting) if row.waiting else frozenset()
        return replace(counted, captured_at=row.captured_at, server=server, lock_waiters=0, waiting=waiting)

    async def startup_waiters(self, wait_threshold: float) -> int:
        """How many logins wait for a lock, as far as the gate cannot see them."""
        if self._connection.version_num >= SHOWS_LOGINS:
            return 0
        rows = await self._connection.fetch("startup_waiters", wait_threshold=timedelta(seconds=wait_threshold))
        return int(rows[0].startup_waiters)

    async def make_quiet_snapshot(self, gate: Gate) -> Snapshot:
        """The snapshot of a server on which no session waits; the first call also prepares for a full poll."""
        if not self.is_warm:
            self.is_warm = True
            await warm_up_catalog(self._connection, statement_bytes=0)
            await self._names.fetch_all(CatalogReader(self._connection))
        return without_waits(gate)

    async def run_full_poll(self, gate: Gate) -> Snapshot:
        """The full poll, right after the gate: who waits for whom, and what explains it."""
        return await self._build_snapshot(gate, await self._lock_waits())

    async def run_gate_and_full_poll(self) -> tuple[Gate, Snapshot]:
        """Gate and full poll in one round trip, for a single diagnosis. Raises ServerError."""
        async with reading_together() as group:
            pulse = group.create_task(self._connection.read("gate", **self._gate_parameters(0.0)))
            rows = group.create_task(self._lock_waits())
        gate = await self._judge_gate(pulse.result())
        return gate, await self._build_snapshot(gate, rows.result())

    async def _lock_waits(self) -> Rows:
        return await self._connection.read("lock_waits", statement_bytes=STATEMENT_BYTES)

    async def _build_snapshot(self, gate: Gate, rows: Rows) -> Snapshot:
        if gate.lock_waiters >= _QUEUE and not any(row.blocker_pids for row in rows):
            # The moment in which a lock changes hands, and its whole queue wakes up. It comes back at once.
            rows = await self._lock_waits()
        if not any(row.blocker_pids for row in rows):
            return without_waits(gate)
        return await self._read_incident(gate, rows)

    async def read_server_context(self) -> ServerContext | None:
        """What stands around the waits; not for every poll. None where the server does not say."""
        around = await fetch_server_context(self._connection, self._names, self._oldest_xid)
        self._oldest_xid = around.oldest_xid if around else self._oldest_xid
        return around

    async def _read_incident(self, gate: Gate, rows: Sequence[Any]) -> Snapshot:
        server = gate.server
        self.activity_hashes = {row.pid: row.activity_hash for row in rows}
        evidence = CatalogReader(self._connection)
        statement_bytes = min(gate.statement_bytes - 1, STATEMENT_BYTES)
        sessions = await offload(len(rows), _read_sessions, rows, statement_bytes)
        orphans = _orphan_locks(rows)
        seen = SessionsSeen(gate.captured_at, server, sessions, orphans, {row.pid: row.database_oid for row in rows})
        async with reading_together() as group:
            group.create_task(self._names.learn_names(rows, evidence))
            elsewhere = group.create_task(self._begin_elsewhere(seen, evidence))
            prepared_rows = group.create_task(_read_prepared(orphans, evidence))
            memberships = group.create_task(_read_memberships(rows, evidence))
            rights = group.create_task(fetch_signal_rights(rows, evidence))
            relations = group.create_task(fetch_relations(server, sessions, orphans, evidence))
            catching = group.create_task(fetch_catching(sessions, evidence))
            objects = group.create_task(fetch_locked_objects(server, sessions, evidence))
            progress = group.create_task(fetch_progress(sessions, evidence))
            traces = group.create_task(self._tracker.find_traces(sessions, server.database_oid, evidence))
            redefines = group.create_task(fetch_redefinitions(sessions, server.database_oid, evidence))
            row_lockers = group.create_task(fetch_row_lockers(sessions, evidence))
            replay = group.create_task(self._read_replay(gate, sessions, evidence))
        prepared = () if orphans is None else _build_prepared(prepared_rows.result(), orphans, self._names)
        roles = _fetch_memberships(memberships.result(), rows, self._names)
        known = prepared, self._names, roles, rights.result(), catching.result()
        named = await offload(len(rows), _name_sessions, sessions, rows, *known)
        snapshot = Snapshot(
            captured_at=gate.captured_at,
            server=server,
            sessions=named,
            prepared=prepared,
            relations=relations.result(),
            objects=objects.result(),
            progress=progress.result(),
            traces=traces.result(),
            redefines=redefines.result().changed,
            clustering=redefines.result().clustering,
            row_lockers=row_lockers.result(),
            replay=replay.result(),
        )
        names = partial(joined_names, with_shapes=self.explains)
        if joined := await offload(len(rows), names, snapshot):
            read, tables = await fetch_read_tables(joined, evidence)
            snapshot = replace(snapshot, read_tables=read, relations={**tables, **snapshot.relations})
        shares = await fetch_value_shares(snapshot, evidence)
        snapshot = replace(snapshot, value_shares=shares, unread=(*gate.unread, *evidence.unread))
        if self.explains:
            snapshot = replace(snapshot, plans=await explain_searches(snapshot, self._connection))
        readings = elsewhere.result()
        if readings is None:
            return snapshot
        return with_databases(snapshot, await readings.finish(self.patience), self._names.databases)

    async def _read_replay(self, gate: Gate, sessions: Mapping[int, Session], evidence: CatalogReader) -> Replay | None:
        """What the gate has read; else, where the startup process blocks a session, what it waits for itself."""
        if gate.replay is not None or all(session.backend_type != "startup" for session in sessions.values()):
            return gate.replay
        return await self._replay.fetch(gate.server, evidence)

    async def _begin_elsewhere(self, seen: SessionsSeen, evidence: CatalogReader) -> Readings | None:
        """Begin to read in the other databases that the incident touches; None where it touches none."""
        touched = seen.count_elsewhere()
        if not touched:
            return None
        if not self._connection.looks_into_databases or self._connection.is_pooled:
            reason = POOLED if self._connection.is_pooled else OFF
            return Readings({oid: DatabaseAnswer(None, unread=reason) for oid in touched}, {})

        async def read(oid: int, name: str, connection: Connection) -> DatabaseReading:
            before = connection.cost
            try:
                return await self._elsewhere.read(seen, oid, name, connection, explains=self.explains)
            finally:
                self._connection.add_cost(connection.cost.subtract_cost(before))

        return await OtherDatabases.share_readers(self._connection).begin(touched, read, evidence)

    def _read_server(self, pulse: Any) -> ServerInfo:
        states = {name: getattr(pulse, name) for name in Connections.__struct_fields__ if name != "unknown"}
        return ServerInfo(
            version_num=pulse.version_num,
            in_recovery=pulse.in_recovery,
            max_connections=pulse.max_connections,
            connections=pulse.connections,
            connections_by_state=Connections(**states, unknown=max(pulse.connections - sum(states.values()), 0)),
            database=self._connection.connection.info.dbname,
            database_oid=pulse.database_oid,
            own_pid=pulse.own_pid,
            hidden_sessions=pulse.hidden,
            snapshot_waiters=pulse.snapshot_waiters,
            pin_waiters=pulse.pin_waiters,
            deadlock_timeout=pulse.deadlock_timeout,
            oldest_transaction=max(pulse.oldest_transaction or 0.0, 0.0),
            host=self._connection.host,
            port=self._connection.port,
            user=self._connection.user,
            cluster_name=self._connection.cluster_name,
        )


@lru_cache(maxsize=16)
def _seconds(wait_threshold: float) -> timedelta:
    return timedelta(seconds=wait_threshold)


def without_waits(gate: Gate) -> Snapshot:
    """The snapshot of a server on which no session waits."""
    return Snapshot(captured_at=gate.captured_at, server=gate.server, replay=gate.replay, unread=gate.unread)


def _decode_text(raw: bytes | None) -> str | None:
    """A statement, of whatever encoding: text that is not UTF-8 is replaced, never an error."""
    return None if raw is None else raw.decode("utf-8", errors="replace")


def _read_sessions(rows: Sequence[Any], statement_bytes: int) -> dict[int, Session]:
    """The sessions by PID, before the names of their roles and databases are known."""
    blockers = _read_blockers(rows)
    return {row.pid: _read_session(row, blockers[row.pid], statement_bytes) for row in rows if row.pid != _ORPHANS}


def _read_blockers(rows: Sequence[Any]) -> dict[int, tuple[int, ...]]:
    """All blockers of each session, by PID. A row has those that its list adds to the one that it continues."""
    # A convoy of a thousand names half a million PIDs; each is to be one object.
    known = {row.pid: row.pid for row in rows}
    by_pid = {row.pid: row for row in rows}
    found: dict[int, tuple[int, ...]] = {}
    for row in rows:
        longer = [row] if row.pid not in found else []
        while longer and longer[-1].continues is not None and longer[-1].continues not in found:
            longer.append(by_pid[longer[-1].continues])
        for each in reversed(longer):
            added = each.blocker_pids or ()
            found[each.pid] = (*found.get(each.continues, ()), *(known.get(pid, pid) for pid in added))
    return found


def _name_sessions(
    sessions: Mapping[int, Session],
    rows: Sequence[Any],
    prepared: Sequence[PreparedTransaction],
    names: RoleNames,
    roles: Mapping[int, frozenset[str]],
    rights: Mapping[int, SignalRight],
    catching: Collection[int],
) -> dict[int, Session]:
    """The sessions with what had to be asked about them."""
    named = dict(sessions)
    for row in rows:
        if (session := sessions.get(row.pid)) is None:
            continue
        right = rights.get(row.role_oid)
        named[row.pid] = replace(
            session,
            blockers=_resolve_orphans(session, prepared),
            datname=names.databases.get(row.database_oid),
            usename=names.roles.get(row.role_oid),
            is_superuser=right.is_superuser if right else row.role_oid in names.superusers,
            may_signal=right.may_signal if right else None,
            roles=roles.get(row.role_oid),
            may_catch_cancel=row.pid in catching,
        )
    return named


def _orphan_locks(rows: Iterable[Any]) -> tuple[Lock, ...] | None:
    """The locks of prepared transactions; None where none of these blocks a session."""
    rows = list(rows)
    if not any(_ORPHANS in (row.blocker_pids or ()) for row in rows):
        return None
    return next((_decode_locks(row.locks) for row in rows if row.pid == _ORPHANS and row.locks), ())


async def _read_prepared(orphans: Sequence[Lock] | None, evidence: CatalogReader) -> Rows:
    return () if orphans is None else await evidence.fetch_rows("prepared_transactions")


def _role_oids(rows: Iterable[Any]) -> list[int]:
    return sorted({row.role_oid for row in rows if row.role_oid is not None})


async def _read_memberships(rows: Iterable[Any], evidence: CatalogReader) -> Rows | None:
    """Read again each time: a GRANT of the role that protects holds at once."""
    oids = _role_oids(rows)
    return await evidence.answer("memberships", role_oids=oids) if oids else None


def _fetch_memberships(found: Rows | None, rows: Iterable[Any], names: RoleNames) -> dict[int, frozenset[str]]:
    """The names of each user and the roles that it is a member of, by the user's OID; none where not readable."""
    if found is None:
        return {}
    roles = {oid: {name} for oid in _role_oids(rows) if (name := names.roles.get(oid)) is not None}
    for row in found:
        if row.is_own:
            # Renamed, maybe, since the names of all were learnt.
            names.roles[row.member_oid] = row.name
            roles[row.member_oid] = {row.name}
    for row in found:
        roles.setdefault(row.member_oid, set()).add(row.name)
    return {oid: frozenset(each) for oid, each in roles.items()}


def _read_session(row: Any, blockers: tuple[int, ...], statement_bytes: int) -> Session:
    visible = row.backend_type is not None
    return Session(
        pid=row.pid,
        blockers=blockers,
        locks=_decode_locks(row.locks) if row.locks else (),
        application_name=row.application_name,
        client_addr=row.client_addr,
        backend_type=row.backend_type,
        state=row.state,
        statement=_decode_text(row.statement) if visible else None,
        truncated=row.statement is not None and len(row.statement) > statement_bytes - _LONGEST_CHARACTER,
        wait_event_type=row.wait_event_type,
        wait_event=row.wait_event,
        backend_start=row.backend_start,
        xact_start=row.xact_start,
        query_start=row.query_start,
        state_change=row.state_change,
        has_xid=bool(row.has_xid),
        is_starting=row.is_starting,
        has_subtransactions=row.has_subtransactions,
    )


def _resolve_orphans(session: Session, prepared: Sequence[PreparedTransaction]) -> tuple[int, ...]:
    """The nodes behind `pg_blocking_pids()`: 0 becomes the prepared transactions that hold what is asked for."""
    if _ORPHANS not in session.blockers:
        return session.blockers
    holding = [
        transaction.node
        for transaction in prepared
        if any(_stands_in_the_way(transaction, request) for request in session.requests)
    ]
    return tuple(pid for pid in session.blockers if pid != _ORPHANS) + tuple(holding or [UNRESOLVED.node])


def _stands_in_the_way(transaction: PreparedTransaction, request: Lock) -> bool:
    return any(held.target == request.target and modes_conflict(held.mode, request.mode) for held in transaction.locks)


#: Stands for a prepared transaction that was finished before it could be looked up.
UNRESOLVED = PreparedTransaction(node=-1_000_000_000)


def _build_prepared(rows: Iterable[Any], orphans: Sequence[Lock], names: RoleNames) -> tuple[PreparedTransaction, ...]:
    """Prepared transactions with their locks.

    Their rows in `pg_locks` keep the virtual transaction of the session that prepared them; the manual's join by
    `-1/xid` finds nothing for a fresh one (measured, 12 to 18). The row of their transaction id links the two.
    """
    virtual = {lock.transactionid: lock.virtualtransaction for lock in orphans if lock.transactionid is not None}
    found = [
        PreparedTransaction(
            node=-place,
            gid=row.gid,
            transactionid=row.transactionid,
            prepared=row.prepared,
            owner=names.roles.get(row.role_oid),
            datname=names.databases.get(row.database_oid),
            locks=tuple(lock for lock in orphans if lock.virtualtransaction == virtual.get(row.transactionid)),
        )
        for place, row in enumerate(rows, start=1)
    ]
    return (*found, UNRESOLVED)
