"""All servers of an agent on one page, the worst first."""

from collections.abc import Iterator, Sequence

import msgspec

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.render.web.markup import note_markup, page_markup, sentence_markup, text_markup
from pgdoctor.render.web.monitoring_status import Arming
from pgdoctor.render.web.panels import mitigation_warning
from pgdoctor.render.web.sparkline import RecentSeries, last_hour_markup


class ServerRow(msgspec.Struct, frozen=True):
    """One server at a glance."""

    #: Of letters that need no quoting in a link.
    name: str
    #: Why it cannot be asked; None where it can.
    error: str | None
    hidden_sessions: int
    blocked_sessions: int
    #: Seconds.
    oldest_wait: float
    #: The class of the root with the widest reach; None where no session waits.
    leading: str | None
    #: `shop on 10.0.0.5:5432`; empty: it was not reached yet.
    place: str = ""
    #: Of the last hour.
    recent: RecentSeries = RecentSeries()
    #: Connections and max_connections at the last successful poll.
    slots: tuple[int, int] | None = None

    @property
    def kind(self) -> str:
        """good, warn or bad."""
        if self.error is not None or self.blocked_sessions:
            return "bad"
        return "warn" if self.hidden_sessions else "good"


def render_servers_page(rows: Sequence[ServerRow], version: str, arming: Arming) -> str:
    """The whole page. `arming`: as the configuration has it, for all of them."""
    down = sum(row.error is not None for row in rows)
    blocked = sum(row.blocked_sessions for row in rows)
    state = f"{down} DOWN, {blocked:,} blocked" if down else f"{blocked:,} blocked"
    kind = max((row.kind for row in rows), key=("good", "warn", "bad").index, default="good")
    main = (
        f'<div class="verdict {kind}"><h1>{format_count(len(rows), "server")}, {state}</h1></div>',
        *([note_markup("warn", f"Mitigation: {loud}")] if (loud := mitigation_warning(arming)) else []),
        '<section aria-labelledby="servers"><h2 id="servers">Servers</h2><ul class="servers">',
        *_write_rows(sorted(rows, key=_sort_key)),
        "</ul></section>",
    )
    return page_markup(kind, f"{state} · pgdoctor", "\n".join(main), f"pgdoctor {text_markup(version)}")


def _sort_key(row: ServerRow) -> tuple[bool, int, float, str]:
    return row.error is None, -row.blocked_sessions, -row.oldest_wait, row.name


def _write_rows(rows: Sequence[ServerRow]) -> Iterator[str]:
    for row in rows:
        said = "; ".join(_describe_row(row))
        place = f' <span class="dim">{sentence_markup(row.place)}</span>' if row.place else ""
        yield (
            # By its id the script finds the link again that the keyboard stands on.
            f'<li class="note {row.kind}"><a id="s-{text_markup(row.name)}" href="?server={text_markup(row.name)}">'
            f"<b>{text_markup(row.name)}</b></a>{place} {sentence_markup(said)}"
            f"{last_hour_markup(row.recent, row.slots)}</li>"
        )


def _describe_row(row: ServerRow) -> Iterator[str]:
    if row.error is not None:
        yield f"DOWN: {row.error}"
        return
    if row.blocked_sessions:
        cause = f", because of {row.leading}" if row.leading else ""
        yield f"{row.blocked_sessions:,} blocked, the longest for {format_duration(row.oldest_wait)}{cause}"
    else:
        yield "no session is blocked"
    if row.hidden_sessions:
        yield f"BLIND: {format_count(row.hidden_sessions, 'session')} cannot be seen"
