"""Incidents that were read from a server's log, as an object for programs."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from pgdoctor.escape import encode_json
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.render.report import BlockerReport, Report, Wait, make_report, show_statement
from pgdoctor.serverlog.events import CircleMember, LoggedDeadlock
from pgdoctor.serverlog.incident_assembler import LoggedWaitingGroup, LogIncident, Outcome
from pgdoctor.serverlog.judgement import JudgedIncident

#: Kinds of statements that are listed of one incident.
_MOST_GROUPS = 50


class LogSource(msgspec.Struct, frozen=True):
    """What was read."""

    #: In the order in which they were read; `-` is standard input.
    files: tuple[str, ...]
    #: `stderr`, `csvlog` or `jsonlog`, each once.
    formats: tuple[str, ...]
    #: `log_line_prefix` of each file with one, each once; empty where it was only guessed at.
    prefixes: tuple[str, ...] = ()
    size: int = 0
    #: Of the first and the last line that has a time.
    first: datetime | None = None
    last: datetime | None = None
    #: What could not be read, or was taken for granted.
    notes: tuple[str, ...] = ()


class SourceFacts(msgspec.Struct, frozen=True):
    """The same, in a report."""

    files: tuple[str, ...]
    formats: tuple[str, ...]
    prefixes: tuple[str, ...]
    bytes: int
    first: str | None
    last: str | None
    notes: tuple[str, ...]


class StatementFacts(msgspec.Struct, frozen=True):
    """Waits of one application and user with one statement."""

    application: str | None
    user: str | None
    statement: str | None
    #: The statement inside of the function that waited, and the function.
    inner_statement: str | None
    function: str | None
    waits: int
    session_seconds: float
    longest_wait_seconds: float


class DeadlockFacts(msgspec.Struct, frozen=True):
    """A deadlock, as the server reported it."""

    at: str
    victim: int
    members: tuple["MemberFacts", ...]


class MemberFacts(msgspec.Struct, frozen=True):
    """A member of a deadlock."""

    pid: int
    waits_for: str
    blocked_by: int
    statement: str | None


class LogIncidentReport(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """An incident, in a report."""

    id: str
    started: str
    ended: str
    seconds: float
    classification: str
    #: That of the root with the widest reach first, then those of other blockers.
    classes: tuple[str, ...]
    relation: str | None
    peak_blocked: int
    waits_total: int
    longest_wait_seconds: float
    session_seconds: float
    #: How many waits have no end or no length in the log: for these the figures are the least.
    unseen_ends: int
    still_waiting: int
    outcomes: Mapping[str, int]
    #: When most sessions waited; null: the log shows no such moment.
    worst_at: str | None
    waits: tuple[Wait, ...]
    blockers: tuple[BlockerReport, ...]
    statements: tuple[StatementFacts, ...]
    deadlocks: tuple[DeadlockFacts, ...]
    deadlocks_total: int


class LogReport(msgspec.Struct, frozen=True):
    """The object of `read --format json`."""

    schema_version: int
    source: SourceFacts
    incidents_total: int
    waits_total: int
    deadlocks_total: int
    session_seconds: float
    #: In the order of their beginning; of very many those that cost the most session-seconds.
    incidents: tuple[LogIncidentReport, ...]


class PastIncident(msgspec.Struct, frozen=True):
    """An incident for people: its facts, and the report of its worst moment, to be drawn."""

    facts: LogIncidentReport
    started: datetime
    ended: datetime
    worst_at: datetime | None
    #: None: it has no such moment.
    moment: Report | None


def make_log_report(
    outcome: Outcome, judged: Sequence[JudgedIncident], source: LogSource, *, show_literals: bool = False
) -> tuple[LogReport, tuple[PastIncident, ...]]:
    """The report, and its incidents for people."""
    incidents = tuple(_build_incident(each, show_literals) for each in judged)
    report = LogReport(
        1,
        SourceFacts(
            source.files,
            source.formats,
            source.prefixes,
            source.size,
            _format_moment(source.first),
            _format_moment(source.last),
            source.notes,
        ),
        outcome.incidents_total,
        outcome.waits_total,
        outcome.deadlocks_total,
        _round_seconds(outcome.session_seconds),
        tuple(each.facts for each in incidents),
    )
    return report, incidents


def log_report_json(report: LogReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def _build_incident(judged: JudgedIncident, show_literals: bool) -> PastIncident:
    incident = judged.incident
    moment = make_report(judged.diagnosis, show_literals=show_literals) if judged.diagnosis is not None else None
    worst = incident.worst.at if incident.worst is not None else None
    facts = LogIncidentReport(
        id=f"{incident.started:%Y%m%dT%H%M%S}{incident.started.microsecond // 1000:03}",
        started=incident.started.isoformat(timespec="milliseconds"),
        ended=incident.ended.isoformat(timespec="milliseconds"),
        seconds=_round_seconds((incident.ended - incident.started) / timedelta(seconds=1)),
        classification=judged.classification,
        classes=tuple(
            dict.fromkeys((judged.classification, *(each.classification for each in _list_blockers(judged))))
        ),
        relation=judged.relation,
        peak_blocked=incident.peak,
        waits_total=incident.waits,
        longest_wait_seconds=_round_seconds(incident.longest),
        session_seconds=_round_seconds(incident.session_seconds),
        unseen_ends=incident.unseen_ends,
        still_waiting=incident.still_waiting,
        outcomes=incident.outcomes,
        worst_at=_format_moment(worst),
        waits=moment.waits if moment is not None else (),
        blockers=moment.blockers if moment is not None else (),
        statements=_build_statements(incident, show_literals),
        deadlocks=tuple(_build_deadlock(each, show_literals) for each in incident.deadlocks),
        deadlocks_total=incident.deadlocks_total,
    )
    return PastIncident(facts, incident.started, incident.ended, worst, moment)


def _list_blockers(judged: JudgedIncident) -> Sequence[Blocker]:
    return judged.diagnosis.blockers if judged.diagnosis is not None else ()


def _build_statements(incident: LogIncident, show_literals: bool) -> tuple[StatementFacts, ...]:
    """By what they ran; statements that differ in their values only are one."""
    found: dict[tuple[str | None, ...], LoggedWaitingGroup] = {}
    for each in incident.groups:
        texts = (show_statement(each.statement, show_literals), show_statement(each.inner, show_literals))
        about = (each.application, each.user, *texts, each.function)
        group = found.setdefault(about, LoggedWaitingGroup(*about))
        group.count += each.count
        group.seconds += each.seconds
        group.longest = max(group.longest, each.longest)
    widest = sorted(found.values(), key=lambda each: (-each.seconds, -each.count))[:_MOST_GROUPS]
    return tuple(
        StatementFacts(
            each.application,
            each.user,
            each.statement,
            each.inner,
            each.function,
            each.count,
            _round_seconds(each.seconds),
            _round_seconds(each.longest),
        )
        for each in widest
    )


def _build_deadlock(deadlock: LoggedDeadlock, show_literals: bool) -> DeadlockFacts:
    return DeadlockFacts(
        deadlock.origin.at.isoformat(timespec="milliseconds"),
        deadlock.origin.pid,
        tuple(_build_member(each, show_literals) for each in deadlock.members),
    )


def _build_member(member: CircleMember, show_literals: bool) -> MemberFacts:
    statement = show_statement(member.statement, show_literals)
    return MemberFacts(member.pid, f"{member.mode} on {member.target}", member.blocked_by, statement)


def _format_moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")


def _round_seconds(seconds: float) -> float:
    return round(seconds, 3)
