"""A notification as an event of PagerDuty's Events API v2. The routing key is a secret and is added on sending."""

from typing import Any, Literal

from pgdoctor.escape import encode_json
from pgdoctor.render.notification import Notification, list_facts, summarize_notification
from pgdoctor.render.plain import format_one_line

#: Characters that PagerDuty takes.
_MOST_SUMMARY = 1_024
_MOST_KEY = 255


def render_pagerduty(said: Notification) -> bytes:
    """The body of the POST, without `routing_key`: trigger, or resolve at the end."""
    if said.is_over:
        return encode_json(_build_event(said, "resolve"))
    links = [] if said.link is None else [{"href": said.link, "text": "Page of the server"}]
    return encode_json(
        _build_event(said, "trigger")
        | {"payload": _build_payload(said), "client": "pgdoctor", "links": links}
        | ({} if said.link is None else {"client_url": said.link})
    )


def render_acknowledgement(server: str, incident: str) -> bytes:
    """The body of the POST, without `routing_key`, once the agent has signalled: the incident is being dealt with."""
    return encode_json({"event_action": "acknowledge", "dedup_key": dedup_key(server, incident)})


def _build_event(said: Notification, action: Literal["trigger", "resolve"]) -> dict[str, Any]:
    return {"event_action": action, "dedup_key": dedup_key(said.server, said.alert.alert_id)}


def dedup_key(server: str, incident: str) -> str:
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
