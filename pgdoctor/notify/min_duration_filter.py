"""Incidents that a receiver is not notified of while they are younger than its `min_duration`, nor if they end before.

Pure. The age of an incident is by the server's clock.
"""

from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.settings import Recipient

#: Receiver, server and incident, by their names.
_Key = tuple[str, str | None, str]


class MinDurationFilter:
    """Of all receivers. `server` is the name in the configuration."""

    def __init__(self) -> None:
        self._young: set[_Key] = set()

    def lets_pass(self, recipient: Recipient, event: IncidentEvent, server: str | None) -> bool:
        """Note an event; whether it is sent."""
        key = recipient.name, server, event.incident.id
        is_young = event.incident.seconds_until(event.at) < recipient.min_duration
        if event.kind in ("started", "continued", "recurred") and is_young:
            self._young.add(key)
        if key not in self._young:
            return True
        if event.kind == "ended" or not is_young:
            self._young.discard(key)
        return event.kind != "ended" and not is_young

    def is_due(self, recipient: Recipient, incident: Incident, age: float, server: str | None) -> bool:
        """Whether an incident that was withheld has become old enough by now."""
        return age >= recipient.min_duration and self.is_withheld(recipient, incident, server)

    def is_withheld(self, recipient: Recipient, incident: Incident, server: str | None) -> bool:
        """Whether the receiver has not been notified of the incident yet."""
        return (recipient.name, server, incident.id) in self._young

    def mark_notified(self, recipient: Recipient, incident: Incident, server: str | None) -> None:
        """From now on the receiver is notified of the incident."""
        self._young.discard((recipient.name, server, incident.id))
