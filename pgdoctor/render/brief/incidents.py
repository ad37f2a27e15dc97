"""Recorded incidents in brief: a list, and the report on one."""

from collections.abc import Iterable, Sequence

import msgspec

from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.render.brief.diagnosis import BriefBlocker, WaitingGroup, make_brief_blocker
from pgdoctor.render.brief.text import NOTICE, ClientText, client_text, keep_first, round_seconds
from pgdoctor.render.incident_report import BlockedGroup, IncidentReport, ReportMoment

#: Entries of each part of a report, and of its timeline.
_MOST = 5
_MOST_MOMENTS = 12
_MOST_ROOTS = 3


class BriefIncident(msgspec.Struct, frozen=True, omit_defaults=True):
    """One incident. `classes`: those of its blockers, in the order of their coming."""

    id: str
    started: str
    seconds: float
    ongoing: bool
    classes: tuple[str, ...]
    severity: str
    peak_blocked: int
    longest_wait_seconds: float
    attempts: int = 1
    #: The server's name in the configuration.
    server: str | None = None
    client_text: ClientText = ClientText()


class BriefIncidents(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `incidents`: the latest first."""

    notice: str
    incidents_total: int
    incidents: tuple[BriefIncident, ...]
    incidents_left_out: int = 0


class BriefMoment(msgspec.Struct, frozen=True):
    """What happened at a time."""

    at: str
    client_text: ClientText


class BriefTime(msgspec.Struct, frozen=True):
    """How long something took. `name`: detect, act or recover; `seconds` null: not known, or it did not happen."""

    name: str
    seconds: float | None
    client_text: ClientText


class BriefIncidentReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `incident_report`."""

    notice: str
    id: str
    classes: tuple[str, ...]
    severity: str
    started: str
    ongoing: bool
    seconds: float
    peak_blocked: int
    longest_wait_seconds: float
    #: Time that sessions waited, all together; absent: not recorded.
    session_seconds: float | None = None
    ended: str | None = None
    worst_at: str | None = None
    server: str | None = None
    waiting: tuple[WaitingGroup, ...] = ()
    times: tuple[BriefTime, ...] = ()
    roots: tuple[BriefBlocker, ...] = ()
    timeline: tuple[BriefMoment, ...] = ()
    changes: tuple[BriefMoment, ...] = ()
    actions: tuple[BriefMoment, ...] = ()
    #: Signals that rules asked for and guards refused.
    refused_signals: int = 0
    waiting_left_out: int = 0
    roots_left_out: int = 0
    timeline_left_out: int = 0
    #: The place, the recommendation, the whys, deadlocks, and what would have prevented it.
    client_text: ClientText = ClientText()


def make_brief_incidents(found: Sequence[IncidentRecord], most: int) -> BriefIncidents:
    """At most so many of the incidents, which come oldest first; the answer has the latest first."""
    listed, left = keep_first(list(reversed(found)), most)
    return BriefIncidents(NOTICE, len(found), tuple(map(_make_incident, listed)), left)


def make_brief_incident_report(report: IncidentReport) -> BriefIncidentReport:
    """The report with a few entries of each part."""
    groups, _ = keep_first(report.impact.groups, _MOST)
    roots, roots_left = keep_first(report.roots, _MOST_ROOTS)
    timeline, timeline_left = keep_first(report.timeline, _MOST_MOMENTS)
    left = report.impact.other_sessions + sum(each.sessions for each in report.impact.groups[_MOST:])
    return BriefIncidentReport(
        notice=NOTICE,
        id=report.id,
        classes=report.classes,
        severity=report.severity,
        started=report.started.isoformat(),
        ongoing=report.ongoing,
        seconds=round(report.seconds, 1),
        peak_blocked=report.impact.peak_blocked,
        longest_wait_seconds=round(report.impact.longest_wait_seconds, 1),
        session_seconds=round_seconds(report.impact.session_seconds),
        ended=report.ended.isoformat() if report.ended else None,
        worst_at=report.worst_at.isoformat() if report.worst_at else None,
        server=report.server,
        waiting=tuple(map(_make_group, groups)),
        times=tuple(BriefTime(each.name, each.seconds, client_text(sentences=(each.note,))) for each in report.times),
        roots=tuple(map(make_brief_blocker, roots)),
        timeline=_make_moments(timeline),
        changes=_make_moments(report.changes[:_MOST]),
        actions=_make_moments(report.actions[:_MOST]),
        refused_signals=len(report.refused),
        waiting_left_out=left,
        roots_left_out=roots_left,
        timeline_left_out=timeline_left,
        client_text=client_text(relation=report.relation, sentences=_list_sentences(report)),
    )


def _make_incident(entry: IncidentRecord) -> BriefIncident:
    return BriefIncident(
        id=entry.id,
        started=entry.started.isoformat(),
        seconds=round(entry.seconds, 1),
        ongoing=not entry.is_over,
        classes=entry.classes,
        severity=entry.severity,
        peak_blocked=entry.peak,
        longest_wait_seconds=round(entry.longest_wait, 1),
        attempts=entry.attempts,
        server=entry.server,
        client_text=client_text(
            database=entry.database, relation=entry.relation, sentences=(f"to do: {entry.recommendation}",)
        ),
    )


def _make_group(group: BlockedGroup) -> WaitingGroup:
    return WaitingGroup(
        group.sessions,
        round_seconds(group.longest_seconds),
        None,
        (),
        client_text(user=group.user, application=group.application, relation=group.relation, statement=group.statement),
    )


def _make_moments(moments: Iterable[ReportMoment]) -> tuple[BriefMoment, ...]:
    return tuple(BriefMoment(each.at.isoformat(), client_text(sentences=(each.what,))) for each in moments)


def _list_sentences(report: IncidentReport) -> Iterable[str]:
    if report.place:
        yield report.place
    yield f"recommended: {report.recommendation}"
    yield from (f"{each.question} {each.answer}" for each in report.whys[:_MOST] if each.answer)
    yield from (f"deadlock: {'; '.join(each.members)}. {each.advice}" for each in report.deadlocks[:_MOST])
    yield from (f"prevention ({each.who}): {each.what}" for each in report.prevention[:_MOST])
