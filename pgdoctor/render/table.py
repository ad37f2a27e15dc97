"""A report as tables: for a pipe, and for a terminal without line drawing."""

from collections.abc import Iterator, Sequence
from itertools import chain

from pgdoctor.render.live.cells import text_width, wrap_text
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import Report
from pgdoctor.render.tree import format_freed, format_headline, format_server_line, format_signals, to_do

#: Characters of the statement of a session that waits, where there is a screen.
STATEMENT_WIDTH = 60

#: Cells of a column; a wider text moves the rest of its line. And characters of a cell.
_WIDEST = 60
_MOST = 20_000

#: Cells of the line above an expanded row, and of its values at least.
_RULE = 40
_NARROWEST = 20

#: Rows of waits; all of them are in the JSON.
MOST_ROWS = 200

Row = Sequence[object]


class WaiterStatement(str):
    """The statement of a session that waits: all that may be cut."""

    __slots__ = ()


def render_table(report: Report, width: int | None = None) -> str:
    """Blockers, waits, cuts and findings. `width`: columns of the screen, None: there is none.

    On a screen the statements of sessions that wait are cut, and a table that is wider has a line for each value, as
    psql's `\\x auto` has it.
    """
    statement_width = None if width is None else STATEMENT_WIDTH
    parts = [_wrap_sentence(each, width) for each in (format_headline(report), format_server_line(report))]
    advice = report.recommendation
    if advice is not None and advice.not_permitted:
        parts.append(_wrap_sentence(format_one_line(advice.not_permitted, _MOST), width))
    for title, headers, rows in _list_tables(report):
        if rows:
            cells = [_format_cells(row, statement_width) for row in rows]
            parts.append(f"{title}\n\n{_lay_out(headers, cells, width)}")
    if len(report.waits) > MOST_ROWS or report.waits_total > len(report.waits):
        parts.append(f"The first {min(len(report.waits), MOST_ROWS):,} of {report.waits_total:,} waits.")
    return "\n\n".join(parts) + "\n"


def _wrap_sentence(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(wrap_text(text, width, _MOST))


def _list_tables(report: Report) -> Iterator[tuple[str, tuple[str, ...], list[Row]]]:
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
        ("pid", "class", "root", "relation", "blocked", "user", "application", "state", "do", "evidence", "statement"),
        [
            (
                blocker.pid if blocker.pid is not None else blocker.prepared_gid,
                "+".join((blocker.classification, *blocker.also)),
                blocker.root,
                blocker.place,
                blocker.blocked_sessions,
                blocker.user,
                blocker.application,
                blocker.state,
                blocker.recommendation.action,
                "; ".join(blocker.evidence),
                blocker.statement,
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
                wait.place,
                None if wait.wait_seconds is None else round(wait.wait_seconds, 1),
                wait.queued,
                WaiterStatement(wait.blocked_statement or ""),
                WaiterStatement(wait.blocking_statement or ""),
            )
            for wait in report.waits[:MOST_ROWS]
        ],
    )  # fmt: skip
    yield (
        "What each signal would free",
        ("action", "pid", "at once", "in turn", "exact", "costs", "frees"),
        [
            (cut.action, cut.pid, cut.frees_at_once, cut.frees_in_turn, cut.exact, cut.loses, format_freed(cut))
            for cut in report.cuts
        ]
        + [
            (
                "together",
                format_signals(each.signals),
                each.frees_at_once,
                each.frees_in_turn,
                each.exact,
                each.loses,
                format_freed(each),
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
                format_freed(left),
            )
            for left in report.left_alone
        ],
    )
    yield (
        "Findings",
        ("severity", "kind", "summary", "advice", "evidence"),
        [(note.severity, note.kind, note.summary, note.advice, "; ".join(note.evidence)) for note in report.findings],
    )


def _format_cells(row: Row, statement_width: int | None) -> list[str]:
    return [_format_cell(value, statement_width) for value in row]


def _format_cell(value: object, statement_width: int | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, WaiterStatement):
        return format_one_line(value, statement_width or _MOST)
    return "" if value is None else format_one_line(str(value), _MOST)


def _lay_out(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> str:
    table = _align_columns(headers, rows)
    if width is None or max(map(text_width, table.splitlines())) <= width:
        return table
    return "\n".join(chain.from_iterable(_expand_row(headers, row, place, width) for place, row in enumerate(rows, 1)))


def _expand_row(headers: Sequence[str], row: Sequence[str], place: int, width: int) -> Iterator[str]:
    """A line for each value that is there; a longer text goes on below."""
    yield f"-[ {place} ]".ljust(min(width, _RULE), "-")
    names = max(map(len, headers)) + 2
    for header, value in zip(headers, row, strict=True):
        for part, text in enumerate(wrap_text(value, max(width - names, _NARROWEST), _MOST) if value else ()):
            yield f"{'' if part else header:<{names}}{text}"


def _align_columns(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns below their headings. A text that is wider than a column may be moves the rest of its line."""
    widths = [
        min(max(map(text_width, column)), max(_WIDEST, text_width(column[0])))
        for column in zip(headers, *rows, strict=True)
    ]
    lines = [headers, ["-" * each for each in widths], *rows]
    return "\n".join(_join_cells(cells, widths) for cells in lines)


def _join_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell + " " * (most - text_width(cell)) for cell, most in zip(cells, widths, strict=True)).rstrip()
