"""Single waits: by which lock a session waits for another, whether that one holds it, and which table it is about."""

from collections.abc import Iterable, Iterator, Mapping, Set

import msgspec

from pgdoctor.model.lazy import lazy
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.snapshot import Bounds, Lock, PreparedTransaction, Relation, Session, Snapshot, Target, Wants
from pgdoctor.model.wait_graph import Node, WaitGraph

_WRITES = ("RowShareLock", "RowExclusiveLock")

#: pg_largeobject and pg_largeobject_metadata, the same on every server.
LARGE_OBJECT_CATALOGS = frozenset({2613, 2995})

#: Blockers of one session from which on the few are looked for that hold a lock.
_LONG_LIST = 20


class Pair(msgspec.Struct, frozen=True, gc=False):
    """One session that waits for one node."""

    waiter: Session
    node: Node
    #: None where the locks changed while they were read.
    request: Lock | None
    #: The node does not hold the lock; it waits for it itself, ahead in the queue.
    queued: bool


class _Queue:
    """Those who only ask for what a waiter asks for."""

    def __init__(self, asking: frozenset[Node], blockers: Set[Node]) -> None:
        self.asking = asking
        self._blockers = blockers

    @lazy
    def others(self) -> Set[Node]:
        """All other blockers."""
        return self._blockers - self.asking


class Waits:
    """The waits of a snapshot, pair by pair and lazily: a convoy has half a million of them."""

    def __init__(self, snapshot: Snapshot, graph: WaitGraph) -> None:
        self.snapshot = snapshot
        self.graph = graph
        self.prepared: Mapping[Node, PreparedTransaction] = {each.node: each for each in snapshot.prepared}
        self._queues: dict[Wants, _Queue] = {}

    def __iter__(self) -> Iterator[Pair]:
        """Every pair: those whose blocker holds the lock first, the queued ones last."""
        for queued in (False, True):
            for pid in self.graph.waiters:
                waiter = self.snapshot.sessions[pid]
                queue = self._queue_for(self.snapshot.wants[self.snapshot.wants_of[pid]])
                for node in self.graph.blockers_of[pid] if queued else self._list_others(pid, queue):
                    request, is_queued = self._find_request(waiter, node, queue)
                    if is_queued is queued:
                        yield Pair(waiter, node, request, queued)

    def find_table(self, pair: Pair) -> Relation | None:
        """The table that a wait is about; None where the locks do not show it for certain."""
        if pair.request is None:
            return None
        return awaited_table(self.snapshot, pair.waiter, pair.request, self._locks_of(pair.node))

    def _find_request(self, waiter: Session, node: Node, queue: _Queue) -> tuple[Lock | None, bool]:
        """By which of its requests a session waits for the node: several only with parallel workers."""
        requests = waiter.requests
        if len(requests) == 1 and node in queue.asking:
            return requests[0], True
        held, asked = self._held.get(node, {}), self._asked.get(node, frozenset())
        for request in requests:
            if any(modes_conflict(mode, request.mode) for mode in held.get(request.target, ())):
                return request, False
        for request in requests:
            if request.target in asked:
                return request, True
        return (requests[0] if requests else None), False

    def _list_others(self, pid: Node, queue: _Queue) -> Iterable[Node]:
        """The blockers of a session that do not only ask for what it asks for.

        In a long queue nearly all of half a million pairs are of that kind: none of them is looked at.
        """
        blockers = self.graph.blockers_of[pid]
        if len(blockers) <= _LONG_LIST:
            return [node for node in blockers if node not in queue.asking]
        others = [node for node in queue.others if self.graph.waits_directly(pid, node)]
        return sorted(others, key=blockers.index)

    def _queue_for(self, wants: Wants) -> _Queue:
        """The blockers that ask for one of these objects, and hold none: they queue, and block those behind them."""
        if wants not in self._queues:
            asking, holding = ({node for target, _ in wants for node in by.get(target, ())} for by in self._by_target)
            self._queues[wants] = _Queue(frozenset(asking - holding), self.graph.blockers)
        return self._queues[wants]

    def _locks_of(self, node: Node) -> tuple[Lock, ...]:
        holder = self.snapshot.sessions.get(node) or self.prepared.get(node)
        return holder.locks if holder else ()

    @lazy
    def _held(self) -> dict[Node, dict[Target, list[str]]]:
        """The modes each blocker holds, by locked object."""
        found: dict[Node, dict[Target, list[str]]] = {}
        for node in self.graph.blockers:
            modes = found.setdefault(node, {})
            for lock in self._locks_of(node):
                if lock.granted:
                    modes.setdefault(lock.target, []).append(lock.mode)
        return found

    @lazy
    def _asked(self) -> dict[Node, frozenset[Target]]:
        """The objects each blocker waits for itself."""
        return {
            node: frozenset(lock.target for lock in self._locks_of(node) if not lock.granted)
            for node in self.graph.blockers
        }

    @lazy
    def _by_target(self) -> tuple[Mapping[Target, list[Node]], Mapping[Target, list[Node]]]:
        """The blockers that ask for each object, and those that hold it."""
        asking: dict[Target, list[Node]] = {}
        holding: dict[Target, list[Node]] = {}
        for by, targets_of in ((asking, self._asked), (holding, self._held)):
            for node, targets in targets_of.items():
                for target in targets:
                    by.setdefault(target, []).append(node)
        return asking, holding


def wait_graph(snapshot: Snapshot) -> WaitGraph:
    """Who waits for whom. A session that waits for its place in the queue for a row will then wait as the first one
    does."""
    sessions = snapshot.sessions
    rows = [(pid, each, lock) for pid, each in sessions.items() for lock in each.locks if lock.locktype == "tuple"]
    first = {lock.target: pid for pid, _, lock in rows if lock.granted}
    afterwards = {
        pid: sessions[first[lock.target]].blockers
        for pid, each, lock in rows
        if not lock.granted and first.get(lock.target) in each.blockers
    }
    return WaitGraph({pid: each.blockers for pid, each in sessions.items() if each.blockers}, afterwards)


def awaited_table(
    snapshot: Snapshot, waiter: Session, request: Lock, blocker_locks: Iterable[Lock] = ()
) -> Relation | None:
    """The table that a wait is about; None where the locks do not show it for certain.

    A wait for a row shows as a wait for a transaction. The first waiter of a row holds the row's tuple lock,
    which names the table; a wait for a unique key does not, but then there may be just one table that both sides
    write to. A wait for a virtual transaction is that of a CONCURRENTLY command on the table it has locked.
    """
    if request.relation is not None:
        return snapshot.table_of(request)
    if request.locktype == "virtualxid":
        return _only_table(_table_oids(snapshot, waiter.held, ("ShareUpdateExclusiveLock",)))
    if request.locktype not in ("transactionid", "spectoken"):
        return None
    for lock in waiter.held:
        if lock.locktype == "tuple":
            return snapshot.table_of(lock)
    if (catalog := _only_table(_catalogs_inserted_into(snapshot, waiter.held))) is not None:
        return catalog
    own = _table_oids(snapshot, waiter.held, _WRITES)
    known = [lock for lock in blocker_locks if lock.locktype == "relation"]
    if not known:  # Table locks of a prepared transaction are not read.
        return _only_table(own)
    theirs = _table_oids(snapshot, known, _WRITES)
    return _only_table({key: table for key, table in own.items() if key in theirs})


def oldest_wait(snapshot: Snapshot, waiters: Iterable[Session]) -> float | None:
    """Seconds for which the longest blocked of the waiters has been blocked at least; None where none is known."""
    ages = (snapshot.blocked_bounds[waiter.pid].least for waiter in waiters)
    return max((age for age in ages if age is not None), default=None)


def longest_bounds(snapshot: Snapshot, waiters: Iterable[Session]) -> Bounds:
    """The longest for which one of the waiters has been blocked: for certain, and at most; None where not known."""
    pids = [waiter.pid for waiter in waiters]
    return Bounds(*(_find_longest(ages, pids) for ages in snapshot.blocked_ages))


def _find_longest(ages: Mapping[int, float], pids: Iterable[int]) -> float | None:
    longest = max(map(ages.__getitem__, pids), default=-1.0)
    return longest if longest >= 0.0 else None


def oldest_lock_wait(snapshot: Snapshot, waiters: Iterable[Session]) -> float | None:
    """Seconds of the longest wait among the present ones, by the server's own record; None where none is known.

    A statement has been blocked for longer where its lock has changed hands. Rules count this one, for the server
    checks it again when it signals, and searches for deadlocks in each new wait.
    """
    ages = (snapshot.present_wait(waiter) for waiter in waiters)
    return max((age for age in ages if age is not None), default=None)


def long_waiters(snapshot: Snapshot, graph: WaitGraph, threshold: float) -> frozenset[Node]:
    """The sessions that wait, except those known to have been blocked for less than so many seconds.

    The server writes when a wait began a moment after it has; until then it is as old as its statement at most.
    """
    return frozenset(pid for pid in graph.waiters if not _is_young(snapshot, snapshot.sessions[pid], threshold))


def _is_young(snapshot: Snapshot, waiter: Session, threshold: float) -> bool:
    least, most = snapshot.blocked_bounds[waiter.pid]
    is_recorded = bool(waiter.requests) and all(lock.waitstart is not None for lock in waiter.requests)
    age = least if is_recorded else most
    return age is not None and age < threshold


def _table_oids(snapshot: Snapshot, locks: Iterable[Lock], modes: Iterable[str]) -> dict[Target, Relation]:
    """The tables that some of the locks are on, each by the database and OID."""
    found = (
        (lock.database, snapshot.table_of(lock))
        for lock in locks
        if lock.granted and lock.locktype == "relation" and lock.mode in modes
    )
    return {(database, table.oid): table for database, table in found if table and table.kind in ("r", "p", "m")}


def _catalogs_inserted_into(snapshot: Snapshot, locks: Iterable[Lock]) -> dict[Target, Relation]:
    """The system catalogs that a session inserts a key into: DDL locks the indexes of a catalog for that moment only.

    Those of large objects stay locked until the end of the transaction, and are data of users.
    """
    return {
        (lock.database, table.oid): table
        for lock in locks
        if lock.locktype == "relation"
        and lock.mode == "RowExclusiveLock"
        and (table := snapshot.table_of(lock)) is not None
        and table.is_system
        and table.oid not in (lock.relation, *LARGE_OBJECT_CATALOGS)
    }


def _only_table(tables: Mapping[Target, Relation]) -> Relation | None:
    return next(iter(tables.values())) if len(tables) == 1 else None
