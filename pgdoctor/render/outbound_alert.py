"""An incident as receivers receive it: a small, fixed object, with a diagnosis that is cut down to fit."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.recommendation import Advice
from pgdoctor.incidents.incident import IncidentEvent, Severity
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import Report, make_report
from pgdoctor.render.tree import to_do

#: The metric that an incident is one of, and from which value on.
METRIC = "pgdoctor_blocked_sessions"
THRESHOLD = 1

#: What a diagnosis takes at most, and how many waits and blockers are tried, until it does.
MOST_BYTES = 65_536
_MOST_LISTED = (50, 10, 3, 0)
_MOST_STATEMENT = 500


class OutboundAlert(msgspec.Struct, frozen=True, rename={
    "alert_id": "alertId", "actual_value": "actualValue", "mitigation_action": "mitigationAction",
}):  # fmt: skip
    """The body of the POST."""

    #: The incident's; the same from its first event to its last.
    alert_id: str
    status: Literal["firing", "resolved"]
    severity: Severity
    metric: str
    threshold: int
    #: Sessions that were blocked at the event.
    actual_value: int
    service: str
    k8s_namespace: str | None
    #: What to do now, in words: `cancel 1324`, or `none`.
    mitigation_action: str
    #: When it happened, by the server's clock.
    timestamp: datetime
    diagnosis: Report
    #: The sentence that all formats begin with.
    summary: str = ""
    #: The page of the incident, if `external_url` is known.
    link: str | None = None


def describe_event(event: IncidentEvent, diagnosis: Diagnosis, blocked: int) -> OutboundAlert:
    """What to say of an event; service and namespace are each receiver's own."""
    facts = excerpt_report(diagnosis)
    return OutboundAlert(
        alert_id=event.incident.id,
        status="resolved" if event.kind == "ended" else "firing",
        severity=event.incident.severity,
        metric=METRIC,
        threshold=THRESHOLD,
        actual_value=blocked,
        service="",
        k8s_namespace=None,
        mitigation_action=action_words(facts.recommendation),
        timestamp=event.at.astimezone(UTC),
        diagnosis=facts,
    )


def action_words(advice: Advice | None) -> str:
    """The one thing to do: `cancel 1324`, `terminate 1 and 2`; `none` where no session should be signalled."""
    return to_do(advice) if advice is not None and advice.signals else "none"


def excerpt_report(diagnosis: Diagnosis) -> Report:
    """The report of a diagnosis in at most MOST_BYTES of JSON; its totals still say how many there are."""
    whole = make_report(diagnosis, most_waits=_MOST_LISTED[0])
    return next(cut for cut in _cut_versions(whole) if len(msgspec.json.encode(cut)) <= MOST_BYTES)


def _cut_versions(whole: Report) -> Iterator[Report]:
    yield whole
    for most in _MOST_LISTED:
        yield replace(
            whole,
            waits=tuple(
                replace(
                    wait,
                    blocked_statement=_shorten_statement(wait.blocked_statement),
                    blocking_statement=_shorten_statement(wait.blocking_statement),
                )
                for wait in whole.waits[:most]
            ),
            blockers=tuple(
                replace(each, statement=_shorten_statement(each.statement)) for each in whole.blockers[:most]
            ),
            cuts=whole.cuts[:most],
            cycles=whole.cycles[:most],
            findings=whole.findings[:most],
            cut_sets=whole.cut_sets[:most],
            left_alone=whole.left_alone[:most],
        )
    yield replace(
        whole, waits=(), blockers=(), cuts=(), cycles=(), findings=(), recommendation=None, cut_sets=(), left_alone=()
    )


def _shorten_statement(statement: str | None) -> str | None:
    return None if statement is None else format_one_line(statement, _MOST_STATEMENT)
