"""The body of a notification in each format of `[[notify]]`."""

from collections.abc import Callable, Mapping

from pgdoctor.escape import encode_json
from pgdoctor.render.alertmanager_alert import render_alertmanager
from pgdoctor.render.notification import Notification
from pgdoctor.render.pagerduty_event import render_pagerduty
from pgdoctor.render.slack_message import render_slack

_RENDER: Mapping[str, Callable[[Notification], bytes]] = {
    "json": lambda said: encode_json(said.alert),
    "alertmanager": render_alertmanager,
    "slack": render_slack,
    "pagerduty": render_pagerduty,
}


def render_notification(said: Notification, wanted: str) -> bytes:
    """The body of the POST, without secrets."""
    return _RENDER[wanted](said)
