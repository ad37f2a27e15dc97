"""The report on an incident as one HTML file that loads nothing else: for a ticket, a mail, or paper."""

import re
from collections.abc import Iterator, Mapping, Sequence

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.render.incident_report import IncidentReport, ReportMoment, make_incident_report
from pgdoctor.render.incident_view import IncidentView, describe_attempts, format_lasted, format_moment
from pgdoctor.render.postmortem import OPEN_QUESTION, TIMES, format_taken
from pgdoctor.render.report import make_report
from pgdoctor.render.web.incident_chart import chart_markup
from pgdoctor.render.web.markup import code_markup, document_markup, name_markup, sentence_markup, text_markup
from pgdoctor.render.web.past_trees import past_trees_markup

#: Characters of an SQL text.
_MOST_SQL = 2_000

#: In pages of the manual.
_CODE = re.compile(r"`([^`]+)`")


def render_incident_report(story: IncidentView, pages: Mapping[str, str], nav: str = "") -> str:
    """The whole page. `pages`: by class, what prevents it; `nav`: markup of links above it, where it is served."""
    report = make_incident_report(story, pages)
    return document_markup(f"Incident {report.id}: {report.classification}", _write_main(story, report, nav))


def _write_main(story: IncidentView, report: IncidentReport, nav: str) -> Iterator[str]:
    yield nav
    where = f" on {name_markup(report.relation)}" if report.relation else ""
    kind = "bad" if report.severity == "critical" else "warn"
    yield f'<div class="verdict {kind}"><h1>Incident {text_markup(report.id)}: '
    yield f"{text_markup(' → '.join(report.classes))}{where}</h1>"
    yield f'<p class="do">{sentence_markup(_render_headline(story, report))}</p></div>'
    yield '<p class="facts">'
    yield from (f"<span>{sentence_markup(each)}</span>" for each in (report.server, report.place) if each)
    yield f"<span>from {format_moment(report.started)} UTC</span><span>{report.severity}</span></p>"
    yield _render_section("Course", _render_scrollable("".join(chart_markup(story))))
    yield _render_section("Impact", "".join(_write_impact(story, report)))
    yield _render_section("Times", "".join(_write_times(report)))
    yield _render_section("Timeline", _list_moments(report.timeline))
    yield _render_section("Recent changes", _list_moments(report.changes))
    yield _render_section("Root cause", "".join(_write_cause(story, report)))
    yield _render_section("Why it could happen", "".join(_write_whys(report)))
    yield _render_section("Actions", "".join(_write_actions(report)))
    yield _render_section("Prevention", "".join(_write_prevention(report)))


def _render_headline(story: IncidentView, report: IncidentReport) -> str:
    lasted = format_lasted(story.last)
    return f"{format_count(report.impact.peak_blocked, 'session')} blocked at once, lasted {lasted}"


def _render_scrollable(content: str) -> str:
    return f'<div class="scroll">{content}</div>' if content else ""


def _render_section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _write_impact(story: IncidentView, report: IncidentReport) -> Iterator[str]:
    impact = report.impact
    lost = format_duration(impact.session_seconds) if impact.session_seconds is not None else "not recorded"
    yield f"<ul><li>At most {format_count(impact.peak_blocked, 'session')} blocked at once</li>"
    yield f"<li>Session time lost: {lost}, of all blocked sessions together</li>"
    yield f"<li>Longest wait: {format_duration(impact.longest_wait_seconds)}</li>"
    if retried := describe_attempts(story.last):
        yield f"<li>It came {sentence_markup(retried)}</li>"
    yield "</ul>"
    if impact.groups:
        heads = ("sessions", "longest", "application", "user", "relation", "statement")
        yield '<div class="scroll"><table><thead><tr>' + "".join(f"<th>{each}</th>" for each in heads)
        yield "</tr></thead><tbody>"
        for each in impact.groups:
            names = (each.application, each.user, each.relation)
            yield f'<tr><td class="n">{each.sessions:,}</td><td class="n">{format_duration(each.longest_seconds)}</td>'
            yield "".join(f"<td>{name_markup(name)}</td>" for name in names)
            yield f"<td>{code_markup(each.statement or '?')}</td></tr>"
        yield "</tbody></table></div>"
    if impact.other_sessions:
        yield f'<p class="dim">and {format_count(impact.other_sessions, "session")} more</p>'


def _write_times(report: IncidentReport) -> Iterator[str]:
    yield '<ul class="plain">'
    for each in report.times:
        note = f" ({sentence_markup(each.note)})" if each.note else ""
        yield f"<li><b>{TIMES[each.name]}: {format_taken(each)}</b>, "
        yield f"from {text_markup(each.start)} to {text_markup(each.end)}{note}</li>"
    yield "</ul>"


def _list_moments(moments: Sequence[ReportMoment]) -> str:
    if not moments:
        return ""
    rows = (
        f'<li><time datetime="{each.at.isoformat(timespec="seconds")}">{format_moment(each.at)}</time> '
        f"{sentence_markup(each.what)}</li>"
        for each in moments
    )
    return f'<ul class="plain">{"".join(rows)}</ul>'


def _write_cause(story: IncidentView, report: IncidentReport) -> Iterator[str]:
    if story.peak is None:
        yield "<p>No snapshot of it was stored.</p>"
        return
    yield f"<p>As of the worst poll, at {format_moment(story.peak.at)} UTC.</p>"
    for deadlock in report.deadlocks:
        yield f'<article class="card"><h3>Deadlock at {format_moment(deadlock.at)} UTC</h3><ul>'
        yield from (f"<li>{sentence_markup(each)}</li>" for each in deadlock.members)
        yield "</ul></article>"
    yield from past_trees_markup(make_report(story.peak.now))


def _write_whys(report: IncidentReport) -> Iterator[str]:
    yield '<ol class="plain">'
    for each in report.whys:
        said = sentence_markup(each.answer) if each.answer is not None else f'<i class="open">{OPEN_QUESTION}:</i>'
        yield f"<li><b>{sentence_markup(each.question)}</b><br>{said}</li>"
    yield "</ol>"


def _write_actions(report: IncidentReport) -> Iterator[str]:
    if report.armed is not None:
        yield f"<p><b>{sentence_markup(report.armed)}</b></p>"
    yield _list_moments(report.actions)
    if not report.actions:
        yield f"<p>pgdoctor took no action. Its recommendation: {sentence_markup(report.recommendation)}.</p>"
    if report.refused:
        yield '<h3>Refused</h3><ul class="plain">'
        for each in report.refused:
            who = str(each.pid) if each.pid is not None else "a prepared transaction"
            words = f"{each.signal} {who} by rule {each.rule}: {'; '.join(each.reasons)}"
            yield f"<li>{format_moment(each.at)} {sentence_markup(words)}</li>"
        yield "</ul>"


def _write_prevention(report: IncidentReport) -> Iterator[str]:
    yield '<ul class="plain">'
    for each in report.prevention:
        if each.kind == "general":
            page = _CODE.sub(r"<code>\1</code>", text_markup(each.what, _MOST_SQL))
            yield f"<li>{page}</li>"
            continue
        sql = f"<pre>{text_markup(each.exact, _MOST_SQL)}</pre>" if each.exact is not None else ""
        who = f'<span class="dim">Who: {sentence_markup(each.who)}</span>'
        yield f"<li>{sentence_markup(each.what)}. {who}{sql}</li>"
    yield "</ul>"
