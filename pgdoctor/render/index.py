"""All servers of an agent on one page, the worst first."""

from collections.abc import Iterator, Sequence

import msgspec

from pgdoctor.diagnosis.words import count, duration
from pgdoctor.render.web.markup import document, note, sentence, text
from pgdoctor.render.web.panels import loudly
from pgdoctor.render.web.watch import Arming


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
    #: `shop on 10.0.0.5:5432`; empty: it was not reached yet.
    place: str = ""

    @property
    def kind(self) -> str:
        """good, warn or bad."""
        if self.error is not None or self.blocked_sessions:
            return "bad"
        return "warn" if self.hidden_sessions else "good"


def index(rows: Sequence[Row], version: str, arming: Arming) -> str:
    """The whole page. `arming`: as the configuration has it, for all of them."""
    down = sum(row.error is not None for row in rows)
    blocked = sum(row.blocked_sessions for row in rows)
    state = f"{down} DOWN, {blocked:,} blocked" if down else f"{blocked:,} blocked"
    kind = max((row.kind for row in rows), key=("good", "warn", "bad").index, default="good")
    main = (
        f'<div class="verdict {kind}"><h1>{count(len(rows), "server")}, {state}</h1></div>',
        *([note("warn", f"Mitigation: {loud}")] if (loud := loudly(arming)) else []),
        '<section aria-labelledby="servers"><h2 id="servers">Servers</h2><ul class="servers">',
        *_lines(sorted(rows, key=_calm)),
        "</ul></section>",
    )
    return document(kind, f"{state} · pgdoctor", "\n".join(main), f"pgdoctor {text(version)}")


def _calm(row: Row) -> tuple[bool, int, float, str]:
    return row.error is None, -row.blocked_sessions, -row.oldest_wait, row.name


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        said = "; ".join(_said(row))
        place = f' <span class="dim">{sentence(row.place)}</span>' if row.place else ""
        yield (
            # By its id the script finds the link again that the keyboard stands on.
            f'<li class="note {row.kind}"><a id="s-{text(row.name)}" href="/?server={text(row.name)}">'
            f"<b>{text(row.name)}</b></a>{place} {sentence(said)}</li>"
        )


def _said(row: Row) -> Iterator[str]:
    if row.error is not None:
        yield f"DOWN: {row.error}"
        return
    if row.blocked_sessions:
        cause = f", because of {row.leading}" if row.leading else ""
        yield f"{row.blocked_sessions:,} blocked, the longest for {duration(row.oldest_wait)}{cause}"
    else:
        yield "no session is blocked"
    if row.hidden_sessions:
        yield f"BLIND: {count(row.hidden_sessions, 'session')} cannot be seen"
