"""A circuit breaker: when a receiver gets no requests. Pure.

closed ──half of the latest calls failed──▶ open ──after a pause──▶ half-open ──it fails──▶ open
   ▲                                                                    │
   └────────────────────────────── it succeeds ─────────────────────────┘
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

#: Latest calls that count, and how many are needed.
WINDOW = 10
FEWEST = 4

#: Of them, how many failed calls open it.
SHARE = 0.5


class Circuit(msgspec.Struct, frozen=True):
    """What is known of the latest calls. Moments are of one clock, in seconds."""

    #: Seconds for which it stays open.
    pause: float
    #: Whether the latest calls succeeded, the newest last; of those since it was last closed.
    calls: tuple[bool, ...] = ()
    opened_at: float | None = None

    def compute_state(self, now: float) -> Literal["closed", "open", "half_open"]:
        """Half-open: one call may be made, and decides."""
        if self.opened_at is None:
            return "closed"
        return "open" if self.wait_seconds(now) else "half_open"

    def wait_seconds(self, now: float) -> float:
        """Seconds until a call may be made; 0: now."""
        return 0.0 if self.opened_at is None else max(self.opened_at + self.pause - now, 0.0)

    def after_call(self, succeeded: bool, now: float) -> "Circuit":
        """The circuit after one more call. A call from before it opened neither closes it nor keeps it open."""
        match self.compute_state(now):
            case "open":
                return self
            case "half_open":
                return Circuit(self.pause) if succeeded else replace(self, opened_at=now)
            case "closed":
                calls = (*self.calls, succeeded)[-WINDOW:]
                is_broken = len(calls) >= FEWEST and calls.count(False) >= SHARE * len(calls)
                return Circuit(self.pause, (), now) if is_broken else replace(self, calls=calls)
