"""The facts of a report on an incident, which Markdown, HTML and JSON share: impact, times, cause, prevention."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from pgdoctor.diagnosis.change_ranking import rank_changes
from pgdoctor.diagnosis.deadlocks import advise_order, describe_member, describe_members
from pgdoctor.escape import encode_json
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.incidents.incident_course import RefusedSignal
from pgdoctor.mitigation.rehearsal import RehearsalScore
from pgdoctor.model.server_context import RecentChange
from pgdoctor.model.snapshot import DeadlockMember
from pgdoctor.render.incident_view import IncidentView, format_moment, list_happenings
from pgdoctor.render.plan import action_text
from pgdoctor.render.prevention import Prevention, find_prevention, name_session
from pgdoctor.render.report import BlockerReport, Report, Wait, make_report, without_sql
from pgdoctor.render.score import describe_armed
from pgdoctor.render.server_name import describe_server_then
from pgdoctor.render.tree import format_awaited

#: Groups of waiting sessions, changes and sentences of evidence.
MOST_GROUPS = 20
_MOST_CHANGES = 10
_MOST_EVIDENCE = 4


class ReportMoment(msgspec.Struct, frozen=True):
    """What happened at a time."""

    at: datetime
    what: str


class ReportTime(msgspec.Struct, frozen=True):
    """How long something took; `seconds` null: it did not happen, or is not known, for the reason in `note`."""

    #: detect, act or recover.
    name: str
    seconds: float | None
    #: From what to what it is counted.
    start: str
    end: str
    note: str = ""


class BlockedGroup(msgspec.Struct, frozen=True):
    """Sessions of the worst snapshot that waited for the same."""

    sessions: int
    longest_seconds: float
    application: str | None
    user: str | None
    relation: str | None
    statement: str | None


class Impact(msgspec.Struct, frozen=True):
    """How many sessions were affected, and for how long."""

    peak_blocked: int
    #: Time that sessions waited, all together; null: not recorded.
    session_seconds: float | None
    longest_wait_seconds: float
    attempts: int
    groups: tuple[BlockedGroup, ...]
    #: Sessions of the worst snapshot in no group.
    other_sessions: int = 0


class Why(msgspec.Struct, frozen=True):
    """One of the five whys. `answer` null: no record answers it, so a person has to."""

    question: str
    answer: str | None


class DeadlockSeen(msgspec.Struct, frozen=True):
    """Sessions that waited for each other."""

    at: datetime
    members: tuple[str, ...]
    advice: str


class IncidentReport(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """The object of `incidents report --format json`. Times are the server's."""

    schema_version: int
    id: str
    server: str | None
    place: str | None
    classification: str
    classes: tuple[str, ...]
    severity: str
    relation: str | None
    started: datetime
    #: Null: it is ongoing, or its end was not observed.
    ended: datetime | None
    ongoing: bool
    #: How long it lasted as far as it was observed.
    seconds: float
    worst_at: datetime | None
    impact: Impact
    times: tuple[ReportTime, ...]
    timeline: tuple[ReportMoment, ...]
    changes: tuple[ReportMoment, ...]
    roots: tuple[BlockerReport, ...]
    between: tuple[BlockerReport, ...]
    deadlocks: tuple[DeadlockSeen, ...]
    whys: tuple[Why, ...]
    actions: tuple[ReportMoment, ...]
    refused: tuple[RefusedSignal, ...]
    recommendation: str
    prevention: tuple[Prevention, ...]
    #: What armed rules would have come to, in a sentence; null: signals were sent.
    armed: str | None = None
    #: The rehearsed actions of observe and dry_run.
    rehearsals: tuple[RehearsalScore, ...] = ()


def make_incident_report(story: IncidentView, pages: Mapping[str, str]) -> IncidentReport:
    """The report. `pages`: by class, what its page says about preventing it."""
    last, peak = story.last, story.peak
    facts = without_sql(make_report(peak.now)) if peak is not None else None
    deadlocks = tuple(_find_deadlocks(story))
    root = next((each for each in facts.blockers if each.root), None) if facts is not None else None
    blockers = facts.blockers if facts is not None else ()
    times = tuple(_measure_times(story))
    return IncidentReport(
        schema_version=1,
        id=last.id,
        server=last.server,
        place=describe_server_then(last),
        classification=last.classes[0],
        classes=last.classes,
        severity=last.severity,
        relation=last.relation,
        started=last.started,
        ended=last.at if last.is_over and not last.unseen else None,
        ongoing=not last.is_over,
        seconds=round(last.seconds, 3),
        worst_at=peak.at if peak is not None else None,
        impact=_measure_impact(story, facts),
        times=times,
        timeline=tuple(ReportMoment(at, what) for at, what in list_happenings(story)),
        changes=tuple(_list_changes(story)),
        roots=tuple(each for each in blockers if each.root),
        between=tuple(each for each in blockers if not each.root and each.classification != "unknown"),
        deadlocks=deadlocks,
        whys=tuple(_ask_whys(story, facts, root, times)),
        actions=tuple(_list_actions(story)),
        refused=last.refused,
        recommendation=last.recommendation,
        prevention=tuple(find_prevention(story, facts, pages, tuple(each.advice for each in deadlocks))),
        armed=_describe_armed(story),
        rehearsals=story.scores,
    )


def incident_report_json(report: IncidentReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def first_signal(story: IncidentView) -> ReportMoment | None:
    """The first signal that may have reached a session, of a rule or a person; None: there was none."""
    sent = [ReportMoment(each.at, action_text(each)) for each in story.actions if each.may_have_been_sent]
    sent += [
        ReportMoment(each.at, f"{each.signal} {each.pid} by {each.by}: {each.outcome.replace('_', ' ')}")
        for each in story.signals
        if each.outcome not in ("gone", "not_permitted", "refused")
    ]
    return min(sent, key=lambda each: each.at, default=None)


def _measure_times(story: IncidentView) -> Iterator[ReportTime]:
    first, last = story.entries[0], story.last
    begun = "the beginning of the longest wait, as the first poll saw it"
    found = "the first poll that found a blocked session"
    is_first = first.event == "started"
    yield ReportTime(
        "detect",
        round(first.longest_wait, 3) if is_first else None,
        begun,
        found,
        "" if is_first else "the record of its beginning is missing",
    )
    signal = first_signal(story)
    acted = _seconds_between(last.started, signal.at) if signal is not None else None
    yield ReportTime("act", acted, found, "the first signal", signal.what if signal is not None else _no_signal(story))
    is_known = last.is_over and not last.unseen
    start = signal.at if signal is not None else last.started
    yield ReportTime(
        "recover",
        _seconds_between(start, last.at) if is_known else None,
        "the first signal" if signal is not None else f"{found}, because no signal was sent",
        "the first poll without a blocked session",
        "" if is_known else "its end was not observed" if last.is_over else "it is ongoing",
    )


def _seconds_between(start: datetime, end: datetime) -> float:
    return round(max((end - start) / timedelta(seconds=1), 0.0), 3)


def _no_signal(story: IncidentView) -> str:
    rehearsed = next((each for each in story.actions if each.outcome == "would_act"), None)
    if rehearsed is None:
        return "no signal was sent"
    after = format_duration(_seconds_between(story.last.started, rehearsed.at))
    return f"no signal was sent; armed, rule {rehearsed.rule} would have sent {rehearsed.signal} after {after}"


def _describe_armed(story: IncidentView) -> str | None:
    if first_signal(story) is not None:
        return None
    if not story.scores and any(each.outcome == "would_act" for each in story.actions):
        return "Armed, it would have sent a signal; what that would have saved is not known yet."
    return describe_armed(story.scores, story.last.started)


def _measure_impact(story: IncidentView, facts: Report | None) -> Impact:
    last = story.last
    groups = list(_group_waits(facts)) if facts is not None else []
    listed = sum(each.sessions for each in groups[:MOST_GROUPS])
    return Impact(
        peak_blocked=last.peak,
        session_seconds=round(last.blocked_seconds, 3) or None,
        longest_wait_seconds=round(last.longest_wait, 3),
        attempts=last.attempts,
        groups=tuple(groups[:MOST_GROUPS]),
        other_sessions=max(facts.blocked_sessions - listed, 0) if facts is not None else 0,
    )


def _group_waits(facts: Report) -> Iterator[BlockedGroup]:
    """Those who waited by what they ran, the most first; a session that waits for several counts once."""
    waits: dict[int, Wait] = {}
    for wait in facts.waits:
        waits.setdefault(wait.blocked_pid, wait)
    groups: dict[tuple[str | None, str | None, str | None, str | None], list[float]] = defaultdict(list)
    for wait in waits.values():
        about = (wait.blocked_application, wait.blocked_user, wait.place, wait.blocked_statement)
        groups[about].append(wait.wait_seconds or 0.0)
    widest = sorted(groups.items(), key=lambda group: (-len(group[1]), tuple(part or "" for part in group[0])))
    for about, seconds in widest:
        yield BlockedGroup(len(seconds), round(max(seconds), 3), *about)


def _find_deadlocks(story: IncidentView) -> Iterator[DeadlockSeen]:
    """The cycles of the first snapshot that shows any; such a thing is over within a second."""
    snapshot = next((each for each in story.looks if each.now.graph.cycles), None)
    for cycle in snapshot.now.graph.cycles if snapshot is not None else ():
        assert snapshot is not None
        members: tuple[DeadlockMember, ...] = tuple(describe_members(snapshot.now.snapshot, cycle))
        yield DeadlockSeen(snapshot.at, tuple(map(describe_member, members)), advise_order(members))


def _list_changes(story: IncidentView) -> Iterator[ReportMoment]:
    """Recent changes as of the worst snapshot, the most suspicious first."""
    peak = story.peak
    around = peak.now.snapshot.surroundings if peak is not None else None
    if peak is None or around is None:
        return
    for change in islice(rank_changes(around.changes, peak.now.blockers), _MOST_CHANGES):
        yield ReportMoment(change.at, f"{change.what}{_describe_bounds(change)}")


def _describe_bounds(change: RecentChange) -> str:
    if change.is_exact:
        return ""
    since = f"after {format_moment(change.after)} UTC" if change.after is not None else "its time is not known"
    return f" (at the latest then; {since})"


def _list_actions(story: IncidentView) -> Iterator[ReportMoment]:
    done = [ReportMoment(each.at, action_text(each)) for each in story.actions]
    done += [ReportMoment(at, what) for at, what in story.notes]
    yield from sorted(done, key=lambda each: each.at)


def _ask_whys(
    story: IncidentView, facts: Report | None, root: BlockerReport | None, times: tuple[ReportTime, ...]
) -> Iterator[Why]:
    """The five whys: the first four from the records, the last to the owner of the blocker."""
    if facts is None or root is None:
        yield Why("Why were sessions blocked?", None)
        yield Why("Why did it last as long as it did?", _explain_length(story, times))
        yield Why("Why could it happen?", None)
        return
    blocker = name_session(root)
    yield Why("Why were sessions blocked?", _explain_block(facts, root))
    yield Why(
        f"Why did {blocker} hold the lock?",
        "; ".join(root.evidence[:_MOST_EVIDENCE]) or None,
    )
    yield Why(f"Why did {format_count(facts.blocked_sessions, 'session')} wait?", _explain_width(facts, root))
    yield Why("Why did it last as long as it did?", _explain_length(story, times))
    yield Why(_ask_owner(root), None)


def _explain_block(facts: Report, root: BlockerReport) -> str:
    first = next((wait for wait in facts.waits if wait.blocking_pid == root.pid and not wait.queued), None)
    awaited = f" for {format_awaited(first)}" if first is not None else ""
    where = f" on {root.place}" if root.place else ""
    return (
        f"{format_count(root.blocked_sessions, 'session')} waited{awaited} behind {name_session(root)}, "
        f"which is {root.classification}{where}"
    )


def _explain_width(facts: Report, root: BlockerReport) -> str:
    queued = max(
        (each for each in facts.blockers if not each.root and each.classification != "unknown"),
        key=lambda each: each.blocked_sessions,
        default=None,
    )
    if queued is not None:
        behind = format_count(queued.blocked_sessions, "session")
        asked = f"{name_session(queued)} ({queued.classification}) waited for it too"
        return f"{asked}, and {behind} queued behind that request"
    if root.directly_blocked < root.blocked_sessions:
        return f"{format_count(root.directly_blocked, 'session')} waited for it directly, the others queued behind them"
    return "all of them asked for a lock that conflicts with it"


def _explain_length(story: IncidentView, times: tuple[ReportTime, ...]) -> str:
    last = story.last
    _, act, recover = times
    said = []
    if act.seconds is None:
        said.append(act.note)
    else:
        said.append(f"the first signal was sent {format_duration(act.seconds)} after it was found")
    if recover.seconds is not None and act.seconds is not None:
        said.append(f"it ended {format_duration(recover.seconds)} after that")
    if last.refused:
        names = sorted({reason.partition(":")[0] for each in last.refused for reason in each.reasons})
        said.append(f"guards refused a signal: {', '.join(names)}")
    said.append(
        f"a session waited {format_duration(last.longest_wait)}, so no shorter lock_timeout applied to that session"
    )
    return "; ".join(said)


#: By class, what only the owner of the blocker can answer.
_QUESTIONS = {
    "idle_in_transaction": "Why did {} leave its transaction open?",
    "migration": "Why did {} run this change at that time, and without a short lock_timeout?",
    "explicit_lock": "Why does {} need a lock on the whole table?",
    "maintenance": "Why did {} run at that time?",
    "unindexed_scan": "Why was there no index for the condition of {}, and which review could have found that?",
    "long_query": "Why did the statement of {} take that long?",
    "hot_row": "Why do so many transactions of {} need the same row?",
    "advisory_lock": "What does the advisory lock of {} protect, and why was it held for that long?",
    "prepared_transaction": "Why did the transaction manager not finish {}?",
}


def _ask_owner(root: BlockerReport) -> str:
    name = f'"{root.application}"' if root.application else name_session(root)
    return _QUESTIONS.get(root.classification, "Why could it happen, as the owner of {} sees it?").format(name)
