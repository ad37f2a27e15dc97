"""A report as a tree: each root blocker, why it blocks, and who stands behind it.

    4242 idle_in_transaction  public.orders  12 blocked  app@shop "checkout"
    │    idle in transaction for 61 s, its transaction open for 62 s
    │    → terminate 4242: an idle session does not react to a cancel
    └─ 4711 waits 12 s for AccessExclusiveLock (migration)  ...
       ├─ 4712 waits 11 s for AccessShareLock  ...

A session that waits for several others hangs below the first that holds its lock, so that nobody is drawn twice.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from pgdoctor.diagnosis.cuts import Cut, CutSet, Signal, Spared
from pgdoctor.diagnosis.remedy import Advice
from pgdoctor.diagnosis.words import count, duration_between
from pgdoctor.render.forest import Branch, Rest, forest, who
from pgdoctor.render.plain import one_line
from pgdoctor.render.report import BlockerFacts, Report, Wait
from pgdoctor.render.server_name import describe_server

#: Sessions drawn below one blocker, of which the rest is counted, and steps down.
MOST_CHILDREN = 20
_MOST_STEPS = 20

#: Released sessions named by a cut; the rest is counted.
_MOST_NAMED = 5


def tree(report: Report, width: int = 100) -> str:
    """The report as text, no line longer than `width` characters (at least 40)."""
    width = max(width, 40)
    return "\n".join(one_line(line, width) for line in _lines(report, width)) + "\n"


def headline(report: Report) -> str:
    """The answer in one line."""
    return f"{hurt(report)}."


def about(report: Report) -> str:
    """The server that it is about, in one line."""
    server = report.server
    return f"{describe_server(server)}, {server.connections}/{server.max_connections} connections"


def hurt(report: Report) -> str:
    """Who is hurt, by how much, and for how long."""
    if not report.blocked_sessions:
        return "No session is blocked"
    roots = sum(1 for blocker in report.blockers if blocker.root)
    by_whom = f"{count(report.blocked_sessions, 'session')} blocked by {count(roots, 'root blocker')}"
    return by_whom + describe_longest(report.waits)


def to_do(advice: Advice) -> str:
    """The one recommendation: `cancel 20`, `terminate 1 and 2`, `do not signal 4`."""
    if advice.signals:
        return signals(advice.signals)
    name = advice.prepared_gid if advice.pid is None else advice.pid
    return "do not signal" + ("" if name is None else f" {name}")


def signals(members: Sequence[Signal]) -> str:
    """What to send to whom: `terminate 1 and 2, cancel 3`."""
    by_action: dict[str, list[str]] = {}
    for each in members:
        by_action.setdefault(each.action, []).append(str(each.pid))
    return ", ".join(f"{action} {' and '.join(pids)}" for action, pids in by_action.items())


def released(choice: Cut | CutSet | Spared | Advice) -> str:
    """Whom it frees: `3 sessions at once, 1 more in turn (forecast)`."""
    follow = choice.frees_in_turn - choice.frees_at_once
    then = f", {follow:,} more in turn" if follow else ""
    if isinstance(choice, Cut | Spared) and choice.release_uncertain is not None:
        return f"at most {count(choice.frees_at_once, 'session')}, perhaps none: {choice.release_uncertain}"
    return f"{count(choice.frees_at_once, 'session')} at once{then}{'' if choice.exact else ' (forecast)'}"


def named(choice: Cut | CutSet | Spared) -> str:
    """The first of those that it frees at once: `31, 32, 33`."""
    rest = choice.frees_at_once - _MOST_NAMED
    return ", ".join(map(str, choice.released[:_MOST_NAMED])) + (f" and {rest:,} more" if rest > 0 else "")


def _lines(report: Report, width: int) -> Iterator[str]:
    yield headline(report)
    yield about(report)
    yield from _advice(report, width)
    for grown in forest(report, MOST_CHILDREN, _MOST_STEPS):
        yield ""
        yield from _root(grown.blocker)
        yield from _branches(grown.below, grown.rest, "")
    if report.waits_total > len(report.waits):
        yield f"(drawn from {len(report.waits):,} of {report.waits_total:,} waits)"
    yield from _cuts(report)
    yield from _findings(report)


def _root(blocker: BlockerFacts) -> Iterator[str]:
    also = f" (also {', '.join(blocker.also)})" if blocker.also else ""
    yield "  ".join(
        part
        for part in (
            f"{who(blocker)} {blocker.classification}{also}",
            blocker.relation,
            f"{blocker.blocked_sessions:,} blocked",
            _client(blocker.user, blocker.database, blocker.application),
        )
        if part
    )
    for sentence in blocker.evidence:
        yield f"│    {sentence}"
    if blocker.statement:
        yield f"│    {'runs' if blocker.state == 'active' else 'last ran'}: {blocker.statement}"
    advice = blocker.recommendation
    yield f"│    → {_signal(advice.action, advice.pid)}: {advice.reason}"
    if blocker.advice:
        yield f"│    next time: {blocker.advice}"


def _branches(below: Sequence[Branch], rest: Rest, indent: str) -> Iterator[str]:
    """The sessions behind one blocker."""
    for branch in below:
        last = branch is below[-1] and not rest.sessions
        yield f"{indent}{'└─' if last else '├─'} {_waiter(branch.wait, branch.facts)}"
        yield from _branches(branch.below, branch.rest, indent + ("   " if last else "│  "))
    if rest.sessions:
        yield f"{indent}└─ {left_out(rest)}"


def left_out(rest: Rest) -> str:
    """`and 943 sessions more, waiting for a row of public.orders, the longest for 12 s`."""
    wanted = {awaited(wait) for wait in rest.waits}
    what = f", waiting for {wanted.pop()}" if len(wanted) == 1 and len(rest.waits) == rest.sessions else ""
    return f"and {count(rest.sessions, 'session')} more{what}{describe_longest(rest.waits)}"


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


def _waiter(wait: Wait, facts: BlockerFacts | None) -> str:
    since = format_wait(wait, "?")
    queued = ", queued behind" if wait.queued else ""
    cause = f" ({facts.classification})" if facts and facts.classification != "unknown" else ""
    blocks = f", blocks {facts.blocked_sessions:,} itself{cause}" if facts else ""
    who = _client(wait.blocked_user, None, wait.blocked_application)
    statement = wait.blocked_statement or ""
    return f"{wait.blocked_pid} has waited {since} for {awaited(wait)}{queued}{blocks}  {who}: {statement}"


def awaited(wait: Wait) -> str:
    """What it waits for, in words."""
    return wait.waits_for or "a lock"


def _advice(report: Report, width: int) -> Iterator[str]:
    advice = report.recommendation
    if advice is None:
        return
    frees = f" frees {released(advice)}; costs {advice.loses}" if advice.signals else ""
    yield f"→ {to_do(advice)}{frees}"
    yield f"  {advice.reason}"
    if advice.not_permitted:
        # To be copied: wrapped where a statement may be, and never cut.
        yield from (f"  {line}" for line in textwrap.wrap(advice.not_permitted, width - 2, break_on_hyphens=False))


def _cuts(report: Report) -> Iterator[str]:
    if not (report.cuts or report.cut_sets or report.left_alone):
        return
    yield ""
    yield "What each signal would free:"
    best = report.recommendation.signals if report.recommendation else ()
    for cut in report.cuts:
        mark = "  ← best" if best == (Signal(cut.action, cut.pid),) else ""
        yield f"  {cut.action} {cut.pid}: {released(cut)}{mark}"
        yield f"      frees {named(cut)}; costs {cut.loses}; {cut.reason}"
    for each in report.cut_sets:
        mark = "  ← best" if best == each.signals else ""
        yield f"  {signals(each.signals)} together: {released(each)}{mark}"
        yield f"      frees {named(each)}; costs {each.loses}; one alone frees no session"
    for left in report.left_alone:
        who = left.pid if left.pid is not None else f"prepared transaction '{left.prepared_gid}'"
        yield f"  do not signal {who}; its end would free {released(left)}: {named(left)}"


def _findings(report: Report) -> Iterator[str]:
    for finding in report.findings:
        yield ""
        yield f"{finding.severity}: {finding.summary}"
        yield from (f"      {line}" for line in finding.evidence)
        yield f"    → {finding.advice}"


def _signal(action: str, pid: int | None) -> str:
    return "do not signal" if action == "none" else f"{action} {pid}"


def _client(user: str | None, database: str | None, application: str | None) -> str:
    at = f"@{database}" if database else ""
    name = f' "{application}"' if application else ""
    return f"{user or '?'}{at}{name}"
