"""What the agent counts about itself from its start on."""

from bisect import bisect_left

#: Upper bounds in seconds; a quiet poll takes a few milliseconds, a convoy of a thousand some seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


#: Why a request or a connection was refused: no valid credentials; no HTTP; a big head, or a body where none belongs;
#: too slow; its place was needed for another; no TLS; no file descriptor left.
REFUSAL_REASONS = ("unauthorized", "malformed", "oversized", "slow", "crowded", "tls", "descriptors")


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds as text, each with how many were not above it; the last is all of them."""
        found, running = [], 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            running += count
            found.append((bound, float(running)))
        return found


class Tally:
    """Counters and flags, written by the loop and the process, read by the metrics."""

    def __init__(self) -> None:
        self.durations = Durations()
        self.skipped = 0
        self.reload_success = True
        self.refused_requests = dict.fromkeys(REFUSAL_REASONS, 0)
