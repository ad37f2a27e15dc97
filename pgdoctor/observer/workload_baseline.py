"""How fast each database works lately, and how fast it usually does: by this a storm is distinguished from a busy day.

The usual rate is the median of the last ten minutes of polls; until there are enough of them, the average since the
server's statistics began. The usual number of sessions of a younger server is unknown: its counters
may be those of before its restart, and its short life may be all storm. While a storm is found nothing is learnt, so
that it does not become usual by lasting; but a rate that has lasted for half an hour is the new usual one.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.baseline.median import compute_median
from pgdoctor.model.server_context import DatabaseStats, LatestStatement, Rates, ServerContext

#: Looks that are remembered, and how many are enough to say what is usual.
_MOST_LOOKS = 40
_ENOUGH_LOOKS = 4

#: Seconds that a server has to have run for, so that its average pace says something.
_YOUNG = 600.0

#: Seconds between two polls that tell a pace. The server's counters are up to a second old.
_SHORTEST, _LONGEST = 1.0, 600.0

#: Findings that are about a pace that is not usual.
STORMS = ("connection_storm", "retry_storm")

#: What lasts that long is usual.
_SETTLED = timedelta(minutes=30)


class WorkloadHistory(NamedTuple):
    """What is remembered of the polls before; the times are the server's."""

    read_at: datetime | None = None
    started: datetime | None = None
    work: Mapping[str, DatabaseStats] = {}
    looks: tuple[Mapping[str, Rates], ...] = ()
    #: What clients sent at the last poll that found no storm.
    latest: tuple[LatestStatement, ...] = ()
    #: Since when there has been a storm; None: there is none.
    stormy_since: datetime | None = None


def with_pace(now: ServerContext, past: WorkloadHistory) -> ServerContext:
    """The server context with what the databases have done since the poll before, and what is usual there."""
    if past.read_at is None:
        return now
    seconds = (now.read_at - past.read_at) / timedelta(seconds=1)
    if not _SHORTEST <= seconds <= _LONGEST:
        return now
    lately = {
        name: pace for name, work in now.work.items() if (pace := _compute_rates(past.work.get(name), work, seconds))
    }
    usual = {name: _compute_usual(name, past) for name in lately}
    return replace(now, lately=lately, usual=usual, latest_before=past.latest)


def extend_history(past: WorkloadHistory, now: ServerContext, is_stormy: bool) -> WorkloadHistory:
    """What is to be remembered after a poll that was judged."""
    since = (past.stormy_since or now.read_at) if is_stormy else None
    is_usual = since is None or now.read_at - since >= _SETTLED
    return WorkloadHistory(
        read_at=now.read_at,
        started=now.standing.started if now.standing else None,
        work=now.work,
        looks=(*past.looks, now.lately)[-_MOST_LOOKS:] if is_usual and now.lately else past.looks,
        # The first poll may already be part of a storm.
        latest=now.latest if now.lately and not is_stormy else past.latest,
        stormy_since=since,
    )


def _compute_rates(before: DatabaseStats | None, now: DatabaseStats, seconds: float) -> Rates | None:
    """None where the statistics were reset in between."""
    if before is None:
        return None
    gained = [getattr(now, name) - getattr(before, name) for name in Rates.__struct_fields__]
    return None if min(gained) < 0 else Rates(*(each / seconds for each in gained))


def _compute_usual(name: str, past: WorkloadHistory) -> Rates:
    known = [rates[name] for rates in past.looks if name in rates]
    if len(known) >= _ENOUGH_LOOKS:
        return Rates(*(compute_median(getattr(pace, field) for pace in known) for field in Rates.__struct_fields__))
    work = past.work[name]
    began = max((moment for moment in (work.since, past.started) if moment is not None), default=None)
    if began is None or past.read_at is None:
        return Rates()
    # Counters may survive a restart: then this is too high, and less is found. That is the safe side.
    seconds = max((past.read_at - began) / timedelta(seconds=1), 1.0)
    average = Rates(*(getattr(work, field) / seconds for field in Rates.__struct_fields__))
    return average if seconds >= _YOUNG else replace(average, sessions=0.0)
