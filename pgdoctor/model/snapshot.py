"""What was read from the server at one moment: frozen values, times on the server's clock.

A *session* is known by its PID; parallel workers are folded into their leader. A prepared transaction holds
locks without having a session: it gets a *node* number below zero, so that waits are always between integers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.anomaly_signals import Anomaly
from pgdoctor.model.lazy import lazy
from pgdoctor.model.lock_modes import STRONG
from pgdoctor.model.query_plan import QueryPlan
from pgdoctor.model.replay import Replay
from pgdoctor.model.server_context import ServerContext

_AT_ONCE = timedelta(seconds=1)

#: What a lock is about: its type and the columns of `pg_locks` that name the object.
Target = tuple[object, ...]

#: Where a session comes from: its application, address, user and type.
Origin = tuple[str | None, str | None, str | None, str | None]

_SECOND = timedelta(seconds=1)

#: Sessions that are compared with it.
_MOST_SAMPLED = 100

#: The objects that a session waits for, each with the mode that it asks for.
Wants = tuple[tuple[Target, str], ...]


class Lock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of `pg_locks`: held, or (not `granted`) asked for. `pid` None: held by a prepared transaction."""

    pid: int | None
    locktype: str
    database: int | None
    relation: int | None
    page: int | None
    tuple: int | None
    virtualxid: str | None
    transactionid: int | None
    classid: int | None
    objid: int | None
    objsubid: int | None
    virtualtransaction: str | None
    mode: str
    granted: bool
    #: None while unknown: the server writes it a moment after the wait began.
    waitstart: datetime | None

    @property
    def target(self) -> Target:
        """The locked object; equal for two locks that can conflict."""
        return (
            self.locktype,
            self.database,
            self.relation,
            self.page,
            self.tuple,
            self.virtualxid,
            self.transactionid,
            self.classid,
            self.objid,
            self.objsubid,
        )


class Session(msgspec.Struct, frozen=True, dict=True):
    """A backend that waits or blocks, as `pg_stat_activity` shows it; None: hidden by missing privileges."""

    pid: int
    #: Nodes this session waits for: PIDs, and prepared transactions below zero. Empty: it does not wait.
    blockers: tuple[int, ...] = ()
    locks: tuple[Lock, ...] = ()
    datname: str | None = None
    usename: str | None = None
    application_name: str | None = None
    client_addr: str | None = None
    backend_type: str | None = None
    state: str | None = None
    statement: str | None = None
    #: The text is longer than the server keeps (`track_activity_query_size`) or than we fetch.
    truncated: bool = False
    wait_event_type: str | None = None
    wait_event: str | None = None
    backend_start: datetime | None = None
    xact_start: datetime | None = None
    query_start: datetime | None = None
    state_change: datetime | None = None
    has_xid: bool = False
    #: A login that waits for a lock; nothing else is known of it.
    is_starting: bool = False
    #: It may be behind a savepoint, or has been.
    has_subtransactions: bool = False
    is_superuser: bool = False
    #: A function that its statement calls may catch a cancel.
    may_catch_cancel: bool = False
    #: Our role may signal it; None: not read. Of sessions that block others.
    may_signal: bool | None = None
    #: Its user's name, and the roles that it is a member of, directly or not; None: not read.
    roles: frozenset[str] | None = None

    @property
    def is_visible(self) -> bool:
        """Its columns may be read by our role."""
        return self.backend_type is not None

    @property
    def in_transaction_idle(self) -> bool:
        """It has a transaction open and runs nothing, in the aborted form too."""
        return self.state in ("idle in transaction", "idle in transaction (aborted)")

    @property
    def has_changes(self) -> bool:
        """A rollback of its transaction would lose something, as far as its locks show.

        Locking rows brings an id too, and so does the mere request for AccessExclusiveLock. An id that neither
        explains is that of a change whose lock is given back already: GRANT.
        """
        modes = {lock.mode for lock in self.held if lock.locktype == "relation"} - {"AccessShareLock"}
        asks = any(lock.mode == "AccessExclusiveLock" for lock in self.requests)
        return self.has_xid and (bool(modes - {"RowShareLock"}) or not (modes or asks))

    @property
    def queued_at_once(self) -> bool:
        """Its one statement asks for a strong table lock, and was younger than a second when it began to.

        A transaction of several has begun before its statement; so a cancel takes back the work of that second only.
        """
        starts = [lock.waitstart for lock in self.requests if lock.locktype == "relation" and lock.mode in STRONG]
        if self.xact_start is None or self.xact_start != self.query_start or not 0 < len(starts) == len(self.requests):
            return False
        return all(start is not None and start - self.xact_start < _AT_ONCE for start in starts)

    @lazy
    def requests(self) -> tuple[Lock, ...]:
        """The locks it waits for: one, or more with parallel workers."""
        return tuple(lock for lock in self.locks if not lock.granted)

    @lazy
    def held(self) -> tuple[Lock, ...]:
        """The locks it holds, as far as they are evidence."""
        return tuple(lock for lock in self.locks if lock.granted)


def find_blocking(sessions: Iterable[Session]) -> frozenset[int]:
    """The nodes that one of the sessions waits for."""
    return frozenset().union(*(session.blockers for session in sessions))


class PreparedTransaction(msgspec.Struct, frozen=True, gc=False):
    """A transaction of `PREPARE TRANSACTION` that is neither committed nor rolled back."""

    node: int
    #: None where it was finished before it could be looked up.
    gid: str | None = None
    transactionid: int | None = None
    prepared: datetime | None = None
    owner: str | None = None
    datname: str | None = None
    locks: tuple[Lock, ...] = ()


class RowLocker(msgspec.Struct, frozen=True, gc=False):
    """A session or prepared transaction with a table lock under which it may have locked rows of a contested table."""

    pid: int | None
    #: None for a session, and for a prepared transaction that was finished before it could be looked up.
    gid: str | None
    database: int
    relation: int
    #: It has RowShareLock: FOR UPDATE, FOR SHARE or the like, or the check of a foreign key.
    locks_rows: bool
    #: It has RowExclusiveLock.
    changes_rows: bool
    #: Other relations that it has locked in one of these modes; indexes too.
    others: frozenset[int] = frozenset()
    #: What its current or last statement says: `update`, `no key update`, `share`, `key share`, `insert`, `delete`.
    says: frozenset[str] = frozenset()


class UniqueKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A key of an index; `column` is None where it is an expression."""

    column: str | None
    #: It is sorted as `<` compares.
    is_ordered: bool = True
    #: The beginning of a text can be searched in it (LIKE 'x%').
    has_prefixes: bool = False
    #: Its collation is the column's, so that it serves a plain comparison.
    has_own_collation: bool = True


class IndexInfo(msgspec.Struct, frozen=True, gc=False):
    """An index of a table. A whole-row reference among its columns is `*`."""

    method: str
    is_usable: bool
    keys: tuple[UniqueKey, ...]
    #: Columns that its expressions are made of.
    expression_columns: tuple[str, ...] = ()
    #: Columns of its predicate; None: it is not partial.
    predicate_columns: tuple[str, ...] | None = None
    #: Its predicate is one `column IS NOT NULL` and nothing else.
    is_not_null: bool = False
    #: Its first key is what a function makes of columns: no condition on a column itself is searched by it.
    begins_with_function: bool = False

    @property
    def is_partial(self) -> bool:
        return self.predicate_columns is not None


class ColumnStats(msgspec.Struct, frozen=True, gc=False):
    """A column of a table. The shares are of all rows, and None where statistics are missing or hidden."""

    name: str
    #: As it must be written in a statement.
    quoted: str
    type: str
    #: Texts in it are ordered byte by byte (collation C).
    is_bytewise: bool = False
    is_partition_key: bool = False
    null_share: float | None = None
    #: How many different values; below zero: as a share of the rows.
    distinct_values: float | None = None
    #: Share of the most frequent value.
    top_share: float | None = None
    #: How its statistics are read: by our role itself, by the functions of `pgdoctor setup --stats`, or not at all.
    statistics_by: Literal["role", "functions", "nobody"] = "role"

    @property
    def is_hidden(self) -> bool:
        """Whether there are statistics of it cannot be known."""
        return self.statistics_by == "nobody"


class ValueShare(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The share of the rows of a table that have, in one column, one of the values that a statement names."""

    table: int
    column: str
    share: float
    #: The statement asks for the rows that have none of these values.
    is_excluded: bool = False


class ForeignKey(msgspec.Struct, frozen=True, gc=False):
    """A foreign key of the table `table` that references the relation it is noted at."""

    name: str
    table: int
    columns: tuple[str, ...]
    referenced_columns: tuple[str, ...]
    #: `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default.
    on_delete: str = "a"
    on_update: str = "a"


class ScanCounts(msgspec.Struct, frozen=True, gc=False):
    """Sequential scans of a table by all sessions, and the rows they read, as far as they were reported."""

    count: int
    rows: int
    #: Within how many seconds; None: since the server's statistics began.
    seconds: float | None = None


class SimpleView(msgspec.Struct, frozen=True, gc=False):
    """What a view is that shows nothing but columns of one table: its columns by name, as those of the table."""

    table: int
    columns: Mapping[str, str]
    #: Columns of the table by which the view restricts its rows; `*` for what is not known.
    restricted_by: tuple[str, ...] = ()


class Relation(msgspec.Struct, frozen=True, gc=False):
    """A relation of the connected database. `live_rows` and `pages` are estimates; below zero is unknown."""

    oid: int
    name: str
    kind: str
    is_system: bool
    pages: int
    live_rows: float
    #: The table of an index, else None.
    table: int | None = None
    #: None: not read.
    indexes: tuple[IndexInfo, ...] | None = None
    #: By name; None: not read.
    columns: Mapping[str, ColumnStats] | None = None
    #: Tables below it that have rows of it: partitions, or those that inherit from it. None: not read.
    parts: tuple[int, ...] | None = ()
    #: Those that reference it. None: not read.
    referenced_by: tuple[ForeignKey, ...] | None = None
    #: None: not read.
    scans: ScanCounts | None = None
    #: It belongs to one session alone.
    is_temporary: bool = False
    #: Of a view of one table that a running blocker works on.
    view: SimpleView | None = None

    @property
    def bare_name(self) -> str:
        """Its name without schema and quotes."""
        return self.name.rpartition(".")[2].strip('"')

    def is_named(self, names: Iterable[str]) -> bool:
        """A statement calls it by one of these names, with or without a schema."""
        return any(name.rpartition(".")[2] == self.bare_name for name in names)


class LockedObject(msgspec.Struct, frozen=True, gc=False):
    """An object other than a relation that a session waits for: `role`, `app`. The catalog's OID and its own."""

    classid: int
    objid: int
    type: str
    name: str


class ToolTraces(msgspec.Struct, frozen=True, gc=False):
    """What may give away the tool behind a session: its advisory locks; version tables, by schema and name."""

    keys: tuple[AdvisoryKey, ...] = ()
    tables: tuple[tuple[str, str], ...] = ()


class KnownLock(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A lock that a transaction is known to have held since a moment, and maybe for longer."""

    target: Target
    mode: str
    since: datetime


class IdleShare(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """In how many of the last polls a transaction was idle."""

    idle: int
    polls: int
    #: In most of them; it stays so until the share is clearly smaller.
    is_mostly_idle: bool


class LockTurns(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who held, before its present holder and one after the other, a lock that only one can hold. In seconds."""

    #: Turns that waiters of now have waited through, and the longest of them, as far as it may have been.
    earlier: int = 0
    longest: float = 0.0
    #: Turns that ended recently, of all waiters.
    recent: int = 0
    #: The present holder may have had it for so long, and for no longer.
    held_at_most: float = 0.0
    #: A waiter has waited since before the holder's transaction began: another one held the lock then.
    was_held_before: bool = False
    #: No earlier snapshot has shown the lock contested.
    is_first: bool = False


class CommandProgress(msgspec.Struct, frozen=True, gc=False):
    """How far a command has come in its present phase. `total` 0: that is not known.

    The unit is the phase's own: blocks, tuples, bytes, or transactions waited for.
    """

    command: str
    phase: str
    done: int = 0
    total: int = 0


class Connections(msgspec.Struct, frozen=True, gc=False):
    """Client connections by state. `unknown`: hidden by missing privileges, or a state of a newer server."""

    active: int = 0
    idle: int = 0
    idle_in_transaction: int = 0
    idle_in_transaction_aborted: int = 0
    fastpath_function_call: int = 0
    unknown: int = 0


class ServerInfo(msgspec.Struct, frozen=True, gc=False):
    """The server as the gate of a poll sees it."""

    version_num: int
    in_recovery: bool
    max_connections: int
    connections: int
    connections_by_state: Connections
    #: Database we are connected to: only its relation names are known.
    database: str | None = None
    database_oid: int | None = None
    own_pid: int = 0
    #: Sessions whose columns our role may not see.
    hidden_sessions: int = 0
    snapshot_waiters: int = 0
    pin_waiters: int = 0
    #: Seconds after which the server looks for deadlocks, and cancels a blocking autovacuum.
    deadlock_timeout: float = 1.0
    #: Seconds for which the oldest open transaction of a client has been open; 0 where there is none.
    oldest_transaction: float = 0.0
    #: Where it was connected to: a host or its address, or the folder of a socket; and as whom. None: not known.
    host: str | None = None
    port: int | None = None
    user: str | None = None
    #: None: it has none.
    cluster_name: str | None = None


class JournalUse(msgspec.Struct, frozen=True, gc=False):
    """How full the agent's journal is, in bytes: in use, of them for what makes no room, and what it may take."""

    used: int
    lasting: int
    limit: int


class DeadlockMember(msgspec.Struct, frozen=True, gc=False):
    """A session of a deadlock, and what it waited for; its statement without values."""

    pid: int
    application: str | None
    user: str | None
    statement: str | None
    waits_for: str
    relation: str | None = None


class PastDeadlock(msgspec.Struct, frozen=True):
    """A deadlock that a snapshot has shown; or, without members, `number` of them that the server has counted."""

    #: Of the first snapshot that shows it; of the counters, when they were read.
    at: datetime
    members: tuple[DeadlockMember, ...] = ()
    number: int = 1
    database: str | None = None


class Login(msgspec.Struct, frozen=True, gc=False):
    """The agent's login probe."""

    #: Seconds that the last login took which ended well; None: there was none yet.
    seconds: float | None = None
    #: Why the last one failed, or for how long it has hung; None: it ended well.
    error: str | None = None
    #: Seconds since the first of the attempts in a row that failed.
    failing_for: float = 0.0


class OtherDatabase(msgspec.Struct, frozen=True):
    """A database that an incident touches, other than the connected one, and what was read in it.

    Facts by OID are here and not in the snapshot: copies of one template have the same OIDs.
    """

    #: As the server has it; None: it is not known.
    name: str | None
    relations: Mapping[int, Relation] = {}
    #: Of this database, or shared by all.
    objects: tuple[LockedObject, ...] = ()
    #: By OID of a relation: the names, as in a statement, of all tables that it is a partition or a child of, at any
    #: depth. A relation that is left out, or None: not read.
    ancestors: Mapping[int, frozenset[str]] | None = None
    #: As those of the snapshot.
    former_holders: Mapping[int, frozenset[int]] = {}
    earlier_scans: Mapping[int, ScanCounts] = {}
    #: Why nothing was read in it, in plain words; None: something was.
    unread: str | None = None


class Bounds(NamedTuple):
    """For how many seconds a statement has been blocked: for `least` with certainty, for `most` at most."""

    #: None: it waits, and the server has not written yet since when.
    least: float | None
    #: None: hidden from our role.
    most: float | None


class Snapshot(msgspec.Struct, frozen=True, dict=True):
    """All that a diagnosis is made of; `captured_at` is the server's clock."""

    captured_at: datetime
    server: ServerInfo
    sessions: Mapping[int, Session] = {}
    prepared: tuple[PreparedTransaction, ...] = ()
    relations: Mapping[int, Relation] = {}
    #: Of the connected database, or shared by all.
    objects: tuple[LockedObject, ...] = ()
    #: By PID, of running blockers: how frequent the values are that their statements search for.
    value_shares: Mapping[int, tuple[ValueShare, ...]] = {}
    #: By PID, of running blockers: OIDs of tables that they join to what they change, as far as that was looked up.
    read_tables: Mapping[int, tuple[int, ...]] = {}
    #: Sessions that may have locked rows of the tables on which a session waits for a row.
    row_lockers: tuple[RowLocker, ...] = ()
    #: Of earlier snapshots: table OID to the sessions that held a row of it, in transactions that are over.
    former_holders: Mapping[int, frozenset[int]] = {}
    #: By PID: locks of this transaction in earlier snapshots that blocked other sessions.
    known_locks: Mapping[int, tuple[KnownLock, ...]] = {}
    #: By PID, of blockers: the first of the snapshots in a row that show its statement in the wait that it is in.
    known_events: Mapping[int, datetime] = {}
    #: By PID, of transactions that earlier polls have shown too.
    idle_shares: Mapping[int, IdleShare] = {}
    #: By PID of the holder of a lock that others want: who held it before.
    lock_turns: Mapping[int, LockTurns] = {}
    #: By PID: since when each snapshot and gate poll has shown its statement waiting.
    blocked_since: Mapping[int, datetime] = {}
    #: By table OID: scans that were reported between an earlier snapshot and this one, by all sessions.
    earlier_scans: Mapping[int, ScanCounts] = {}
    #: By PID, of running blockers, where the planner was to be asked.
    plans: Mapping[int, QueryPlan] = {}
    #: By PID, of blockers whose command reports it.
    progress: Mapping[int, CommandProgress] = {}
    #: By PID, of blockers with a strong table lock or an advisory one.
    traces: Mapping[int, ToolTraces] = {}
    #: As of the poll before: what has been unusual for some time.
    anomalies: tuple[Anomaly, ...] = ()
    #: By PID, of blockers whose lock and text leave it open: its transaction has changed the definition of a relation
    #: that others wait for. Left out where that is not known.
    redefines: Mapping[int, bool] = {}
    #: PIDs of those among them that have rewritten such a table as CLUSTER does.
    clustering: frozenset[int] = frozenset()
    #: Read seldom, and maybe some seconds older than the rest; None: not read.
    surroundings: ServerContext | None = None
    #: Of a standby, while its replay waits for a session, or sessions wait for it.
    replay: Replay | None = None
    #: None: there is no journal, or it was not read yet.
    journal: JournalUse | None = None
    #: Of earlier snapshots and counters, the latest last; one that still lasts may be among them.
    past_deadlocks: tuple[PastDeadlock, ...] = ()
    #: None: the login probe is off.
    login: Login | None = None
    #: What could not be read this time, in plain words.
    unread: tuple[str, ...] = ()
    #: By OID: the databases that it touches, without the connected one.
    databases: Mapping[int, OtherDatabase] = {}

    def seen_from(self, database: str | None) -> "Snapshot":
        """The snapshot as a connection to that database shows it; itself, where nothing was read there."""
        return self._views.get(database or "", self)

    @lazy
    def _views(self) -> Mapping[str, "Snapshot"]:
        return {
            each.name: replace(
                self,
                server=replace(self.server, database=each.name, database_oid=oid),
                relations=each.relations,
                objects=each.objects,
                former_holders=each.former_holders,
                earlier_scans=each.earlier_scans,
                databases=self._databases_beside(oid),
            )
            for oid, each in self.databases.items()
            if each.name and each.unread is None
        }

    def _databases_beside(self, oid: int) -> Mapping[int, OtherDatabase]:
        """All databases but one, the connected one too."""
        found = {other: each for other, each in self.databases.items() if other != oid}
        if self.server.database_oid is not None:
            found[self.server.database_oid] = OtherDatabase(self.server.database, self.relations, self.objects)
        return found

    def seconds_since(self, moment: datetime | None) -> float | None:
        """Seconds from `moment` to this snapshot, never below zero; None if the moment is unknown."""
        if moment is None:
            return None
        return max((self.captured_at - moment) / _SECOND, 0.0)

    @lazy
    def blocked_bounds(self) -> Mapping[int, Bounds]:
        """By PID, for how long the statement of each session has been blocked.

        For certain since the first snapshot from which on each has shown it waiting, or since its present wait began.
        No longer than the statement runs. Computed once: a convoy asks for every waiter of every blocker.
        """
        return {pid: self._bound_wait(session) for pid, session in self.sessions.items()}

    @lazy
    def blocked_ages(self) -> tuple[Mapping[int, float], Mapping[int, float]]:
        """The `blocked_bounds`, the least and the most each on its own; below zero where they are not known."""
        least = {pid: -1.0 if each.least is None else each.least for pid, each in self.blocked_bounds.items()}
        return least, {pid: -1.0 if each.most is None else each.most for pid, each in self.blocked_bounds.items()}

    @lazy
    def wants(self) -> tuple[Wants, ...]:
        """What sessions wait for, each combination once: a thousand sessions in a queue want the same."""
        return tuple(self._numbered_wants[0])

    @lazy
    def wants_of(self) -> Mapping[int, int]:
        """By PID: the place in `wants` of what it waits for."""
        return self._numbered_wants[1]

    @lazy
    def _numbered_wants(self) -> tuple[Mapping[Wants, int], Mapping[int, int]]:
        numbers: dict[Wants, int] = {}
        places: dict[int, int] = {}
        for pid, session in self.sessions.items():
            wants = tuple((lock.target, lock.mode) for lock in session.requests)
            places[pid] = numbers.setdefault(wants, len(numbers))
        return numbers, places

    def sample_beside(self, session: Session) -> Sequence[Session]:
        """Some of the other sessions: a crowd may have a thousand, and a few show as much."""
        return [each for each in self._sample if each is not session][:_MOST_SAMPLED]

    def count_alike(self, session: Session) -> int:
        """How many of those have the application, the address, the user and the type of a session."""
        counts, places = self._sampled
        place = places.get(session.pid, _MOST_SAMPLED)
        if self.sessions.get(session.pid) is not session or place >= _MOST_SAMPLED:
            return counts[_origin_of(session)]
        # The one behind the sample takes its place.
        following = map(_origin_of, self._sample[_MOST_SAMPLED:])
        return counts[_origin_of(session)] - 1 + sum(origin == _origin_of(session) for origin in following)

    @lazy
    def _sampled(self) -> tuple[Counter[Origin], Mapping[int, int]]:
        """The origins in the sample, and its sessions' places by PID."""
        places = {session.pid: place for place, session in enumerate(self._sample)}
        return Counter(map(_origin_of, self._sample[:_MOST_SAMPLED])), places

    @lazy
    def _sample(self) -> Sequence[Session]:
        """One more than is looked at: the session in question may be among them."""
        return list(islice(self.sessions.values(), _MOST_SAMPLED + 1))

    def _bound_wait(self, session: Session) -> Bounds:
        since, present = self.seconds_since(self.blocked_since.get(session.pid)), self.present_wait(session)
        least = (
            max(since, present) if since is not None and present is not None else since if present is None else present
        )
        return Bounds(least, self.seconds_since(session.query_start))

    def present_wait(self, session: Session) -> float | None:
        """Seconds of the longest wait of its requests, by the server's record; None: not recorded, or no wait."""
        return self.seconds_since(min((lock.waitstart for lock in session.requests if lock.waitstart), default=None))

    def moment_before(self, seconds: float | None) -> datetime | None:
        """The moment so many seconds before this snapshot; None where they are unknown."""
        return None if seconds is None else self.captured_at - timedelta(seconds=seconds)

    def is_here(self, lock: Lock) -> bool:
        """A lock is on something of the connected database, or shared by all."""
        return lock.database in (self.server.database_oid, 0)

    def relation_of(self, lock: Lock) -> Relation | None:
        """The relation that a lock is about, an index too; None where its database was not read."""
        return self._relations_of(lock).get(lock.relation) if lock.relation is not None else None

    def table_of(self, lock: Lock) -> Relation | None:
        """The table that a lock is about (an index leads to its table), in the database of the lock.

        An OID means another table in another database, or none: no name is invented where that one was not read.
        """
        relation = self.relation_of(lock)
        if relation is not None and relation.table is not None:
            return self._relations_of(lock).get(relation.table, relation)
        return relation

    def objects_of(self, lock: Lock) -> tuple[LockedObject, ...]:
        """The objects that are known in the database of a lock."""
        if self.is_here(lock):
            return self.objects
        other = self.databases.get(lock.database or 0)
        return other.objects if other is not None else ()

    def _relations_of(self, lock: Lock) -> Mapping[int, Relation]:
        if self.is_here(lock):
            return self.relations
        other = self.databases.get(lock.database or 0)
        return other.relations if other is not None else {}


def _origin_of(session: Session) -> Origin:
    return session.application_name, session.client_addr, session.usename, session.backend_type
