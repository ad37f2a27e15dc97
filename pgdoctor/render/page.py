"""A diagnosis as a web page: for a phone at three in the morning. Everything from outside is escaped.

The first line names the problem, the second what to do; then who blocks whom and why, then the rest.
"""

from collections.abc import Iterator

from pgdoctor.formatting import format_duration
from pgdoctor.render.report import Report
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.web import panels
from pgdoctor.render.web.markup import name_markup, note_markup, page_markup, sentence_markup, text_markup
from pgdoctor.render.web.monitoring_status import MonitoringStatus
from pgdoctor.render.web.trees import trees_markup
from pgdoctor.render.web.verdict import PageVerdict, judge_page, verdict_markup

#: A lag below so many seconds is not shown.
_MOMENT = 1.0
#: From so many seconds on the page says that the full poll is older than the last poll.
_NOTABLE_LAG = 2.0


def render_page(watch: MonitoringStatus, report: Report | None) -> str:
    """The whole page; `report` is None while the server cannot be asked."""
    found = judge_page(watch, report)
    return page_markup(
        found.kind, _write_title(watch, report), "\n".join(_write_main(watch, report, found)), _write_foot(watch)
    )


def _write_title(watch: MonitoringStatus, report: Report | None) -> str:
    name = f"pgdoctor {watch.server}" if watch.server else "pgdoctor"
    return f"DOWN · {name}" if report is None else f"{report.blocked_sessions:,} blocked · {name}"


def _write_main(watch: MonitoringStatus, report: Report | None, found: PageVerdict) -> Iterator[str]:
    yield from verdict_markup(watch, found)
    loud = panels.mitigation_warning(watch.arming)
    if loud is not None:
        yield note_markup("warn", f"Mitigation: {loud}")
    yield from _write_facts(watch, report)
    if report is not None:
        yield from trees_markup(report)
        yield from panels.cuts_panel(report)
        yield from panels.findings_panel(report)
    yield from panels.last_hour_panel(watch)
    yield '<div class="panels">'
    if report is not None:
        yield from panels.connections_panel(report, watch.clients)
    yield from panels.mitigation_panel(watch)
    yield from panels.incidents_panel(watch)
    yield "</div>"


def _write_facts(watch: MonitoringStatus, report: Report | None) -> Iterator[str]:
    yield '<p class="facts">'
    if report is not None:
        server = report.server
        yield f"<span>{sentence_markup(describe_server(server))}</span>"
        yield f"<span>{server.connections:,} of {server.max_connections:,} connections</span>"
    elif watch.slots is not None:
        yield f"<span>{watch.slots[0]:,} of {watch.slots[1]:,} connections at the last successful poll</span>"
    yield f"<span>{_describe_age(watch)}</span></p>"


def _describe_age(watch: MonitoringStatus) -> str:
    if watch.age is None:
        return "no successful poll yet"
    age = "polled just now" if watch.age < _MOMENT else f"polled {format_duration(watch.age)} ago"
    if watch.looked > watch.age + _NOTABLE_LAG:
        age += f"; last full poll {format_duration(watch.looked)} ago: full polls exceed the CPU budget, or fail"
    return age


def _write_foot(watch: MonitoringStatus) -> str:
    name = f" · {name_markup(watch.server)}" if watch.server else ""
    of = f"?server={watch.server}" if watch.server else ""
    # Relative, for a reverse proxy may serve all of this below a path of its own.
    every = ' · <a id="all" href="./">all servers</a>' if watch.server else ""
    links = f'<a href="diagnosis{text_markup(of)}">JSON</a> · <a href="metrics">metrics</a>'
    return f"pgdoctor {text_markup(watch.version)}{name}{every} · {links}"
