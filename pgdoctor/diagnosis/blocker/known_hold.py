"""Since when a blocker is known to block its waiters. No moment is earlier than the truth.

Nothing at the server says when a lock was granted. Certain is:

- a wait for a transaction's end has been for this transaction since it began;
- an idle or waiting session got what it holds before;
- a prepared transaction held its locks when it was prepared;
- a request that others queue behind is as old as its own wait;
- an earlier snapshot has shown this transaction with the lock.

Of a running session in a first snapshot nothing is certain: a moment ago another one may have held the lock, and those
who wait now may have waited for that one.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from msgspec.structs import replace

from pgdoctor.model.identity import Transaction, transaction_of
from pgdoctor.model.lazy import lazy
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.snapshot import KnownLock, Lock, PreparedTransaction, Session, Snapshot, Target
from pgdoctor.model.wait_graph import Node

#: Locks on what belongs to one transaction: no other session ever holds them.
_ONE_HOLDER = frozenset({"transactionid", "virtualxid", "spectoken"})

#: What each transaction is known to hold, of that what others want.
Holds = Mapping[Transaction, tuple[KnownLock, ...]]


class KnownHold:
    """One blocker of a snapshot, and since when it is known to block another session."""

    def __init__(self, node: Node, snapshot: Snapshot) -> None:
        self._node = node
        self._snapshot = snapshot
        self._session = snapshot.sessions.get(node)
        self._since_asked: dict[tuple[Target, str], datetime | None] = {}

    def measure_seconds(self, waiters: Iterable[Session]) -> float | None:
        """For how long it is known to have held one of them up; None where no session waits for it as far as is
        known."""
        holds = (hold for waiter in waiters for _, hold in self._list_waits(waiter))
        return max(holds, default=None)

    def longest_wait(self, waiters: Iterable[Session]) -> float | None:
        """The longest wait that is known to be a wait for this one; None where none has a known beginning."""
        waits = (min(wait, hold) for waiter in waiters for wait, hold in self._list_waits(waiter) if wait is not None)
        return max(waits, default=None)

    def find_start(self, lock: Lock) -> datetime:
        """Since when it is known to hold a lock that it holds in this snapshot."""
        return min(
            (self._snapshot.captured_at, *self._moments_without_new_lock, *self._list_earlier(lock.target, lock.mode))
        )

    def _list_waits(self, waiter: Session) -> Iterator[tuple[float | None, float]]:
        """Of each request of a waiter: how long it waits, and how long this blocker is known to block it."""
        for request in waiter.requests:
            hold = self._snapshot.seconds_since(self._since_request(request)) or 0.0
            yield self._snapshot.seconds_since(request.waitstart), hold

    def _since_request(self, request: Lock) -> datetime | None:
        """Since when it is known to block a request."""
        if request.locktype in _ONE_HOLDER:
            return min(filter(None, (request.waitstart, *self._moments_without_new_lock)), default=None)
        # A queue asks for the same in the same mode.
        asked = request.target, request.mode
        if asked not in self._since_asked:
            self._since_asked[asked] = self._find_since(*asked)
        return self._since_asked[asked]

    def _find_since(self, target: Target, mode: str) -> datetime | None:
        held = (lock for lock in self._held.get(target, ()) if modes_conflict(lock.mode, mode))
        if (found := min(map(self.find_start, held), default=None)) is not None:
            return found
        own = [lock.waitstart for lock in self._unanswered if lock.target == target]
        # Its locks do not explain the wait: they changed while they were read.
        return min(filter(None, own or self._moments_without_new_lock), default=None)

    def _list_earlier(self, target: Target, mode: str) -> Iterator[datetime]:
        """When earlier snapshots have shown it with this lock."""
        for known in self._snapshot.known_locks.get(self._node, ()):
            if (known.target, known.mode) == (target, mode):
                yield known.since

    @lazy
    def _moments_without_new_lock(self) -> tuple[datetime, ...]:
        """Moments since when it has got no lock: all that it holds it held then."""
        if isinstance(self._holder, PreparedTransaction):
            return (self._holder.prepared,) if self._holder.prepared else ()
        session = self._session
        if session is None:
            return ()
        if session.state_change is not None and (session.state == "idle" or session.in_transaction_idle):
            return (session.state_change,)
        # A parallel worker may wait while another one gets a lock.
        own = [lock.waitstart for lock in self._unanswered if lock.pid == session.pid and lock.waitstart]
        return tuple(own) if len(own) == len(self._unanswered) == 1 else ()

    @lazy
    def _holder(self) -> Session | PreparedTransaction | None:
        if self._session is not None:
            return self._session
        return next((each for each in self._snapshot.prepared if each.node == self._node), None)

    @lazy
    def _held(self) -> dict[Target, list[Lock]]:
        found: dict[Target, list[Lock]] = {}
        for lock in self._holder.locks if self._holder else ():
            if lock.granted:
                found.setdefault(lock.target, []).append(lock)
        return found

    @lazy
    def _unanswered(self) -> tuple[Lock, ...]:
        """Its requests that still wait.

        The lock table is read before states and waits. What those contradict was granted in between: an idle session
        waits for nothing, and one that waits has a blocker.
        """
        session = self._session
        if session is None or session.state == "idle" or session.in_transaction_idle or not session.blockers:
            return ()
        return session.requests


def known_holds(snapshot: Snapshot) -> Holds:
    """What the snapshot adds to what is known: each transaction with those of its locks that others want."""
    wanted: dict[Target, set[str]] = {}
    for waiter in snapshot.sessions.values():
        for request in waiter.requests:
            if request.locktype not in _ONE_HOLDER:
                wanted.setdefault(request.target, set()).add(request.mode)
    found: dict[Transaction, tuple[KnownLock, ...]] = {}
    for pid, session in snapshot.sessions.items() if wanted else ():
        transaction = transaction_of(session)
        contested = {
            (lock.target, lock.mode): lock
            for lock in session.held
            if any(modes_conflict(lock.mode, mode) for mode in wanted.get(lock.target, ()))
        }
        if transaction is not None and contested:
            hold = KnownHold(pid, snapshot)
            found[transaction] = tuple(
                KnownLock(target, mode, hold.find_start(lock)) for (target, mode), lock in contested.items()
            )
    return found


def with_known_holds(snapshot: Snapshot, holds: Holds) -> Snapshot:
    """The snapshot with what earlier ones have shown of the transactions in it."""
    found = {
        pid: holds[transaction]
        for pid, session in snapshot.sessions.items()
        if (transaction := transaction_of(session)) in holds and transaction is not None
    }
    return replace(snapshot, known_locks=found) if found else snapshot
