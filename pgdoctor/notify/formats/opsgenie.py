"""An incident as an alert of Opsgenie's Alert API, which Jira Service Management has, too.

Its alias is the incident: one that is created again while it is open is the same alert.
"""

from collections.abc import Collection, Iterator
from typing import Any

from pgdoctor.escape import encode_json
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.format import Format, Outgoing, fit_value
from pgdoctor.render.notification import Notification, format_lines, list_facts, summarize_notification
from pgdoctor.render.plain import format_one_line

#: Where it takes alerts; `https://api.eu.opsgenie.com/v2/alerts` is another.
_URL = "https://api.opsgenie.com/v2/alerts"

#: Characters that it takes of each.
_MOST_MESSAGE = 130
_MOST_ALIAS = 512
_MOST_DESCRIPTION = 15_000
_MOST_ENTITY = 512
_MOST_TAG = 50
_MOST_NOTE = 25_000
#: Of all details together, by their names and values; in bytes, which are never fewer.
_MOST_DETAILS = 8_000

_PRIORITY = {"critical": "P1", "warning": "P3"}
_SOURCE = "pgdoctor"


class Opsgenie(Format):
    """Created at the start, noted while it lasts, closed at the end."""

    needs = ("api_key_file",)
    takes = ()

    def default_url(self, given: Collection[str]) -> str:  # noqa: ARG002
        return _URL

    def authorize(self, endpoint: Endpoint) -> str:
        return f"GenieKey {endpoint.api_key}"

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        if said.is_over:
            return (self._make_note(said, "close"),)
        return (Outgoing(encode_json(_build_alert(said))), *self._update_alert(said))

    def render_acknowledgement(self, server: str, incident: str) -> Outgoing:
        note = "pgdoctor has signalled a session"
        body = encode_json({"source": _SOURCE, "note": note})
        return Outgoing(body, _make_path(server, incident, "acknowledge"))

    def _update_alert(self, said: Notification) -> Iterator[Outgoing]:
        """What creating an alert that is open does not change."""
        if said.event.kind == "worsened":
            body = encode_json({"priority": _PRIORITY[said.alert.severity]})
            yield Outgoing(body, _make_path(said.server, said.alert.alert_id, "priority"), "PUT")
        if said.event.kind in ("worsened", "class_changed"):
            yield self._make_note(said, "notes")

    def _make_note(self, said: Notification, verb: str) -> Outgoing:
        note = format_one_line(summarize_notification(said), _MOST_NOTE)
        body = encode_json({"source": _SOURCE, "note": note})
        return Outgoing(body, _make_path(said.server, said.alert.alert_id, verb))


def _make_alias(server: str, incident: str) -> str:
    """Two servers may have incidents of one millisecond. Names of servers and incidents need no quoting."""
    return format_one_line(f"pgdoctor-{server}-{incident}", _MOST_ALIAS)


def _make_path(server: str, incident: str, verb: str) -> str:
    return f"/{_make_alias(server, incident)}/{verb}?identifierType=alias"


def _build_alert(said: Notification) -> dict[str, Any]:
    return {
        "message": format_one_line(summarize_notification(said), _MOST_MESSAGE),
        "alias": _make_alias(said.server, said.alert.alert_id),
        "description": "\n".join(format_lines(said))[:_MOST_DESCRIPTION],
        "entity": format_one_line(said.server, _MOST_ENTITY),
        "source": _SOURCE,
        "priority": "P5" if said.is_test else _PRIORITY[said.alert.severity],
        "tags": ["pgdoctor", format_one_line(said.event.incident.classes[-1], _MOST_TAG)],
        "details": _build_details(said),
    }


def _build_details(said: Notification) -> dict[str, str]:
    facts = dict(list_facts(said))

    def build(most: int) -> dict[str, str]:
        return {name: format_one_line(value, most) for name, value in facts.items()}

    return fit_value(build, _MOST_DETAILS)
