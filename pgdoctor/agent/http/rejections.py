"""Requests and connections that are refused: counted each, logged once a minute and reason."""

import logging
import time

log = logging.getLogger(__name__)

#: Why a request or a connection was refused: no valid credentials; a path for which no token is configured; a foreign
#: host name; no HTTP;
#: a big head, or a body where none belongs; too slow; its place was needed for another; no TLS; no file
#: descriptor left.
REASONS = ("unauthorized", "closed", "host", "malformed", "oversized", "slow", "crowded", "tls", "descriptors")

#: Seconds between two lines about the same reason: ten thousand rejections must not write as many lines.
_REMINDER = 60.0


class RejectionCounter:
    """Counts and logs each rejected request or connection."""

    def __init__(self) -> None:
        #: By reason, from the start on.
        self.counts = dict.fromkeys(REASONS, 0)
        self._told: dict[str, tuple[float, int]] = {}

    def count_rejection(self, reason: str, client: str | None = None) -> None:
        """Count one more for one of REASONS."""
        self.counts[reason] += 1
        now = time.monotonic()
        told_at, told = self._told.get(reason, (-_REMINDER, 0))
        if now - told_at < _REMINDER:
            return
        count = self.counts[reason]
        log.warning("requests rejected", extra={"reason": reason, "count": count - told, "last_client": client})
        self._told[reason] = now, count
