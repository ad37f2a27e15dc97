"""The screen of the live view, line by line: what hurts, what to do, who, and what the keys do."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pgdoctor.formatting import format_duration
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.live.cells import Line, Span, fit_line, pad_text, text_width, wrap_text
from pgdoctor.render.live.session_details import render_session_details
from pgdoctor.render.live.session_rows import SessionRow
from pgdoctor.render.live.view import View
from pgdoctor.render.report import Report
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.tree import describe_blocked, format_released, to_do


class ScreenInput(msgspec.Struct, frozen=True):
    """What is known of the server."""

    #: None: not seen yet.
    diagnosis: Diagnosis | None = None
    report: Report | None = None
    #: In the order that is wanted.
    rows: tuple[SessionRow, ...] = ()
    #: Why it cannot be asked now; None: it can.
    error: str | None = None
    #: Seconds since the server last answered.
    age: float = 0.0
    #: Seconds from one look to the next.
    interval: float = 1.0

    @property
    def is_late(self) -> bool:
        """An answer should have come by now."""
        return self.report is not None and self.age > max(_MISSED * self.interval, _LATE)


#: Looks that may be missed, and seconds that have to pass, before it is said that the server does not answer.
_MISSED, _LATE = 3, 2.0

HELP = """\
up down n p    choose a session        enter   show it         esc q  back
pgup pgdn home end   by the screen     space   freeze the screen; polling goes on
t  as trees    w  by wait    b  by how many it blocks    a  by age of transaction    l  by class
c  cancel the chosen session's statement     k  terminate the chosen session
   Both need mode = "enforce" and a matching rule in --config FILE, no objection of a guard, and your confirmation.
   Before you confirm, the screen shows the sessions that would be freed, and the work that would be lost.
?  this help   q  quit

BLOCKS   number of sessions that it blocks, directly or through others
WAIT     how long it has waited, by the server's record
AGE      how long its transaction has been open
CLASS    why it blocks (see: pgdoctor explain CLASS); waits, queued: it waits itself
"""

#: The widest that fits is shown.
_KEYS_BARS = (
    "? help  q quit  ↑↓ choose  ⏎ show  space freeze  c cancel  k terminate  t w b a l order",
    "? help  q quit  ⏎ show  space freeze  c cancel  k terminate",
    "? help  q quit  c cancel  k terminate",
    "? help  q quit",
)
_ANSWERS = "y: confirm    any other key: go back"
_ANY_KEY = "press any key to continue"
_TOO_SMALL = "… enlarge the window to see the rest"

#: Lines above the list, with the heading of the columns; and below it.
_ABOVE, _BELOW = 5, 1

#: Of so many lines of the screen one is for what to do: three of 24, as many as it needs of 40.
_LINES_PER_ADVICE = 8


class ScreenColumn(NamedTuple):
    """A column; it is shown from so many columns of the terminal on."""

    heading: str
    field: str
    columns: int
    from_width: int
    right: bool = False


_COLUMNS = (
    ScreenColumn("PID", "pid", 14, 0),
    ScreenColumn("BLOCKS", "blocked", 6, 30, right=True),
    ScreenColumn("WAIT", "wait", 8, 0, right=True),
    ScreenColumn("AGE", "age", 8, 60, right=True),
    ScreenColumn("CLASS", "classification", 20, 0),
    ScreenColumn("WHAT", "what", 40, 90),
    ScreenColumn("WHO", "who", 24, 130),
    ScreenColumn("STATEMENT", "statement", 0, 72),
)


def list_lines(lines: int) -> int:
    """Rows that fit on a screen of so many lines."""
    return max(lines - _ABOVE - _BELOW, 1)


def draw_screen(seen: ScreenInput, view: View, columns: int, lines: int) -> tuple[Line, ...]:
    """Exactly `lines` lines, none wider than `columns` cells."""
    bar = _bar(view, columns)
    if view.question is not None or view.notice:
        body = _dialogue(list(_head(seen, view, columns, lines)), list(_asked(view, columns)), lines - _BELOW)
    else:
        above = [*_head(seen, view, columns, lines)]
        body = [*above, *_page(seen, view, columns, max(lines - len(above) - _BELOW, 0))]
    body += [()] * (lines - _BELOW - len(body))
    return tuple(fit_line(line, columns) for line in [*body, (bar,)][-lines:])


def _bar(view: View, columns: int) -> Span:
    if view.question is not None:
        return Span(pad_text(_ANSWERS, columns), "warn")
    if view.message:
        return Span(pad_text(view.message, columns), "warn")
    said = _ANY_KEY if view.notice else next((bar for bar in _KEYS_BARS if text_width(bar) <= columns), _KEYS_BARS[-1])
    return Span(pad_text(said, columns), "bar")


def _dialogue(above: list[Line], body: list[Line], room: int) -> list[Line]:
    """What has to be read in full: on a small screen nothing else is shown, and where that is too small it says so."""
    if len(above) + len(body) <= room:
        return [*above, *body]
    while body and not body[-1]:
        body.pop()
    return body if len(body) <= room else [*body[: max(room - 1, 0)], (Span(_TOO_SMALL, "warn"),)][:room]


def _page(seen: ScreenInput, view: View, columns: int, room: int) -> list[Line]:
    if view.page == "help":
        return _text([part for line in HELP.splitlines() for part in _broken(line, columns)], view.scrolled, room)
    if view.page == "one" and seen.diagnosis is not None and seen.report is not None:
        return _text(render_session_details(seen.diagnosis, seen.report, view.chosen, columns), view.scrolled, room)
    return list(_list(seen.rows, view, columns, room))[:room]


def _head(seen: ScreenInput, view: View, columns: int, lines: int) -> Iterator[Line]:
    report, most = seen.report, max(lines // _LINES_PER_ADVICE, 1)
    if seen.error is not None:
        yield from _broken_up(f"DOWN: {seen.error}", "bad", columns, most)
        yield (Span(f"the list below is {format_duration(seen.age)} old" if report else "", "warn"),)
    elif report is None:
        yield (Span("connecting …", "dim"),)
        yield ()
    else:
        yield from _broken_up(describe_blocked(report), "bad" if report.blocked_sessions else "good", columns, most)
        yield from _broken_up(_to_do(report), "bold", columns, most)
    yield (Span(describe_server(report.server) if report is not None else "", "dim"),)
    yield _status(seen, view)


def _broken_up(text: str, style: str, columns: int, most: int) -> Iterator[Line]:
    """A text in at most so many lines; what does not fit any more is cut with the last of them."""
    parts = wrap_text(text, columns)
    if len(parts) > most:
        parts = [*parts[: most - 1], " ".join(parts[most - 1 :])]
    yield from ((Span(part, style),) for part in parts)


def _to_do(report: Report) -> str:
    advice = report.recommendation
    if advice is not None:
        frees = f" frees {format_released(advice)}; costs {advice.loses}" if advice.signals else f": {advice.reason}"
        refused = f" ({advice.not_permitted.partition('; ')[0]})" if advice.not_permitted else ""
        return f"→ {to_do(advice)}{refused}{frees}"
    worst = next((note for note in report.findings if note.severity in ("critical", "warning")), None)
    return f"{worst.severity}: {worst.summary}" if worst else ""


def _status(seen: ScreenInput, view: View) -> Line:
    parts = [Span("FROZEN (space goes on)  ", "warn")] if view.is_frozen else []
    if seen.error is None and seen.is_late:
        parts.append(Span(f"NO ANSWER for {format_duration(seen.age)}  ", "bad"))
    report = seen.report
    if report is not None:
        server = report.server
        at = report.captured_at[11:19]
        text = (
            f"{at} UTC  by {view.order}  {server.connections}/{server.max_connections} connections  "
            f"every {seen.interval:g} s"
        )
        parts.append(Span(text, "dim"))
        if seen.diagnosis is not None and seen.diagnosis.snapshot.server.hidden_sessions:
            parts.insert(
                0, Span(f"BLIND: {seen.diagnosis.snapshot.server.hidden_sessions} hidden (pg_monitor)  ", "warn")
            )
    return tuple(parts)


def _list(rows: Sequence[SessionRow], view: View, columns: int, room: int) -> Iterator[Line]:
    shown = [column for column in _COLUMNS if columns >= column.from_width]
    yield (Span(_cells(shown, {each.field: each.heading for each in shown}, columns), "dim"),)
    place = next((place for place, row in enumerate(rows) if row.key == view.chosen and row.key is not None), 0)
    # The chosen one stays in sight.
    first = max(min(place - (room - 1) // 2, len(rows) - (room - 1)), 0)
    for row in rows[first : first + room - 1]:
        if row.key is None:
            yield (Span("  " * row.depth + row.rest, "dim"),)
            continue
        text = _cells(shown, _fields(row), columns)
        yield (Span(text, "chosen" if row.key == view.chosen else _style(row)),)


def _style(row: SessionRow) -> str:
    if not row.waits:
        return "bad"
    return "warn" if row.classification not in ("waits", "queued") else "plain"


def _fields(row: SessionRow) -> dict[str, str]:
    return {
        "pid": "  " * min(row.depth, 4) + str(row.key),
        "blocked": f"{row.blocked:,}" if row.blocked else "",
        "wait": format_short(row.wait),
        "age": format_short(row.age),
        "classification": row.classification,
        "what": row.what,
        "who": row.who,
        "statement": row.statement,
    }


def _cells(shown: Sequence[ScreenColumn], fields: dict[str, str], columns: int) -> str:
    text = ""
    for column in shown:
        room = column.columns or max(columns - text_width(text), 0)
        text += pad_text(fields[column.field], room, right=column.right) + " "
    return pad_text(text.rstrip(), columns)


def format_short(seconds: float | None) -> str:
    """A duration in at most eight characters: `3.6s`, `4m05s`, `2h05m`, `3d04h`; empty for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if seconds < 60:
        return f"{seconds:.1f}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02}h"


def _asked(view: View, columns: int) -> Iterator[Line]:
    question = view.question
    if question is not None:
        yield (Span(f"{question.signal} {question.pid}?", "bad"),)
    for paragraph in question.said if question is not None else view.notice:
        yield from ((Span(f"  {line}"),) for line in wrap_text(paragraph, columns - 2))


def _text(text: Sequence[str], scrolled: int, room: int) -> list[Line]:
    first = max(min(scrolled, len(text) - room), 0)
    return [(Span(line),) for line in text[first : first + room]]


def _broken(line: str, columns: int) -> list[str]:
    """A line of the help, as it is where it fits."""
    return [line] if text_width(line) <= columns else wrap_text(line, columns)
