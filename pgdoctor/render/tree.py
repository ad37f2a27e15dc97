"""A report as a tree: each root blocker, why it blocks, and who stands behind it.

    4242 idle_in_transaction  public.orders  12 blocked  app@shop "checkout"
    │    idle in transaction for 61 s, its transaction open for 62 s
    │    → terminate 4242: an idle session does not react to a cancel
    └─ 4711 waits 12 s for AccessExclusiveLock (migration)  ...
       ├─ 4712 waits 11 s for AccessShareLock  ...

A session that waits for several others hangs below the first that holds its lock, so that no session is drawn twice.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence

from pgdoctor.diagnosis.cuts import Cut, CutSet, LeaveAlone, Signal
from pgdoctor.diagnosis.manual_signal import ROLLBACK_WARNING
from pgdoctor.diagnosis.recommendation import Advice
from pgdoctor.formatting import duration_between, format_blockers, format_count
from pgdoctor.render.groups import (
    FEWEST,
    Crowd,
    group_branches,
    group_items,
    list_pids,
    rest_of,
    roots_alike,
    sessions_in,
)
from pgdoctor.render.live.cells import Span
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs, strip_styles
from pgdoctor.render.report import BlockerReport, Report, Wait
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.signal_sql import find_root_sql
from pgdoctor.render.wait_trees import Branch, OmittedRows, WaitTree, build_trees, describe_blocker

#: Lines drawn below one blocker, of which the rest is counted, and steps down.
MOST_CHILDREN = 20
_MOST_STEPS = 20

#: Lines drawn below roots that are reported together.
_MOST_BEHIND_OTHERS = 5

#: Released sessions named by a cut; the rest is counted.
_MOST_NAMED = 5


def render_tree(report: Report, width: int | None = 100) -> str:
    """The report as text, no line wider than `width` cells (at least 40); None: no line is wrapped or cut."""
    return strip_styles(tree_lines(report, width))


def tree_lines(report: Report, width: int | None, *, has_sql: bool = True) -> Iterator[Span]:
    """The same in lines with their styles. Only statements of sessions that wait are cut.

    `has_sql` false: without SQL to paste, as for a server that is by now in another state.
    """
    return lay_out_paragraphs((each for each in _list_paragraphs(report) if has_sql or not each.is_sql), width)


def past_paragraphs(report: Report) -> Iterator[Paragraph]:
    """The trees of a moment that is over, without anything to do now."""
    for trees in roots_alike(build_trees(report, len(report.waits), _MOST_STEPS)):
        yield from _write_root(trees[0].blocker, None, is_over=True)
        yield from _write_branches(trees[0].below, trees[0].rest, "")
        yield from _write_others(trees[1:])
    if report.waits_total > len(report.waits):
        yield Paragraph(f"(drawn from {len(report.waits):,} of {report.waits_total:,} waits)", "dim")


def format_headline(report: Report) -> str:
    """The answer in one line."""
    return f"{describe_blocked(report)}."


def format_server_line(report: Report) -> str:
    """The server that it is about, in one line."""
    server = report.server
    return f"{describe_server(server)}, {server.connections}/{server.max_connections} connections"


def describe_blocked(report: Report) -> str:
    """How many sessions are blocked, by what, and for how long."""
    if not report.blocked_sessions:
        return "No session is blocked"
    roots = sum(1 for blocker in report.blockers if blocker.root)
    blockers = format_blockers(roots, len(report.cycles))
    by_whom = f"{format_count(report.blocked_sessions, 'session')} blocked by {blockers}"
    return by_whom + describe_longest(report.waits)


def to_do(advice: Advice) -> str:
    """The one recommendation: `cancel 20`, `terminate 1 and 2`, `do not signal 4`."""
    if advice.signals:
        return format_signals(advice.signals)
    name = advice.prepared_gid if advice.pid is None else advice.pid
    return "do not signal" + ("" if name is None else f" {name}")


def format_signals(members: Sequence[Signal]) -> str:
    """What to send to whom: `terminate 1 and 2, cancel 3`."""
    by_action: dict[str, list[str]] = {}
    for each in members:
        by_action.setdefault(each.action, []).append(str(each.pid))
    return ", ".join(f"{action} {' and '.join(pids)}" for action, pids in by_action.items())


def format_released(choice: Cut | CutSet | LeaveAlone | Advice) -> str:
    """Whom it frees: `3 sessions at once, 1 more in turn (forecast)`."""
    follow = choice.frees_in_turn - choice.frees_at_once
    then = f", {follow:,} more in turn" if follow else ""
    if isinstance(choice, Cut | LeaveAlone) and choice.release_uncertain is not None:
        return f"at most {format_count(choice.frees_at_once, 'session')}, perhaps none: {choice.release_uncertain}"
    return f"{format_count(choice.frees_at_once, 'session')} at once{then}{'' if choice.exact else ' (forecast)'}"


def format_freed(choice: Cut | CutSet | LeaveAlone) -> str:
    """The first of those that it frees at once: `31, 32, 33`."""
    rest = choice.frees_at_once - _MOST_NAMED
    return ", ".join(map(str, choice.released[:_MOST_NAMED])) + (f" and {rest:,} more" if rest > 0 else "")


def _list_paragraphs(report: Report) -> Iterator[Paragraph]:
    yield Paragraph(format_headline(report), "bad" if report.blocked_sessions else "good")
    yield Paragraph(format_server_line(report), "dim")
    yield from _write_advice(report)
    for trees in roots_alike(build_trees(report, len(report.waits), _MOST_STEPS)):
        yield Paragraph("")
        yield from _write_root(trees[0].blocker, find_root_sql(trees[0].blocker, report))
        yield from _write_branches(trees[0].below, trees[0].rest, "")
        yield from _write_others(trees[1:])
    if report.waits_total > len(report.waits):
        yield Paragraph(f"(drawn from {len(report.waits):,} of {report.waits_total:,} waits)", "dim")
    yield from _write_cuts(report)
    yield from _write_findings(report)


def _write_root(blocker: BlockerReport, sql: str | None, *, is_over: bool = False) -> Iterator[Paragraph]:
    yield Paragraph(format_title(blocker), "bold", others="│  ")
    for sentence in blocker.evidence:
        yield Paragraph(sentence, first="│    ", others="│      ")
    if blocker.statement:
        yield Paragraph(f"{describe_statement(blocker)}: {blocker.statement}", "dim", "│    ", "│      ")
    advice = blocker.recommendation
    if not is_over:
        yield Paragraph(f"{_name_signal(advice.action, advice.pid)}: {advice.reason}", "warn", "│    → ", "│      ")
    if sql is not None:
        yield _to_paste(sql)
    if blocker.advice:
        yield Paragraph(f"next time: {blocker.advice}", first="│    ", others="│      ")


def format_title(blocker: BlockerReport) -> str:
    """`4242 idle_in_transaction  public.orders  12 blocked  app@shop "checkout"`."""
    also = f" (also {', '.join(blocker.also)})" if blocker.also else ""
    parts = (
        f"{describe_blocker(blocker)} {blocker.classification}{also}",
        blocker.place,
        f"{blocker.blocked_sessions:,} blocked",
        format_session_client(blocker.user, blocker.database, blocker.application),
    )
    return "  ".join(part for part in parts if part)


def describe_statement(blocker: BlockerReport) -> str:
    """What its statement is: the one that runs, or the last one."""
    return "runs" if blocker.state == "active" else "last ran"


def _write_others(trees: Sequence[WaitTree]) -> Iterator[Paragraph]:
    """The roots that are like the one above, and who stands behind them."""
    if not trees:
        return
    roots = [tree.blocker for tree in trees]
    pids = [root.pid for root in roots if root.pid is not None]
    behind = sum(map(sessions_in, trees))
    words = f"and {len(trees):,} more like {_describe_like(roots[0])}, {format_count(behind, 'session')} behind them: "
    yield Paragraph(words + ", ".join(map(str, pids)), "bold", others="│  ")
    yield from _write_branches(
        [branch for tree in trees for branch in tree.below], OmittedRows(), "", _MOST_BEHIND_OTHERS
    )


def _describe_like(root: BlockerReport) -> str:
    return f"this {root.classification}" + (f" on {root.place}" if root.place else "")


def _write_branches(
    below: Sequence[Branch], rest: OmittedRows, indent: str, most: int = MOST_CHILDREN
) -> Iterator[Paragraph]:
    """The sessions behind one blocker."""
    parts = group_branches(below)
    drawn, rest = parts[:most], rest_of(parts[most:], rest)
    for place, part in enumerate(drawn, start=1):
        is_last = place == len(drawn) and not rest.sessions
        first, others = indent + ("└─ " if is_last else "├─ "), indent + ("   " if is_last else "│  ")
        if isinstance(part, Crowd):
            yield _write_crowd(part, first, others)
        else:
            yield _write_waiter(part.wait, part.facts, first, others)
            yield from _write_branches(part.below, part.rest, others)
    if rest.sessions:
        yield Paragraph(left_out(rest), "dim", f"{indent}└─ ", f"{indent}   ")


def left_out(rest: OmittedRows) -> str:
    """`and 943 sessions more, waiting for a row of public.orders, the longest for 12 s`."""
    wanted = {format_awaited(wait) for wait in rest.waits}
    what = f", waiting for {wanted.pop()}" if len(wanted) == 1 and len(rest.waits) == rest.sessions else ""
    return f"and {format_count(rest.sessions, 'session')} more{what}{describe_longest(rest.waits)}"


def describe_longest(waits: Iterable[Wait]) -> str:
    """`, the longest for 12 s`; where locks change hands, `, the longest for 0.1 s to 12 s`; empty if not known."""
    known = [wait for wait in waits if wait.wait_seconds is not None]
    if not known:
        return ""
    most = max((wait.wait_seconds_at_most for wait in known if wait.wait_seconds_at_most is not None), default=0.0)
    least = max(wait.wait_seconds or 0.0 for wait in known)
    return f", the longest for {duration_between(least, most if most > least else None)}"


def format_wait(wait: Wait, unknown: str) -> str:
    """How long it has waited: `12 s`; where the lock changes hands, `0.1 s to 12 s`."""
    if wait.wait_seconds is None:
        return unknown
    return duration_between(wait.wait_seconds, wait.wait_seconds_at_most)


def _write_waiter(wait: Wait, facts: BlockerReport | None, first: str, others: str) -> Paragraph:
    since = format_wait(wait, "?")
    queued = ", queued behind" if wait.queued else ""
    cause = f" ({facts.classification})" if facts and facts.classification != "unknown" else ""
    blocks = f", blocks {facts.blocked_sessions:,} itself{cause}" if facts else ""
    who = format_session_client(wait.blocked_user, None, wait.blocked_application)
    words = f"{wait.blocked_pid} has waited {since} for {format_awaited(wait)}{queued}{blocks}  {who}:"
    return Paragraph(words, first=first, others=f"{others}  ", tail=wait.blocked_statement or "")


def _write_crowd(crowd: Crowd, first: str, others: str) -> Paragraph:
    wait = crowd.waits[0]
    queued = ", queued behind" if wait.queued else ""
    longest = describe_longest(crowd.waits)
    who = format_session_client(wait.blocked_user, None, wait.blocked_application)
    pids = list_pids([each.blocked_pid for each in crowd.waits])
    words = f"{len(crowd.waits):,} × {who} wait for {format_awaited(wait)}{queued}{longest} ({pids}):"
    return Paragraph(words, first=first, others=f"{others}  ", tail=wait.blocked_statement or "")


def format_awaited(wait: Wait) -> str:
    """What it waits for, in words."""
    return wait.waits_for or "a lock"


def _write_advice(report: Report) -> Iterator[Paragraph]:
    advice = report.recommendation
    if advice is None:
        return
    frees = f" frees {format_released(advice)}; costs {advice.loses}" if advice.signals else ""
    yield Paragraph(f"{to_do(advice)}{frees}", "warn", "→ ", "  ")
    yield Paragraph(advice.reason, first="  ", others="  ")
    if advice.not_permitted:
        yield Paragraph(advice.not_permitted, first="  ", others="  ")


def _write_cuts(report: Report) -> Iterator[Paragraph]:
    if not (report.cuts or report.cut_sets or report.left_alone):
        return
    yield Paragraph("")
    yield Paragraph("What each signal would free:", "bold")
    best = report.recommendation.signals if report.recommendation else ()
    for alike in group_items(report.cuts, lambda cut: _kind_of_cut(cut, best)):
        for group in [alike] if len(alike) >= FEWEST else [[cut] for cut in alike]:
            yield from _write_cut(group, best)
    for each in report.cut_sets:
        mark = "  ← best" if best == each.signals else ""
        yield Paragraph(
            f"{format_signals(each.signals)} together: {format_released(each)}{mark}", "plain", "  ", "    "
        )
        yield _write_detail(f"frees {format_freed(each)}; costs {each.loses}; one alone frees no session")
        yield from map(_to_paste, each.sql)
    for spared in group_items(report.left_alone, _kind_of_spared):
        for left in [spared] if len(spared) >= FEWEST else [[each] for each in spared]:
            yield from _left_alone(left)


def _write_cut(alike: Sequence[Cut], best: Sequence[Signal]) -> Iterator[Paragraph]:
    """One cut, or several that free as many and cost as much: of these every PID is named."""
    cut = alike[0]
    if len(alike) == 1:
        mark = "  ← best" if best == (Signal(cut.action, cut.pid),) else ""
        yield Paragraph(
            f"{cut.action} {cut.pid}: {format_released(cut)}{mark}", "warn" if mark else "plain", "  ", "    "
        )
        yield _write_detail(f"frees {format_freed(cut)}; costs {cut.loses}; {cut.reason}")
    else:
        pids = ", ".join(str(each.pid) for each in alike)
        yield Paragraph(f"{cut.action} any of {pids}: each frees {format_released(cut)}", "plain", "  ", "    ")
        yield _write_detail(f"each costs as much as {cut.pid}: {cut.loses}; {cut.reason}")
        if cut.sql is not None:
            yield _write_detail(f"for {cut.pid}; --format json and markdown have the SQL for the others:")
    if cut.sql is not None:
        yield _to_paste(cut.sql)


def _to_paste(sql: str) -> Paragraph:
    """SQL without a line of the tree in front of it, which would be copied too."""
    return Paragraph(sql, "plain", "      ", "      ", is_sql=True)


def _write_detail(words: str) -> Paragraph:
    return Paragraph(words, "plain", "      ", "      ")


#: How long something has lasted, which keeps no two cuts apart.
_DURATION = re.compile(r"\d[\d.]* (?:s|min|h|d)\b(?: \d+ (?:s|min|h)\b)?")


def _kind_of_cut(cut: Cut, best: Sequence[Signal]) -> Hashable:
    if best == (Signal(cut.action, cut.pid),):
        return None
    numbers = (cut.frees_at_once, cut.frees_in_turn, cut.exact, cut.may_hold_too)
    return (cut.action, _DURATION.sub("", cut.loses), cut.reason, *numbers)


def _kind_of_spared(left: LeaveAlone) -> Hashable:
    return None if left.pid is None else (left.frees_at_once, left.frees_in_turn, left.exact, left.release_uncertain)


def _left_alone(alike: Sequence[LeaveAlone]) -> Iterator[Paragraph]:
    left = alike[0]
    if len(alike) == 1:
        who = left.pid if left.pid is not None else f"prepared transaction '{left.prepared_gid}'"
        words = f"do not signal {who}; its end would free {format_released(left)}: {format_freed(left)}"
    else:
        pids = ", ".join(str(each.pid) for each in alike)
        words = f"do not signal {pids}; the end of each would free {format_released(left)}"
    yield Paragraph(words, "plain", "  ", "    ")
    if len(alike) == 1 and left.sql is not None:
        yield _write_detail(f"{ROLLBACK_WARNING}:")
        yield _to_paste(left.sql)


#: By severity of a finding: how it looks.
SEVERITIES = {"critical": "bad", "warning": "warn"}


def _write_findings(report: Report) -> Iterator[Paragraph]:
    for finding in report.findings:
        yield Paragraph("")
        style = SEVERITIES.get(finding.severity, "bold")
        yield Paragraph(f"{finding.severity}: {finding.summary}", style, others="  ")
        yield from (Paragraph(line, "plain", "      ", "        ") for line in finding.evidence)
        yield Paragraph(finding.advice, "plain", "    → ", "      ")


def _name_signal(action: str, pid: int | None) -> str:
    return "do not signal" if action == "none" else f"{action} {pid}"


def format_session_client(user: str | None, database: str | None, application: str | None) -> str:
    """Whose session it is: `app@shop "checkout"`."""
    at = f"@{database}" if database else ""
    name = f' "{application}"' if application else ""
    return f"{user or '?'}{at}{name}"
