"""An incident as it is stored, made into what people are shown: its snapshots judged again, deeds in words."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pgdoctor.formatting import format_name
from pgdoctor.incidents.export_file import DatedSnapshot, StoredIncident
from pgdoctor.incidents.snapshot_archive import diagnose_again
from pgdoctor.mitigation.audit_records import (
    Event,
    Intent,
    PersonIntent,
    PersonOutcome,
    Trace,
    read_events,
    replay_history,
)
from pgdoctor.mitigation.history import Opening
from pgdoctor.mitigation.rehearsal import KIND, RehearsalScore, read_scores
from pgdoctor.render.incident_view import IncidentView, KeptSnapshot, PersonSignal, is_within
from pgdoctor.render.score import describe_saving


def make_story(stored: StoredIncident, *, only_peak: bool = False) -> IncidentView:
    """The incident. `only_peak`: of its snapshots only the worst, for a judgement takes some of a second."""
    snapshots = stored.snapshots
    if only_peak and snapshots:
        snapshots = (find_peak(snapshots),)
    events = list(read_events(stored.deeds))
    entries = stored.entries
    scores = tuple(each for each in _read_scores(stored) if is_within(entries, each.decided_at))
    said = [(each.decided_at, describe_saving(each)) for each in scores]
    return IncidentView(
        entries=entries,
        looks=tuple(map(judge_again, snapshots)),
        actions=tuple(action for action in replay_history(events).actions if is_within(entries, action.at)),
        notes=(*(note for note in _write_notes(events) if is_within(entries, note[0])), *said),
        signals=tuple(each for each in _find_signals(events) if is_within(entries, each.at)),
        sizes=tuple(
            (each.at, each.stored.blocked, each.stored.snapshot.server.connections) for each in stored.snapshots
        ),
        scores=scores,
    )


def find_peak(snapshots: Sequence[DatedSnapshot]) -> DatedSnapshot:
    """The latest of the snapshots with the most blocked sessions; there is at least one."""
    return max(snapshots, key=lambda each: (each.stored.blocked, each.at))


def judge_again(snapshot: DatedSnapshot) -> KeptSnapshot:
    """A snapshot with the verdict of its time, and that of the present code."""
    stored = snapshot.stored
    return KeptSnapshot(snapshot.at, stored.blocked, stored.judged, diagnose_again(stored))


def _write_notes(events: Sequence[Event]) -> list[tuple[datetime, str]]:
    notes = [(each.at, f"mitigation stopped itself: {each.reason}") for each in events if isinstance(each, Opening)]
    notes += [(each.at, each.summary) for each in events if isinstance(each, Trace)]
    notes += [
        (each.at, f"{each.signal} {each.pid} by {each.by}: {each.outcome.replace('_', ' ')}")
        for each in _find_signals(events)
    ]
    for intent in (each for each in events if isinstance(each, Intent) and each.waiting_users):
        users = ", ".join(map(format_name, intent.waiting_users))
        victim = intent.action.victim
        notes.append((intent.at, f"{intent.action.signal} {victim.pid} was decided by the waits of {users}"))
    return notes


def _read_scores(stored: StoredIncident) -> Iterator[RehearsalScore]:
    """What came of the actions that observe or dry_run did not send."""
    return read_scores(each.body for each in stored.deeds if each.kind == KIND)


def _find_signals(events: Sequence[Event]) -> list[PersonSignal]:
    """The signals that people sent by hand, each with what came of it."""
    outcomes = {each.decision: each.outcome for each in events if isinstance(each, PersonOutcome)}
    return [
        PersonSignal(
            each.at, each.signal, each.victim.pid, each.by, outcomes.get(each.decision, "its outcome is unknown")
        )
        for each in events
        if isinstance(each, PersonIntent)
    ]
