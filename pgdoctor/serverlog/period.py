"""The part of a log that is asked for."""

from datetime import datetime

import msgspec

from pgdoctor.serverlog.events import Event, ServerStopped


class Period(msgspec.Struct, frozen=True):
    """From when to when, both included; None: no bound."""

    since: datetime | None = None
    until: datetime | None = None

    def contains(self, event: Event) -> bool:
        """Whether the log says it in this period. A wait that ends in it began before, if it is long enough."""
        at = event.at if isinstance(event, ServerStopped) else event.origin.at
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    def cut_begin(self, at: datetime | None) -> datetime | None:
        """The beginning of what is read of a log that begins then."""
        return max((each for each in (at, self.since) if each is not None), default=None)

    def cut_end(self, at: datetime | None) -> datetime | None:
        """The end of what is read of a log that ends then."""
        return min((each for each in (at, self.until) if each is not None), default=None)
