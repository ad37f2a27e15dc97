"""A notification as Alertmanager takes it: an array of alerts for `/api/v2/alerts`.

Labels are what an alert is known by, and what routes and silences match. So they hold no text of clients, nothing
that changes while an alert lasts, and neither incident nor class: two agents of one server fire one alert. Severity
is a label because routes need it. When an incident becomes critical, the alert of the warning is resolved beside it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from pgdoctor.escape import encode_json
from pgdoctor.incidents.incident import Severity
from pgdoctor.notify.format import Format, Outgoing
from pgdoctor.render.notification import Notification, list_facts, summarize_notification

#: Alertmanager resolves the alert of a test after this time.
_TEST_LASTS = timedelta(minutes=1)


class Alertmanager(Format):
    """An alert that is repeated: without `endsAt` it fires until Alertmanager's `resolve_timeout`, five minutes."""

    is_repeated = True

    def render_event(self, said: Notification) -> tuple[Outgoing, ...]:
        return (Outgoing(encode_json(list(_build_alerts(said)))),)


def _build_alerts(said: Notification) -> Iterator[dict[str, Any]]:
    ends = said.at if said.is_over else said.at + _TEST_LASTS if said.is_test else None
    yield _build_alert(said, said.alert.severity, ends)
    # Only then may there be a warning that was fired before.
    if said.alert.severity == "critical" and said.event.kind in ("worsened", "class_changed"):
        yield _build_alert(said, "warning", said.at)


def _build_alert(said: Notification, severity: Severity, ends: datetime | None) -> dict[str, Any]:
    annotations = {"summary": summarize_notification(said), **dict(list_facts(said))}
    alert = {"labels": _build_labels(said, severity), "annotations": annotations, "startsAt": said.started}
    if ends is not None:
        alert["endsAt"] = ends
    if said.link is not None:
        annotations["page"] = said.link
        alert["generatorURL"] = said.link
    return alert


def _build_labels(said: Notification, severity: Severity) -> dict[str, str]:
    labels = {
        "alertname": "PgdoctorTest" if said.is_test else "PgdoctorIncident",
        "server": said.server,
        "service": said.alert.service,
        "severity": severity,
    }
    namespace = said.alert.k8s_namespace
    return labels if namespace is None else labels | {"namespace": namespace}
