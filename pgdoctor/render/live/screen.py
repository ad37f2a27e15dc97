"""The screen of the live view, line by line: the problem, what to do, the sessions, and the keys."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from pgdoctor.formatting import format_duration
from pgdoctor.model.activity import Activity, ActivityRates, MachineUsage
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.live.activity_rows import ActivityRow, render_activity_details
from pgdoctor.render.live.cells import Line, Span, fit_line, pad_text, text_width, wrap_text
from pgdoctor.render.live.filtering import ListedRow, filter_rows
from pgdoctor.render.live.session_details import render_session_details
from pgdoctor.render.live.session_rows import SessionRow
from pgdoctor.render.live.view import SessionSort, View, shown_tab
from pgdoctor.render.report import Report
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.tree import describe_blocked, format_released, to_do


class ScreenInput(msgspec.Struct, frozen=True):
    """What is known of the server."""

    #: None: not seen yet.
    diagnosis: Diagnosis | None = None
    report: Report | None = None
    #: In the chosen order.
    rows: tuple[SessionRow, ...] = ()
    #: What all sessions do; None: not read, for their list is not shown.
    activity: Activity | None = None
    activity_rows: tuple[ActivityRow, ...] = ()
    rates: ActivityRates = ActivityRates()
    #: None: the server is on another machine, or its processes cannot be read.
    usage: MachineUsage | None = None
    #: Why it cannot be asked now; None: it can.
    error: str | None = None
    #: Seconds since the server last answered.
    age: float = 0.0
    #: Seconds from one poll to the next.
    interval: float = 1.0
    #: Of a recording: which snapshot this is; empty: it is a server.
    recorded: str = ""

    @property
    def is_late(self) -> bool:
        """An answer should have come by now."""
        return self.report is not None and self.age > max(_MISSED * self.interval, _LATE)


Row = TypeVar("Row", bound=ListedRow)

#: Looks that may be missed, and seconds that have to pass, before it is said that the server does not answer.
_MISSED, _LATE = 3, 2.0

HELP = """\
up down n p    choose a session        enter   show it         esc q  back
pgup pgdn home end   by the screen     space   freeze the screen; polling continues
tab  the other list    1  all sessions    2  blocked sessions, shown automatically when a session is blocked
blocked sessions:   t  as trees    w  by wait    b  by how many it blocks    a  by age of transaction    l  by class
all sessions, by:   s  state    e  time in it    a  age of transaction    u  CPU    m  memory    r  reads    w  writes
/  filter: only rows with a text; enter keeps it, esc removes it       v  wrap statements    g  group equal waiters
+  poll less often    -  poll more often
→ ←  or  ] [   with --from FILE: next and previous snapshot        > <   last and first
c  cancel the chosen session's statement     k  terminate the chosen session
   Both need no rule, but your confirmation; watch --read-only switches them off.
   Before you confirm, the screen shows the sessions that would be freed, and the work that would be lost.
?  this help   q  quit

BLOCKS   number of sessions that it blocks, directly or through others
WAIT     how long it has waited, by the server's record
AGE      how long its transaction has been open; in the list of all sessions: how long it has been in its state
CLASS    why it blocks (see: pgdoctor explain CLASS); waits, queued: it waits itself
XACT     how long its transaction has been open
CPU%     of one core; MEM: without shared memory; READ/s, WRITE/s: from and to storage, shown to root and the server's
         user alone. Only of a server on this machine, while all sessions are listed.
transactions/s   of all databases with a session, over five seconds, without the view's own
deadlocks        since the view began
"""

#: The widest that fits is shown.
_KEYS_BARS = (
    "? help  q quit  ↑↓ choose  ⏎ show  space freeze  / filter  tab list  c cancel  k terminate  t w b a l order",
    "? help  q quit  ⏎ show  space freeze  / filter  tab list  c cancel  k terminate",
    "? help  q quit  ⏎ show  space freeze  c cancel  k terminate",
    "? help  q quit  c cancel  k terminate",
    "? help  q quit",
)
_SESSIONS_BARS = (_KEYS_BARS[0].replace("t w b a l order", "s e a u m r w order"), *_KEYS_BARS[1:])
_RECORDED_BARS = (
    "? help  q quit  → ← next and previous snapshot  > < last and first  ↑↓ choose  ⏎ show  / filter  t w b a l order",
    "? help  q quit  → ← snapshot  > < last, first  ↑↓ choose  ⏎ show  / filter",
    "? help  q quit  → ← snapshot  ⏎ show",
    "? help  q quit  → ←",
    "? help  q quit",
)
_ANSWERS = "y: confirm    any other key: go back"
_ANY_KEY = "press any key to continue"
_FILTER_KEYS = "enter: keep  esc: remove"

#: Characters of a filter that show while it is typed, on the narrowest screen.
_FEWEST_TYPED = 8
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
    ScreenColumn("WHO", "who", 22, 96),
    ScreenColumn("WHAT", "what", 40, 140),
    ScreenColumn("STATEMENT", "statement", 0, 72),
)

_ACTIVITY_COLUMNS = (
    ScreenColumn("PID", "pid", 7, 0),
    ScreenColumn("STATE", "state", 10, 0),
    ScreenColumn("AGE", "age", 7, 0, right=True),
    ScreenColumn("XACT", "transaction", 7, 110, right=True),
    ScreenColumn("WAIT EVENT", "wait_event", 16, 72),
    ScreenColumn("APPLICATION", "application", 16, 0),
    ScreenColumn("USER", "user", 12, 120),
    ScreenColumn("DATABASE", "database", 12, 140),
    ScreenColumn("CLIENT", "client", 15, 96),
    ScreenColumn("STATEMENT", "statement", 0, 60),
)

#: Of a server on this machine.
_LOCAL_COLUMNS = (
    ScreenColumn("PID", "pid", 7, 0),
    ScreenColumn("STATE", "state", 10, 0),
    ScreenColumn("AGE", "age", 7, 0, right=True),
    ScreenColumn("XACT", "transaction", 7, 110, right=True),
    ScreenColumn("CPU%", "cpu", 6, 84, right=True),
    ScreenColumn("MEM", "memory", 7, 120, right=True),
    ScreenColumn("READ/s", "read", 7, 170, right=True),
    ScreenColumn("WRITE/s", "written", 7, 170, right=True),
    ScreenColumn("WAIT EVENT", "wait_event", 16, 72),
    ScreenColumn("APPLICATION", "application", 16, 0),
    ScreenColumn("USER", "user", 12, 136),
    ScreenColumn("DATABASE", "database", 12, 150),
    ScreenColumn("CLIENT", "client", 15, 112),
    ScreenColumn("STATEMENT", "statement", 0, 60),
)

#: Columns of the terminal from which on what is sorted by is shown.
_SORTED_WIDTH = 84

_SORTED_BY: Mapping[SessionSort, str] = {
    "state": "state",
    "age": "age",
    "transaction": "age of transaction",
    "cpu": "CPU",
    "memory": "memory",
    "read": "reads",
    "written": "writes",
}

#: Lines that a wrapped statement takes at most, and cells that it is indented by.
_MOST_WRAPPED = 8
_INDENT = "    "


def list_lines(lines: int) -> int:
    """Rows that fit on a screen of so many lines."""
    return max(lines - _ABOVE - _BELOW, 1)


def listed_rows(seen: ScreenInput, view: View) -> tuple[ListedRow, ...]:
    """The rows of the list that is shown, less those that the filter leaves out."""
    return _list_sessions(seen, view) if shown_tab(view) == "sessions" else _list_blocked(seen, view)


def _list_sessions(seen: ScreenInput, view: View) -> tuple[ActivityRow, ...]:
    return filter_rows(seen.activity_rows, view.filter)


def _list_blocked(seen: ScreenInput, view: View) -> tuple[SessionRow, ...]:
    return filter_rows(seen.rows, view.filter)


def draw_screen(seen: ScreenInput, view: View, columns: int, lines: int) -> tuple[Line, ...]:
    """Exactly `lines` lines, none wider than `columns` cells."""
    lists = _SESSIONS_BARS if shown_tab(view) == "sessions" else _KEYS_BARS
    bar = _draw_bar(view, columns, _RECORDED_BARS if seen.recorded else lists)
    if view.question is not None or view.notice:
        body = _draw_dialogue(
            list(_draw_head(seen, view, columns, lines)), list(_draw_question(view, columns)), lines - _BELOW
        )
    else:
        above = [*_draw_head(seen, view, columns, lines)]
        body = [*above, *_draw_page(seen, view, columns, max(lines - len(above) - _BELOW, 0))]
    body += [()] * (lines - _BELOW - len(body))
    return tuple(fit_line(line, columns) for line in [*body, (bar,)][-lines:])


def _draw_bar(view: View, columns: int, bars: Sequence[str]) -> Span:
    if view.question is not None:
        return Span(pad_text(_ANSWERS, columns), "warn")
    if view.is_typing:
        room = max(columns - text_width(_FILTER_KEYS) - 2, _FEWEST_TYPED)
        return Span(pad_text(f"{_cut_beginning('/' + view.filter + '_', room)}  {_FILTER_KEYS}", columns), "warn")
    if view.message:
        return Span(pad_text(view.message, columns), "warn")
    said = _ANY_KEY if view.notice else next((bar for bar in bars if text_width(bar) <= columns), bars[-1])
    return Span(pad_text(said, columns), "bar")


def _cut_beginning(text: str, columns: int) -> str:
    """The end of a text, in at most so many characters: the last characters show."""
    return text if len(text) <= columns else "…" + text[-(columns - 1) :]


def _draw_dialogue(above: list[Line], body: list[Line], room: int) -> list[Line]:
    """Text that has to be read in full: on a small screen nothing else is shown, and where that is too small it says
    so."""
    if len(above) + len(body) <= room:
        return [*above, *body]
    while body and not body[-1]:
        body.pop()
    return body if len(body) <= room else [*body[: max(room - 1, 0)], (Span(_TOO_SMALL, "warn"),)][:room]


def _draw_page(seen: ScreenInput, view: View, columns: int, room: int) -> list[Line]:
    if view.page == "help":
        return _draw_text(
            [part for line in HELP.splitlines() for part in _break_line(line, columns)], view.scrolled, room
        )
    if view.page == "one" and seen.diagnosis is not None and seen.report is not None:
        return _draw_text(_format_details(seen, seen.diagnosis, seen.report, view, columns), view.scrolled, room)
    if shown_tab(view) == "sessions":
        shown = _ACTIVITY_COLUMNS if seen.usage is None else _show_sorted(_LOCAL_COLUMNS, view.sort)
        return _draw_table(shown, _list_sessions(seen, view), _activity_fields, view, columns, room)
    return _draw_table(_COLUMNS, _list_blocked(seen, view), _format_fields, view, columns, room)


def _show_sorted(columns: Sequence[ScreenColumn], sort: SessionSort) -> list[ScreenColumn]:
    """The columns; the one that is sorted by is shown as early as the first of what a session takes."""
    return [
        each._replace(from_width=min(each.from_width, _SORTED_WIDTH)) if each.field == sort else each
        for each in columns
    ]


def _format_details(seen: ScreenInput, diagnosis: Diagnosis, report: Report, view: View, columns: int) -> list[str]:
    if view.chosen not in (row.key for row in seen.rows) and seen.activity is not None and isinstance(view.chosen, int):
        found = render_activity_details(seen.activity, view.chosen, columns)
        if found is not None:
            return found
    return render_session_details(diagnosis, report, view.chosen, columns)


def _draw_head(seen: ScreenInput, view: View, columns: int, lines: int) -> Iterator[Line]:
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
    yield _draw_status(seen, view)
    if shown_tab(view) == "sessions" and seen.diagnosis is not None:
        yield from _broken_up(_format_figures(seen, seen.diagnosis), "plain", columns, most)


def _broken_up(text: str, style: str, columns: int, most: int) -> Iterator[Line]:
    """A text in at most so many lines; the last item is cut with the rest."""
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


def _format_figures(seen: ScreenInput, diagnosis: Diagnosis) -> str:
    """What the whole server does: `812 transactions/s  42/100 connections: 3 active …`."""
    server, rates = diagnosis.snapshot.server, seen.rates
    states = server.connections_by_state
    known = rates.transactions_per_second
    in_transaction = states.idle_in_transaction + states.idle_in_transaction_aborted
    return "  ".join(
        (
            f"{'…' if known is None else f'{known:,.0f}'} transactions/s",
            f"{server.connections}/{server.max_connections} connections: "
            f"{states.active} active, {in_transaction} idle in tx",
            f"longest transaction {format_short(server.oldest_transaction)}",
            f"deadlocks {rates.deadlocks}",
            *((f"load {seen.usage.load:.2f}",) if seen.usage is not None and seen.usage.load is not None else ()),
        )
    )


def _draw_status(seen: ScreenInput, view: View) -> Line:
    parts = [Span("FROZEN (space: continue)  ", "warn")] if view.is_frozen else []
    if view.filter and not view.is_typing:
        parts.append(Span(f"only {view.filter} (esc: all)  ", "warn"))
    if seen.error is None and seen.is_late:
        parts.append(Span(f"NO ANSWER for {format_duration(seen.age)}  ", "bad"))
    report = seen.report
    if seen.recorded:
        parts.append(Span(f"{seen.recorded}  by {view.order}", "dim"))
    elif report is not None:
        server = report.server
        at = report.captured_at[11:19]
        every = f"every {seen.interval:g} s"
        if shown_tab(view) == "sessions":
            text = f"{at} UTC  by {_SORTED_BY[view.sort]}  {every}{_describe_unread(seen)}"
        else:
            text = f"{at} UTC  by {view.order}  {server.connections}/{server.max_connections} connections  {every}"
        parts.append(Span(text, "dim"))
        if seen.diagnosis is not None and seen.diagnosis.snapshot.server.hidden_sessions:
            parts.insert(
                0, Span(f"BLIND: {seen.diagnosis.snapshot.server.hidden_sessions} hidden (pg_monitor)  ", "warn")
            )
    return tuple(parts)


def _describe_unread(seen: ScreenInput) -> str:
    left = seen.activity.all_sessions - len(seen.activity.sessions) if seen.activity is not None else 0
    return f"  {left:,} more sessions not shown" if left > 0 else ""


def _draw_table(
    all_columns: Sequence[ScreenColumn],
    rows: Sequence[Row],
    fields: Callable[[Row], Mapping[str, str]],
    view: View,
    columns: int,
    room: int,
) -> list[Line]:
    """The heading, and as many rows as fit; the chosen one stays in sight."""
    shown = [column for column in all_columns if columns >= column.from_width]
    if view.is_wrapped:
        shown = [column for column in shown if column.field != "statement"]
    heading = (Span(_format_cells(shown, {each.field: each.heading for each in shown}, columns), "dim"),)
    place = next((place for place, row in enumerate(rows) if row.key == view.chosen and row.key is not None), 0)

    def draw_row(row: Row) -> list[Line]:
        return _row_lines(row, fields(row), shown, view, columns)

    # From the chosen row upwards while it takes less than half of the room, then downwards.
    first, used = place, len(draw_row(rows[place])) if rows else 0
    while first > 0 and used < room // 2:
        first -= 1
        used += len(draw_row(rows[first]))
    body = list[Line]()
    for row in rows[first:]:
        if len(body) >= room:
            break
        body += draw_row(row)
    # At the end of the list the screen is filled from its bottom.
    while first > 0 and len(body) < room - 1:
        first -= 1
        body = [*draw_row(rows[first]), *body]
    return [heading, *body][:room]


def _row_lines(
    row: ListedRow, fields: Mapping[str, str], shown: Sequence[ScreenColumn], view: View, columns: int
) -> list[Line]:
    if isinstance(row, SessionRow) and row.rest:
        return [(Span("  " * row.depth + row.rest, "dim"),)]
    style = "chosen" if row.key == view.chosen and row.key is not None else _choose_style(row)
    first = (Span(_format_cells(shown, fields, columns), style),)
    if not view.is_wrapped or not fields["statement"]:
        return [first]
    wrapped = wrap_text(fields["statement"], columns - len(_INDENT))
    if len(wrapped) > _MOST_WRAPPED:
        wrapped = [*wrapped[: _MOST_WRAPPED - 1], " ".join(wrapped[_MOST_WRAPPED - 1 :])]
    return [first, *((Span(_INDENT + line, "dim"),) for line in wrapped)]


def _choose_style(row: ListedRow) -> str:
    if isinstance(row, ActivityRow):
        return row.style
    if not isinstance(row, SessionRow) or not row.waits:
        return "bad"
    return "warn" if row.classification not in ("waits", "queued") else "plain"


def _activity_fields(row: ActivityRow) -> dict[str, str]:
    return {
        "pid": str(row.pid),
        "state": row.state,
        "age": format_short(row.age),
        "transaction": format_short(row.transaction),
        "cpu": "" if row.usage.cpu is None else f"{row.usage.cpu:.1f}",
        "memory": format_short_size(row.usage.memory),
        "read": format_short_size(row.usage.read),
        "written": format_short_size(row.usage.written),
        "wait_event": row.wait_event,
        "application": row.application,
        "user": row.user,
        "database": row.database,
        "client": row.client,
        "statement": row.statement,
    }


def _format_fields(row: SessionRow) -> dict[str, str]:
    return {
        "pid": "  " * min(row.depth, 4) + (str(row.key) if row.key is not None else f"{row.sessions:,} ×"),
        "blocked": f"{row.blocked:,}" if row.blocked else "",
        "wait": format_short(row.wait),
        "age": format_short(row.age),
        "classification": row.classification,
        "what": row.what,
        "who": row.who,
        "statement": row.statement,
    }


def _format_cells(shown: Sequence[ScreenColumn], fields: Mapping[str, str], columns: int) -> str:
    text = ""
    for column in shown:
        room = column.columns or max(columns - text_width(text), 0)
        text += pad_text(fields[column.field], room, right=column.right) + " "
    return pad_text(text.rstrip(), columns)


def format_short_size(number: float | None) -> str:
    """Bytes in at most six characters: `0`, `816 k`, `1.2 G`; empty for None."""
    if number is None:
        return ""
    size, units = number / 1024, iter("kMGTP")
    unit = next(units)
    while size >= 999.5 and unit != "P":
        size, unit = size / 1024, next(units)
    return "0" if number < 1 else f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


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


def _draw_question(view: View, columns: int) -> Iterator[Line]:
    question = view.question
    if question is not None:
        yield (Span(f"{question.signal} {question.pid}?", "bad"),)
    for paragraph in question.said if question is not None else view.notice:
        yield from ((Span(f"  {line}"),) for line in wrap_text(paragraph, columns - 2))


def _draw_text(text: Sequence[str], scrolled: int, room: int) -> list[Line]:
    first = max(min(scrolled, len(text) - room), 0)
    return [(Span(line),) for line in text[first : first + room]]


def _break_line(line: str, columns: int) -> list[str]:
    """A line of the help, as it is where it fits."""
    return [line] if text_width(line) <= columns else wrap_text(line, columns)
