"""Incidents of a server's log in brief: the totals, and the worst of them."""

import msgspec

from pgdoctor.render.brief.diagnosis import BriefBlocker, make_brief_blocker
from pgdoctor.render.brief.text import NOTICE, ClientText, client_text, keep_first
from pgdoctor.render.log_report import LogIncidentReport, LogReport, StatementFacts

#: Blockers and statements of one incident, and notes on what was read.
_MOST_BLOCKERS = 2
_MOST_STATEMENTS = 3
_MOST_NOTES = 5


class BriefLoggedStatement(msgspec.Struct, frozen=True):
    """Waits of one application and user with one statement."""

    waits: int
    session_seconds: float
    longest_wait_seconds: float
    client_text: ClientText


class BriefLogIncident(msgspec.Struct, frozen=True, omit_defaults=True, rename={"classification": "class"}):
    """One incident of a log. `session_seconds`: time that sessions waited, all together."""

    id: str
    started: str
    ended: str
    seconds: float
    classification: str
    peak_blocked: int
    waits_total: int
    longest_wait_seconds: float
    session_seconds: float
    deadlocks_total: int = 0
    still_waiting: int = 0
    blockers: tuple[BriefBlocker, ...] = ()
    statements: tuple[BriefLoggedStatement, ...] = ()
    blockers_left_out: int = 0
    statements_left_out: int = 0
    client_text: ClientText = ClientText()


class LogFileFacts(msgspec.Struct, frozen=True):
    """A file that may be read."""

    name: str
    bytes: int
    modified: str


class BriefLog(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `read_log`: without a file the latest files, else what the file has."""

    notice: str
    files: tuple[LogFileFacts, ...] = ()
    files_left_out: int = 0
    file: str | None = None
    bytes: int = 0
    formats: tuple[str, ...] = ()
    first: str | None = None
    last: str | None = None
    incidents_total: int = 0
    waits_total: int = 0
    deadlocks_total: int = 0
    session_seconds: float = 0.0
    #: Those that cost the most, the worst first.
    incidents: tuple[BriefLogIncident, ...] = ()
    incidents_left_out: int = 0
    client_text: ClientText = ClientText()


def make_brief_log(report: LogReport, file: str, most: int) -> BriefLog:
    """The report on a file, with at most so many incidents."""
    worst = sorted(report.incidents, key=lambda each: (-each.session_seconds, each.started))
    listed, _ = keep_first(worst, most)
    source = report.source
    return BriefLog(
        notice=NOTICE,
        file=file,
        bytes=source.bytes,
        formats=source.formats,
        first=source.first,
        last=source.last,
        incidents_total=report.incidents_total,
        waits_total=report.waits_total,
        deadlocks_total=report.deadlocks_total,
        session_seconds=round(report.session_seconds, 1),
        incidents=tuple(map(_make_incident, listed)),
        incidents_left_out=max(report.incidents_total - len(listed), 0),
        client_text=client_text(sentences=source.notes[:_MOST_NOTES]),
    )


def _make_incident(incident: LogIncidentReport) -> BriefLogIncident:
    blockers, blockers_left = keep_first(incident.blockers, _MOST_BLOCKERS)
    statements, statements_left = keep_first(incident.statements, _MOST_STATEMENTS)
    return BriefLogIncident(
        id=incident.id,
        started=incident.started,
        ended=incident.ended,
        seconds=round(incident.seconds, 1),
        classification=incident.classification,
        peak_blocked=incident.peak_blocked,
        waits_total=incident.waits_total,
        longest_wait_seconds=round(incident.longest_wait_seconds, 1),
        session_seconds=round(incident.session_seconds, 1),
        deadlocks_total=incident.deadlocks_total,
        still_waiting=incident.still_waiting,
        blockers=tuple(map(make_brief_blocker, blockers)),
        statements=tuple(map(_make_statement, statements)),
        blockers_left_out=blockers_left,
        statements_left_out=statements_left,
        client_text=client_text(relation=incident.relation),
    )


def _make_statement(statement: StatementFacts) -> BriefLoggedStatement:
    return BriefLoggedStatement(
        statement.waits,
        round(statement.session_seconds, 1),
        round(statement.longest_wait_seconds, 1),
        client_text(
            user=statement.user,
            application=statement.application,
            statement=statement.inner_statement or statement.statement,
        ),
    )
