"""Incidents of a server's log for a terminal."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from pgdoctor.formatting import format_count, format_duration, format_size
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.live.cells import Span
from pgdoctor.render.log_report import DeadlockFacts, LogIncidentReport, LogReport, PastIncident, StatementFacts
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.tree import format_session_client, past_paragraphs

#: Kinds of statements, and deadlocks, that are shown of one incident.
_MOST_STATEMENTS = 8
_MOST_DEADLOCKS = 3

_NAME = 40

#: Outcomes of waits in words; the others are words already.
_ENDS = {
    "acquired": "got the lock",
    "canceled": "canceled by a user",
    "end_not_in_log": "end not in the log",
    "deadlock": "ended by the deadlock detector",
}


def log_lines(report: LogReport, incidents: Sequence[PastIncident], most: int, width: int | None) -> Iterator[Span]:
    """The report in lines, with the worst `most` incidents in full."""
    yield from lay_out_paragraphs(_build_headline(report), width)
    if len(incidents) > 1:
        yield Span("")
        for line in incidents_list(incidents).splitlines():
            yield Span(line)
    for each in choose_worst(incidents, most):
        yield Span("")
        yield from lay_out_paragraphs(_build_incident(each), width)


def choose_worst(incidents: Sequence[PastIncident], most: int) -> list[PastIncident]:
    """Those that cost the most session-seconds, in the order of their beginning."""
    worst = sorted(incidents, key=lambda each: (-each.facts.session_seconds, -each.facts.peak_blocked))[:most]
    return sorted(worst, key=lambda each: each.started)


def format_log_headline(report: LogReport) -> str:
    """What the log shows, in one line."""
    if not report.incidents_total:
        return "No session waited for a lock, as far as the log shows"
    parts = [
        format_count(report.incidents_total, "incident"),
        format_count(report.waits_total, "wait"),
        f"{format_duration(report.session_seconds)} of session time lost",
    ]
    if report.deadlocks_total:
        parts.append(format_count(report.deadlocks_total, "deadlock"))
    return ", ".join(parts)


def describe_source(report: LogReport) -> str:
    """What was read: files, format, size, and from when to when."""
    source = report.source
    files = ", ".join(format_one_line(name, 200) for name in source.files[:5])
    more = f" and {format_count(len(source.files) - 5, 'file')} more" if len(source.files) > 5 else ""
    prefix = "".join(f" with log_line_prefix '{format_one_line(each, 100)}'" for each in source.prefixes if each)
    span = f", {source.first} to {source.last}" if source.first and source.last else ""
    return f"{files}{more}: {', '.join(source.formats)}{prefix}, {format_size(source.bytes)}{span}"


def explain_nothing(report: LogReport) -> str:
    """Why a log may say nothing of waits; empty where it does."""
    if report.incidents_total or any(each.startswith("rows of") for each in report.source.formats):
        return ""
    return (
        "the server logs waits with log_lock_waits = on, after deadlock_timeout (1 s by default); deadlocks and "
        "lock timeouts are logged always"
    )


def incidents_list(incidents: Sequence[PastIncident]) -> str:
    """Incidents, one a line."""
    headers = ("id", "started (UTC)", "lasted", "class", "relation", "peak", "waits", "longest", "session time")
    rows = [
        (
            each.facts.id,
            format_moment(each.started),
            format_duration(each.facts.seconds),
            name_class(each.facts),
            format_one_line(each.facts.relation or "", _NAME),
            each.facts.peak_blocked,
            each.facts.waits_total,
            format_duration(each.facts.longest_wait_seconds),
            format_duration(each.facts.session_seconds),
        )
        for each in incidents
    ]
    return tabulate(rows, headers)


def name_class(facts: LogIncidentReport) -> str:
    """Its class, and those of other blockers; a deadlock is called one."""
    is_deadlock = facts.classification == "unknown" and (facts.deadlocks_total or "deadlock" in facts.outcomes)
    others = [each for each in facts.classes[1:] if each != "unknown"]
    return ("deadlock" if is_deadlock else facts.classification) + (f" (also {', '.join(others)})" if others else "")


def describe_course(facts: LogIncidentReport) -> Iterator[str]:
    """How many waited, for how long, and how their waits ended, in sentences."""
    least = " at least" if facts.unseen_ends else ""
    yield (
        f"{format_count(facts.waits_total, 'wait')}, at most {format_count(facts.peak_blocked, 'session')} at once; "
        f"the longest {format_duration(facts.longest_wait_seconds)}, together "
        f"{format_duration(facts.session_seconds)} of session time{least}"
    )
    ends = ", ".join(f"{number:,} {_ENDS.get(how, how)}" for how, number in facts.outcomes.items())
    if ends:
        yield f"how they ended: {ends}"
    if not facts.blockers:
        yield ("the log names no holder: it does with log_lock_waits = on, and log_error_verbosity = default")
    if facts.still_waiting:
        yield f"{format_count(facts.still_waiting, 'session')} still waited at its end"


def describe_group(group: StatementFacts) -> str:
    """Who waited, and with what."""
    inner = (
        f" → {group.function + '(): ' if group.function else ''}{group.inner_statement}"
        if group.inner_statement
        else ""
    )
    who = format_session_client(group.user, None, group.application)
    return f"{group.statement or 'statement not in the log'}{inner}  ({who})"


def describe_deadlock(deadlock: DeadlockFacts) -> Iterator[str]:
    """The circle, a line a member."""
    for each in deadlock.members:
        mark = ", the victim" if each.pid == deadlock.victim else ""
        statement = f": {each.statement}" if each.statement else ""
        yield f"{each.pid}{mark}, waited for {each.waits_for}, held by {each.blocked_by}{statement}"


def _build_headline(report: LogReport) -> Iterator[Paragraph]:
    yield Paragraph(f"{format_log_headline(report)}.", "bad" if report.incidents_total else "good")
    yield Paragraph(describe_source(report), "dim")
    if why := explain_nothing(report):
        yield Paragraph(why)
    for note in report.source.notes:
        yield Paragraph(note, "warn", "! ", "  ")
    if report.incidents_total > len(report.incidents):
        yield Paragraph(
            f"Only the {len(report.incidents):,} incidents with the most session time are kept, "
            f"of {report.incidents_total:,}.",
            "warn",
        )


def _build_incident(incident: PastIncident) -> Iterator[Paragraph]:
    facts = incident.facts
    where = f" on {facts.relation}" if facts.relation else ""
    yield Paragraph(
        f"── {facts.id}: {name_class(facts)}{where}, {format_moment(incident.started)} UTC, "
        f"lasted {format_duration(facts.seconds)}",
        "bold",
    )
    for sentence in describe_course(facts):
        yield Paragraph(sentence)
    for deadlock in facts.deadlocks[:_MOST_DEADLOCKS]:
        yield Paragraph(f"deadlock at {deadlock.at}:")
        for line in describe_deadlock(deadlock):
            yield Paragraph(line, first="  ", others="    ")
    if facts.deadlocks_total > _MOST_DEADLOCKS:
        yield Paragraph(f"and {format_count(facts.deadlocks_total - _MOST_DEADLOCKS, 'deadlock')} more")
    if incident.moment is not None and incident.worst_at is not None:
        yield Paragraph(f"at its peak, {format_moment(incident.worst_at)} UTC:")
        yield from past_paragraphs(incident.moment)
    if facts.statements:
        yield Paragraph("session time by statement:")
    for group in facts.statements[:_MOST_STATEMENTS]:
        words = f"{format_duration(group.session_seconds)} in {format_count(group.waits, 'wait')}:"
        yield Paragraph(f"{words} {describe_group(group)}", first="  ", others="      ")
    if len(facts.statements) > _MOST_STATEMENTS:
        yield Paragraph(f"  and {format_count(len(facts.statements) - _MOST_STATEMENTS, 'statement')} more")
