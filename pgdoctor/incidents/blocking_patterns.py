"""Patterns: what blocks sessions again and again, over all recorded incidents.

A pattern is one class, relation, application and statement of a root blocker on one server. The blocked time of an
incident is shared out among its roots by the sessions behind them, over all stored snapshots of it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from heapq import nlargest
from operator import itemgetter

import msgspec

from pgdoctor.formatting import format_address
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.incidents.snapshot_archive import StoredSnapshot, StoredVerdict
from pgdoctor.model.snapshot import Session
from pgdoctor.model.wait_graph import Node, WaitGraph
from pgdoctor.model.waits import wait_graph
from pgdoctor.sqltext.redact import redact

#: Waiting statements that are listed for a pattern, those that waited longest first.
_MOST_WAITING = 3

#: The least share of an incident's blocked time that makes it an incident of the pattern.
_LEAST_SHARE = 0.05

#: Lists of values that differ only in their length, and numbers in the name of an application (`worker-17`).
_VALUES = re.compile(r"\?(?:, ?\?)+")
_NUMBER = re.compile(r"\d+")


#: An application and a statement; None: not known.
Side = tuple[str | None, str | None]


class IncidentHistory(msgspec.Struct, frozen=True):
    """An incident as of its last record, with the snapshots that were stored of it."""

    last: IncidentRecord
    snapshots: tuple[StoredSnapshot, ...] = ()


class BlockingSide(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """What makes two blockers the same pattern. Statements are redacted; None: not known."""

    server: str | None
    classification: str
    relation: str | None
    application: str | None = None
    statement: str | None = None


class WaitingSide(msgspec.Struct, frozen=True):
    """What waited behind a pattern. `blocked_seconds` are those of all its sessions together."""

    application: str | None
    statement: str | None
    blocked_seconds: float


class BlockingPattern(msgspec.Struct, frozen=True):
    """A pattern over all its incidents. Seconds are rounded to milliseconds."""

    blocker: BlockingSide
    incidents: int
    #: How often it blocked: an incident may come back several times.
    attempts: int
    blocked_seconds: float
    longest_wait_seconds: float
    peak_blocked: int
    first_seen: datetime
    last_seen: datetime
    #: The incident that was the last.
    last_incident: str
    waiting: tuple[WaitingSide, ...]
    #: What would end it, as the last diagnosis said; empty: nothing specific.
    advice: str


class BlockerShare(msgspec.Struct, frozen=True):
    """The share of one incident that belongs to one pattern. Seconds are those of all waiting sessions together."""

    blocker: BlockingSide
    blocked_seconds: float
    peak: int
    waiting: tuple[WaitingSide, ...]
    advice: str


class _Part(msgspec.Struct):
    """What snapshots add up to for one pattern; weights are no seconds."""

    weight: float = 0.0
    peak: int = 0
    advice: str = ""
    waiting: dict[Side, float] = msgspec.field(default_factory=dict)


class _Sum(msgspec.Struct):
    """What the incidents of one pattern add up to."""

    last: IncidentRecord
    incidents: int = 0
    attempts: int = 0
    blocked_seconds: float = 0.0
    longest_wait: float = 0.0
    peak: int = 0
    first_seen: datetime | None = None
    advice: str = ""
    waiting: dict[Side, float] = msgspec.field(default_factory=dict)


def add_up_shares(shares: Iterable[tuple[IncidentRecord, BlockerShare]]) -> list[BlockingPattern]:
    """The patterns of shares of incidents; the most blocked time first."""
    sums: dict[BlockingSide, _Sum] = {}
    for last, share in shares:
        _add_share(sums.setdefault(share.blocker, _Sum(last)), last, share)
    found = [_make_pattern(side, total) for side, total in sums.items()]
    return sorted(found, key=lambda each: (-each.blocked_seconds, -each.incidents, each.first_seen))


def share_out(history: IncidentHistory) -> Iterator[BlockerShare]:
    """The blocked time of one incident by pattern; patterns with a tiny share are left out."""
    last = history.last
    parts: dict[BlockingSide, _Part] = {}
    for stored in history.snapshots:
        _weigh_snapshot(parts, _name_server(last), stored)
    total = sum(part.weight for part in parts.values())
    if not total:
        side = BlockingSide(_name_server(last), last.classes[-1] if last.classes else "unknown", last.relation)
        yield BlockerShare(side, last.blocked_seconds, last.peak, (), "")
        return
    for side, part in parts.items():
        if part.weight / total >= _LEAST_SHARE:
            yield _make_share(side, part, last.blocked_seconds / total)


def _name_server(last: IncidentRecord) -> str | None:
    """The server's name in the configuration, or its address; None: neither was recorded."""
    return last.server or (format_address(last.host, last.port) if last.host else None)


def _make_share(side: BlockingSide, part: _Part, seconds_per_weight: float) -> BlockerShare:
    longest = nlargest(_MOST_WAITING, part.waiting.items(), key=itemgetter(1))
    waiting = tuple(WaitingSide(*about, round(weight * seconds_per_weight, 3)) for about, weight in longest)
    return BlockerShare(side, round(part.weight * seconds_per_weight, 3), part.peak, waiting, part.advice)


def _weigh_snapshot(parts: dict[BlockingSide, _Part], server: str | None, stored: StoredSnapshot) -> None:
    sessions = stored.snapshot.sessions
    graph = wait_graph(stored.snapshot)
    roots = {each.node: each for each in stored.judged if each.root}
    weights = _weigh_waiters(graph, roots)
    for node, verdict in roots.items():
        part = parts.setdefault(_describe_blocker(server, verdict, sessions.get(node)), _Part())
        part.peak = max(part.peak, verdict.blocked_sessions)
        part.advice = verdict.advice or part.advice
        for waiter in graph.iterate_behind(node):
            part.weight += weights[waiter]
            _add_weight(part.waiting, _describe_side(sessions.get(waiter)), weights[waiter])


def _weigh_waiters(graph: WaitGraph, roots: Iterable[Node]) -> Mapping[Node, float]:
    """A waiter counts once, however many roots it stands behind."""
    behind = Counter(waiter for root in roots for waiter in graph.iterate_behind(root))
    return {waiter: 1 / count for waiter, count in behind.items()}


def _describe_blocker(server: str | None, verdict: StoredVerdict, session: Session | None) -> BlockingSide:
    application, statement = _describe_side(session)
    return BlockingSide(server, verdict.classification, verdict.relation, application, statement)


def _add_weight(weights: dict[Side, float], side: Side, weight: float) -> None:
    weights[side] = weights.get(side, 0.0) + weight


def _describe_side(session: Session | None) -> Side:
    """Its application and its statement, each as a pattern has them."""
    if session is None:
        return None, None
    application = _NUMBER.sub("N", session.application_name) if session.application_name else None
    return application, _VALUES.sub("?, …", redact(session.statement)) if session.statement else None


def _add_share(total: _Sum, last: IncidentRecord, share: BlockerShare) -> None:
    total.incidents += 1
    total.attempts += last.attempts
    total.blocked_seconds += share.blocked_seconds
    total.longest_wait = max(total.longest_wait, last.longest_wait)
    total.peak = max(total.peak, share.peak)
    total.first_seen = min(total.first_seen or last.started, last.started)
    if last.at >= total.last.at:
        total.last, total.advice = last, share.advice or total.advice
    for each in share.waiting:
        _add_weight(total.waiting, (each.application, each.statement), each.blocked_seconds)


def _make_pattern(side: BlockingSide, total: _Sum) -> BlockingPattern:
    assert total.first_seen is not None
    longest = nlargest(_MOST_WAITING, total.waiting.items(), key=itemgetter(1))
    return BlockingPattern(
        blocker=side,
        incidents=total.incidents,
        attempts=total.attempts,
        blocked_seconds=round(total.blocked_seconds, 3),
        longest_wait_seconds=round(total.longest_wait, 3),
        peak_blocked=total.peak,
        first_seen=total.first_seen,
        last_seen=total.last.at,
        last_incident=total.last.id,
        waiting=tuple(WaitingSide(*about, round(seconds, 3)) for about, seconds in longest),
        advice=total.advice,
    )
