"""A report of an incident in Markdown, ready to be pasted: what happened, why, whom it hurt, what would have helped."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import starmap

from msgspec.structs import replace
from tabulate import tabulate

from pgdoctor.diagnosis.deadlocks import advise_order, describe_member, describe_members
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.snapshot import DeadlockMember
from pgdoctor.render.incident_view import (
    IncidentView,
    describe_attempts,
    describe_paste,
    format_lasted,
    format_moment,
    format_waiting,
    list_happenings,
)
from pgdoctor.render.markdown_report import write_cuts
from pgdoctor.render.markdown_text import escape_markdown, format_code
from pgdoctor.render.plain import one_line
from pgdoctor.render.report import BlockerReport, Report, Wait, make_report
from pgdoctor.render.server_name import describe_server_then
from pgdoctor.render.tree import format_session_client

#: Root blockers that are told of, and groups of those who waited, the widest first.
_MOST_ROOTS = 5
_MOST_GROUPS = 20

_MOST_TEXT = 20_000


def render_postmortem(story: IncidentView, prevention: Mapping[str, str]) -> str:
    """The report. `prevention`: by class, what prevents it."""
    facts = make_report(story.peak.now) if story.peak is not None else None
    return "\n\n".join(part for part in _list_parts(story, facts, prevention) if part) + "\n"


def _list_parts(story: IncidentView, facts: Report | None, prevention: Mapping[str, str]) -> Iterator[str]:
    last = story.last
    where = f" on {format_code(last.relation)}" if last.relation else ""
    yield f"# Incident {last.id}: {_escape_plain(last.classes[0])}{where}"
    yield _write_summary(story)
    yield "## Timeline\n\nAll times are UTC, by the server's clock.\n\n" + "\n".join(
        f"- `{format_moment(at)}` {_escape_plain(what)}" for at, what in list_happenings(story)
    )
    if facts is None:
        yield "## Root cause\n\nNo snapshot of it was stored."
    else:
        roots = [each for each in facts.blockers if each.root][:_MOST_ROOTS]
        at = f"As of the worst poll, at {format_moment(story.peak.at)} UTC." if story.peak else ""
        yield "## Root cause\n\n" + "\n\n".join(
            [at, *starmap(_write_deadlock, _find_deadlocks(story)), *map(_write_root, roots), *_list_between(facts)]
        )
        yield f"## Impact\n\n{_write_blocked(facts)}"
    yield f"## Actions\n\n{_write_actions(story)}"
    yield from _to_paste(story)
    yield "## Prevention\n\n" + "\n".join(_list_prevention(story, facts, prevention))


def _write_summary(story: IncidentView) -> str:
    last = story.last
    server = ", ".join(format_code(name) for name in (last.server, describe_server_then(last)) if name)
    rows = [
        ("Server", server or "unknown"),
        ("Began", f"{format_moment(last.started)} UTC"),
        ("Lasted", format_lasted(last)),
        ("Blocked at once", f"at most {format_count(last.peak, 'session')}"),
        ("Longest wait", f"{format_duration(last.longest_wait)}{format_waiting(last)}"),
        *((("Came", _escape_plain(retried)),) if (retried := describe_attempts(last)) else ()),
        ("Class", " → ".join(map(_escape_plain, last.classes))),
        ("Severity", last.severity),
    ]
    return tabulate(rows, ("", ""), tablefmt="pipe", disable_numparse=True)


def _find_deadlocks(story: IncidentView) -> Iterator[tuple[datetime, tuple[DeadlockMember, ...]]]:
    """The cycles of the first snapshot that shows any, with its time; such a thing is over within a second."""
    snapshot = next((each for each in story.looks if each.now.graph.cycles), None)
    if snapshot is not None:
        for cycle in snapshot.now.graph.cycles:
            yield snapshot.at, tuple(describe_members(snapshot.now.snapshot, cycle))


def _write_deadlock(at: datetime, members: tuple[DeadlockMember, ...]) -> str:
    lines = [f"**deadlock**: sessions waited for each other, at {format_moment(at)} UTC.", ""]
    return "\n".join([*lines, *(f"- {_escape_plain(describe_member(each))}" for each in members)])


def _write_root(root: BlockerReport) -> str:
    where = f" on {format_code(root.place)}" if root.place else ""
    also = f" (also {', '.join(root.also)})" if root.also else ""
    lines = [f"**{_escape_plain(root.classification)}**{also}: {_name_blocker(root)}{where}, {_format_client(root)}; "
             f"blocks {format_count(root.blocked_sessions, 'session')}.", ""]  # fmt: skip
    lines += [f"- {_escape_plain(sentence)}" for sentence in root.evidence]
    if root.statement:
        # It begins with a word, never with the mark that would end the block.
        lines += ["", "```sql", one_line(root.statement, _MOST_TEXT), "```"]
    return "\n".join(lines)


def _to_paste(story: IncidentView) -> Iterator[str]:
    """What a person may run, as of the latest snapshot: it signals the sessions that were judged, or none."""
    latest = story.latest
    cuts = list(write_cuts(make_report(latest.now))) if latest is not None else []
    if latest is not None and cuts:
        yield "\n".join(["## By hand", "", escape_markdown(describe_paste(story, latest)), "", *cuts])


def _list_between(facts: Report) -> Iterator[str]:
    """Those who wait themselves, with others behind them: what made it as wide as it was."""
    waiting = [each for each in facts.blockers if not each.root and each.classification != "unknown"]
    for each in waiting[:_MOST_ROOTS]:
        yield (
            f"In between: {_name_blocker(each)} ({_escape_plain(each.classification)}, "
            f"{_format_client(each)}) waits itself, "
            f"and blocks {format_count(each.blocked_sessions, 'session')}."
        )


def _name_blocker(blocker: BlockerReport) -> str:
    prepared = f"the prepared transaction {format_code(blocker.prepared_gid)}"
    return prepared if blocker.pid is None else f"PID {blocker.pid}"


def _format_client(blocker: BlockerReport) -> str:
    return format_code(format_session_client(blocker.user, blocker.database, blocker.application))


def _write_blocked(facts: Report) -> str:
    """Those who waited by what they ran; a session that waits for several counts once."""
    waits: dict[int, Wait] = {}
    for wait in facts.waits:
        waits.setdefault(wait.blocked_pid, wait)
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for wait in waits.values():
        about = (wait.blocked_application, wait.blocked_user, wait.place, wait.blocked_statement)
        groups[tuple(one_line(part or "?", 120) for part in about)].append(wait.wait_seconds or 0.0)
    widest = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))[:_MOST_GROUPS]
    rows = [(len(seconds), format_duration(max(seconds)), *map(format_code, about)) for about, seconds in widest]
    headers = ("sessions", "longest", "application", "user", "relation", "statement")
    listed = sum(len(seconds) for _, seconds in widest)
    rest = facts.blocked_sessions - listed
    more = f"\n\nAnd {format_count(rest, 'session')} more." if rest > 0 else ""
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) + more


def _write_actions(story: IncidentView) -> str:
    if not story.actions:
        return f"pgdoctor took no action. Its recommendation: {_escape_plain(story.last.recommendation)}."
    done = list_happenings(replace(story, entries=()))
    lines = [f"- `{format_moment(at)}` {_escape_plain(what)}" for at, what in done]
    return "\n".join(lines)


def _list_prevention(story: IncidentView, facts: Report | None, prevention: Mapping[str, str]) -> Iterator[str]:
    first: dict[str, BlockerReport] = {}
    for each in facts.blockers if facts is not None else ():
        if each.advice:
            first.setdefault(each.advice, each)
    for advice, each in first.items():
        yield f"- {_escape_plain(each.classification)}, {_name_blocker(each)}: {_escape_plain(advice)}"
    deadlocks = list(_find_deadlocks(story))
    for order in dict.fromkeys(advise_order(members) for _, members in deadlocks):
        yield f"- deadlock: {_escape_plain(order)}"
    for name in story.last.classes:
        # The members of a cycle are of this class.
        if name in prevention and not (deadlocks and name == "unknown"):
            yield f"- {_escape_plain(name)}: {prevention[name]}"


def _escape_plain(text: str | None) -> str:
    return escape_markdown(one_line(text or "", _MOST_TEXT))
