"""The first five minutes in two seconds: a server looked at from two ends of a moment, and glimpses in between."""

import asyncio

from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.triage import Glimpse
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.door import Door
from pgdoctor.postgres.watch import Watch

#: Glimpses, and seconds between two. The server's counters are up to a second old, so it takes more than that in all.
_GLIMPSES = 8
_PAUSE = 0.2


async def observe(door: Door) -> tuple[Diagnosis, tuple[Glimpse, ...]]:
    """The diagnosis at the end of the moment, with what was done within it; and what active sessions waited for.

    Raises ServerError.
    """
    watch, glimpses = Watch(Collector(door)), []
    await watch.survey()
    await watch.look()
    for _ in range(_GLIMPSES):
        await asyncio.sleep(_PAUSE)
        rows = await door.fetch("glimpse")
        glimpses.append(Glimpse({(row.wait_event_type, row.wait_event): row.sessions for row in rows}))
    await watch.survey()
    return await watch.look(), tuple(glimpses)
