"""What stands around the waits: who is connected, what holds vacuum and WAL back, what has changed, how much is done.

Read seldom, by cheap statements of its own; a part that could not be read is empty, or None. Times are the server's.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from pgdoctor.formatting import format_client, format_duration
from pgdoctor.model.advisory_key import AdvisoryKey


class ClientApplication(msgspec.Struct, frozen=True, gc=False):
    """Connections of one application and user to one database."""

    application: str | None
    user: str | None
    #: The one with the most of them; None: the socket of the server's own host, or hidden.
    address: str | None
    connections: int
    idle: int
    idle_in_transaction: int
    #: Connected within the last `FRESH_SECONDS`.
    fresh: int
    #: When the one that has been connected for the longest came.
    oldest: datetime | None = None
    #: From how many different ones they come.
    addresses: int = 1
    #: Since when all of those that are idle in a transaction have done nothing.
    idle_in_transaction_since: datetime | None = None


#: A connection younger than that is a new one.
FRESH_SECONDS = 10


class LatestStatement(msgspec.Struct, frozen=True, gc=False):
    """The beginning of the statement that a client runs, or ran last."""

    #: Without its values: nothing else of it is kept.
    statement: str
    began: datetime
    application: str | None = None
    user: str | None = None
    #: It waits for a lock, or has failed within a transaction that is yet to be rolled back.
    is_troubled: bool = False
    database: str | None = None
    pid: int | None = None


class DatabaseStats(msgspec.Struct, frozen=True, gc=False):
    """What one database has counted since its statistics began; all of it only grows until they are reset."""

    commits: int = 0
    rollbacks: int = 0
    #: Sessions that were ever established.
    sessions: int = 0
    deadlocks: int = 0
    blocks_hit: int = 0
    blocks_read: int = 0
    #: When counting began at the latest; None: with the server's start, or before.
    since: datetime | None = None


class Rates(msgspec.Struct, frozen=True, gc=False):
    """What one database has done per second."""

    commits: float = 0.0
    rollbacks: float = 0.0
    sessions: float = 0.0
    blocks_hit: float = 0.0
    blocks_read: float = 0.0

    @property
    def failing(self) -> float:
        """Share of its transactions that were rolled back; 0 where there were none."""
        return self.rollbacks / (self.commits + self.rollbacks) if self.rollbacks else 0.0


class FreezeAge(msgspec.Struct, frozen=True, gc=False):
    """How many transaction ids and multixact ids a database is behind."""

    database: str
    xids: int
    multixacts: int


class HorizonHolder(msgspec.Struct, frozen=True, gc=False):
    """A session, slot or transaction for which vacuum has to keep dead rows."""

    #: session, standby (a walsender with hot_standby_feedback), prepared_transaction or slot.
    kind: str
    #: The PID, the `gid`, or the slot's name.
    name: str
    #: Transaction ids that were given out since.
    xids: int
    #: Of its transaction; None for a slot.
    since: datetime | None = None
    state: str | None = None
    user: str | None = None
    database: str | None = None
    application: str | None = None


class ReplicationSlotState(msgspec.Struct, frozen=True, gc=False):
    """A replication slot."""

    name: str
    is_logical: bool
    is_active: bool
    #: As the server has it: reserved, extended, unreserved or lost; None: it has reserved nothing yet.
    wal_status: str | None
    #: Bytes of WAL that it keeps.
    retained: int | None
    #: Bytes that may be written before it is lost; None: no limit is set, or it is lost.
    left: int | None
    database: str | None = None
    #: Since 17.
    inactive_since: datetime | None = None


class Standby(msgspec.Struct, frozen=True, gc=False):
    """A receiver of WAL: a standby, a backup, a subscriber."""

    application: str | None
    address: str | None
    state: str | None
    #: async, potential, sync or quorum.
    sync_state: str | None
    #: Bytes, and seconds as it reports them, by which its replay is behind.
    behind: int | None
    lag: float | None


class ServerLimits(msgspec.Struct, frozen=True, gc=False):
    """The server's limits, and since when they hold. Sizes are in bytes."""

    started: datetime
    configured: datetime
    #: Of `max_connections`, those that only superusers and members of pg_use_reserved_connections get.
    reserved_connections: int
    freeze_max_age: int
    multixact_freeze_max_age: int
    max_wal_size: int
    #: None: slots keep as much as they want.
    max_slot_wal_keep_size: int | None
    #: Empty: commits wait for no standby.
    synchronous_standby_names: str
    #: Of a standby: the primary keeps the rows that its sessions read.
    hot_standby_feedback: bool = False
    #: Of a standby: replay is paused; and WAL that was received and not replayed yet, in bytes. None: nothing was
    #: received, or this is no standby.
    replay_paused: bool = False
    unreplayed: int | None = None
    #: Of a primary; it grows by one at each promotion.
    timeline: int | None = None
    #: Sessions whose commit waits for a synchronous standby, and when the oldest of their statements began.
    sync_waiters: int = 0
    oldest_sync_wait: datetime | None = None


class RecentChange(msgspec.Struct, frozen=True, gc=False):
    """Something that was not so before: a start, a failover, a reload, a new application, DDL."""

    #: When it happened; or, where that is not known exactly, at the latest.
    at: datetime
    #: start, restart, failover, reload, application or ddl.
    kind: str
    what: str
    is_exact: bool = True
    #: Where it is not exact: when it happened at the earliest; None: not known.
    after: datetime | None = None
    #: How often it was seen, and when first; None: once.
    times: int = 1
    first: datetime | None = None


class AlteredRelation(msgspec.Struct, frozen=True, gc=False):
    """A relation that was created, altered or rewritten."""

    oid: int
    #: The transaction id that did it.
    written_by: int
    #: As pg_class has it: r, p, v, m, f, i or I.
    kind: str
    #: With its schema, and without.
    name: str
    bare_name: str
    #: Of an index.
    table_oid: int | None = None
    #: When that transaction committed; None: the server does not keep that (`track_commit_timestamp`).
    committed: datetime | None = None


class LockStranger(msgspec.Struct, frozen=True, gc=False):
    """Another session that holds an advisory lock of the leader election."""

    #: Of a prepared transaction there is only its `gid`.
    pid: int | None
    gid: str | None
    #: How many such locks it holds.
    locks: int
    #: It calls itself pgdoctor, and its role may signal: it is taken for another pgdoctor.
    may_signal: bool
    user: str | None = None
    #: None: the socket of the server's own host, or hidden.
    address: str | None = None
    application: str | None = None
    database: str | None = None


class OpenTransaction(msgspec.Struct, frozen=True, gc=False):
    """A transaction of a client that is open."""

    pid: int
    since: datetime
    state: str | None = None
    user: str | None = None
    application: str | None = None
    #: Without its values.
    statement: str | None = None


class TransactionWait(msgspec.Struct, frozen=True, gc=False):
    """A tool that waits for transactions to end by asking again and again: no lock shows it."""

    waiter: LatestStatement
    #: In its database, from before its latest question; the oldest first.
    transactions: tuple[OpenTransaction, ...] = ()


class AdvisoryHolder(msgspec.Struct, frozen=True, gc=False):
    """A session that holds an advisory lock."""

    pid: int
    #: As `pg_locks` has it.
    key: AdvisoryKey
    #: Since when it does what its state says.
    since: datetime | None = None
    state: str | None = None
    user: str | None = None
    application: str | None = None


class TriedLock(msgspec.Struct, frozen=True, gc=False):
    """A session has asked for an advisory lock without waiting."""

    trier: LatestStatement
    #: None: its text does not show it.
    key: AdvisoryKey | None
    #: Other sessions that hold it; without a key those that hold any one while idle outside of a transaction.
    holders: tuple[AdvisoryHolder, ...] = ()


class LockTableHolder(msgspec.Struct, frozen=True, gc=False):
    """A session or prepared transaction with many locks in the shared lock table."""

    #: Of a prepared transaction there is only its `gid`.
    pid: int | None
    gid: str | None
    locks: int
    #: Of them, weak table locks that found no place in the fast path.
    overflowed: int
    #: Transaction ids that it holds: its own, and that of each subtransaction.
    ids: int
    user: str | None = None
    database: str | None = None
    application: str | None = None
    backend_type: str | None = None
    state: str | None = None
    #: Of its transaction.
    since: datetime | None = None
    #: Without its values.
    statement: str | None = None


class LockTable(msgspec.Struct, frozen=True, gc=False):
    """How full the server's shared lock table is."""

    #: Locked objects, each of which takes one place however many lock it.
    objects: int
    max_locks_per_transaction: int
    max_connections: int
    max_prepared_transactions: int
    #: Weak table locks, of all sessions, that found no place in the fast path.
    overflowed: int = 0
    #: Those with the most locks.
    holders: tuple[LockTableHolder, ...] = ()

    @property
    def capacity(self) -> int:
        """The places that the settings promise. The server adds some for its own processes, and a reserve."""
        return self.max_locks_per_transaction * (self.max_connections + self.max_prepared_transactions)


class ServerContext(msgspec.Struct, frozen=True, gc=False):
    """All of it, as of `read_at`."""

    read_at: datetime
    standing: ServerLimits | None = None
    #: The largest first, and how many connections there are in all, and new ones.
    clients: tuple[ClientApplication, ...] = ()
    connections: int = 0
    fresh: int = 0
    #: Of some sessions, those that began the latest.
    latest: tuple[LatestStatement, ...] = ()
    #: By database, the busiest ones.
    work: Mapping[str, DatabaseStats] = {}
    #: That all databases have counted; since when at the latest, None: since the server's statistics began.
    deadlocks: int = 0
    deadlocks_since: datetime | None = None
    #: The oldest first.
    ages: tuple[FreezeAge, ...] = ()
    holders: tuple[HorizonHolder, ...] = ()
    slots: tuple[ReplicationSlotState, ...] = ()
    standbys: tuple[Standby, ...] = ()
    lock_strangers: tuple[LockStranger, ...] = ()
    #: None: not read.
    lock_table: LockTable | None = None
    #: Tools that wait for transactions to end, without a lock.
    transaction_waits: tuple[TransactionWait, ...] = ()
    #: The oldest transactions that sessions wait for that want a safe snapshot.
    snapshot_blockers: tuple[OpenTransaction, ...] = ()
    #: With a lock on a table that VACUUM works on while it waits for a pin; the oldest first.
    pin_holders: tuple[OpenTransaction, ...] = ()
    #: Advisory locks that sessions have asked for without waiting.
    tried_locks: tuple[TriedLock, ...] = ()
    #: Since the previous reading, in the connected database; while a transaction stays open, some of it again.
    altered: tuple[AlteredRelation, ...] = ()
    #: All of those were read.
    is_altered_read: bool = False
    #: The oldest transaction that was running, and the next to come, as the numbers of their ids.
    oldest_xid: int | None = None
    next_xid: int | None = None
    #: The identity of the server, and whether it was a standby; empty: not known.
    system_identifier: str = ""
    in_recovery: bool = False
    #: What could not be read, in plain words.
    unread: tuple[str, ...] = ()
    #: From memory: what each database has done since the previous reading, and what is usual there.
    lately: Mapping[str, Rates] = {}
    usual: Mapping[str, Rates] = {}
    #: `latest` of the last reading without a storm.
    latest_before: tuple[LatestStatement, ...] = ()
    #: From memory too, the latest first.
    changes: tuple[RecentChange, ...] = ()


def describe_origin(each: ClientApplication) -> str:
    """Whose connections they are: `"checkout" (app from 10.0.0.5, the busiest of 12)`."""
    others = f"{each.address}, the busiest of {each.addresses}" if each.addresses > 1 else each.address
    return format_client(each.application, each.user, others)


def describe_transaction(each: OpenTransaction, at: datetime) -> str:
    """Whose it is, and for how long it is open: `session 7 of "report" (app), active, open for 5.0 s: select ?`."""
    text = f": {each.statement}" if each.statement else ""
    seconds = format_duration(max((at - each.since).total_seconds(), 0.0))
    return f"session {each.pid} of {format_client(each.application, each.user)}, {each.state}, open for {seconds}{text}"


def sessions_per_second(paces: Iterable[Rates]) -> float:
    """Sessions that come per second, in all databases."""
    return sum(pace.sessions for pace in paces)
