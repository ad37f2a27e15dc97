"""A report as Markdown, for a ticket or a chat: what to do, who blocks, who waits, what each cut would free."""

from collections import defaultdict
from collections.abc import Iterator

from tabulate import tabulate

from pgdoctor.diagnosis.cuts import Signal
from pgdoctor.diagnosis.manual_signal import ROLLBACK_WARNING
from pgdoctor.formatting import format_count
from pgdoctor.render.groups import list_pids
from pgdoctor.render.markdown_text import escape_markdown, format_code
from pgdoctor.render.report import BlockerReport, Report, Wait
from pgdoctor.render.signal_sql import find_root_sql
from pgdoctor.render.tree import (
    describe_longest,
    describe_statement,
    format_awaited,
    format_freed,
    format_headline,
    format_released,
    format_server_line,
    format_session_client,
    format_signals,
    to_do,
)
from pgdoctor.render.wait_trees import describe_blocker

#: Blockers, and kinds of sessions that wait, that are reported; all of them are in the JSON.
_MOST_BLOCKERS = 50
_MOST_KINDS = 50


def render_markdown(report: Report) -> str:
    """The report."""
    return "\n\n".join(_list_parts(report)) + "\n"


def _list_parts(report: Report) -> Iterator[str]:
    yield f"# {escape_markdown(format_headline(report))}"
    yield format_code(format_server_line(report))
    yield from _write_advice(report)
    told = [each for each in report.blockers if each.root or each.classification != "unknown"]
    if told:
        yield "## Blockers"
        yield from (_write_blocker(each, find_root_sql(each, report)) for each in told[:_MOST_BLOCKERS])
    if len(told) > _MOST_BLOCKERS:
        yield f"And {format_count(len(told) - _MOST_BLOCKERS, 'blocker')} more."
    if report.waits:
        yield f"## Waits\n\n{waits_table(report)}"
    cuts = list(write_cuts(report))
    if cuts:
        yield "## What each signal would free\n\n" + "\n".join(cuts)
    if report.findings:
        yield "## Findings"
        yield from _write_findings(report)


def _write_advice(report: Report) -> Iterator[str]:
    advice = report.recommendation
    if advice is None:
        return
    frees = (
        f" frees {escape_markdown(format_released(advice))}; costs {escape_markdown(advice.loses or '')}"
        if advice.signals
        else ""
    )
    yield f"**Recommendation:** {format_code(to_do(advice))}{frees}\\\n{escape_markdown(advice.reason)}"
    if advice.not_permitted:
        yield escape_markdown(advice.not_permitted)


def _write_blocker(blocker: BlockerReport, sql: str | None) -> str:
    where = f" on {format_code(blocker.place)}" if blocker.place else ""
    also = f" (also {', '.join(blocker.also)})" if blocker.also else ""
    waits = "" if blocker.root else ", waits itself"
    do = blocker.recommendation
    action = "do not signal" if do.action == "none" else f"{do.action} {do.pid}"
    lines = [
        f"### {format_code(describe_blocker(blocker))} {blocker.classification}{also}{where}: "
        f"{blocker.blocked_sessions:,} blocked{waits}",
        "",
        f"- {format_code(format_session_client(blocker.user, blocker.database, blocker.application))}",
        *(f"- {escape_markdown(sentence)}" for sentence in blocker.evidence),
        *([f"- {describe_statement(blocker)}: {format_code(blocker.statement)}"] if blocker.statement else []),
        f"- → {format_code(action)}: {escape_markdown(do.reason)}",
        *_to_paste(sql),
        *([f"- next time: {escape_markdown(blocker.advice)}"] if blocker.advice else []),
    ]
    return "\n".join(lines)


def waits_table(report: Report) -> str:
    """Those who wait by what they ran and what for; a session that waits for several counts once."""
    first: dict[int, Wait] = {}
    for wait in report.waits:
        first.setdefault(wait.blocked_pid, wait)
    kinds: dict[tuple[str, ...], list[Wait]] = defaultdict(list)
    for wait in first.values():
        user = format_session_client(wait.blocked_user, None, wait.blocked_application)
        kinds[(user, format_awaited(wait), wait.blocked_statement or "?")].append(wait)
    widest = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))[:_MOST_KINDS]
    rows = [
        (
            len(waits),
            describe_longest(waits).removeprefix(", the longest for ") or "?",
            *map(format_code, kind),
            list_pids([wait.blocked_pid for wait in waits]),
        )
        for kind, waits in widest
    ]
    headers = ("sessions", "longest", "who", "waits for", "statement", "PIDs")
    left = report.blocked_sessions - sum(len(waits) for _, waits in widest)
    more = f"\n\nAnd {format_count(left, 'session')} more." if left > 0 else ""
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) + more


def write_cuts(report: Report) -> Iterator[str]:
    """What each signal would free, as items of a list, each with the SQL that sends it."""
    best = report.recommendation.signals if report.recommendation else ()
    for cut in report.cuts:
        mark = " ← best" if best == (Signal(cut.action, cut.pid),) else ""
        frees = f"{escape_markdown(format_released(cut))} ({format_freed(cut)})"
        costs = f"costs {escape_markdown(cut.loses)}; {escape_markdown(cut.reason)}{mark}"
        yield f"- {format_code(f'{cut.action} {cut.pid}')}: {frees}; {costs}"
        yield from _to_paste(cut.sql)
    for each in report.cut_sets:
        mark = " ← best" if best == each.signals else ""
        frees = f"{escape_markdown(format_released(each))} ({format_freed(each)})"
        yield (
            f"- {format_code(format_signals(each.signals))} together: {frees}; costs {escape_markdown(each.loses)}; "
            f"one alone frees no session{mark}"
        )
        yield from _to_paste(*each.sql)
    for left in report.left_alone:
        name = str(left.pid) if left.pid is not None else f"prepared transaction '{left.prepared_gid}'"
        frees = f"{escape_markdown(format_released(left))} ({format_freed(left)})"
        yield f"- do not signal {format_code(name)}; its end would free {frees}"
        if left.sql is not None:
            yield f"  {ROLLBACK_WARNING}:"
            yield from _to_paste(left.sql)


def _to_paste(*texts: str | None) -> Iterator[str]:
    """SQL as a block within an item of a list."""
    lines = [text for text in texts if text is not None]
    if lines:
        yield from ("", "  ```sql", *(f"  {text}" for text in lines), "  ```", "")


def _write_findings(report: Report) -> Iterator[str]:
    for finding in report.findings:
        lines = [f"**{finding.severity}** ({finding.kind}): {escape_markdown(finding.summary)}", ""]
        lines += [f"- {escape_markdown(line)}" for line in finding.evidence]
        yield "\n".join([*lines, f"- → {escape_markdown(finding.advice)}"])
