"""What blocks a script now: sessions and prepared transactions that hold, or await, what it needs."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from pgdoctor.diagnosis.lock_holders import find_prepared
from pgdoctor.model.lock_holders import ListedLock, LockHolders
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.preflight import LiveState
from pgdoctor.model.snapshot import Session
from pgdoctor.preflight.judge import Judged, Verdict
from pgdoctor.preflight.waits import WAITS

#: What the server lets an autovacuum worker say that does not give way to a lock request.
_WRAPAROUND = "(to prevent wraparound)"


class Obstacle(NamedTuple):
    """One session or prepared transaction that a statement would wait for.

    `locks`: what it holds or awaits of that; empty: it is waited for because of its snapshot.
    `age`: seconds since its transaction began; None: not known.
    """

    number: int
    pid: int | None
    gid: str | None
    locks: tuple[ListedLock, ...]
    age: float | None
    #: An autovacuum worker that the server cancels for a statement that waits.
    gives_way: bool

    def counts(self, max_age: float | None) -> bool:
        """It blocks, and its transaction is older than is accepted (seconds)."""
        return not self.gives_way and (max_age is None or self.age is None or self.age > max_age)


def find_obstacles(judged: Sequence[Judged], live: LiveState) -> tuple[Obstacle, ...]:
    """All obstacles of all statements."""
    return tuple(obstacle for statement in judged for obstacle in _find_of(statement, live))


def final_verdict(statement: Judged, obstacles: Sequence[Obstacle], max_age: float | None) -> Verdict:
    """The verdict with what is live."""
    if statement.verdict in (Verdict.UNKNOWN, Verdict.FAILS, Verdict.SKIPPED):
        return statement.verdict
    own = (each for each in obstacles if each.number == statement.number)
    return Verdict.BLOCKED if any(each.counts(max_age) for each in own) else statement.verdict


def needed_oids(judged: Sequence[Judged]) -> frozenset[int]:
    """The relations that the statements lock, or wait for."""
    locks = {lock.oid for statement in judged for lock in statement.effect.locks}
    waits = {oid for statement in judged for _, oid, _ in statement.effect.waits}
    return frozenset(oid for oid in locks | waits if oid is not None)


def _find_of(statement: Judged, live: LiveState) -> Iterator[Obstacle]:
    by_holder: dict[tuple[int | None, str | None], list[ListedLock]] = {}
    for lock in live.holders.locks:
        if any(_is_blocked_by(lock, oid, mode) for oid, mode in _wanted(statement)):
            by_holder.setdefault((lock.pid, lock.gid), []).append(lock)
    for (pid, gid), locks in by_holder.items():
        yield _build(statement, pid, gid, tuple(locks), live)
    if any(WAITS[wait].for_snapshots for wait, _, _ in statement.effect.waits):
        for pid in live.transactions:
            if (pid, None) not in by_holder:
                yield _build(statement, pid, None, (), live)


def _wanted(statement: Judged) -> Iterator[tuple[int | None, str]]:
    yield from ((lock.oid, lock.mode) for lock in statement.effect.locks)
    yield from ((oid, WAITS[wait].mode) for wait, oid, _ in statement.effect.waits)


def _is_blocked_by(lock: ListedLock, oid: int | None, mode: str) -> bool:
    """It holds, or is ahead in the queue with, a mode that conflicts."""
    return lock.lock.relation == oid and modes_conflict(lock.lock.mode, mode)


def _build(
    statement: Judged, pid: int | None, gid: str | None, locks: tuple[ListedLock, ...], live: LiveState
) -> Obstacle:
    session = live.holders.sessions.get(pid) if pid is not None else None
    return Obstacle(
        statement.number, pid, gid, locks, _measure_age(session, gid, live.holders), _gives_way(session, locks)
    )


def _gives_way(session: Session | None, locks: tuple[ListedLock, ...]) -> bool:
    is_worker = session is not None and session.backend_type == "autovacuum worker"
    return is_worker and bool(locks) and _WRAPAROUND not in ((session.statement if session else None) or _WRAPAROUND)


def _measure_age(session: Session | None, gid: str | None, holders: LockHolders) -> float | None:
    since: datetime | None = session.xact_start if session else None
    if gid is not None:
        prepared = find_prepared(gid, holders)
        since = prepared.prepared if prepared else None
    return None if since is None else max((holders.captured_at - since).total_seconds(), 0.0)
