"""An incident as it was recorded: events, snapshots and actions, in order of time."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain

import msgspec
from tabulate import tabulate

from pgdoctor.diagnosis.manual_signal import NOT_SIGNALLED
from pgdoctor.diagnosis.waiting_request import WaitingRequest
from pgdoctor.formatting import format_client, format_count, format_duration
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.incidents.snapshot_archive import StoredVerdict
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.rehearsal import RehearsalScore
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.live.cells import Span
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs, strip_styles
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.plan import action_text
from pgdoctor.render.report import make_report
from pgdoctor.render.server_name import describe_place, describe_server_then
from pgdoctor.render.tree import tree_lines

#: Characters of a name in a table, and of the statement of a request.
_WIDTH = 40
_MOST_STATEMENT = 200

#: Seconds of waiting that were over when an incident was first seen, from which on that is said: it was not observed.
_LONG_BEFORE = 5.0


class KeptSnapshot(msgspec.Struct, frozen=True):
    """A snapshot that was kept: what was said of it then, and what the present code says."""

    at: datetime
    #: How many sessions were blocked; a part of them may have been left out of the snapshot.
    blocked: int
    then: tuple[StoredVerdict, ...]
    now: Diagnosis


class PersonSignal(msgspec.Struct, frozen=True):
    """A signal that a person sent by hand, and what came of it."""

    at: datetime
    signal: str
    pid: int
    by: str
    outcome: str


class IncidentView(msgspec.Struct, frozen=True):
    """All that is known of one incident."""

    entries: tuple[IncidentRecord, ...]
    looks: tuple[KeptSnapshot, ...] = ()
    #: What mitigation did, or announced, meanwhile.
    actions: tuple[Action, ...] = ()
    #: Its other records: that it stopped itself, what an action left behind.
    notes: tuple[tuple[datetime, str], ...] = ()
    #: The signals of people, which `notes` tells of too.
    signals: tuple[PersonSignal, ...] = ()
    #: Of each stored snapshot: its time, blocked sessions, connections.
    sizes: tuple[tuple[datetime, int, int], ...] = ()
    #: What came of the actions that were rehearsed, which `notes` tells of too.
    scores: tuple[RehearsalScore, ...] = ()

    @property
    def last(self) -> IncidentRecord:
        """What all of it came to."""
        return self.entries[-1]

    @property
    def latest(self) -> KeptSnapshot | None:
        """The last snapshot; None if none was kept."""
        return max(self.looks, key=lambda snapshot: snapshot.at, default=None)

    @property
    def peak(self) -> KeptSnapshot | None:
        """The latest of the snapshots with most blocked sessions; None if none was kept."""
        return max(self.looks, key=lambda snapshot: (snapshot.blocked, snapshot.at), default=None)


def incidents_table(entries: Sequence[IncidentRecord]) -> str:
    """Incidents, one a line."""
    headers = ("id", "server", "started (UTC)", "lasted", "classes", "peak", "longest wait", "relation", "to do")
    rows = [
        (
            each.id,
            _shorten_name(each.server) or (each.database and describe_place(each.database, each.host, each.port)),
            format_moment(each.started),
            format_lasted(each),
            " → ".join(each.classes),
            each.peak,
            format_duration(each.longest_wait),
            _shorten_name(each.relation),
            each.recommendation,
        )
        for each in entries
    ]
    return tabulate(rows, headers) + "\n"


def story_text(story: IncidentView, width: int | None) -> str:
    """An incident for a terminal: its line, what happened, and the tree of each poll that was kept.

    The latest has SQL to paste, which signals only the sessions of that snapshot.
    No line is wider than `width` cells (at least 40); None: no line is wrapped or cut.
    """
    latest = story.latest
    snapshots = (span for each in story.looks for span in _render_snapshot(each, width, has_sql=each is latest))
    return strip_styles(chain(lay_out_paragraphs(_list_paragraphs(story), width), snapshots))


def list_happenings(story: IncidentView) -> list[tuple[datetime, str]]:
    """Events and actions in words, in the order of their happening."""
    happened = (each for each in story.entries if each.event != "observed" or each is story.last)
    found = [(each.at, _describe_entry(each)) for each in happened]
    found += [(each.at, action_text(each)) for each in story.actions]
    return sorted((*found, *story.notes), key=lambda each: each[0])


def format_lasted(entry: IncidentRecord) -> str:
    """How long an incident lasted, as far as that is known."""
    if entry.unseen:
        return f"{format_duration(entry.seconds)} at least"
    lasted = format_duration(entry.seconds) + (f", came {entry.attempts} times" if entry.attempts > 1 else "")
    return lasted if entry.is_over else f"ongoing, {lasted} as of {format_moment(entry.at)} UTC"


def describe_attempts(entry: IncidentRecord) -> str:
    """`8 times in 24 s: … is retried`; empty where it came once."""
    if entry.attempts < 2:
        return ""
    often = f"at least {entry.attempts} times in {format_duration(entry.seconds)}"
    if entry.request is None:
        return f"{often}, by the same sessions"
    waited = f"; the longest attempt waited at least {format_duration(entry.request.waited)}"
    return f"{often}{_describe_request(entry.request)}{waited if entry.request.waited else ''}"


def _describe_request(request: WaitingRequest | None) -> str:
    if request is None:
        return ""
    who, where = format_client(request.application, request.user), f" on {request.relation}" if request.relation else ""
    return (
        f": {format_one_line(request.statement, _MOST_STATEMENT)} by {who} asks for a lock{where} and holds up others"
    )


def format_waiting(entry: IncidentRecord) -> str:
    """`, 95 s of waiting in all`; empty where that was not recorded."""
    return f", {format_duration(entry.blocked_seconds)} of waiting in all" if entry.blocked_seconds else ""


def format_moment(at: datetime, *, day: bool = True) -> str:
    """A moment in UTC: `2026-05-22 23:10:00`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"[0 if day else 11 :]


def is_within(story_entries: Sequence[IncidentRecord], at: datetime) -> bool:
    """Whether what happened then belongs to the incident."""
    first, last = story_entries[0], story_entries[-1]
    slack = timedelta(seconds=5)
    return first.started - slack <= at and (not last.is_over or at <= last.at + slack)


def _list_paragraphs(story: IncidentView) -> Iterator[Paragraph]:
    last = story.last
    where = f" on {last.relation}" if last.relation else ""
    yield Paragraph(f"Incident {last.id}: {' → '.join(last.classes)}{where}, {last.severity}", others="  ")
    yield Paragraph(" · ".join(filter(None, (_shorten_name(last.server), describe_server_then(last)))) or "the server")
    yield Paragraph(
        f"From {format_moment(last.started)} UTC, {format_lasted(last)}; at most "
        f"{format_count(last.peak, 'session')} blocked at once, the longest for {format_duration(last.longest_wait)}"
        f"{format_waiting(last)}"
    )
    if retried := describe_attempts(last):
        yield Paragraph(f"It came {retried}")
    yield Paragraph("")
    for at, what in list_happenings(story):
        yield Paragraph(what, first=f"{format_moment(at, day=False)}  ", others=" " * 10)
    if not story.actions:
        yield Paragraph(f"pgdoctor took no action; it recommended: {last.recommendation}")
    if story.latest is not None:
        yield Paragraph(describe_paste(story, story.latest))


def describe_paste(story: IncidentView, latest: KeptSnapshot) -> str:
    """What SQL of a recorded snapshot does by now."""
    state = "over" if story.last.is_over else "ongoing"
    return (
        f"The incident is {state}. The SQL is as of {format_moment(latest.at)} UTC: it signals a session only if that "
        f'is still the one recorded, and answers "{NOT_SIGNALLED}" otherwise.'
    )


def _render_snapshot(snapshot: KeptSnapshot, width: int | None, *, has_sql: bool) -> Iterator[Span]:
    title = f"── {format_moment(snapshot.at)} UTC: {format_count(snapshot.blocked, 'session')} blocked"
    yield from lay_out_paragraphs((Paragraph(""), Paragraph(title)), width)
    yield from tree_lines(make_report(snapshot.now), width, has_sql=has_sql)


def _describe_entry(entry: IncidentRecord) -> str:
    match entry.event:
        case "started":
            waited = entry.longest_wait
            already = f", the longest wait {format_duration(waited)}" if waited >= _LONG_BEFORE else ""
            return f"began with {format_count(entry.blocked, 'session')} blocked{already}: {entry.classes[-1]}"
        case "class_changed":
            return f"the class changed to {entry.classes[-1]}, with {format_count(entry.blocked, 'session')} blocked"
        case "worsened":
            longest = format_duration(entry.longest_wait)
            return f"became critical: {format_count(entry.blocked, 'session')} blocked, the longest wait {longest}"
        case "recurred":
            return f"came back, with {format_count(entry.blocked, 'session')} blocked{_describe_request(entry.request)}"
        case "continued":
            return f"a new agent found it still open, with {format_count(entry.blocked, 'session')} blocked"
        case "observed":
            longest = format_duration(entry.longest_wait)
            return f"last snapshot so far: {format_count(entry.blocked, 'session')} blocked, the longest wait {longest}"
        case "ended":
            return "had ended without being observed" if entry.unseen else "ended: no session is blocked any more"


def _shorten_name(text: str | None) -> str | None:
    return None if text is None else format_one_line(text, _WIDTH)
