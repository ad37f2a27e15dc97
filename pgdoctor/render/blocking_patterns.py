"""Patterns of recorded incidents: as paragraphs for people, and as one JSON object for programs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from pgdoctor.escape import encode_json
from pgdoctor.formatting import format_count, format_duration, format_name
from pgdoctor.incidents.blocking_patterns import BlockingPattern, WaitingSide
from pgdoctor.render.incident_view import format_moment
from pgdoctor.render.live.cells import Span
from pgdoctor.render.paragraph import Paragraph, lay_out_paragraphs
from pgdoctor.render.plain import format_one_line

#: Characters of a statement.
_MOST_STATEMENT = 400

_INDENT = " " * 11


class PatternFacts(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """An entry of `incidents patterns --format json`. Times are ISO 8601; `prevention`: what would end it."""

    server: str | None
    classification: str
    relation: str | None
    application: str | None
    statement: str | None
    incidents: int
    attempts: int
    blocked_seconds: float
    longest_wait_seconds: float
    peak_blocked: int
    first_seen: str
    last_seen: str
    last_incident: str
    waiting: tuple[WaitingSide, ...]
    prevention: str


class PatternReport(msgspec.Struct, frozen=True):
    """The object of `incidents patterns --format json`."""

    schema_version: int
    since: str
    incidents: int
    blocked_seconds: float
    patterns_total: int
    patterns: tuple[PatternFacts, ...]


def make_pattern_report(
    patterns: Sequence[BlockingPattern], *, incidents: int, since: datetime, most: int, prevention: Mapping[str, str]
) -> PatternReport:
    """The report of at most `most` patterns. `prevention`: by class, what prevents it."""
    return PatternReport(
        schema_version=1,
        since=since.isoformat(timespec="seconds"),
        incidents=incidents,
        blocked_seconds=round(sum(each.blocked_seconds for each in patterns), 3),
        patterns_total=len(patterns),
        patterns=tuple(_list_facts(each, prevention) for each in patterns[:most]),
    )


def patterns_to_json(report: PatternReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def pattern_lines(report: PatternReport, columns: int | None) -> Iterator[Span]:
    """The report for a person, in lines of at most `columns` cells; None: not wrapped."""
    return lay_out_paragraphs(_list_paragraphs(report), columns)


def _list_facts(pattern: BlockingPattern, prevention: Mapping[str, str]) -> PatternFacts:
    blocker = pattern.blocker
    return PatternFacts(
        server=blocker.server,
        classification=blocker.classification,
        relation=blocker.relation,
        application=blocker.application,
        statement=blocker.statement,
        incidents=pattern.incidents,
        attempts=pattern.attempts,
        blocked_seconds=pattern.blocked_seconds,
        longest_wait_seconds=pattern.longest_wait_seconds,
        peak_blocked=pattern.peak_blocked,
        first_seen=pattern.first_seen.isoformat(timespec="milliseconds"),
        last_seen=pattern.last_seen.isoformat(timespec="milliseconds"),
        last_incident=pattern.last_incident,
        waiting=pattern.waiting,
        prevention=" ".join(filter(None, (pattern.advice, prevention.get(blocker.classification)))),
    )


def _list_paragraphs(report: PatternReport) -> Iterator[Paragraph]:
    yield Paragraph(
        f"{format_count(report.patterns_total, 'pattern')} in {format_count(report.incidents, 'incident')} since "
        f"{report.since[:10]}; sessions waited {format_duration(report.blocked_seconds)} altogether"
    )
    for place, pattern in enumerate(report.patterns, 1):
        yield from _describe_pattern(place, pattern, report.blocked_seconds)
    if (left := report.patterns_total - len(report.patterns)) > 0:
        yield Paragraph("")
        yield Paragraph(f"And {format_count(left, 'pattern')} more: --limit shows them.")


def _describe_pattern(place: int, pattern: PatternFacts, all_seconds: float) -> Iterator[Paragraph]:
    on = f" on {format_one_line(pattern.relation, 80)}" if pattern.relation else ""
    where = f"{format_name(pattern.server)}: " if pattern.server else ""
    share = f" ({pattern.blocked_seconds / all_seconds:.0%} of all)" if all_seconds else ""
    yield Paragraph("")
    yield Paragraph(f"{where}{pattern.classification}{on}", style="bold", first=f"{place}. ", others="   ")
    yield _build_fact("waited", f"{format_duration(pattern.blocked_seconds)}{share}, {_describe_count(pattern)}")
    yield _build_fact("last", f"{format_moment(datetime.fromisoformat(pattern.last_seen))} UTC, "
                        f"incident {pattern.last_incident}")  # fmt: skip
    yield _build_fact("blocker", _describe_side(pattern.application, pattern.statement))
    for each in pattern.waiting:
        waited = f"{format_duration(each.blocked_seconds)}: "
        yield _build_fact("waiting", waited + _describe_side(each.application, each.statement))
    if pattern.prevention:
        yield _build_fact("prevent", pattern.prevention)


def _describe_count(pattern: PatternFacts) -> str:
    again = f" with {format_count(pattern.attempts, 'attempt')}" if pattern.attempts > pattern.incidents else ""
    peak = format_count(pattern.peak_blocked, "session")
    longest = format_duration(pattern.longest_wait_seconds)
    return f"{format_count(pattern.incidents, 'incident')}{again}, at most {peak} at once, the longest wait {longest}"


def _describe_side(application: str | None, statement: str | None) -> str:
    said = f'"{format_name(application)}"' if application else "an application without a name"
    return f"{said}, {format_one_line(statement, _MOST_STATEMENT) if statement else 'statement not known'}"


def _build_fact(name: str, words: str) -> Paragraph:
    return Paragraph(words, first=f"   {name:<8}", others=_INDENT)
