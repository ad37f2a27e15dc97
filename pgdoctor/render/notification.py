"""What every format of a notification says of an incident: a sentence, the facts behind it, and where to read more.

Names and statements are text that clients chose. Here they are cut to one line and lose what a receiver could read as
markup, a mention or a link. Only the format `json` has them as they are.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from pgdoctor.diagnosis.recommendation import Advice
from pgdoctor.escape import defuse_markup, defuse_name
from pgdoctor.formatting import format_count, format_duration, format_name
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.model.snapshot import Connections
from pgdoctor.render.outbound_alert import METRIC, THRESHOLD, OutboundAlert
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import BlockerReport, Report, ServerFacts
from pgdoctor.render.tree import format_released, to_do

#: What the link is called.
LINK_TEXT = "Page of the incident"

#: In place of an incident's ID.
TEST_ID = "pgdoctor-test"

#: All names of `list_facts`.
FACT_NAMES = (
    *("incident", "severity", "class", "started", "blocked_sessions", "longest_wait", "best", "root"),
    *("relation", "user", "application", "database", "state", "statement"),
)

_MOST_SUMMARY = 1_000
_MOST_FACT = 500


class Notification(msgspec.Struct, frozen=True):
    """An event as one receiver is notified of it. `link`: the page of the incident, if `external_url` is known."""

    alert: OutboundAlert
    event: IncidentEvent
    server: str
    link: str | None = None
    is_test: bool = False

    @property
    def is_over(self) -> bool:
        """The incident has ended."""
        return self.event.kind == "ended"

    @property
    def started(self) -> datetime:
        """In UTC."""
        return self.event.incident.started.astimezone(UTC)

    @property
    def at(self) -> datetime:
        """In UTC; not before the start, though a server's clock may be set back."""
        return max(self.event.at, self.event.incident.started).astimezone(UTC)


def page_link(external_url: str | None, server: str | None) -> str | None:
    """The address of a server's page; None: people reach it at no known address."""
    if external_url is None:
        return None
    return external_url.rstrip("/") + "/" + (f"?server={server}" if server else "")


def incident_page_link(external_url: str | None, server: str | None, incident: str) -> str | None:
    """The address of an incident's page. The names of servers and incidents need no quoting."""
    if external_url is None:
        return None
    return external_url.rstrip("/") + f"/incidents/{incident}" + (f"?server={server}" if server else "")


def prefix_status(said: Notification) -> str:
    """What stands in front of the sentence where nothing else shows it: `[critical] `; of a test nothing."""
    if said.is_test:
        return ""
    return "[resolved] " if said.is_over else f"[{said.alert.severity}] "


def summarize_notification(said: Notification) -> str:
    """One sentence: server, sessions blocked, longest wait, root and class, and the best signal."""
    return defuse_markup(_describe_event(said))


def format_lines(said: Notification) -> Iterator[str]:
    """The sentence, the facts and the link as lines of plain text."""
    yield summarize_notification(said)
    if not said.is_test:
        yield ""
        yield from (f"{name}: {value}" for name, value in list_facts(said))
    if said.link is not None:
        yield ""
        yield f"{LINK_TEXT}: {said.link}"


def _describe_event(said: Notification) -> str:
    if said.is_test:
        return f"Test notification of pgdoctor for {said.server}: no incident"
    incident, server = said.event.incident, format_one_line(said.server, _MOST_FACT)
    longest = f"longest wait {format_duration(incident.longest_wait)}"
    if said.is_over:
        lasted = format_duration(incident.seconds_until(said.event.at))
        peak = format_count(incident.peak_blocked, "session")
        return f"{server}: incident ended after {lasted}: {peak} blocked at most, {longest} ({incident.classes[-1]})"
    blocked = format_count(said.alert.actual_value, "session")
    best = describe_best(said.alert.diagnosis.recommendation)
    text = f"{server}: {blocked} blocked, {longest}, {_describe_root(said)}{f'. Best: {best}' if best else ''}"
    return format_one_line(text, _MOST_SUMMARY)


def describe_best(advice: Advice | None) -> str | None:
    """What to do and what it frees; None: no session is blocked."""
    if advice is None:
        return None
    if not advice.signals:
        return f"{to_do(advice)}: {advice.reason}"
    return f"{to_do(advice)}; this frees {format_released(advice)}"


def list_facts(said: Notification) -> Iterator[tuple[str, str]]:
    """Names and values for people, each on one line; names are fixed."""
    yield "incident", said.alert.alert_id
    yield "severity", said.alert.severity
    yield "class", said.event.incident.classes[-1]
    yield "started", said.started.isoformat(timespec="seconds")
    yield "blocked_sessions", str(said.alert.actual_value)
    yield "longest_wait", format_duration(said.event.incident.longest_wait)
    if best := describe_best(said.alert.diagnosis.recommendation):
        yield "best", _quote_text(best)
    if (root := _find_root(said.alert.diagnosis)) is not None:
        yield "root", _quote_text(_format_root(root))
        for name, value in _session_facts(root):
            if value:
                yield name, _quote_text(value, is_name=name in _FREE_NAMES)


#: Of the facts, names that any client may choose.
_FREE_NAMES = ("user", "application", "database")


def _quote_text(text: str, *, is_name: bool = False) -> str:
    return format_one_line((defuse_name if is_name else defuse_markup)(text[: _MOST_FACT + 1]), _MOST_FACT)


def make_test_notification(at: datetime, server: str | None, external_url: str | None) -> Notification:
    """A notification of no incident, to see whether it arrives."""
    facts = ServerFacts(0, False, 0, 0, Connections(), None)
    report = Report(1, at.isoformat(timespec="microseconds"), facts, (), (), 0, 0, (), (), ())
    name = server or "postgres"
    alert = OutboundAlert(TEST_ID, "firing", "warning", METRIC, THRESHOLD, 0, name, None, "none", at, report)
    event = IncidentEvent("started", Incident(TEST_ID, at, ("unknown",), 0), at)
    return Notification(alert, event, name, page_link(external_url, None), is_test=True)


def _find_root(report: Report) -> BlockerReport | None:
    return next((each for each in report.blockers if each.root), next(iter(report.blockers), None))


def _describe_root(said: Notification) -> str:
    root = _find_root(said.alert.diagnosis)
    if root is None:
        return f"class {said.event.incident.classes[-1]}"
    return f"root {_format_root(root)} ({root.classification})"


def _format_root(root: BlockerReport) -> str:
    return f"prepared transaction {defuse_name(format_name(root.prepared_gid))}" if root.pid is None else str(root.pid)


def _session_facts(root: BlockerReport) -> Iterator[tuple[str, str | None]]:
    yield "relation", root.place
    yield "user", root.user
    yield "application", root.application
    yield "database", root.database
    yield "state", root.state
    yield "statement", root.statement
