"""What must be remembered from one look at a server to the next, and a diagnosis that makes use of it.

The judging stays pure: what is remembered becomes part of the snapshot.
"""

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.earlier_scans import Counters, counters, with_scans
from pgdoctor.diagnosis.former_holders import Sighting, remembered, sighting, with_memory
from pgdoctor.diagnosis.snapshot import Snapshot


class Memory:
    """The last looks at one server; a new server needs a new one, for OIDs mean other tables there."""

    def __init__(self) -> None:
        self._sightings: tuple[Sighting, ...] = ()
        self._counters: Counters | None = None

    def judge(self, snapshot: Snapshot) -> Diagnosis:
        """The diagnosis of the next look."""
        self._sightings = remembered(self._sightings, snapshot.captured_at)
        diagnosis = diagnose(with_scans(with_memory(snapshot, self._sightings), self._counters))
        self._sightings += (sighting(diagnosis),)
        self._counters = counters(snapshot)
        return diagnosis
