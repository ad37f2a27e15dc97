"""An incident as a Jinja2 template makes it: for a receiver that no other format suits.

The template gets values, made here, and runs in a process of its own.
"""

from typing import Any

from pgdoctor.escape import defuse_markup, encode_json
from pgdoctor.notify.format import Format, Outgoing
from pgdoctor.render.notification import FACT_NAMES, Notification, list_facts, summarize_notification


class Template(Format):
    """A POST of what the template makes."""

    needs = ("template_file",)
    takes = ("token_file", "content_type")
    transport = "template"
    package = "jinja2"

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        return (Outgoing(encode_json(list_variables(said))),)


#: Kinds that are a start to a receiver.
_KINDS = {"recurred": "started", "continued": "started"}


def list_variables(said: Notification) -> dict[str, Any]:
    """What a template may name; all of it is always there, so that what works once does not fail the next time."""
    incident, alert = said.event.incident, said.alert
    return {
        "summary": summarize_notification(said),
        "kind": "test" if said.is_test else _KINDS.get(said.event.kind, said.event.kind),
        "status": alert.status,
        "severity": alert.severity,
        "server": said.server,
        "service": alert.service,
        "namespace": alert.k8s_namespace or "",
        "incident": alert.alert_id,
        "class": incident.classes[-1],
        "classes": incident.classes,
        "started": said.started,
        "at": said.at,
        "blocked_sessions": alert.actual_value,
        "longest_wait_seconds": round(incident.longest_wait, 3),
        "action": defuse_markup(alert.mitigation_action),
        "link": said.link or "",
        "facts": dict.fromkeys(FACT_NAMES, "") | dict(list_facts(said)),
    }
