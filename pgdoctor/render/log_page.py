"""Incidents of a server's log as one HTML file that asks for nothing else: no script, font or picture."""

from collections.abc import Iterator, Sequence

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.log_report import DeadlockFacts, LogReport, PastIncident, StatementFacts
from pgdoctor.render.log_text import (
    choose_worst,
    describe_course,
    describe_deadlock,
    describe_group,
    describe_source,
    explain_nothing,
    format_log_headline,
    name_class,
)
from pgdoctor.render.web.markup import code_markup, document_markup, name_markup, sentence_markup, text_markup
from pgdoctor.render.web.past_trees import past_trees_markup

#: Of one incident: statements, deadlocks.
_MOST_STATEMENTS = 20
_MOST_DEADLOCKS = 5


def log_page(report: LogReport, incidents: Sequence[PastIncident], most: int) -> str:
    """The page, with the worst `most` incidents in full."""
    return document_markup(format_log_headline(report), _render_main(report, incidents, most))


def _render_main(report: LogReport, incidents: Sequence[PastIncident], most: int) -> Iterator[str]:
    yield f"<h1>{sentence_markup(format_log_headline(report))}</h1>"
    yield f'<p class="facts"><span>{sentence_markup(describe_source(report))}</span></p>'
    if why := explain_nothing(report):
        yield f"<p>{sentence_markup(why)}</p>"
    for note in report.source.notes:
        yield f'<p class="note warn">{sentence_markup(note)}</p>'
    if incidents:
        yield from _render_table(incidents)
    for each in choose_worst(incidents, most):
        yield from _render_incident(each)


def _render_table(incidents: Sequence[PastIncident]) -> Iterator[str]:
    yield "<section><h2>Incidents</h2><table><thead><tr>"
    heads = ("started (UTC)", "lasted", "class", "relation", "peak", "waits", "longest", "session time")
    yield "".join(f"<th>{each}</th>" for each in heads) + "</tr></thead><tbody>"
    for each in incidents:
        facts = each.facts
        yield (
            f'<tr><td><a href="#i{facts.id}">{format_moment(each.started)}</a></td>'
            f'<td class="n">{format_duration(facts.seconds)}</td><td>{text_markup(name_class(facts))}</td>'
            f"<td>{name_markup(facts.relation) if facts.relation else ''}</td>"
            f'<td class="n">{facts.peak_blocked:,}</td><td class="n">{facts.waits_total:,}</td>'
            f'<td class="n">{format_duration(facts.longest_wait_seconds)}</td>'
            f'<td class="n">{format_duration(facts.session_seconds)}</td></tr>'
        )
    yield "</tbody></table></section>"


def _render_incident(incident: PastIncident) -> Iterator[str]:
    facts = incident.facts
    where = f" on {name_markup(facts.relation)}" if facts.relation else ""
    yield f'<section id="i{facts.id}"><h2>{text_markup(name_class(facts))}{where}</h2>'
    yield f"<p>From {format_moment(incident.started)} UTC, for {format_duration(facts.seconds)}.</p><ul>"
    yield from (f"<li>{sentence_markup(each)}</li>" for each in describe_course(facts))
    yield "</ul>"
    for deadlock in facts.deadlocks[:_MOST_DEADLOCKS]:
        yield from _render_deadlock(deadlock)
    if incident.moment is not None and incident.worst_at is not None:
        yield f"<h3>At its peak, {format_moment(incident.worst_at)} UTC</h3>"
        yield from past_trees_markup(incident.moment)
    if facts.statements:
        yield from _render_statements(facts.statements)
    yield "</section>"


def _render_deadlock(deadlock: DeadlockFacts) -> Iterator[str]:
    yield f'<article class="card"><h3>Deadlock at {text_markup(deadlock.at)}</h3><ul>'
    yield from (f"<li>{sentence_markup(line)}</li>" for line in describe_deadlock(deadlock))
    yield "</ul></article>"


def _render_statements(statements: Sequence[StatementFacts]) -> Iterator[str]:
    yield "<h3>Session time by statement</h3><table><thead><tr>"
    yield "<th>session time</th><th>waits</th><th>longest</th><th>statement</th></tr></thead><tbody>"
    for each in statements[:_MOST_STATEMENTS]:
        yield (
            f'<tr><td class="n">{format_duration(each.session_seconds)}</td><td class="n">{each.waits:,}</td>'
            f'<td class="n">{format_duration(each.longest_wait_seconds)}</td>'
            f"<td>{code_markup(describe_group(each))}</td></tr>"
        )
    yield "</tbody></table>"
    if len(statements) > _MOST_STATEMENTS:
        yield f'<p class="dim">and {format_count(len(statements) - _MOST_STATEMENTS, "statement")} more</p>'
