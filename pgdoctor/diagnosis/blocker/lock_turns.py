"""Locks that change hands: who held, one after the other, what others wait for now.

Followed are locks that only one session can hold at a time: table and advisory locks in a mode that conflicts with
itself, by the locked object; and rows, by the waiting statement, since a row's waiters ask for the transaction of its
present holder. A turn counts from the moment at which it may have begun to hold waiters up to the
first snapshot without it, so that it is never taken for shorter than it was.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.blocker_facts import BRIEFLY, LONG_QUEUE, YOUNG, BlockerFacts
from pgdoctor.diagnosis.blocker.known_hold import KnownHold
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.snapshot import Lock, LockTurns, Session, Snapshot, Target
from pgdoctor.model.wait_graph import Node

#: How long a turn and a contest are remembered after the last of their waiters has gone.
MEMORY = timedelta(seconds=10)

#: Turns that are remembered of one contest, the last ones.
_MOST_TURNS = 50

#: Blockers of one snapshot that are examined, the widest reach first.
_MOST_ROOTS = 100

#: Earlier turns from which on no single session is at fault.
_SEVERAL = 2

#: Times the longest earlier turn for which a holder must have held to be the offender after all.
_TIMES = 2

#: Lock types that are followed. Other ones, such as that of extending a table, change hands all the time.
_WHOLE = frozenset({"relation", "advisory"})
_ROW = frozenset({"transactionid", "tuple"})

#: PID, start of the session and of the transaction; an advisory lock may outlast the transaction.
Holder = tuple[int, datetime | None, datetime | None]

#: What is contested: a locked object, or a row by the statement that waits for it.
Key = tuple[object, ...]


class Turn(msgspec.Struct, frozen=True):
    """A hold that is over: the earliest start, and the latest end."""

    since: datetime
    until: datetime


class Contest(msgspec.Struct, frozen=True):
    """A lock that others want, with its present holder (None: no single session) and those before."""

    holder: Holder | None
    #: Since when, at the earliest, the present holder may have held the present waiters up.
    since: datetime
    seen_at: datetime
    turns: tuple[Turn, ...] = ()
    #: Its first snapshot shows that it had another holder.
    was_held_before: bool = False


class _Wait(msgspec.Struct, frozen=True):
    """Who holds what is waited for, and since when the oldest of its waiters waits; None: not known."""

    node: Node | None
    holder: Holder | None
    #: When the holder's transaction began, where it cannot have held the lock before.
    began: datetime | None
    since: datetime | None


Contests = Mapping[Key, Contest]


def follow_turns(before: Contests, snapshot: Snapshot) -> Contests:
    """What is known of contested locks after a snapshot, by what was known before it."""
    found = {
        key: _extend_contest(before.get(key), wait, snapshot.captured_at) for key, wait in _find_waits(snapshot).items()
    }
    kept = {key: each for key, each in before.items() if abs(snapshot.captured_at - each.seen_at) <= MEMORY}
    return {**kept, **{key: each for key, each in found.items() if each is not None}}


def with_turns(snapshot: Snapshot, contests: Contests, before: Contests) -> Snapshot:
    """The snapshot with the turns before each of its holders; `before`: what was known before it."""
    found: dict[int, LockTurns] = {}
    for key, wait in _find_waits(snapshot).items():
        contest = contests.get(key)
        if wait.node is None or contest is None:
            continue
        turns = _summarize_turns(contest, wait, snapshot.captured_at, is_first=key not in before)
        found[wait.node] = max((turns, found.get(wait.node, turns)), key=lambda each: (each.earlier, each.recent))
    return replace(snapshot, lock_turns=found) if found else snapshot


def find_turns(facts: BlockerFacts) -> LockTurns | None:
    """The turns before this blocker's, where the lock changes hands so that no single session is at fault.

    None where it does not; and where this blocker has held it for over twice the longest earlier turn.
    """
    turns = facts.snapshot.lock_turns.get(facts.node)
    if turns is None or facts.is_waiting or facts.session is None:
        return None
    held = KnownHold(facts.node, facts.snapshot).measure_seconds(facts.sampled_waiters) or 0.0
    if (turns.earlier >= _SEVERAL or turns.was_held_before) and held <= _TIMES * turns.longest:
        return turns
    is_quick = turns.recent > 0 and turns.held_at_most < YOUNG and _seconds_paused(facts) < BRIEFLY
    return turns if is_quick and facts.graph.directly_blocked(facts.node) >= LONG_QUEUE else None


def may_change_hands(diagnosis: Diagnosis) -> bool:
    """Several queue for a lock whose holder may just have got it, and this is the first snapshot of it."""
    roots = [blocker.node for blocker in diagnosis.blockers if blocker.root and blocker.pid is not None]
    suspects = (BlockerFacts(node, diagnosis.snapshot, diagnosis.graph) for node in roots[:_MOST_ROOTS])
    return any(_may_have_just_begun(each) for each in suspects)


def _may_have_just_begun(facts: BlockerFacts) -> bool:
    turns = facts.snapshot.lock_turns.get(facts.node)
    if facts.session is None or not any(map(_is_followed, facts.blocking_locks)) or (turns and not turns.is_first):
        return False
    if facts.graph.directly_blocked(facts.node) < LONG_QUEUE or _seconds_paused(facts) >= BRIEFLY:
        return False
    held = KnownHold(facts.node, facts.snapshot).measure_seconds(facts.sampled_waiters) or 0.0
    return held < YOUNG and (facts.state_seconds or 0.0) < YOUNG


def _seconds_paused(facts: BlockerFacts) -> float:
    """Seconds for which it has done nothing."""
    return 0.0 if facts.is_running else facts.state_seconds or 0.0


def _summarize_turns(contest: Contest, wait: _Wait, now: datetime, *, is_first: bool) -> LockTurns:
    seen = [turn for turn in contest.turns if wait.since is not None and turn.until > wait.since]
    return LockTurns(
        earlier=len(seen),
        longest=max(((turn.until - turn.since).total_seconds() for turn in seen), default=0.0),
        recent=sum(abs(now - turn.until) <= MEMORY for turn in contest.turns),
        held_at_most=max((now - contest.since).total_seconds(), 0.0),
        was_held_before=contest.was_held_before and len(seen) > 0,
        is_first=is_first,
    )


def _extend_contest(before: Contest | None, wait: _Wait, now: datetime) -> Contest | None:
    """A contest after a snapshot at `now`."""
    if before is None:
        return _begin_contest(wait, now) if wait.holder is not None else None
    if before.holder == wait.holder:
        return replace(before, seen_at=now)
    turns = (*before.turns, Turn(before.since, now)) if before.holder is not None else before.turns
    since = max(filter(None, (before.seen_at, wait.began)))
    least = min(filter(None, (wait.since, now - MEMORY)))
    kept = tuple(turn for turn in turns if turn.until >= least)[-_MOST_TURNS:]
    return Contest(wait.holder, since, now, kept, before.was_held_before and kept[:1] == turns[:1])


def _begin_contest(wait: _Wait, now: datetime) -> Contest:
    """A contest of which no earlier snapshot is known.

    A wait that is older than the holder's transaction was for another holder: one at least, and maybe many.
    """
    since = max(filter(None, (wait.began, wait.since)), default=now)
    if wait.began is None or wait.since is None or wait.since >= wait.began:
        return Contest(wait.holder, min(since, now), now)
    return Contest(wait.holder, wait.began, now, (Turn(wait.since, wait.began),), was_held_before=True)


def _find_waits(snapshot: Snapshot) -> dict[Key, _Wait]:
    """What is waited for in a snapshot, where only one transaction can hold it."""
    sessions = snapshot.sessions
    wanted = {request.target for each in sessions.values() for request in each.requests}
    held = {
        lock.target: (pid, lock.mode)
        for pid, each in (sessions.items() if wanted else ())
        for lock in each.held
        if lock.target in wanted and modes_conflict(lock.mode, lock.mode)
    }
    found: dict[Key, _Wait] = {}
    for waiter in sessions.values():
        for key, wait in _waits_of(waiter, snapshot, held):
            other = found.get(key)
            is_older = other is None or (wait.since or snapshot.captured_at) < (other.since or snapshot.captured_at)
            found[key] = wait if is_older else found[key]
    return found


def _waits_of(
    waiter: Session, snapshot: Snapshot, held: Mapping[Target, tuple[int, str]]
) -> Iterator[tuple[Key, _Wait]]:
    for request in waiter.requests:
        is_row = request.locktype in _ROW
        if not is_row and request.locktype not in _WHOLE:
            continue
        node = _find_holder(request, snapshot, held)
        key = ("row", waiter.pid, waiter.backend_start, waiter.query_start) if is_row else request.target
        holder = snapshot.sessions.get(node) if node is not None else None
        if node is not None and holder is not None:
            lasts = request.locktype == "advisory"
            began = None if lasts else holder.xact_start
            yield key, _Wait(node, (node, holder.backend_start, began), began, _began_to_wait(waiter, request))
        else:
            yield key, _Wait(None, None, None, _began_to_wait(waiter, request))


def _find_holder(request: Lock, snapshot: Snapshot, held: Mapping[Target, tuple[int, str]]) -> int | None:
    """The session that holds what is asked for, alone; of a row, who holds up the first in its queue."""
    node, mode = held.get(request.target, (None, ""))
    if node is None or not modes_conflict(mode, request.mode):
        return None
    if request.locktype != "tuple":
        return node
    first = (each for each in snapshot.sessions[node].requests if each.locktype == "transactionid")
    return next((held[each.target][0] for each in first if each.target in held), None)


def _began_to_wait(waiter: Session, request: Lock) -> datetime | None:
    """When the wait began; of a row's waiter, which asks for one transaction after the other, its statement."""
    if request.locktype == "transactionid":
        return waiter.query_start
    return request.waitstart or waiter.query_start


def _is_followed(lock: Lock) -> bool:
    return lock.locktype in _WHOLE and modes_conflict(lock.mode, lock.mode)
