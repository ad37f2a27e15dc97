"""The first five minutes in two seconds: a server looked at from two ends of a moment, and glimpses in between."""

import asyncio

from pgdoctor.diagnosis.triage import ActivitySample
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch

#: Glimpses, and seconds between two. The server's counters are up to a second old, so it takes more than that in all.
_GLIMPSES = 8
_PAUSE = 0.2


async def observe_briefly(connection: Connection) -> tuple[Diagnosis, tuple[ActivitySample, ...]]:
    """The diagnosis at the end of the moment, with what was done within it; and what active sessions waited for.

    Raises ServerError.
    """
    watch, glimpses = ServerWatch(Collector(connection)), []
    await watch.diagnose_with_context()
    for _ in range(_GLIMPSES):
        await asyncio.sleep(_PAUSE)
        rows = await connection.fetch("wait_event_sample")
        glimpses.append(ActivitySample({(row.wait_event_type, row.wait_event): row.sessions for row in rows}))
    return await watch.diagnose_with_context(), tuple(glimpses)
