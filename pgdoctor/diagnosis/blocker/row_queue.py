"""The queue for one row behind a blocker, and whether the row changes hands.

When a row changes hands the server lets every waiter queue again: the waits begin again, the statements do not
(measured, 14 and 18). So one snapshot can tell: most statements are much older than their waits.
"""

from itertools import islice

from pgdoctor.diagnosis.blocker.blocker_facts import BRIEFLY, LONG_QUEUE, BlockerFacts
from pgdoctor.model.lazy import lazy
from pgdoctor.model.snapshot import Session

#: Seconds that a statement has run before its present wait, from which on it has most likely waited before.
_WAITED_BEFORE = 0.1

#: Sessions of the queue that are examined: a few show as much as a thousand.
_MOST_SAMPLED = 20

_ROW_LOCKS = frozenset({"tuple", "transactionid"})


class RowQueue:
    """The sessions behind a blocker that holds them up on a row."""

    def __init__(self, facts: BlockerFacts) -> None:
        self.facts = facts

    @lazy
    def waiter_count(self) -> int:
        """How many queue for the row; 0 where this is no queue for a row."""
        if self.facts.row_queue or not self._is_read_in_passing:
            return self.facts.row_queue
        return self.facts.graph.count_blocked(self.facts.node)

    @property
    def changes_hands(self) -> bool:
        """Another session had the row just before, and this one is not known to keep it."""
        if not self.facts.is_going_on:
            return False
        if self.waiter_count < LONG_QUEUE:
            return self._has_just_split_off
        is_known = bool(self.former_holders) and self.facts.is_in_motion
        return is_known or self.has_moved or self._is_taking_over

    @property
    def former_holders(self) -> frozenset[int]:
        """Sessions that earlier snapshots have shown with a row of the table, in transactions that are over."""
        table = self.facts.blocking_table
        return self.facts.snapshot.former_holders.get(table.oid, frozenset()) if table else frozenset()

    @lazy
    def has_moved(self) -> bool:
        """Most of the queue has waited before its present wait, which has just begun."""
        return self.requeued_count >= LONG_QUEUE and 2 * self.requeued_count >= len(self._sample)

    @lazy
    def requeued_count(self) -> int:
        """How many of those examined have waited before their present wait."""
        return sum(map(self._has_requeued, self._sample))

    @lazy
    def oldest_statement(self) -> float | None:
        """Seconds that the oldest statement of those examined has run."""
        ages = (self.facts.snapshot.seconds_since(each.query_start) for each in self._sample)
        return max((age for age in ages if age is not None), default=None)

    def _has_requeued(self, waiter: Session) -> bool:
        age, wait = self.facts.snapshot.seconds_since(waiter.query_start), self._present_wait(waiter)
        return age is not None and age - wait >= _WAITED_BEFORE and wait < BRIEFLY

    def _present_wait(self, waiter: Session) -> float:
        """Seconds of its wait. The server writes when a wait began a moment after it has."""
        since = self.facts.snapshot.seconds_since
        return max((since(lock.waitstart) or 0.0 for lock in waiter.requests), default=0.0)

    @lazy
    def _sample(self) -> tuple[Session, ...]:
        nodes = islice(self.facts.graph.iterate_behind(self.facts.node), _MOST_SAMPLED)
        found = (self.facts.snapshot.sessions[node] for node in nodes)
        return tuple(each for each in found if any(lock.locktype in _ROW_LOCKS for lock in each.requests))

    @property
    def _is_taking_over(self) -> bool:
        """It has the first place in the queue, and waits for no session any more: the row is becoming its own."""
        return self.facts.is_root and any(lock.locktype == "tuple" for lock in self.facts.blocking_locks)

    @property
    def _has_just_split_off(self) -> bool:
        """The row is its own for a moment, and most of the queue still shows behind the session before."""
        facts = self.facts
        is_young = all(self._present_wait(waiter) < _WAITED_BEFORE for waiter in facts.sampled_waiters)
        if not is_young or facts.blocking_table is None or not self._is_about_a_row:
            return False
        others = (BlockerFacts(root, facts.snapshot, facts.graph) for root in facts.graph.roots - {facts.node})
        return any(
            other.blocking_table == facts.blocking_table and RowQueue(other).has_moved
            for other in islice(others, _MOST_SAMPLED)
        )

    @lazy
    def _is_about_a_row(self) -> bool:
        requests = [lock for waiter in self.facts.sampled_waiters for lock in waiter.requests]
        return bool(requests) and all(lock.locktype in _ROW_LOCKS for lock in requests)

    @property
    def _is_read_in_passing(self) -> bool:
        """It neither waits nor holds what they wait for: the row changed hands while the locks were read."""
        return self.facts.is_root and self.facts.contested_types <= {"tuple"} and self._is_about_a_row
