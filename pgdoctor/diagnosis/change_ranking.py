"""Which of the recent changes is the most suspicious, and how its time is shown."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from pgdoctor.formatting import format_duration
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.server_context import RecentChange

#: What was made by hand, and may be taken back, comes before what the server says of itself.
_KINDS = ("ddl", "reload", "failover", "restart", "application", "start")

#: Changes that cannot be undone.
LASTING = ("failover", "restart", "start")


def rank_changes(changes: Sequence[RecentChange], blockers: Sequence[Blocker]) -> tuple[RecentChange, ...]:
    """The changes, the most suspicious first: DDL on what sessions are blocked on, then by kind, the latest first.

    A change at an unknown time comes last of its kind.
    """
    relations = {blocker.relation for blocker in blockers if blocker.relation}
    words = {relation.rpartition(".")[2].strip('"').lower() for relation in relations}
    latest_first = sorted(changes, key=lambda change: change.at, reverse=True)
    return tuple(sorted(latest_first, key=lambda change: _rank_change(change, words)))


def describe_change(change: RecentChange, now: datetime) -> str:
    """`1.3 s ago: alter table orders …`; with bounds where the time is not exact."""
    return f"{_describe_time(change, now)}: {change.what}{_describe_repeats(change, now)}"


def _rank_change(change: RecentChange, words: set[str]) -> tuple[bool, bool, int]:
    is_of_the_chain = change.kind == "ddl" and not words.isdisjoint(re.findall(r"\w+", change.what.lower()))
    is_unknown = not change.is_exact and change.after is None
    return not is_of_the_chain, is_unknown, _KINDS.index(change.kind)


def _describe_time(change: RecentChange, now: datetime) -> str:
    if change.is_exact:
        return f"{_format_age(change.at, now)} ago"
    if change.after is None:
        return f"at an unknown time before {change.at:%H:%M:%S} UTC"
    return f"within the last {_format_age(change.after, now)}"


def _describe_repeats(change: RecentChange, now: datetime) -> str:
    if change.first is None:
        return ""
    return f", for the {_format_ordinal(change.times)} time in {_format_age(change.first, now)}"


def _format_ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def _format_age(moment: datetime, now: datetime) -> str:
    return format_duration(max((now - moment) / timedelta(seconds=1), 0.0))
