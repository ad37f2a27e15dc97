"""An incident as an alert of PagerDuty's Events API v2: triggered, acknowledged by a signal of the agent, resolved."""

from collections.abc import Collection
from typing import Any, Literal

from pgdoctor.escape import encode_json
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.format import Format, Outgoing, add_fields
from pgdoctor.render.notification import LINK_TEXT, Notification, list_facts, summarize_notification
from pgdoctor.render.plain import format_one_line

#: Characters that PagerDuty takes.
_MOST_SUMMARY = 1_024
_MOST_KEY = 255

#: Where it takes events, unless an account is in another region.
_URL = "https://events.pagerduty.com/v2/enqueue"


class Pagerduty(Format):
    """An alert whose `dedup_key` is the incident."""

    needs = ("routing_key_file",)

    def default_url(self, given: Collection[str]) -> str:  # noqa: ARG002
        return _URL

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        return (Outgoing(encode_json(_build_resolve(said) if said.is_over else _build_trigger(said))),)

    def render_acknowledgement(self, server: str, incident: str) -> Outgoing:
        return Outgoing(encode_json({"event_action": "acknowledge", "dedup_key": _make_key(server, incident)}))

    def sign_body(self, part: Outgoing, endpoint: Endpoint, thread: str | None) -> bytes:  # noqa: ARG002
        return add_fields(part.body, routing_key=endpoint.routing_key)


def _build_resolve(said: Notification) -> dict[str, Any]:
    return _build_event(said, "resolve")


def _build_trigger(said: Notification) -> dict[str, Any]:
    links = [] if said.link is None else [{"href": said.link, "text": LINK_TEXT}]
    event = _build_event(said, "trigger") | {"payload": _build_payload(said), "client": "pgdoctor", "links": links}
    return event if said.link is None else event | {"client_url": said.link}


def _build_event(said: Notification, action: Literal["trigger", "resolve"]) -> dict[str, Any]:
    return {"event_action": action, "dedup_key": _make_key(said.server, said.alert.alert_id)}


def _make_key(server: str, incident: str) -> str:
    """The same for all events of an incident. Two servers may have incidents of one millisecond."""
    return format_one_line(f"{server}/{incident}", _MOST_KEY)


def _build_payload(said: Notification) -> dict[str, Any]:
    return {
        "summary": format_one_line(summarize_notification(said), _MOST_SUMMARY),
        "source": said.server,
        "severity": "info" if said.is_test else said.alert.severity,
        "timestamp": said.at,
        "component": "postgresql",
        "group": said.alert.service,
        "class": said.event.incident.classes[-1],
        "custom_details": dict(list_facts(said)),
    }
