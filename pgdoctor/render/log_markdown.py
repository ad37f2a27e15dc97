"""Incidents of a server's log in Markdown, for a ticket."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.log_report import LogReport, PastIncident, StatementFacts
from pgdoctor.render.log_text import (
    choose_worst,
    describe_course,
    describe_deadlock,
    describe_source,
    explain_nothing,
    format_log_headline,
    name_class,
)
from pgdoctor.render.markdown_report import waits_table
from pgdoctor.render.markdown_text import escape_markdown, format_code
from pgdoctor.render.report import BlockerReport
from pgdoctor.render.tree import describe_statement, format_session_client
from pgdoctor.render.wait_trees import describe_blocker

#: Of one incident: blockers, kinds of statements, deadlocks that are reported.
_MOST_BLOCKERS = 10
_MOST_STATEMENTS = 20
_MOST_DEADLOCKS = 5


def log_markdown(report: LogReport, incidents: Sequence[PastIncident], most: int) -> str:
    """The report, with the worst `most` incidents in full."""
    return "\n\n".join(_render_parts(report, incidents, most)) + "\n"


def _render_parts(report: LogReport, incidents: Sequence[PastIncident], most: int) -> Iterator[str]:
    yield f"# {escape_markdown(format_log_headline(report))}"
    yield escape_markdown(describe_source(report))
    if why := explain_nothing(report):
        yield escape_markdown(why)
    if report.source.notes:
        yield "\n".join(f"- {escape_markdown(note)}" for note in report.source.notes)
    if len(incidents) > 1:
        yield _render_table(incidents)
    for each in choose_worst(incidents, most):
        yield from _render_incident(each)


def _render_table(incidents: Sequence[PastIncident]) -> str:
    headers = ("id", "started (UTC)", "lasted", "class", "relation", "peak", "waits", "longest", "session time")
    rows = [
        (
            each.facts.id,
            format_moment(each.started),
            format_duration(each.facts.seconds),
            escape_markdown(name_class(each.facts)),
            format_code(each.facts.relation) if each.facts.relation else "",
            each.facts.peak_blocked,
            each.facts.waits_total,
            format_duration(each.facts.longest_wait_seconds),
            format_duration(each.facts.session_seconds),
        )
        for each in incidents
    ]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def _render_incident(incident: PastIncident) -> Iterator[str]:
    facts = incident.facts
    where = f" on {format_code(facts.relation)}" if facts.relation else ""
    yield f"## {facts.id}: {escape_markdown(name_class(facts))}{where}"
    began = f"from {format_moment(incident.started)} UTC, for {format_duration(facts.seconds)}"
    yield "\n".join(f"- {escape_markdown(sentence)}" for sentence in (began, *describe_course(facts)))
    for deadlock in facts.deadlocks[:_MOST_DEADLOCKS]:
        yield f"Deadlock at {escape_markdown(deadlock.at)}:"
        yield "\n".join(f"- {escape_markdown(line)}" for line in describe_deadlock(deadlock))
    if incident.moment is not None and incident.worst_at is not None:
        yield f"### At its peak, {format_moment(incident.worst_at)} UTC"
        told = [each for each in incident.moment.blockers if each.root or each.classification != "unknown"]
        yield "\n".join(line for each in told[:_MOST_BLOCKERS] for line in _render_blocker(each))
        if len(told) > _MOST_BLOCKERS:
            yield f"And {format_count(len(told) - _MOST_BLOCKERS, 'blocker')} more."
        if incident.moment.waits:
            yield waits_table(incident.moment)
    if facts.statements:
        yield "### Session time by statement"
        yield _render_statements(facts.statements)


def _render_blocker(blocker: BlockerReport) -> Iterator[str]:
    where = f" on {format_code(blocker.relation)}" if blocker.relation else ""
    waits = "" if blocker.root else ", waits itself"
    who = format_code(format_session_client(blocker.user, blocker.database, blocker.application))
    yield (
        f"- **{escape_markdown(describe_blocker(blocker))} {blocker.classification}**{where}, {who}: "
        f"{blocker.blocked_sessions:,} blocked{waits}"
    )
    yield from (f"  - {escape_markdown(sentence)}" for sentence in blocker.evidence)
    if blocker.statement:
        yield f"  - {describe_statement(blocker)}: {format_code(blocker.statement)}"
    if blocker.advice:
        yield f"  - next time: {escape_markdown(blocker.advice)}"


def _render_statements(statements: Sequence[StatementFacts]) -> str:
    rows = [
        (
            format_duration(each.session_seconds),
            each.waits,
            format_duration(each.longest_wait_seconds),
            format_code(format_session_client(each.user, None, each.application)),
            format_code(each.statement) if each.statement else "not in the log",
            format_code(each.inner_statement) if each.inner_statement else "",
        )
        for each in statements[:_MOST_STATEMENTS]
    ]
    headers = ("session time", "waits", "longest", "who", "statement", "inside of a function")
    more = len(statements) - _MOST_STATEMENTS
    rest = f"\n\nAnd {format_count(more, 'statement')} more." if more > 0 else ""
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) + rest
