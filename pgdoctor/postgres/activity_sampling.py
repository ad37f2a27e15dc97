"""The first five minutes in two seconds: a server looked at from two ends of a moment, with samples in between."""

from pgdoctor.diagnosis.triage import ActivitySample
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.read_batch import Read
from pgdoctor.postgres.server_watch import ServerWatch

#: Samples, and seconds between two. The server's counters are up to a second old, so it takes more than that in all.
_SAMPLES = 8
_PAUSE = 0.2


async def observe_briefly(connection: Connection) -> tuple[Diagnosis, tuple[ActivitySample, ...]]:
    """The diagnosis at the end of the moment, with what was done within it; and what active sessions waited for.

    Raises ServerError.
    """
    watch = ServerWatch(Collector(connection))
    await watch.diagnose_with_context()
    # One round trip: the server pauses between the samples.
    pause, sample = Read("pause", {"seconds": _PAUSE}), Read("wait_event_sample", {})
    answers = await connection.fetch_in_turn([pause, sample] * _SAMPLES, _SAMPLES * _PAUSE)
    samples = [
        ActivitySample({(row.wait_event_type, row.wait_event): row.sessions for row in rows}) for rows in answers[1::2]
    ]
    return await watch.diagnose_with_context(), tuple(samples)
