"""What a script would lock and wait for: as a table for people, with the sessions that block it below."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from pgdoctor.formatting import format_count, format_duration, format_name, format_size
from pgdoctor.preflight.work import WORK
from pgdoctor.render.holders import HolderFacts, LockFacts, format_hold, format_origin, format_state
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.preflight import ObstacleFacts, PreflightReport, PreflightStatement, QueueFacts
from pgdoctor.render.server_name import describe_server

#: Statements in the table, and locks, blockers or lines of one statement below it; all are in the JSON.
MOST_ROWS = 200
_MOST_LINES = 10

#: Characters of a statement in the table, and of a reason, note or line of a safe form.
_STATEMENT_WIDTH = 60
_MOST_SENTENCE = 500
_HEADINGS = ("", "line", "verdict", "strongest lock", "on", "work", "statement")

_SAYS = {
    "unknown": "cannot be judged, and counts as dangerous",
    "fails": "would fail",
    "blocked": "would wait now",
    "dangerous": "would block clients for as long as it reads or writes the table",
    "brief": "blocks clients for a moment, once it has its locks",
    "harmless": "blocks no reader and no writer",
}


def render_preflight(report: PreflightReport, *, width: int | None = _STATEMENT_WIDTH) -> str:
    """The report as text. `width`: characters of a statement; None: cut nothing."""
    return "\n".join(_format_lines(report, width)) + "\n"


def _format_lines(report: PreflightReport, width: int | None) -> Iterator[str]:
    if report.server is not None:
        yield describe_server(report.server)
    else:
        yield f"No server was asked: judged for PostgreSQL {report.version}, by the text alone."
    if not report.statements:
        yield f"{format_one_line(report.source, _MOST_SENTENCE)}: no statement in it."
        return
    rows = [_format_row(each, width) for each in report.statements[:MOST_ROWS]]
    yield tabulate(rows, headers=_HEADINGS, disable_numparse=True)
    if len(report.statements) > MOST_ROWS:
        yield f"({format_count(len(report.statements), 'statement')} in all; --format json has each)"
    sessions = {(each.pid, each.prepared_gid): each for each in report.sessions}
    for statement in report.statements[:MOST_ROWS]:
        if statement.verdict not in ("harmless", "skipped"):
            yield from _describe_statement(statement, sessions)
    yield ""
    yield from (f"Note: {format_one_line(each, _MOST_SENTENCE)}" for each in report.notes)
    yield _conclude(report)


def _conclude(report: PreflightReport) -> str:
    counts = {verdict: sum(each.verdict == verdict for each in report.statements) for verdict in _SAYS}
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
    free = "Not free to run" if report.would_block else "Free to run"
    return f"{free}: {told or 'nothing to run'}."


def _format_row(statement: PreflightStatement, width: int | None) -> tuple[str, ...]:
    strongest = max(statement.locks, key=lambda lock: (lock.blocks_reads, lock.blocks_writes, lock.mode), default=None)
    work = max(statement.work, key=lambda each: WORK[each.kind].rank, default=None)
    text = statement.statement
    return (
        str(statement.number),
        str(statement.line),
        statement.verdict,
        strongest.mode if strongest else "",
        format_one_line(strongest.relation, 80) if strongest else "",
        work.kind if work else "",
        format_one_line(text, width if width is not None else len(text) + 1),
    )


def _describe_statement(
    statement: PreflightStatement, sessions: dict[tuple[int | None, str | None], HolderFacts]
) -> Iterator[str]:
    yield ""
    yield f"{statement.number}: {_SAYS[statement.verdict]}"
    # They name relations of the script, which may be any text.
    yield from (f"   {format_one_line(each, _MOST_SENTENCE)}" for each in statement.reasons)
    yield from _cap([f"   {line}" for line in _describe_locks(statement)])
    yield from _cap([f"   {line}" for line in _describe_work(statement)])
    yield from (f"   {format_one_line(each, _MOST_SENTENCE)}" for each in statement.waits_for)
    yield from _cap([f"   blocked by: {_describe_obstacle(each, sessions)}" for each in statement.blocked_by])
    yield from _describe_queue(statement.queue)
    yield from (f"   {line}" for line in _describe_timeouts(statement))
    for form in statement.safe_form:
        yield "   safe form:"
        yield from (f"     {format_one_line(line, _MOST_SENTENCE)}" for line in form.splitlines())


def _describe_locks(statement: PreflightStatement) -> Iterator[str]:
    most = "" if statement.exact else "at most "
    for lock in statement.locks:
        blocked = "reads and writes" if lock.blocks_reads else "writes" if lock.blocks_writes else ""
        yield f"locks {format_one_line(lock.relation, 200)}: {most}{lock.mode}" + (
            f", which blocks {blocked}" if blocked else ""
        )
    for each in statement.objects:
        verb = f"locks {format_one_line(each.object, 200)}: {each.mode}"
        yield verb if each.mode else f"changes {format_one_line(each.object, 200)} in its catalog"
    if statement.after_statements:
        yield f"the locks of statement {', '.join(map(str, statement.after_statements))} are still held"
    if statement.locks and statement.transaction is not None:
        yield f"its locks are held until transaction {statement.transaction} ends"


def _describe_work(statement: PreflightStatement) -> Iterator[str]:
    for work in statement.work:
        size = (
            "size not known"
            if work.bytes is None
            else f"{format_size(work.bytes)}, {format_count(work.rows or 0, 'row')}"
        )
        yield f"work: {WORK[work.kind].says}: {format_one_line(work.relation, 200)} ({size})"


def _describe_obstacle(obstacle: ObstacleFacts, sessions: dict[tuple[int | None, str | None], HolderFacts]) -> str:
    session = sessions.get((obstacle.pid, obstacle.prepared_gid))
    if obstacle.prepared_gid is not None:
        name = f"prepared transaction {format_name(obstacle.prepared_gid)}"
    else:
        name = f"session {obstacle.pid}"
        name += f" ({format_origin(session)}), {format_state(session)}" if session else ""
    age = obstacle.transaction_seconds
    opened = f", transaction open for {format_duration(age)}" if age is not None else ""
    ends = " (younger than --max-blocker-age)" if not obstacle.counts and not obstacle.gives_way else ""
    gives = " (autovacuum: gives way)" if obstacle.gives_way else ""
    why = format_one_line(obstacle.reason, _MOST_SENTENCE) if obstacle.reason else _describe_held(obstacle.locks)
    return f"{name}{opened}: {why}{ends}{gives}"


def _describe_held(locks: Sequence[LockFacts]) -> str:
    told = [_describe_lock(lock) for lock in locks[:3]]
    more = [f"and {len(locks) - 3:,} more"] if len(locks) > 3 else []
    return "; ".join((*told, *more))


def _describe_lock(lock: LockFacts) -> str:
    verb = "holds" if lock.granted else "waits for"
    return f"{verb} {lock.mode} on {format_one_line(lock.object, 200)}, {format_hold(lock)}"


def _describe_queue(queue: tuple[QueueFacts, ...] | None) -> Iterator[str]:
    if queue is None:
        return
    used = [each for each in queue if each.scans_per_second or each.changes_per_second]
    if queue and not used:
        yield "   would queue: no use of these relations was measured just now"
    for each in used[:_MOST_LINES]:
        yield (
            f"   would queue: {each.scans_per_second:,.0f} scans and {each.changes_per_second:,.0f} row changes "
            f"a second on {format_one_line(each.relation, 200)}, as measured now"
        )


def _describe_timeouts(statement: PreflightStatement) -> Iterator[str]:
    """What ends a wait for a strong lock, and the work under it."""
    if not any(lock.blocks_reads or lock.blocks_writes for lock in statement.locks):
        return
    if statement.lock_timeout is not None:
        yield f"lock_timeout: it fails after a wait of {format_duration(statement.lock_timeout)}"
    elif statement.statement_timeout is None:
        yield "the script sets no lock_timeout and no statement_timeout: if it waits, clients queue behind it"
    if statement.statement_timeout is not None:
        limit = format_duration(statement.statement_timeout)
        yield f"statement_timeout: it fails {limit} after its start, waits included"


def _cap(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[:_MOST_LINES], f"   and {len(lines) - _MOST_LINES:,} more (--format json has each)"]
