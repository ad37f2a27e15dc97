"""State that is kept from one poll of a server to the next, and the diagnosis that uses it.

The judging stays pure: the remembered facts become part of the snapshot.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from pgdoctor.diagnosis import deadlocks
from pgdoctor.diagnosis.blocker.idle_share import PollsByTransaction, count_polls, with_idle_shares
from pgdoctor.diagnosis.blocker.known_hold import Holds, known_holds, with_known_holds
from pgdoctor.diagnosis.blocker.lock_turns import Contests, follow_turns, with_turns
from pgdoctor.diagnosis.blocker.own_wait import Waits, record_known_events, with_known_events
from pgdoctor.diagnosis.deadlocks import DeadlockHistory
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.server_context import ServerContext
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.observer import blocked_since, recent_changes, workload_baseline
from pgdoctor.observer.blocked_since import BlockedSince, Statement, with_blocked_since
from pgdoctor.observer.hot_row_history import Sighting, recent_sightings, take_sighting, with_memory
from pgdoctor.observer.recent_changes import KnownRelations
from pgdoctor.observer.replay_wait import ReplayWait, follow_replay, with_replay_wait
from pgdoctor.observer.scan_deltas import ScanCounters, read_scan_counters, with_scans
from pgdoctor.observer.workload_baseline import WorkloadHistory


class Observer:
    """State of the last polls of one server; a new server needs a new one: its OIDs are other tables."""

    def __init__(self, changes: KnownRelations | None = None) -> None:
        self._blocked_since: BlockedSince = {}
        self._sightings: tuple[Sighting, ...] = ()
        self._holds: Holds = {}
        self._events: Waits = {}
        self._polls: PollsByTransaction = {}
        self._contests: Contests = {}
        self._replay: ReplayWait | None = None
        self._deadlocks = DeadlockHistory()
        self._counters: ScanCounters | None = None
        self._past = WorkloadHistory()
        self._seen = recent_changes.carry_over(changes) if changes is not None else KnownRelations()
        self._surroundings: ServerContext | None = None

    @property
    def changes(self) -> KnownRelations:
        """What is remembered of changes: it holds on another connection, too."""
        return self._seen

    def add_gate(self, waiting: Iterable[Statement], at: datetime) -> tuple[float, ...]:
        """Remember which statements wait at a gate poll; for how many seconds each has been blocked at least."""
        self._blocked_since = blocked_since.add_waiting_statements(self._blocked_since, waiting, at)
        return tuple([(at - since).total_seconds() for since in self._blocked_since.values()])

    def diagnose_snapshot(self, snapshot: Snapshot) -> Diagnosis:
        """The diagnosis of the next poll."""
        self._blocked_since = blocked_since.add_snapshot(self._blocked_since, snapshot)
        snapshot = with_blocked_since(snapshot, self._blocked_since)
        self._sightings = recent_sightings(self._sightings, snapshot.captured_at)
        self._seen = recent_changes.with_migrations(self._seen, snapshot)
        around = self._extend_context(snapshot.surroundings)
        snapshot = with_known_holds(replace(snapshot, surroundings=around), self._holds)
        self._holds = known_holds(snapshot)
        snapshot = with_known_events(snapshot, self._events)
        self._events = record_known_events(snapshot, self._events)
        self._polls = count_polls(self._polls, snapshot)
        snapshot = with_idle_shares(snapshot, self._polls)
        self._replay = follow_replay(self._replay, snapshot)
        snapshot = with_replay_wait(snapshot, self._replay)
        contests = follow_turns(self._contests, snapshot)
        snapshot, self._contests = with_turns(snapshot, contests, self._contests), contests
        if around is not None:
            self._deadlocks = deadlocks.record_counters(self._deadlocks, around)
        snapshot = deadlocks.with_deadlocks(snapshot, self._deadlocks)
        diagnosis = diagnose(with_scans(with_memory(snapshot, self._sightings), self._counters))
        self._deadlocks = deadlocks.record_cycles(self._deadlocks, diagnosis.snapshot, diagnosis.graph)
        self._sightings += (take_sighting(diagnosis),)
        self._counters = read_scan_counters(snapshot)
        if around is not None and around.read_at != self._past.read_at:
            is_stormy = any(note.kind in workload_baseline.STORMS for note in diagnosis.findings)
            self._past = workload_baseline.extend_history(self._past, around, is_stormy)
        return diagnosis

    def _extend_context(self, now: ServerContext | None) -> ServerContext | None:
        """The server context with what earlier ones add: it is read less often than it is judged."""
        if now is None:
            return None
        if self._surroundings is None or self._surroundings.read_at != now.read_at:
            self._seen = recent_changes.extend_known(self._seen, now)
            self._surroundings = workload_baseline.with_pace(now, self._past)
        return recent_changes.with_changes(self._surroundings, self._seen)
