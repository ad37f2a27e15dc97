"""What a server is judged by, beside its locks: six figures of each poll that rise when something is wrong.

Each has a floor: the least distance from the usual value, in its own unit, that counts at all. It replaces a spread of
zero (on most servers no session is blocked most of the time), and keeps small numbers from scoring high.
"""

from collections.abc import Mapping

import msgspec

#: Scores above it are not distinguished.
HIGHEST = 1000.0


class Floor(msgspec.Struct, frozen=True, gc=False):
    """The least spread: `absolute` in the signal's unit, or `share` of the median, whichever is more."""

    absolute: float
    share: float = 0.0

    def compute_floor(self, median: float) -> float:
        """The floor beside that median."""
        return max(self.absolute, self.share * abs(median))


class Usual(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What values are around, and how far from it they commonly are: both in the unit of the signal."""

    median: float
    spread: float
    #: It is that of the time of day.
    at_this_hour: bool

    def score(self, value: float) -> float:
        """How unusual a value is: 0 to HIGHEST."""
        return min(max(value - self.median, 0.0) / self.spread, HIGHEST)


class Anomaly(msgspec.Struct, frozen=True, gc=False):
    """A signal that has been unusual for some time. `seconds`: for how long."""

    signal: str
    value: float
    usual: Usual
    score: float
    seconds: float


#: By the names that metrics and findings use. Seconds for waits and transactions, sessions for the rest, a share.
SIGNALS: Mapping[str, Floor] = {
    "blocked_sessions": Floor(1.0, 0.1),
    "oldest_wait": Floor(1.0, 0.1),
    "active_sessions": Floor(2.0, 0.1),
    "connections": Floor(3.0, 0.1),
    "oldest_transaction": Floor(5.0, 0.25),
    "lock_wait_share": Floor(0.1),
}
