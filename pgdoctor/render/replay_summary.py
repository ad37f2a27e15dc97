"""What sets of rules would have done in recorded incidents: one table for people, one JSON object for programs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from statistics import median

import msgspec
from tabulate import tabulate

from pgdoctor.escape import encode_json
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.mitigation.incident_replay import IncidentReplay
from pgdoctor.mitigation.rehearsal import RehearsalScore
from pgdoctor.render.live.cells import Span
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs
from pgdoctor.render.plain import format_one_line

_WIDTH = 40

#: Guards that one row of the table names.
_MOST_GUARDS = 3


class RulesOutcome(msgspec.Struct, frozen=True):
    """What one set of rules would have done in one incident. Seconds are lower bounds.

    `seconds_to_act`: from the beginning of the incident; null: no action. `refusals`: by guard, how many sessions it
    spared for good.
    """

    rules: str
    actions: tuple[RehearsalScore, ...]
    seconds_to_act: float | None
    session_seconds: float
    needless: int
    refusals: Mapping[str, int]


class ReplayedIncident(msgspec.Struct, frozen=True):
    """One incident under each set of rules, in the order of the sets."""

    id: str
    server: str | None
    started: str
    seconds: float
    peak: int
    snapshots: int
    outcomes: tuple[RulesOutcome, ...]


class RulesTotal(msgspec.Struct, frozen=True):
    """One set of rules over all incidents."""

    rules: str
    incidents: int
    acted: int
    #: Null: it acted in no incident.
    median_seconds_to_act: float | None
    session_seconds: float
    needless: int
    refusals: Mapping[str, int]


class ReplaySummary(msgspec.Struct, frozen=True):
    """The object of `incidents replay --summary --format json`."""

    schema_version: int
    incidents: tuple[ReplayedIncident, ...]
    totals: tuple[RulesTotal, ...]


def list_outcome(rules: str, replay: IncidentReplay) -> RulesOutcome:
    """What is said of one incident under one set of rules, by the name of its file."""
    return RulesOutcome(
        rules=rules,
        actions=replay.scores,
        seconds_to_act=replay.seconds_to_act,
        session_seconds=round(replay.session_seconds, 3),
        needless=sum(each.result == "needless" for each in replay.scores),
        refusals=replay.refusals,
    )


def list_incident(last: IncidentRecord, snapshots: int, outcomes: Sequence[RulesOutcome]) -> ReplayedIncident:
    """An incident as of its last record."""
    return ReplayedIncident(
        id=last.id,
        server=last.server,
        started=last.started.astimezone(UTC).isoformat(timespec="milliseconds"),
        seconds=round(last.seconds, 3),
        peak=last.peak,
        snapshots=snapshots,
        outcomes=tuple(outcomes),
    )


def make_replay_summary(incidents: Sequence[ReplayedIncident]) -> ReplaySummary:
    """The summary of incidents that were replayed under the same sets of rules."""
    sets = zip(*(each.outcomes for each in incidents), strict=True)
    return ReplaySummary(1, tuple(incidents), tuple(_sum_up(outcomes) for outcomes in sets))


def replay_summary_to_json(summary: ReplaySummary) -> bytes:
    """The summary as one JSON object."""
    return encode_json(summary)


def replay_summary_lines(summary: ReplaySummary, columns: int | None) -> Iterator[Span]:
    """The table, then a sentence for each set of rules in at most `columns` cells; None: not wrapped."""
    if not summary.incidents:
        yield Span("No incident was recorded.")
        return
    yield from (Span(line) for line in _draw_table(summary).splitlines())
    yield Span("")
    yield from lay_out_paragraphs((Paragraph(_describe_total(each)) for each in summary.totals), columns)
    yield from lay_out_paragraphs((Paragraph(_NOTE),), columns)


_NOTE = (
    "Rules are asked at the stored snapshots, at most a dozen of an incident. Saved time is a lower bound: from the "
    "action to the last snapshot with its blocker. pgdoctor incidents replay ID --config FILE shows the decisions."
)


def _sum_up(outcomes: Sequence[RulesOutcome]) -> RulesTotal:
    acted = [each.seconds_to_act for each in outcomes if each.seconds_to_act is not None]
    refusals = sum((Counter(each.refusals) for each in outcomes), Counter[str]())
    return RulesTotal(
        rules=outcomes[0].rules,
        incidents=len(outcomes),
        acted=len(acted),
        median_seconds_to_act=round(median(acted), 3) if acted else None,
        session_seconds=round(sum(each.session_seconds for each in outcomes), 3),
        needless=sum(each.needless for each in outcomes),
        refusals=dict(sorted(refusals.items())),
    )


def _draw_table(summary: ReplaySummary) -> str:
    several = len(summary.totals) > 1
    rows = [
        (
            each.id,
            format_one_line(each.server or "", _WIDTH),
            format_duration(each.seconds),
            each.peak,
            *[format_one_line(outcome.rules, _WIDTH)] * several,
            *_list_cells(each, outcome),
        )
        for each in summary.incidents
        for outcome in each.outcomes
    ]
    rules = ("rules",) if several else ()
    headers = ("incident", "server", "lasted", "peak", *rules, "acted", "time saved", "needless", "refused by")
    return tabulate(rows, headers, disable_numparse=True)


def _list_cells(incident: ReplayedIncident, outcome: RulesOutcome) -> tuple[object, ...]:
    if outcome.seconds_to_act is None:
        acted = "no" if incident.snapshots else "no snapshot"
    else:
        times = f", {format_count(len(outcome.actions), 'action')}" if len(outcome.actions) > 1 else ""
        acted = f"after {format_duration(outcome.seconds_to_act)}{times}"
    guards = sorted(outcome.refusals, key=lambda guard: (-outcome.refusals[guard], guard))[:_MOST_GUARDS]
    saved = format_duration(outcome.session_seconds) if outcome.session_seconds else ""
    return acted, saved, outcome.needless or "", ", ".join(guards)


def _describe_total(total: RulesTotal) -> str:
    seconds = total.median_seconds_to_act
    first = "" if seconds is None else f", after {format_duration(seconds)} in the median"
    return (
        f"{format_one_line(total.rules, _WIDTH)} would act in {total.acted:,} of "
        f"{format_count(total.incidents, 'incident')}{first}, "
        f"and save at least {format_duration(total.session_seconds)} of waiting; "
        f"{format_count(total.needless, 'needless action')}."
    )
