"""A report as tables: for a pipe, for a terminal without line drawing, and as Markdown for a ticket."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from pgdoctor.render.plain import one_line
from pgdoctor.render.report import Report
from pgdoctor.render.tree import about, headline, named, signals, to_do

#: Characters of a statement in a cell.
STATEMENT_WIDTH = 60

#: Rows of waits; all of them are in the JSON.
MOST_ROWS = 200

Row = Sequence[object]


def table(report: Report, style: str = "simple") -> str:
    """Blockers, waits, cuts and findings; `style` is one of tabulate's, `pipe` for Markdown."""
    parts = [headline(report), escaped(about(report)) if style == "pipe" else about(report)]
    advice = report.recommendation
    if advice is not None and advice.not_permitted:
        parts.append(escaped(advice.not_permitted) if style == "pipe" else advice.not_permitted)
    for title, headers, rows in _tables(report):
        if rows:
            heading = f"## {title}" if style == "pipe" else title
            parts.append(f"{heading}\n\n{tabulate([_cells(row, style) for row in rows], headers, tablefmt=style)}")
    if len(report.waits) > MOST_ROWS or report.waits_total > len(report.waits):
        parts.append(f"The first {min(len(report.waits), MOST_ROWS):,} of {report.waits_total:,} waits.")
    return "\n\n".join(parts) + "\n"


def _tables(report: Report) -> Iterator[tuple[str, tuple[str, ...], list[Row]]]:
    advice = report.recommendation
    yield (
        "Recommendation",
        ("do", "at once", "in turn", "exact", "costs", "because"),
        [(to_do(advice), advice.frees_at_once, advice.frees_in_turn, advice.exact, advice.loses, advice.reason)]
        if advice
        else [],
    )
    yield (
        "Blockers",
        ("pid", "class", "root", "relation", "blocked", "user", "application", "state", "do", "evidence"),
        [
            (
                blocker.pid if blocker.pid is not None else blocker.prepared_gid,
                "+".join((blocker.classification, *blocker.also)),
                blocker.root,
                blocker.relation,
                blocker.blocked_sessions,
                blocker.user,
                blocker.application,
                blocker.state,
                blocker.recommendation.action,
                "; ".join(blocker.evidence),
            )
            for blocker in report.blockers[:MOST_ROWS]
        ],
    )
    yield (
        "Waits",
        ("blocked_pid", "blocked_user", "blocking_pid", "blocking_user", "lock_type", "lock_mode", "relation",
         "seconds", "queued", "blocked_statement", "blocking_statement"),
        [
            (
                wait.blocked_pid,
                wait.blocked_user,
                wait.blocking_pid if wait.blocking_pid is not None else wait.prepared_gid,
                wait.blocking_user,
                wait.lock_type,
                wait.lock_mode,
                wait.relation,
                None if wait.wait_seconds is None else round(wait.wait_seconds, 1),
                wait.queued,
                wait.blocked_statement,
                wait.blocking_statement,
            )
            for wait in report.waits[:MOST_ROWS]
        ],
    )  # fmt: skip
    yield (
        "What each signal would free",
        ("action", "pid", "at once", "in turn", "exact", "costs", "frees"),
        [
            (cut.action, cut.pid, cut.frees_at_once, cut.frees_in_turn, cut.exact, cut.loses, named(cut))
            for cut in report.cuts
        ]
        + [
            (
                "together",
                signals(each.signals),
                each.frees_at_once,
                each.frees_in_turn,
                each.exact,
                each.loses,
                named(each),
            )
            for each in report.cut_sets
        ]
        + [
            (
                "none",
                left.pid if left.pid is not None else left.prepared_gid,
                left.frees_at_once,
                left.frees_in_turn,
                left.exact,
                left.loses,
                named(left),
            )
            for left in report.left_alone
        ],
    )
    yield (
        "Findings",
        ("severity", "kind", "summary", "advice"),
        [(note.severity, note.kind, note.summary, note.advice) for note in report.findings],
    )


def _cells(row: Row, style: str) -> list[object]:
    return [_cell(value, style) for value in row]


def _cell(value: object, style: str) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    text = one_line(value, max(STATEMENT_WIDTH, 120 if " " in value else 0))
    # A bar would end the cell, and markup would be rendered by whoever shows the ticket.
    return escaped(text) if style == "pipe" else text


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    for mark in "\\`*_[]<>|#~":
        text = text.replace(mark, "\\" + mark)
    return text
