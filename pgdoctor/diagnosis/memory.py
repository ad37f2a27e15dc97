"""What must be remembered from one look at a server to the next, and a diagnosis that makes use of it.

The judging stays pure: what is remembered becomes part of the snapshot.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from pgdoctor.diagnosis import blocked_since, changes, deadlocks, usual
from pgdoctor.diagnosis.blocked_since import BlockedSince, Statement, with_blocked_since
from pgdoctor.diagnosis.blocker_wait import Waits, known_events, with_known_events
from pgdoctor.diagnosis.changes import Seen
from pgdoctor.diagnosis.deadlocks import DeadlockHistory
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.earlier_scans import Counters, counters, with_scans
from pgdoctor.diagnosis.former_holders import Sighting, remembered, sighting, with_memory
from pgdoctor.diagnosis.idle_share import PollsByTransaction, count_polls, with_idle_shares
from pgdoctor.diagnosis.known_hold import Holds, known_holds, with_known_holds
from pgdoctor.diagnosis.lock_turns import Contests, follow_turns, with_turns
from pgdoctor.diagnosis.snapshot import Snapshot
from pgdoctor.diagnosis.surroundings import Surroundings
from pgdoctor.diagnosis.usual import Past


class Memory:
    """The last looks at one server; a new server needs a new one, for OIDs mean other tables there."""

    def __init__(self) -> None:
        self._blocked_since: BlockedSince = {}
        self._sightings: tuple[Sighting, ...] = ()
        self._holds: Holds = {}
        self._events: Waits = {}
        self._polls: PollsByTransaction = {}
        self._contests: Contests = {}
        self._deadlocks = DeadlockHistory()
        self._counters: Counters | None = None
        self._past = Past()
        self._seen = Seen()
        self._surroundings: Surroundings | None = None

    def add_gate(self, waiting: Iterable[Statement], at: datetime) -> tuple[float, ...]:
        """Remember which statements wait at a gate poll; for how many seconds each has been blocked at least."""
        self._blocked_since = blocked_since.add_gate(self._blocked_since, waiting, at)
        return tuple((at - since) / timedelta(seconds=1) for since in self._blocked_since.values())

    def judge(self, snapshot: Snapshot) -> Diagnosis:
        """The diagnosis of the next look."""
        self._blocked_since = blocked_since.add_snapshot(self._blocked_since, snapshot)
        snapshot = with_blocked_since(snapshot, self._blocked_since)
        self._sightings = remembered(self._sightings, snapshot.captured_at)
        self._seen = changes.with_migrations(self._seen, snapshot)
        around = self._around(snapshot.surroundings)
        snapshot = with_known_holds(replace(snapshot, surroundings=around), self._holds)
        self._holds = known_holds(snapshot)
        snapshot = with_known_events(snapshot, self._events)
        self._events = known_events(snapshot, self._events)
        self._polls = count_polls(self._polls, snapshot)
        snapshot = with_idle_shares(snapshot, self._polls)
        contests = follow_turns(self._contests, snapshot)
        snapshot, self._contests = with_turns(snapshot, contests, self._contests), contests
        if around is not None:
            self._deadlocks = deadlocks.record_counters(self._deadlocks, around)
        snapshot = deadlocks.with_deadlocks(snapshot, self._deadlocks)
        diagnosis = diagnose(with_scans(with_memory(snapshot, self._sightings), self._counters))
        self._deadlocks = deadlocks.record_cycles(self._deadlocks, diagnosis.snapshot, diagnosis.graph)
        self._sightings += (sighting(diagnosis),)
        self._counters = counters(snapshot)
        if around is not None and around.read_at != self._past.read_at:
            is_stormy = any(note.kind in usual.STORMS for note in diagnosis.findings)
            self._past = usual.after(self._past, around, is_stormy)
        return diagnosis

    def _around(self, now: Surroundings | None) -> Surroundings | None:
        """The surroundings with what is remembered of earlier ones; they are read more seldom than they are judged."""
        if now is None:
            return None
        if self._surroundings is None or self._surroundings.read_at != now.read_at:
            self._seen = changes.after(self._seen, now)
            self._surroundings = usual.with_pace(now, self._past)
        return changes.with_changes(self._surroundings, self._seen)
