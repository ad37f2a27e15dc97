"""Many sessions queue for one row or lock: the holder changes all the time, so no single session is at fault.

Recognised by: two or more sessions queue for the same row, the holder continues its transaction (it may be idle for a
moment between two statements), and the row changes hands. One snapshot can show that: most statements in the queue are
older than their waits by 100 ms or more, and these waits are younger than a second, because all sessions queue again
when the row changes hands. An earlier snapshot can show it, too: another transaction held the row and is over, and the
present one is younger than five seconds. The next session in the queue, which blocks those behind it, belongs to the
hot row. The class also applies to a table lock or an advisory lock that changes hands. It applies to any lock that two
or more other sessions have held in turn since the oldest waiter began to wait, or that another session held before the
holder's transaction began. If one session holds the lock throughout, or for over twice as long as each holder before
it, it has the class of that lock instead.
Do: shorten the transactions that touch the row, or spread the row (a counter in many rows, an insert-only log). Take a
table lock or an advisory lock late, and give it back before anything slow.
Do not: signal the holder. The next in line takes its place, and retries make the queue longer.
Source: PostgreSQL source, README.tuplock; measured on 14 to 18.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker import command_status, held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.lock_names import advisory_key
from pgdoctor.diagnosis.blocker.lock_turns import find_turns
from pgdoctor.diagnosis.blocker.row_queue import RowQueue
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.remedy import Classification, Remedy
from pgdoctor.model.snapshot import LockTurns

_REMEDY = Remedy("none", "the next in line takes its place: make these transactions shorter", is_over_soon=True)


class HotRow(Cause):
    name = "hot_row"
    #: Before the classes by the lock itself: a rule may name those.
    precedence = 190
    why_untouchable = "the next in line takes its place"

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        if (turns := find_turns(facts)) is not None:
            return _make_verdict(*_describe_turns(facts, turns))
        if facts.is_root and facts.contested_types == {"tuple"}:
            return _make_verdict("it gets the row that they queue for at this moment")
        if facts.is_waiting:
            return _judge_next_in_line(facts)
        queue = RowQueue(facts)
        return _make_verdict(*_describe_queue(queue)) if queue.changes_hands else None


def _make_verdict(*evidence: str) -> Classification:
    return Classification(evidence, _REMEDY, changes_hands=True)


def _describe_queue(queue: RowQueue) -> Iterator[str]:
    """The evidence for a holder, in sentences."""
    facts, former = queue.facts, queue.former_holders
    yield f"{format_count(queue.waiter_count, 'session')} queue for {_name_row(facts)}"
    if former:
        yield (
            f"{format_count(len(former), 'session')} held it just before, in transactions that are over; "
            f"this transaction has been open for {format_duration(facts.transaction_seconds)}"
        )
    if queue.has_moved:
        yield (
            f"it changes hands: they queue again each time, and the oldest of their statements has run for "
            f"{format_duration(queue.oldest_statement)}"
        )


def _describe_turns(facts: BlockerFacts, turns: LockTurns) -> Iterator[str]:
    queue = format_count(facts.graph.count_blocked(facts.node), "session")
    yield f"{queue} queue for {_name_lock(facts)}, which changes hands"
    if turns.earlier > turns.was_held_before:
        longest = format_duration(turns.longest)
        yield f"{format_count(turns.earlier, 'turn')} of others before, of {longest} at most, while they waited"
    elif turns.was_held_before:
        yield f"others held it for {format_duration(turns.longest)} before this transaction began"
    else:
        yield f"{format_count(turns.recent, 'turn')} of others just before"
    yield f"this session holds it for {held_locks.describe_hold_time(facts)}"


def _name_lock(facts: BlockerFacts) -> str:
    """What its waiters want: the advisory lock, the lock on a table, or a row."""
    for lock in facts.blocking_locks:
        if lock.locktype == "advisory":
            return f"the advisory lock {advisory_key(lock)}"
        if lock.locktype == "relation" and modes_conflict(lock.mode, lock.mode):
            return facts.name_lock(lock)
    return _name_row(facts)


def _judge_next_in_line(facts: BlockerFacts) -> Classification | None:
    """It waits for the row as those behind it do, and nothing else holds them up."""
    if facts.contested_types != {"tuple"}:
        return None
    ahead = [BlockerFacts(root, facts.snapshot, facts.graph) for root in facts.graph.roots_of(facts.node)]
    if facts.node in facts.graph.in_cycle or not all(RowQueue(root).changes_hands for root in ahead):
        return None
    said = f"is queued itself for {_name_row(facts)}, which changes hands all the time"
    return _make_verdict(said, *command_status.describe_command_wait(facts))


def _name_row(facts: BlockerFacts) -> str:
    return f"a row of {facts.blocking_table.name}" if facts.blocking_table else "a row"
