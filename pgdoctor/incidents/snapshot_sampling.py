"""Which looks at an incident are kept: its events, its growth, its age and its peak, and never more than a dozen."""

from datetime import datetime
from typing import NamedTuple

#: Just above what rules ask of a wait or a transaction: so that they can be tried on it afterwards. In seconds.
AGES = (6.0, 16.0, 31.0, 61.0, 301.0)

#: Snapshots of one incident. The last place is the peak's.
MOST = 12

#: Snapshots of one incident in a recording.
MOST_IN_SERIES = 240

#: By how much more sessions have to be blocked for another snapshot to be made, and how many seconds later for each of
#: them: one of a convoy of a thousand takes a third of a second to make, so that is done every five.
_HIGHER = 1.1
_APART = 0.005


#: Incidents of the same size that are kept within an hour: with snapshots, and at all.
MOST_WITH_SNAPSHOTS = 20
MOST_WRITTEN = 100
_HOUR = 3600.0


class SnapshotQuota:
    """How many incidents of the same size are kept within an hour; sizes are powers of two of blocked sessions.

    A client that causes many small incidents displaces no big one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[int, dict[str, float]] = {}

    def admits(self, incident: str, blocked: int, now: float) -> bool:
        """Whether to keep something of this incident; `now` is on the monotonic clock."""
        kept = self._kept.setdefault(blocked.bit_length(), {})
        for other, since in tuple(kept.items()):
            if now - since > _HOUR:
                del kept[other]
        if incident not in kept and len(kept) >= self._most:
            return False
        kept.setdefault(incident, now)
        return True


class SampledSnapshot(NamedTuple):
    """A snapshot as it is kept."""

    blocked: int
    at: datetime
    body: bytes


class SnapshotSampler:
    """What was kept of the running incident."""

    def __init__(self) -> None:
        self._kept = 0
        self._most_blocked = 0
        self._ages: tuple[float, ...] = AGES
        #: The highest since, which is kept if nothing higher comes.
        self._peak: SampledSnapshot | None = None
        self._made_at = 0.0

    def wants(self, blocked: int, age: float) -> bool:
        """Whether a snapshot of the incident at that age adds information."""
        is_higher = blocked > self._highest * _HIGHER
        return (is_higher and age - self._made_at >= _APART * blocked) or self._is_due(blocked, age)

    def add(self, snap: SampledSnapshot, age: float, *, is_event: bool) -> SampledSnapshot | None:
        """What to keep now that there is this one; None: it may turn out to be the peak."""
        self._made_at = age
        is_wanted = is_event or self._is_due(snap.blocked, age) or snap.blocked >= 2 * self._most_blocked
        self._ages = tuple(each for each in self._ages if each > age)
        if is_wanted and self._kept < MOST - 1:
            self._kept += 1
            if snap.blocked >= self._highest:
                self._most_blocked, self._peak = snap.blocked, None
            return snap
        if snap.blocked > self._highest:
            self._peak = snap
        return None

    def take_last(self) -> SampledSnapshot | None:
        """What to keep at its end: the peak, if nothing as high was kept."""
        self._most_blocked, peak, self._peak = self._highest, self._peak, None
        return peak

    @property
    def _highest(self) -> int:
        return self._most_blocked if self._peak is None else self._peak.blocked

    def _is_due(self, blocked: int, age: float) -> bool:
        return bool(blocked and self._ages and age >= self._ages[0])


class SnapshotSeries:
    """Snapshots of a recording, evenly over its time: as they come at first, and fewer the longer it lasts."""

    def __init__(self, most: int = MOST_IN_SERIES) -> None:
        self._most = most
        self._spacing = 0.0
        self._kept: list[tuple[float, SampledSnapshot]] = []

    @property
    def snapshots(self) -> tuple[SampledSnapshot, ...]:
        """In the order of time."""
        return tuple(snap for _, snap in self._kept)

    def wants_snapshot(self, age: float) -> bool:
        """Whether a snapshot at that age, in seconds, is kept."""
        return not self._kept or age - self._kept[-1][0] >= self._spacing

    def add(self, snap: SampledSnapshot, age: float) -> None:
        """Keep it. When there are too many, every second one goes, but for the largest."""
        self._kept.append((age, snap))
        if len(self._kept) > self._most:
            largest = max(self._kept, key=lambda each: each[1].blocked)
            self._kept = [each for place, each in enumerate(self._kept) if place % 2 == 0 or each is largest]
            self._spacing = max(self._kept[-1][0] - self._kept[0][0], 0.0) / len(self._kept)
