"""All servers of an agent on one page, the worst first."""

from collections.abc import Iterator, Sequence
from html import escape

import msgspec

from pgdoctor.diagnosis.words import count, duration
from pgdoctor.render.page import head
from pgdoctor.render.plain import one_line


class Row(msgspec.Struct, frozen=True):
    """One server at a glance."""

    #: Of letters that need no quoting in a link.
    name: str
    #: Why it cannot be asked; None where it can.
    error: str | None
    hidden_sessions: int
    blocked_sessions: int
    #: Seconds.
    oldest_wait: float
    #: The class of the root with the widest reach; None where nobody waits.
    leading: str | None


def index(rows: Sequence[Row], version: str) -> str:
    """The whole page."""
    down = sum(row.error is not None for row in rows)
    blocked = sum(row.blocked_sessions for row in rows)
    state = f"{down} DOWN, {blocked:,} blocked" if down else f"{blocked:,} blocked"
    return "\n".join(
        (
            head(f"pgdoctor: {state}"),
            f'<h1>pgdoctor</h1><p class="status {"bad" if down or blocked else "good"}">'
            f"{count(len(rows), 'server')}, {state}</p>",
            '<div class="wide"><table>',
            "<tr><th>server</th><th>state</th><th>blocked</th><th>longest wait</th><th>because of</th></tr>",
            *_lines(sorted(rows, key=_calm)),
            f"</table></div><footer>pgdoctor {escape(version)}</footer></body></html>",
        )
    )


def _calm(row: Row) -> tuple[bool, int, float, str]:
    return row.error is None, -row.blocked_sessions, -row.oldest_wait, row.name


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        state = "up" if row.error is None else f"DOWN: {row.error}"
        if row.hidden_sessions:
            state += f", BLIND: {count(row.hidden_sessions, 'session')} cannot be seen"
        link = f'<a href="/?server={escape(row.name)}">{escape(row.name)}</a>'
        wait = duration(row.oldest_wait) if row.blocked_sessions else ""
        cells = (state, f"{row.blocked_sessions:,}", wait, row.leading or "")
        yield f"<tr><td>{link}</td>" + "".join(f"<td>{escape(one_line(cell, 200))}</td>" for cell in cells) + "</tr>"
