"""The first five minutes on one screen, for people; and as one JSON object, for programs."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from pgdoctor.diagnosis.change_ranking import describe_change
from pgdoctor.diagnosis.internal_waits import InternalWait
from pgdoctor.diagnosis.recommendation import Advice
from pgdoctor.diagnosis.triage import Triage
from pgdoctor.formatting import format_client, format_count, format_duration, format_name, format_size
from pgdoctor.model.diagnosis import Blocker, Diagnosis, Finding
from pgdoctor.model.server_context import RecentChange, Standby
from pgdoctor.render.live.cells import Span, cut_text, wrap_text
from pgdoctor.render.paragraph import NARROWEST
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import ServerFacts, server_facts, show_statement
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.tree import format_released, to_do

#: Characters of the headings in front of the lines.
_INDENT = 9

#: What is shown of each part; where each takes no more lines than it must have, it is 24 lines at most.
_MOST_CHANGES = 3
_MOST_FINDINGS = 2
_MOST_STEPS = 2
_MOST_ROOTS = 2
_MOST_EVIDENCE = 2
_MOST_WAITS = 4
_MOST_INTERNAL = 2
_MOST_UNSEEN = 3

#: A screen; where there is room each thing may take so many lines.
_COLUMNS, _ROWS, _ROOMY = 80, 24, 6

_STATEMENT_WIDTH = 200

#: Characters of one thing, columns where there is no screen, and lines of what is never cut.
_MOST = 20_000
_UNLIMITED = 1_000_000
_ALL = 1_000


class Root(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """A session that others wait for, and that waits for no session."""

    pid: int | None
    prepared_gid: str | None
    classification: str
    relation: str | None
    blocked_sessions: int
    user: str | None
    application: str | None
    statement: str | None
    database: str | None = None


class ChangeFacts(msgspec.Struct, frozen=True):
    """Something that was not so before."""

    #: Where `is_exact` is false: at the latest, and `after` at the earliest; null: not known.
    at: str
    kind: str
    what: str
    is_exact: bool
    after: str | None
    #: The same statement, sent so often since `first`.
    times: int
    first: str | None
    #: When it happened, and what, for people.
    summary: str


class TriageFacts(msgspec.Struct, frozen=True):
    """The object of `triage --format json`. Times are ISO 8601; shares are between 0 and 1."""

    schema_version: int
    captured_at: str
    server: ServerFacts
    started_at: str | None
    #: null: nothing was found, but this role cannot see what others do.
    hurt: bool | None
    summary: str
    since: str | None
    seconds: float | None
    layer: str
    because: str
    recommendation: Advice | None
    next: tuple[str, ...]
    blocked_sessions: int
    roots: tuple[Root, ...]
    changes: tuple[ChangeFacts, ...]
    findings: tuple[Finding, ...]
    waits: Mapping[str, float]
    transactions_per_second: float | None
    rolled_back: float | None
    cache_hits: float | None
    standbys: tuple[Standby, ...]
    unseen: tuple[str, ...]
    #: That the server has counted; null: since its statistics began.
    deadlocks: int = 0
    deadlocks_since: str | None = None
    internal_waits: tuple[InternalWait, ...] = ()


def triage_facts(found: Triage, diagnosis: Diagnosis) -> TriageFacts:
    """The answer as it may be shown: no statement with its values."""
    return TriageFacts(
        schema_version=1,
        captured_at=_format_iso(found.captured_at),
        server=server_facts(diagnosis.snapshot.server),
        started_at=_format_iso(found.started) if found.started else None,
        hurt=found.hurt,
        summary=found.summary,
        since=_format_iso(found.since) if found.since else None,
        seconds=diagnosis.snapshot.seconds_since(found.since),
        layer=found.layer,
        because=found.because,
        recommendation=found.advice,
        next=found.next,
        blocked_sessions=diagnosis.blocked_sessions,
        roots=tuple(_make_root(blocker) for blocker in found.roots),
        changes=tuple(_build_change_facts(each, found.captured_at) for each in found.changes),
        findings=found.findings,
        waits={event: round(number, 2) for event, number in found.waits.items()},
        transactions_per_second=found.transactions_per_second,
        rolled_back=found.failing,
        cache_hits=found.cache_hits,
        standbys=found.standbys,
        unseen=found.unseen,
        deadlocks=found.deadlocks,
        deadlocks_since=_format_iso(found.deadlocks_since) if found.deadlocks_since else None,
        internal_waits=found.internal_waits,
    )


def triage_lines(facts: TriageFacts, width: int | None) -> list[Span]:
    """One screen of 80 columns and 24 lines where that suffices; no line wider than `width` cells (at least 40).

    None: no line is wrapped or cut. What is to be done, and what it is about, is never cut.
    """
    if width is None:
        return _laid_out(facts, _UNLIMITED, 1)
    lines = _laid_out(facts, max(width, NARROWEST), _ROOMY)
    if len(lines) > _ROWS and width >= _COLUMNS:
        lines = _laid_out(facts, width, 1)
    return lines


def _laid_out(facts: TriageFacts, width: int, at_least: int) -> list[Span]:
    """The lines; each thing may take `at_least` so many, or as many as it must have."""
    lines = [Span(line, "bold") for line in wrap_text(_write_title(facts), width, _MOST)]
    for heading, parts in _list_sections(facts):
        style = _choose_style(facts, heading)
        for place, (part, most) in enumerate(parts):
            shown = _wrap_section(heading if place == 0 else "", part, width, max(most, at_least))
            lines += [Span(line, style if place == 0 or heading == "do" else "plain") for line in shown]
    return lines


def _choose_style(facts: TriageFacts, heading: str) -> str:
    if heading == "impact":
        return {True: "bad", False: "good", None: "warn"}[facts.hurt]
    return "warn" if heading == "do" else "plain"


#: What is said, and how many lines it must have.
Part = tuple[str, int]


def _list_sections(facts: TriageFacts) -> Iterator[tuple[str, list[Part]]]:
    hurt = {True: "YES: ", False: "no: ", None: "unknown: "}[facts.hurt]
    yield (
        "impact",
        [
            (hurt + facts.summary, _ALL),
            *_limit_lines(_describe_roots(facts)),
            *_limit_lines(_list_evidence(facts), _ALL),
        ],
    )
    yield "since", [(_describe_start(facts), 1)]
    told = [change.summary for change in facts.changes]
    changes = _keep_first(told, _MOST_CHANGES, "pgdoctor triage --format json")
    yield "changed", _limit_lines(changes or ["no visible changes within 15 min"])
    yield "layer", [(f"{facts.layer}: {facts.because}", 1)]
    yield "load", _limit_lines(_describe_load(facts))
    told = [f"{note.severity}: {note.summary}" for note in facts.findings if note.summary not in facts.summary]
    if facts.internal_waits:
        yield "inside", _limit_lines(_describe_internal_waits(facts.internal_waits), _ALL)
    yield "found", _limit_lines(_keep_first(told, _MOST_FINDINGS, "pgdoctor diagnose"), _ALL)
    yield "do", _limit_lines((*_write_advice(facts.recommendation), *facts.next[:_MOST_STEPS]), _ALL)
    yield "unseen", [("; ".join(facts.unseen[:_MOST_UNSEEN]), 1)]


def _limit_lines(parts: Iterable[str], most: int = 1) -> list[Part]:
    return [(part, most) for part in parts]


def _write_title(facts: TriageFacts) -> str:
    return f"{describe_server(facts.server)}, {facts.captured_at[:19].replace('T', ' ')} UTC"


def _describe_roots(facts: TriageFacts) -> Iterator[str]:
    for root in facts.roots[:_MOST_ROOTS]:
        who = str(root.pid) if root.pid is not None else f"prepared transaction {format_name(root.prepared_gid)}"
        elsewhere = f"{root.database}: " if root.database not in (None, facts.server.database) else ""
        where = f" on {elsewhere}{root.relation}" if root.relation else ""
        origin = format_client(root.application, root.user)
        yield f"{who} {root.classification}{where}, {root.blocked_sessions} blocked, {origin}: {root.statement or ''}"


def _list_evidence(facts: TriageFacts) -> Iterator[str]:
    """Whom or what the finding is about that the summary tells of."""
    for note in facts.findings:
        if note.summary in facts.summary:
            yield from note.evidence[:_MOST_EVIDENCE]


def _describe_start(facts: TriageFacts) -> str:
    if facts.since is None:
        return "unknown" if facts.hurt else "-"
    return f"{facts.since[11:19]} UTC, {format_duration(facts.seconds)} ago"


def _build_change_facts(change: RecentChange, now: datetime) -> ChangeFacts:
    return ChangeFacts(
        at=_format_iso(change.at),
        kind=change.kind,
        what=change.what,
        is_exact=change.is_exact,
        after=_format_iso(change.after) if change.after else None,
        times=change.times,
        first=_format_iso(change.first) if change.first else None,
        summary=describe_change(change, now),
    )


def _describe_load(facts: TriageFacts) -> Iterator[str]:
    server, states = facts.server, facts.server.connections_by_state
    idle_in_transaction = states.idle_in_transaction + states.idle_in_transaction_aborted
    yield (
        f"{server.connections}/{server.max_connections} connections: {states.active} active, {states.idle} idle, "
        f"{idle_in_transaction} idle in transaction"
    )
    busy = sum(facts.waits.values())
    waits = ", ".join(f"{event} {number:.1f}" for event, number in list(facts.waits.items())[:_MOST_WAITS])
    yield f"{busy:.1f} sessions active on average" + (f": {waits}" if waits else "")
    if facts.transactions_per_second is not None:
        hits = "" if facts.cache_hits is None else f", {facts.cache_hits:.1%} of blocks from the cache"
        yield (
            f"{format_count(facts.transactions_per_second, 'transaction')}"
            f" a second, {facts.rolled_back or 0.0:.1%} rolled "
            f"back{hits}{_describe_deadlocks(facts)}"
        )
    if facts.standbys:
        furthest = max((each.behind or 0 for each in facts.standbys), default=0)
        yield f"{format_count(len(facts.standbys), 'receiver')} of WAL, up to {format_size(furthest)} behind"


def _describe_internal_waits(waits: Iterable[InternalWait]) -> Iterator[str]:
    """What sessions wait for inside the server: the cause, what speaks for it, and what ends it."""
    for each in list(waits)[:_MOST_INTERNAL]:
        yield f"{each.sessions:.1f} sessions wait {each.what} ({', '.join(each.events)})"
        yield f"usual cause: {each.cause}"
        yield from each.evidence[:_MOST_EVIDENCE]
        yield f"what ends it: {each.end}"


def _describe_deadlocks(facts: TriageFacts) -> str:
    if not facts.deadlocks:
        return ""
    since = f"since {facts.deadlocks_since[:10]}" if facts.deadlocks_since else "since its statistics began"
    return f"; {format_count(facts.deadlocks, 'deadlock')} {since}"


def _write_advice(advice: Advice | None) -> Iterator[str]:
    if advice is None:
        return
    frees = f" frees {format_released(advice)}; costs {advice.loses};" if advice.signals else ":"
    refused = f" ({advice.not_permitted.partition('; ')[0]});" if advice.not_permitted else ""
    yield f"→ {to_do(advice)}{refused}{frees} {advice.reason}"


def _keep_first(parts: list[str], most: int, rest: str) -> list[str]:
    more = f"and {len(parts) - most} more ({rest})"
    return [*parts[:most], more] if len(parts) > most else parts


def _wrap_section(heading: str, text: str, width: int, most: int) -> list[str]:
    """A heading and its text beside it, in at most so many lines."""
    room = width - _INDENT
    lines = wrap_text(text, room, _MOST) if text else []
    if len(lines) > most:
        lines = [*lines[: most - 1], cut_text(" ".join(lines[most - 1 :]), room)]
    marks = [f"{heading:<{_INDENT}}", *[" " * _INDENT] * len(lines)]
    return [mark + line for mark, line in zip(marks, lines, strict=False)]


def _make_root(blocker: Blocker) -> Root:
    session = blocker.session
    statement = show_statement(session.statement, show_literals=False) if session else None
    return Root(
        pid=blocker.pid,
        prepared_gid=blocker.gid,
        classification=blocker.classification,
        relation=blocker.relation,
        blocked_sessions=blocker.blocked_sessions,
        user=session.usename if session else None,
        application=session.application_name if session else None,
        statement=statement and format_one_line(statement, _STATEMENT_WIDTH),
        database=session.datname if session else None,
    )


def _format_iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
