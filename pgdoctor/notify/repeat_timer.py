"""Which receivers have to be notified again while an incident lasts.

Alertmanager resolves an alert that it has not received for its `resolve_timeout`, five minutes by default. Pure. The
age of an incident is by the server's clock.
"""

from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.settings import Recipient

#: Seconds between two repetitions, as Prometheus does.
REPEAT_AFTER = 60.0

#: Receiver, server and incident, by their names.
_Key = tuple[str, str | None, str]


class RepeatTimer:
    """Of all receivers. `server` is the name in the configuration."""

    def __init__(self) -> None:
        #: The age of the incident when the receiver was last notified.
        self._told: dict[_Key, float] = {}

    def note_event(self, recipient: Recipient, event: IncidentEvent, server: str | None) -> None:
        """A receiver is notified of an event, or knew of the incident before."""
        key = recipient.name, server, event.incident.id
        if event.kind == "ended":
            self._told.pop(key, None)
        elif load_format(recipient.format).is_repeated and "started" in recipient.events:
            self._told[key] = event.incident.seconds_until(event.at)

    def is_due(self, recipient: Recipient, incident: Incident, age: float, server: str | None) -> bool:
        """Whether the receiver has to be notified again."""
        told = self._told.get((recipient.name, server, incident.id))
        # A server's clock may be set back.
        return told is not None and not told <= age < told + REPEAT_AFTER
