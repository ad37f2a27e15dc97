"""A report on an incident in Markdown, ready to be pasted: events, causes, blocked sessions, and what would have
helped."""

from collections.abc import Iterator, Mapping
from itertools import starmap

from tabulate import tabulate

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.incidents.incident_course import RefusedSignal
from pgdoctor.render.incident_report import IncidentReport, ReportMoment, ReportTime, Why, make_incident_report
from pgdoctor.render.incident_view import IncidentView, describe_attempts, describe_paste, format_lasted, format_moment
from pgdoctor.render.markdown_report import write_cuts
from pgdoctor.render.markdown_text import escape_markdown, format_code
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import BlockerReport, make_report
from pgdoctor.render.tree import format_session_client

#: Root blockers that are reported, and characters of a text.
_MOST_ROOTS = 5
_MOST_TEXT = 20_000
_MOST_CELL = 120

#: What each time is called.
TIMES = {"detect": "Time to detect", "act": "Time to act", "recover": "Time to recover"}

#: What stands where no record answers a question.
OPEN_QUESTION = "to be answered by the owner"


def render_postmortem(story: IncidentView, pages: Mapping[str, str]) -> str:
    """The report. `pages`: by class, what prevents it."""
    report = make_incident_report(story, pages)
    return "\n\n".join(part for part in _list_parts(story, report) if part) + "\n"


def _list_parts(story: IncidentView, report: IncidentReport) -> Iterator[str]:
    where = f" on {format_code(report.relation)}" if report.relation else ""
    yield f"# Incident {escape_markdown(report.id)}: {_escape_plain(report.classification)}{where}"
    yield _write_summary(story, report)
    yield f"## Impact\n\n{_write_impact(report)}"
    yield "## Times\n\n" + "\n".join(f"- {_describe_time(each)}" for each in report.times)
    yield "## Timeline\n\nAll times are UTC, by the server's clock.\n\n" + _list_moments(report.timeline)
    if report.changes:
        yield "## Recent changes\n\nThe most suspicious first.\n\n" + _list_moments(report.changes)
    yield from _write_cause(report)
    yield "## Why it could happen\n\n" + "\n".join(starmap(_write_why, enumerate(report.whys, 1)))
    yield f"## Actions\n\n{_write_actions(report)}"
    yield from _to_paste(story)
    yield "## Prevention\n\n" + "\n".join(_list_prevention(report))


def _write_summary(story: IncidentView, report: IncidentReport) -> str:
    server = ", ".join(format_code(name) for name in (report.server, report.place) if name)
    rows = [
        ("Server", server or "unknown"),
        ("Began", f"{format_moment(report.started)} UTC"),
        ("Lasted", format_lasted(story.last)),
        *((("Came", _escape_plain(retried)),) if (retried := describe_attempts(story.last)) else ()),
        ("Class", " → ".join(map(_escape_plain, report.classes))),
        ("Severity", report.severity),
    ]
    return tabulate(rows, ("", ""), tablefmt="pipe", disable_numparse=True)


def _write_impact(report: IncidentReport) -> str:
    impact = report.impact
    waited = format_duration(impact.session_seconds) if impact.session_seconds is not None else "not recorded"
    figures = [
        ("Blocked at once", f"at most {format_count(impact.peak_blocked, 'session')}"),
        ("Session time lost", f"{waited}, of all blocked sessions together"),
        ("Longest wait", format_duration(impact.longest_wait_seconds)),
    ]
    summary = tabulate(figures, ("", ""), tablefmt="pipe", disable_numparse=True)
    if not impact.groups:
        return summary
    rows = [
        (
            each.sessions,
            format_duration(each.longest_seconds),
            *(
                format_code(format_one_line(part or "?", _MOST_CELL))
                for part in (each.application, each.user, each.relation, each.statement)
            ),
        )
        for each in impact.groups
    ]
    headers = ("sessions", "longest", "application", "user", "relation", "statement")
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    more = f"\n\nAnd {format_count(impact.other_sessions, 'session')} more." if impact.other_sessions else ""
    return f"{summary}\n\n{table}{more}"


def format_taken(each: ReportTime) -> str:
    """How long something took, in words."""
    if each.seconds is not None:
        return format_duration(each.seconds)
    return "none" if each.name == "act" else "not known"


def _describe_time(each: ReportTime) -> str:
    note = f" ({_escape_plain(each.note)})" if each.note else ""
    return f"{TIMES[each.name]}: **{format_taken(each)}**, from {each.start} to {each.end}{note}"


def _list_moments(moments: tuple[ReportMoment, ...]) -> str:
    return "\n".join(f"- `{format_moment(each.at)}` {_escape_plain(each.what)}" for each in moments)


def _write_cause(report: IncidentReport) -> Iterator[str]:
    if report.worst_at is None:
        yield "## Root cause\n\nNo snapshot of it was stored."
        return
    parts = [f"As of the worst poll, at {format_moment(report.worst_at)} UTC."]
    for deadlock in report.deadlocks:
        lines = [f"**deadlock**: sessions waited for each other, at {format_moment(deadlock.at)} UTC.", ""]
        parts.append("\n".join([*lines, *(f"- {_escape_plain(each)}" for each in deadlock.members)]))
    parts += map(_write_root, report.roots[:_MOST_ROOTS])
    parts += map(_write_between, report.between[:_MOST_ROOTS])
    yield "## Root cause\n\n" + "\n\n".join(parts)


def _write_root(root: BlockerReport) -> str:
    where = f" on {format_code(root.place)}" if root.place else ""
    also = f" (also {', '.join(root.also)})" if root.also else ""
    lines = [f"**{_escape_plain(root.classification)}**{also}: {_name_blocker(root)}{where}, {_format_client(root)}; "
             f"blocks {format_count(root.blocked_sessions, 'session')}.", ""]  # fmt: skip
    lines += [f"- {_escape_plain(sentence)}" for sentence in root.evidence]
    if root.statement:
        # It begins with a word, never with the mark that would end the block.
        lines += ["", "```sql", format_one_line(root.statement, _MOST_TEXT), "```"]
    return "\n".join(lines)


def _to_paste(story: IncidentView) -> Iterator[str]:
    """What a person may run, as of the latest snapshot: it signals the sessions that were judged, or none."""
    latest = story.latest
    cuts = list(write_cuts(make_report(latest.now))) if latest is not None else []
    if latest is not None and cuts:
        yield "\n".join(["## By hand", "", escape_markdown(describe_paste(story, latest)), "", *cuts])


def _write_between(each: BlockerReport) -> str:
    """One that waits itself, with others behind it: what made it as wide as it was."""
    return (
        f"In between: {_name_blocker(each)} ({_escape_plain(each.classification)}, "
        f"{_format_client(each)}) waits itself, "
        f"and blocks {format_count(each.blocked_sessions, 'session')}."
    )


def _name_blocker(blocker: BlockerReport) -> str:
    prepared = f"the prepared transaction {format_code(blocker.prepared_gid)}"
    return prepared if blocker.pid is None else f"PID {blocker.pid}"


def _format_client(blocker: BlockerReport) -> str:
    return format_code(format_session_client(blocker.user, blocker.database, blocker.application))


def _write_why(place: int, why: Why) -> str:
    answer = _escape_plain(why.answer) if why.answer is not None else f"_{OPEN_QUESTION}:_"
    return f"{place}. **{_escape_plain(why.question)}**\\\n   {answer}"


def _write_actions(report: IncidentReport) -> str:
    parts = [_escape_plain(report.armed)] if report.armed is not None else []
    if not report.actions:
        parts.append(f"pgdoctor took no action. Its recommendation: {_escape_plain(report.recommendation)}.")
    refused = "\n".join(map(_write_refusal, report.refused))
    parts.append("\n".join(part for part in (_list_moments(report.actions), refused) if part))
    return "\n\n".join(part for part in parts if part)


def _write_refusal(refused: RefusedSignal) -> str:
    who = refused.pid if refused.pid is not None else "a prepared transaction"
    reasons = "; ".join(map(_escape_plain, refused.reasons))
    said = f"refused: {refused.signal} {who} by rule {_escape_plain(refused.rule)}: {reasons}"
    return f"- `{format_moment(refused.at)}` {said}"


def _list_prevention(report: IncidentReport) -> Iterator[str]:
    for each in report.prevention:
        if each.kind == "general":
            # A page of the manual, in Markdown.
            yield f"- {each.what}"
            continue
        yield f"- {_escape_plain(each.what)}. Who: {_escape_plain(each.who)}."
        if each.exact is not None:
            yield from ("", "  ```sql", f"  {format_one_line(each.exact, _MOST_TEXT)}", "  ```", "")


def _escape_plain(text: str | None) -> str:
    return escape_markdown(format_one_line(text or "", _MOST_TEXT))
