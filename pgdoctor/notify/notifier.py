"""All receivers: the notifications for each, and their outcomes."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.endpoint_files import read_endpoint
from pgdoctor.notify.formats import load_format
from pgdoctor.notify.min_duration_filter import MinDurationFilter
from pgdoctor.notify.receiver import OUTCOMES, Receiver, SavedThreads
from pgdoctor.notify.repeat_timer import RepeatTimer
from pgdoctor.notify.settings import Recipient
from pgdoctor.render.notification import Notification, incident_page_link
from pgdoctor.render.outbound_alert import OutboundAlert

#: The file in which Kubernetes puts the namespace of a pod.
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

#: What a server without a name is called.
_SERVICE = "postgres"

Told = tuple[Recipient, Endpoint]


class QueuedNotice(msgspec.Struct, frozen=True):
    """Notifications that wait, and the receivers whose circuit is open."""

    events: int = 0
    #: Every receiver by its name.
    left_in_peace: Mapping[str, bool] = {}


def resolve_recipients(recipients: Sequence[Recipient]) -> tuple[Told, ...]:
    """The recipients with their addresses. Raises ConfigError where a file of theirs cannot be used."""
    return tuple((each, read_endpoint(each, place)) for place, each in enumerate(recipients))


class Notifier:
    """Tells every receiver what it wants to know, and waits for none of them."""

    def __init__(self, recipients: Sequence[Told], external_url: str | None = None) -> None:
        #: Events by what became of them, at each receiver; every outcome is there.
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self._namespace = read_pod_namespace()
        self._wanted = recipients
        self._external_url = external_url
        self._receivers: dict[str, Receiver] = {}
        self._withheld = MinDurationFilter()
        self._repeats = RepeatTimer()
        self._saved: Mapping[str, SavedThreads] = {}

    @property
    def keeps_threads(self) -> bool:
        """A receiver replies in threads."""
        return any(where.channel is not None for _, where in self._wanted)

    @property
    def threads(self) -> bytes:
        """The open threads of all receivers, for `take_threads` of the next agent."""
        return msgspec.json.encode({name: each.threads for name, each in self._receivers.items()})

    def take_threads(self, body: bytes) -> None:
        """Go on in the threads of an earlier agent; before `start`. What cannot be read is left out."""
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            self._saved = msgspec.json.decode(body, type=dict[str, SavedThreads])

    @property
    def waiting(self) -> QueuedNotice:
        """As of now."""
        return QueuedNotice(
            events=sum(each.waiting for each in self._receivers.values()),
            left_in_peace={name: each.circuit.opened_at is not None for name, each in self._receivers.items()},
        )

    def start(self) -> None:
        """Be ready; in a running loop."""
        self.reconfigure(self._wanted, self._external_url)

    def stop(self) -> int:
        """Break off, at once; how many events are left untold."""
        for receiver in self._receivers.values():
            receiver.stop()
        return self.waiting.events

    def reconfigure(self, recipients: Sequence[Told], external_url: str | None = None) -> None:
        """Notify these receivers and no others. A receiver that stays keeps its queue."""
        self._external_url, self._wanted = external_url, recipients
        before, self._receivers = self._receivers, {}
        for settings, where in recipients:
            receiver = before.pop(settings.name, None)
            if receiver is None:
                receiver = Receiver(settings, where, self.outcomes, self._saved.get(settings.name))
                receiver.start()
            else:
                receiver.reconfigure(settings, where)
            self._receivers[settings.name] = receiver
        for gone in before.values():
            gone.drop_all()

    def queue_event(self, event: IncidentEvent, said: OutboundAlert, server: str | None) -> None:
        """Put an event into the queues of those who want it. Never waits."""
        for receiver in self._receivers.values():
            is_let_pass = self._withheld.lets_pass(receiver.settings, event, server)
            # A recurrence is a new incident for receivers that were notified of its end.
            kind = "started" if event.kind == "recurred" else event.kind
            if is_let_pass:
                self._repeats.note_event(receiver.settings, event, server)
            if is_let_pass and kind in receiver.settings.events:
                self._offer_alert(receiver, event, said, server)

    def is_due(self, incident: Incident, age: float, server: str | None) -> bool:
        """Whether an incident that was too young for a receiver is now due, or due again."""
        return any(self._is_due(each.settings, incident, age, server) for each in self._receivers.values())

    def tell_withheld(self, incident: Incident, age: float, said: OutboundAlert, server: str | None) -> None:
        """Tell those how it is by now, as its beginning."""
        event = IncidentEvent("started", incident, incident.started + timedelta(seconds=age))
        for receiver in self._receivers.values():
            if self._is_due(receiver.settings, incident, age, server):
                self._withheld.mark_notified(receiver.settings, incident, server)
                self._repeats.note_event(receiver.settings, event, server)
                if "started" in receiver.settings.events:
                    self._offer_alert(receiver, event, said, server)

    def announce_action(self, incident: Incident, server: str | None) -> None:
        """Say to those who know of acknowledgements that the agent has signalled a session. Never waits."""
        for receiver in self._receivers.values():
            wanted = receiver.settings
            is_known = "started" in wanted.events and not self._withheld.is_withheld(wanted, incident, server)
            said = load_format(wanted.format).render_acknowledgement(server or _SERVICE, incident.id)
            if said is not None and is_known:
                receiver.queue_alert(incident.id, said)

    def _is_due(self, wanted: Recipient, incident: Incident, age: float, server: str | None) -> bool:
        is_late = self._withheld.is_due(wanted, incident, age, server)
        return is_late or self._repeats.is_due(wanted, incident, age, server)

    def _offer_alert(self, receiver: Receiver, event: IncidentEvent, said: OutboundAlert, server: str | None) -> None:
        wanted = receiver.settings
        own = replace(
            said,
            service=wanted.service or server or _SERVICE,
            k8s_namespace=wanted.k8s_namespace or self._namespace,
        )
        link = incident_page_link(self._external_url, server, event.incident.id)
        notification = Notification(own, event, server or _SERVICE, link)
        receiver.queue_alert(said.alert_id, *load_format(wanted.format).render_event(notification))


def read_pod_namespace() -> str | None:
    """The namespace of the pod that this process runs in; None outside of Kubernetes."""
    given = os.environ.get("POD_NAMESPACE", "").strip()
    if given:
        return given
    try:
        return _NAMESPACE.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None
