"""An incident as one JSON object of our own, for programs: text of clients in it is as they wrote it."""

from msgspec.structs import replace

from pgdoctor.escape import encode_json
from pgdoctor.notify.format import Format, Outgoing
from pgdoctor.render.notification import Notification, summarize_notification


class Json(Format):
    """One object an event."""

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        alert = replace(said.alert, summary=summarize_notification(said), link=said.link)
        return (Outgoing(encode_json(alert)),)
