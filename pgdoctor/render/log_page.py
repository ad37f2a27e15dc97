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
    format_headline,
    name_class,
)
from pgdoctor.render.report import Report, Wait
from pgdoctor.render.tree import describe_statement, format_awaited, format_wait, left_out
from pgdoctor.render.wait_trees import Branch, OmittedRows, build_trees
from pgdoctor.render.web.assets import STYLE
from pgdoctor.render.web.markup import client_markup, code_markup, name_markup, sentence_markup, text_markup
from pgdoctor.render.web.trees import blocker_heading

#: Of one incident: sessions drawn right below another, steps down, sessions in one tree, trees, statements, deadlocks.
_MOST_CHILDREN = 20
_MOST_STEPS = 8
_MOST_DRAWN = 160
_MOST_TREES = 10
_MOST_STATEMENTS = 20
_MOST_DEADLOCKS = 5

#: What the page of the agent does not need: tables, and paper.
_TABLES = (
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2em .6em;vertical-align:top;"
    "border-bottom:1px solid #8884;overflow-wrap:break-word;word-break:normal}th,td.n{white-space:nowrap}"
    "td.n{text-align:right}h3{margin:1em 0 .3em}main{max-width:72rem}@media print{article{break-inside:avoid}}"
)


def log_page(report: LogReport, incidents: Sequence[PastIncident], most: int) -> str:
    """The page, with the worst `most` incidents in full."""
    return "\n".join(
        (
            '<!doctype html><html lang="en" dir="ltr"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text_markup(format_headline(report))}</title><style>{STYLE}{_TABLES}</style></head><body><main>",
            *_render_main(report, incidents, most),
            "</main></body></html>\n",
        )
    )


def _render_main(report: LogReport, incidents: Sequence[PastIncident], most: int) -> Iterator[str]:
    yield f"<h1>{sentence_markup(format_headline(report))}</h1>"
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
        yield f"<h3>At its worst, {format_moment(incident.worst_at)} UTC</h3>"
        yield from _render_trees(incident.moment)
    if facts.statements:
        yield from _render_statements(facts.statements)
    yield "</section>"


def _render_deadlock(deadlock: DeadlockFacts) -> Iterator[str]:
    yield f'<article class="card"><h3>Deadlock at {text_markup(deadlock.at)}</h3><ul>'
    yield from (f"<li>{sentence_markup(line)}</li>" for line in describe_deadlock(deadlock))
    yield "</ul></article>"


def _render_trees(moment: Report) -> Iterator[str]:
    trees = list(build_trees(moment, _MOST_CHILDREN, _MOST_STEPS, _MOST_DRAWN))
    for tree in trees[:_MOST_TREES]:
        blocker = tree.blocker
        yield f'<article class="card"><h3>{blocker_heading(blocker)}</h3>'
        yield f'<p class="reach"><b>blocked {format_count(blocker.blocked_sessions, "session")}</b> '
        yield f'{client_markup(blocker.user, blocker.database, blocker.application)}</p><ul class="evidence">'
        yield from (f"<li>{sentence_markup(each)}</li>" for each in blocker.evidence)
        yield "</ul>"
        if blocker.statement:
            statement = code_markup(blocker.statement)
            yield f'<p class="runs"><span class="dim">{describe_statement(blocker)}</span> {statement}</p>'
        if blocker.advice:
            yield f'<p class="advice"><span class="dim">next time:</span> {sentence_markup(blocker.advice)}</p>'
        yield '<div class="tree">'
        yield from _render_branches(tree.below, tree.rest)
        yield "</div></article>"
    if len(trees) > _MOST_TREES:
        yield f'<p class="dim">and {format_count(len(trees) - _MOST_TREES, "root blocker")} more</p>'


def _render_branches(below: Sequence[Branch], rest: OmittedRows) -> Iterator[str]:
    if not (below or rest.sessions):
        return
    yield "<ul>"
    for branch in below:
        yield f"<li>{_render_waiter(branch.wait, branch.facts.classification if branch.facts else 'unknown')}"
        yield from _render_branches(branch.below, branch.rest)
        yield "</li>"
    if rest.sessions:
        yield f'<li class="rest">{sentence_markup(left_out(rest))}</li>'
    yield "</ul>"


def _render_waiter(wait: Wait, classification: str) -> str:
    cause = "" if classification == "unknown" else f" ({classification})"
    queued = ", queued behind" if wait.queued else ""
    statement = f"<br>{code_markup(wait.blocked_statement)}" if wait.blocked_statement else ""
    return (
        f'<span class="pid">{wait.blocked_pid}</span>{cause} had waited {format_wait(wait, "an unknown time")} for '
        f"{sentence_markup(format_awaited(wait))}{queued} · "
        f"{client_markup(wait.blocked_user, None, wait.blocked_application)}{statement}"
    )


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
