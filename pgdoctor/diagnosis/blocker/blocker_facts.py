"""A blocker with all that the causes may look at: its session, its locks, and those who wait for it."""

from collections.abc import Iterable, Mapping
from itertools import chain, islice

from pgdoctor.diagnosis.blocker import migration_tools
from pgdoctor.diagnosis.blocker.lock_names import describe_object
from pgdoctor.diagnosis.blocker.migration_tools import DetectedTool
from pgdoctor.diagnosis.blocker.row_locks import CoHolders
from pgdoctor.model.lazy import lazy
from pgdoctor.model.lock_modes import STRONG, mode_strength, modes_conflict
from pgdoctor.model.snapshot import (
    Lock,
    PreparedTransaction,
    Relation,
    RowLocker,
    Session,
    Snapshot,
    Target,
    ToolTraces,
)
from pgdoctor.model.wait_graph import Node, WaitGraph
from pgdoctor.model.waits import awaited_table, oldest_lock_wait
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.statement import Conditions, Statement
from pgdoctor.sqltext.statement_shape import StatementShape, read_shape

#: Sessions in the queue for a row from which on it may be a hot one, besides those who are first in a line.
LONG_QUEUE = 2

#: Seconds: a transaction older than this keeps what it holds, and one that is idle longer than that waits for its
#: client.
YOUNG = 5.0
BRIEFLY = 1.0

#: Lock types by which a session waits for a row or a key.
_ROW_WAITS = frozenset({"transactionid", "tuple", "spectoken"})

#: Direct waiters looked at for evidence. A convoy has a thousand behind each of a thousand; a few show as much.
MOST_WITNESSES = 100


class BlockerFacts:
    """One blocker of a snapshot. `session` is None for a prepared transaction, and `prepared` for a session."""

    def __init__(self, node: Node, snapshot: Snapshot, graph: WaitGraph) -> None:
        self.node = node
        self.graph = graph
        self.prepared: PreparedTransaction | None = next(
            (transaction for transaction in snapshot.prepared if transaction.node == node), None
        )
        self.session: Session | None = None
        if self.prepared is None:
            self.session = snapshot.sessions.get(node) or Session(pid=node)
        self.database: str | None = (self.prepared or self.session or Session(pid=node)).datname
        #: As its own database shows it, for OIDs and names are of that one.
        self.snapshot = snapshot.seen_from(self.database)
        #: Its database, where that is not the connected one.
        self.other_database = self.database if snapshot.server.database not in (None, self.database) else None

    @lazy
    def statement(self) -> Statement:
        """Its current statement, or its last one where it is idle."""
        if self.session is None or self.session.statement is None:
            return statement.read_statement("")
        return statement.read_statement(self.session.statement, truncated=self.session.truncated)

    @lazy
    def table_conditions(self) -> tuple[Conditions, ...]:
        """What its statement asks of the tables it reads."""
        if self.session is None or self.session.statement is None:
            return ()
        return statement.read_searches(self.session.statement, truncated=self.session.truncated)

    @lazy
    def statement_shape(self) -> StatementShape | None:
        """Its running statement for the planner; None where that is not to be asked about it."""
        session = self.session
        if session is None or session.statement is None or session.truncated or not self.is_running:
            return None
        if self.is_waiting or not self.statement.is_one or not self.statement.is_whole:
            return None
        return read_shape(session.statement)

    @property
    def is_running(self) -> bool:
        """One of its statements is running (it may wait for a lock)."""
        return self.session is not None and self.session.state == "active"

    @property
    def is_in_motion(self) -> bool:
        """Its transaction is young and goes on."""
        age = self.transaction_seconds
        return self.is_going_on and age is not None and age < YOUNG

    @property
    def is_going_on(self) -> bool:
        """Its transaction runs a statement, or pauses shortly between two."""
        pause = self.state_seconds
        if self.session is None or pause is None:
            return False
        return self.is_running or (self.session.state == "idle in transaction" and pause < BRIEFLY)

    @property
    def is_waiting(self) -> bool:
        """It waits for another session itself."""
        return self.node in self.graph.blockers_of

    @property
    def is_root(self) -> bool:
        """It waits for no session."""
        return not self.is_waiting

    @lazy
    def locks(self) -> tuple[Lock, ...]:
        """Its locks, held and asked for, as far as they are evidence."""
        holder = self.session or self.prepared
        return holder.locks if holder is not None else ()

    @lazy
    def held_locks(self) -> tuple[Lock, ...]:
        """The locks it holds."""
        return tuple(lock for lock in self.locks if lock.granted)

    @lazy
    def sampled_waiters(self) -> tuple[Session, ...]:
        """Some of the sessions that wait for it directly."""
        return tuple(map(self.snapshot.sessions.__getitem__, self._witness_pids))

    @lazy
    def blocking_locks(self) -> tuple[Lock, ...]:
        """The locks it holds that block another session, the strongest first."""
        return self._in_the_way(self.held_locks)

    @lazy
    def queued_locks(self) -> tuple[Lock, ...]:
        """The locks it asks for itself, ahead of others who therefore wait too."""
        return self._in_the_way(lock for lock in self.locks if not lock.granted)

    @property
    def obstacles(self) -> tuple[Lock, ...]:
        """All that its waiters wait for: its locks and its requests. By these, and by no other lock, it blocks."""
        return (*self.blocking_locks, *self.queued_locks)

    @lazy
    def strong_table_locks(self) -> tuple[Lock, ...]:
        """Locks that no plain DML takes, held or asked for, on relations that others can see; the strongest first."""
        found = (lock for lock in self.locks if lock.locktype == "relation" and lock.mode in STRONG)
        return tuple(sorted(filter(self.is_lasting, found), key=lambda lock: -mode_strength(lock.mode)))

    @lazy
    def contested_types(self) -> frozenset[str]:
        """The types of the locks by which it blocks."""
        return frozenset(lock.locktype for lock in self.blocking_locks or self.queued_locks)

    def waiters_for(self, locktype: str) -> int:
        """How many of the witnesses wait for a lock of this type that it holds or asks for."""
        targets = {lock.target for lock in self.obstacles if lock.locktype == locktype}
        return sum(any(request.target in targets for request in waiter.requests) for waiter in self.sampled_waiters)

    @lazy
    def row_queue(self) -> int:
        """How many sessions queue for a row that it holds; 0 if no session waits for its transaction.

        The first in line for a row holds its tuple lock, and the others wait for that one. But once the row has
        changed hands all of them wait for the new holder's transaction, without any tuple lock (measured, 14 and 18).
        """
        if "transactionid" not in self.contested_types:
            return 0
        first = sum(any(lock.locktype == "tuple" for lock in waiter.held) for waiter in self.sampled_waiters)
        return self.graph.count_blocked(self.node) - first

    @lazy
    def co_holders(self) -> Mapping[Node, tuple[RowLocker, ...]]:
        """By waiter: who may hold the row too that it waits for, unseen behind this one."""
        holder = self.session or self.prepared
        if holder is None or not self.snapshot.row_lockers or "transactionid" not in self.contested_types:
            return {}
        rivals = CoHolders(holder, self.snapshot, lambda pid: self.graph.stands_behind(pid, self.node))
        waiters = (self.snapshot.sessions[pid] for pid in self.graph.direct_waiters(self.node))
        return {waiter.pid: found for waiter in waiters if (found := rivals.find_lockers(waiter))}

    @property
    def may_be_nested(self) -> bool:
        """A savepoint may keep some of the locks by which it holds others up, if its statement fails."""
        if self.session is None or not self.session.has_subtransactions:
            return False
        # A handler in the code that it calls may go on, and ask again.
        return bool(self.blocking_locks) or self.statement.is_wrapper

    @lazy
    def blocking_table(self) -> Relation | None:
        """The table that it holds others up on; None where the locks do not show it."""
        # A row's lock only says in which queue it is the first.
        contested = sorted(self.blocking_locks, key=lambda lock: lock.locktype != "relation")
        for lock in (*contested, *self.queued_locks):
            if (table := self.snapshot.table_of(lock)) is not None:
                return table
        for waiter in self.sampled_waiters:
            for request in waiter.requests:
                if (table := awaited_table(self.snapshot, waiter, request, self.held_locks)) is not None:
                    return table
        return None

    @lazy
    def contested_row_table(self) -> Relation | None:
        """The table of the rows or keys that others wait for; it may have locked another table for a waiter, too."""
        for waiter in self.sampled_waiters:
            for request in waiter.requests:
                if request.locktype in _ROW_WAITS and (
                    table := awaited_table(self.snapshot, waiter, request, self.held_locks)
                ):
                    return table
        return None

    @property
    def transaction_seconds(self) -> float | None:
        """Age of its transaction in seconds."""
        if self.prepared is not None:
            return self.snapshot.seconds_since(self.prepared.prepared)
        return self.snapshot.seconds_since(self.session.xact_start) if self.session else None

    @property
    def state_seconds(self) -> float | None:
        """Seconds since its state changed: how long it has been idle, or how long its statement has run."""
        return self.snapshot.seconds_since(self.session.state_change) if self.session else None

    @property
    def statement_seconds(self) -> float | None:
        """Seconds since its current statement began."""
        return self.snapshot.seconds_since(self.session.query_start) if self.session else None

    @lazy
    def migration_tool(self) -> DetectedTool | None:
        """The migration tool that it belongs to, where that shows."""
        if self.session is None:
            return None
        traces = self.snapshot.traces.get(self.node, ToolTraces())
        application, text = self.session.application_name or "", self.session.statement or ""
        return migration_tools.detect_tool(application, text, traces, self.database or "")

    @property
    def redefines(self) -> bool | None:
        """Its transaction has changed a definition of what it has locked; None where that is not known."""
        return self.snapshot.redefines.get(self.node)

    @property
    def waiting_seconds(self) -> float | None:
        """Seconds it has waited itself; None where it does not wait, or where that is not known yet."""
        return oldest_lock_wait(self.snapshot, [self.session]) if self.session else None

    def name_lock(self, lock: Lock) -> str:
        """A lock in words: `AccessExclusiveLock on public.orders`."""
        return f"{lock.mode} on {describe_object(self.snapshot, lock, self.database)}"

    def is_on_index(self, lock: Lock) -> bool:
        """It locks an index, and not the table."""
        table = self.snapshot.table_of(lock)
        return table is not None and table.oid != lock.relation

    def is_lasting(self, lock: Lock) -> bool:
        """Temporary relations, and those that its own transaction has created: no other session uses them."""
        if not self.snapshot.is_here(lock):
            return True
        relation = self.snapshot.table_of(lock)
        return relation is not None and not relation.is_temporary and not relation.is_system

    def is_on_lasting_table(self, lock: Lock) -> bool:
        """It locks a table, not an index, that is neither temporary nor new."""
        return self.is_lasting(lock) and not self.is_on_index(lock)

    def _in_the_way(self, locks: Iterable[Lock]) -> tuple[Lock, ...]:
        """Those of the locks that conflict with what a direct waiter asks for, the strongest first."""
        found = (
            lock
            for lock in locks
            if any(modes_conflict(lock.mode, mode) for mode in self._requested_modes.get(lock.target, ()))
        )
        return tuple(sorted(found, key=lambda lock: -mode_strength(lock.mode)))

    @lazy
    def _witness_pids(self) -> tuple[Node, ...]:
        return tuple(islice(self.graph.direct_waiters(self.node), MOST_WITNESSES))

    @lazy
    def _requested_modes(self) -> dict[Target, set[str]]:
        """What its direct waiters ask for: modes by locked object."""
        numbers = {*map(self.snapshot.wants_of.__getitem__, self._witness_pids)}
        wanted: dict[Target, set[str]] = {}
        for target, mode in chain.from_iterable(self.snapshot.wants[number] for number in numbers):
            wanted.setdefault(target, set()).add(mode)
        return wanted
