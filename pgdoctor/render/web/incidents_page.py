"""The recorded incidents as a page."""

from collections.abc import Iterator, Sequence
from itertools import chain

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.render.blocking_patterns import PatternFacts, PatternReport
from pgdoctor.render.incident_view import format_lasted, format_moment
from pgdoctor.render.web.incident_links import incident_link
from pgdoctor.render.web.markup import code_markup, document_markup, name_markup, sentence_markup, text_markup


def render_incidents_page(
    entries: Sequence[IncidentRecord], patterns: PatternReport | None, server: str | None, *, several: bool
) -> str:
    """The whole page, the latest first. `server`: the one it is about; `several`: links have to name one."""
    name = f" of {server}" if server else ""
    title = f"{format_count(len(entries), 'incident')} within 30 days{name}"
    main = chain(_write_main(entries, title, several=several), _write_patterns(patterns, several=several))
    return document_markup(f"{title} · pgdoctor", main)


def _write_main(entries: Sequence[IncidentRecord], title: str, *, several: bool) -> Iterator[str]:
    yield f'<nav class="dim"><a href="./">now</a></nav><h1>{text_markup(title)}</h1>'
    if not entries:
        yield '<p class="dim">None was recorded.</p>'
        return
    heads = (*(("server",) if several else ()), "started (UTC)", "lasted", "class", "relation", "peak", "longest wait",
             "session time")  # fmt: skip
    yield '<div class="scroll"><table><thead><tr>' + "".join(f"<th>{each}</th>" for each in heads)
    yield "</tr></thead><tbody>"
    yield from (_write_row(each, several=several) for each in reversed(entries))
    yield "</tbody></table></div>"


def _write_row(entry: IncidentRecord, *, several: bool) -> str:
    first = f"<td>{name_markup(entry.server)}</td>" if several else ""
    return (
        f'<tr>{first}<td><a href="{incident_link(entry.id, entry.server)}">{format_moment(entry.started)}</a></td>'
        f"<td>{sentence_markup(format_lasted(entry))}</td><td>{text_markup(' → '.join(entry.classes))}</td>"
        f"<td>{name_markup(entry.relation) if entry.relation else ''}</td>"
        f'<td class="n">{entry.peak:,}</td><td class="n">{format_duration(entry.longest_wait)}</td>'
        f'<td class="n">{format_duration(entry.blocked_seconds) if entry.blocked_seconds else ""}</td></tr>'
    )


def _write_patterns(report: PatternReport | None, *, several: bool) -> Iterator[str]:
    """What blocked again and again; nothing where each incident was another one."""
    if report is None or not any(each.incidents > 1 for each in report.patterns):
        return
    yield f"<h2>Recurring blockers</h2><p>Of the {format_count(report.incidents, 'incident')} with the most "
    yield 'session time: <code>pgdoctor incidents patterns</code> shows all.</p><div class="scroll"><table><thead><tr>'
    heads = (
        *(("server",) if several else ()),
        "session time",
        "incidents",
        "blocker",
        "statement",
        "what would end it",
    )
    yield "".join(f"<th>{each}</th>" for each in heads) + "</tr></thead><tbody>"
    yield from (_write_pattern(each, several=several) for each in report.patterns)
    yield "</tbody></table></div>"


def _write_pattern(pattern: PatternFacts, *, several: bool) -> str:
    first = f"<td>{name_markup(pattern.server)}</td>" if several else ""
    on = f" on {name_markup(pattern.relation)}" if pattern.relation else ""
    by = f" by {name_markup(pattern.application)}" if pattern.application else ""
    return (
        f'<tr>{first}<td class="n">{format_duration(pattern.blocked_seconds)}</td>'
        f'<td class="n">{pattern.incidents:,}</td><td>{text_markup(pattern.classification)}{on}{by}</td>'
        f"<td>{code_markup(pattern.statement) if pattern.statement else ''}</td>"
        f"<td>{sentence_markup(pattern.prevention)}</td></tr>"
    )
