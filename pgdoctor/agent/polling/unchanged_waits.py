"""Whether a full poll would find what the last one has: the same sessions wait, for the same blockers.

Then its diagnosis stands, and only the ages in it have moved. A full poll costs many times what the gate does, and in
most incidents nothing changes from one second to the next.
"""

from collections.abc import Mapping
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from pgdoctor.agent.polling.state import Figures
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session
from pgdoctor.postgres.collect import Gate

#: Full polls in a row that have found the same, after which some are left out.
_FEWEST_POLLS = 5

#: Intervals, and seconds, for which a diagnosis stands at most: not all that changes shows at the gate.
_MOST_INTERVALS = 5
_MOST_SECONDS = 5.0


class UnchangedWaits(msgspec.Struct, frozen=True):
    """What the last full polls have found, as the gate will see it. Clock: monotonic."""

    #: When the last one began, and how many in a row have found this.
    polled_at: float = float("-inf")
    polls: int = 0
    #: The blockers that do not wait themselves, and the gate's number of them and of all that wait; None: the gate
    #: cannot tell whether they change.
    watched: frozenset[int] = frozenset()
    activity_hash: int | None = None
    lock_waiters: int = 0

    def after_full_poll(
        self, began: float, diagnosis: Diagnosis, hashes: Mapping[int, int], threshold: float
    ) -> "UnchangedWaits":
        """What is known after one more full poll. `threshold`: seconds from which on the gate counts a wait."""
        waiters = _list_counted(diagnosis, threshold)
        watched = _list_watched(diagnosis, waiters, threshold)
        if watched is None or not hashes.keys() >= watched | waiters:
            return UnchangedWaits(began)
        number = 0
        for pid in watched | waiters:
            number ^= hashes[pid]
        now = UnchangedWaits(began, 1, watched, number, len(waiters))
        is_same = replace(self, polled_at=began, polls=1) == now
        return replace(now, polls=self.polls + 1) if is_same else now

    def holds(self, gate: Gate, began: float, interval: float) -> bool:
        """Whether a full poll would find the same now, as far as the gate shows, and the last one is recent."""
        if self.polls < _FEWEST_POLLS or gate.server.hidden_sessions:
            return False
        # The poll at which it would be too old is the one that is due then, a little early or late.
        is_recent = began - self.polled_at < min(_MOST_SECONDS, _MOST_INTERVALS * interval) - interval / 2
        return is_recent and (gate.activity_hash, gate.lock_waiters) == (self.activity_hash, self.lock_waiters)


def age_figures(found: Figures, seconds: float) -> Figures:
    """The numbers of a diagnosis after some seconds in which nothing has changed."""
    older = {name: age + seconds if age else age for name, age in found.oldest_transaction.items()}
    return replace(found, oldest_transaction=older, oldest_wait=found.oldest_wait + seconds)


def _list_counted(diagnosis: Diagnosis, threshold: float) -> frozenset[int]:
    """The sessions that the gate has counted as waiting; those that began after it are young."""
    at, least = diagnosis.captured_at, timedelta(seconds=threshold)
    sessions = diagnosis.snapshot.sessions.values()
    return frozenset(
        session.pid
        for session in sessions
        if session.wait_event_type == "Lock" and (session.query_start is None or session.query_start <= at - least)
    )


def _list_watched(diagnosis: Diagnosis, waiters: frozenset[int], threshold: float) -> frozenset[int] | None:
    """The blockers of those that count, as far as they do not count themselves.

    None where the gate may miss a change: a blocker that runs something, or is no session; a lock that changes hands;
    a standby; a snapshot with gaps. The short waits of a write load do not count, and hinder nothing.
    """
    snapshot = diagnosis.snapshot
    if snapshot.server.in_recovery or snapshot.prepared or snapshot.replay or snapshot.unread:
        return None
    if not diagnosis.find_blocked(threshold) <= waiters:
        return None
    watched = diagnosis.graph.ahead_of(waiters) - waiters
    moving = {blocker.node for blocker in diagnosis.blockers if blocker.changes_hands}
    is_still = moving.isdisjoint(watched) and all(_is_idle(snapshot.sessions.get(pid)) for pid in watched)
    return watched if is_still else None


def _is_idle(session: Session | None) -> bool:
    return session is not None and session.in_transaction_idle
