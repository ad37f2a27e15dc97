"""Requests and connections that are refused: counted each, told of once a minute and reason."""

import logging
import time

from pgdoctor.agent.tally import Tally

log = logging.getLogger(__name__)

#: Seconds between two lines about the same reason: whoever refuses ten thousand requests must not write as many lines.
_REMINDER = 60.0


class Refusals:
    """Where everything that turns somebody away says so."""

    def __init__(self, tally: Tally) -> None:
        self._counts = tally.refused_requests
        self._told: dict[str, tuple[float, int]] = {}

    def note(self, reason: str, client: str | None = None) -> None:
        """Count one more for one of tally.REFUSAL_REASONS."""
        self._counts[reason] += 1
        now = time.monotonic()
        told_at, told = self._told.get(reason, (-_REMINDER, 0))
        if now - told_at < _REMINDER:
            return
        count = self._counts[reason]
        log.warning("requests refused", extra={"reason": reason, "count": count - told, "last_client": client})
        self._told[reason] = now, count
