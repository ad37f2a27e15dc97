"""What blocks a script now: sessions and prepared transactions that hold, or await, what it needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pgdoctor.diagnosis.lock_holders import find_prepared
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.lock_holders import ListedLock, LockHolders
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.preflight import LiveState
from pgdoctor.model.snapshot import Session
from pgdoctor.preflight.judge import Judged, Verdict
from pgdoctor.preflight.waits import WAITS

_Holder = tuple[int | None, str | None]

#: The modes under which rows are changed and locked.
_OF_ROWS = ("RowShareLock", "RowExclusiveLock")

#: What the server lets an autovacuum worker say that does not give way to a lock request.
_WRAPAROUND = "(to prevent wraparound)"


class Obstacle(NamedTuple):
    """One session or prepared transaction that a statement would wait for.

    `locks`: what it holds or awaits of that. `reason`: why it is waited for, where no lock conflicts.
    `age`: seconds since its transaction began; None: not known.
    """

    number: int
    pid: int | None
    gid: str | None
    locks: tuple[ListedLock, ...]
    age: float | None
    #: An autovacuum worker that the server cancels for a statement that waits.
    gives_way: bool
    reason: str = ""

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


def needed_keys(judged: Sequence[Judged]) -> frozenset[AdvisoryKey]:
    """The objects that are no relations, and the advisory keys, that the statements lock."""
    return frozenset(each.key for statement in judged for each in statement.effect.objects if each.mode)


def changed_rows(judged: Sequence[Judged]) -> frozenset[tuple[int, int]]:
    """The rows of catalogs that the statements change: classid and OID."""
    return frozenset(each.key[:2] for statement in judged for each in statement.effect.objects if not each.mode)


def _find_of(statement: Judged, live: LiveState) -> Iterator[Obstacle]:
    seen: set[_Holder] = set()
    for holder, locks in _group(live, lambda lock: _conflicts(lock, statement, live)).items():
        seen.add(holder)
        yield _build(statement, holder, tuple(locks), live)
    for holder, reason in (*_find_catalog_changes(statement, live), *_find_row_changes(statement, live)):
        if holder not in seen:
            seen.add(holder)
            yield _build(statement, holder, (), live, reason)
    if any(WAITS[wait].for_snapshots for wait, _, _ in statement.effect.waits):
        for pid in live.transactions:
            if (pid, None) not in seen:
                yield _build(statement, (pid, None), (), live, "has an older snapshot")


def _group(live: LiveState, wanted: Callable[[ListedLock], bool]) -> dict[_Holder, list[ListedLock]]:
    found: dict[_Holder, list[ListedLock]] = {}
    for lock in live.holders.locks:
        if wanted(lock):
            found.setdefault((lock.pid, lock.gid), []).append(lock)
    return found


def _conflicts(listed: ListedLock, statement: Judged, live: LiveState) -> bool:
    """It holds, or is ahead in the queue with, a mode that conflicts with what the statement takes."""
    lock = listed.lock
    if lock.locktype in ("object", "advisory"):
        key = (lock.classid, lock.objid, lock.objsubid)
        is_here = lock.database in (0, live.holders.server.database_oid)
        return is_here and any(
            each.key == key and each.mode and modes_conflict(lock.mode, each.mode) for each in statement.effect.objects
        )
    wanted = [(each.oid, each.mode) for each in statement.effect.locks]
    wanted += [(oid, WAITS[wait].mode) for wait, oid, _ in statement.effect.waits]
    return any(lock.relation == oid and modes_conflict(lock.mode, mode) for oid, mode in wanted if oid is not None)


def _find_catalog_changes(statement: Judged, live: LiveState) -> Iterator[tuple[_Holder, str]]:
    """The unfinished transactions that have changed the row of an object in its catalog."""
    names = {each.key[:2]: each.name for each in statement.effect.objects if not each.mode}
    holders = {
        each.lock.transactionid: (each.pid, each.gid)
        for each in live.holders.locks
        if each.lock.locktype == "transactionid" and each.lock.granted
    }
    for change in live.changed:
        name = names.get((change.classid, change.oid))
        if name is not None and change.transaction in holders:
            yield holders[change.transaction], f"has changed {name}, and its transaction is not over"


def _find_row_changes(statement: Judged, live: LiveState) -> Iterator[tuple[_Holder, str]]:
    """The unfinished transactions that have changed or locked rows of a table: which rows no view tells."""
    tables = dict(statement.effect.rows)
    whole = {work.oid for work in statement.effect.work if work.kind == "rows"}
    for holder, locks in _group(live, lambda listed: _has_rows(listed, tables, live)).items():
        oids = [each.lock.relation for each in locks]
        oid = next((each for each in oids if each in whole), oids[0])
        wait = "has changed or locked rows" if oid in whole else "may have changed or locked the same rows"
        yield holder, f"{wait} of {tables[oid]}"


def _has_rows(listed: ListedLock, tables: Mapping[int | None, str], live: LiveState) -> bool:
    lock = listed.lock
    if not lock.granted or lock.locktype != "relation" or lock.relation not in tables or lock.mode not in _OF_ROWS:
        return False
    session = live.holders.sessions.get(listed.pid) if listed.pid is not None else None
    # Without an id a transaction has neither changed nor locked a row.
    return listed.gid is not None or (session is not None and session.has_xid)


def _build(
    statement: Judged, holder: _Holder, locks: tuple[ListedLock, ...], live: LiveState, reason: str = ""
) -> Obstacle:
    pid, gid = holder
    session = live.holders.sessions.get(pid) if pid is not None else None
    return Obstacle(
        statement.number, pid, gid, locks, _measure_age(session, gid, live.holders), _gives_way(session, locks), reason
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
