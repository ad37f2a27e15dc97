"""Every output of a diagnosis, each as a function of its own, so that each can be timed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from pgdoctor.agent.http.app import describe_health
from pgdoctor.agent.metrics import MetricsSource
from pgdoctor.agent.metrics_page import MetricsPage
from pgdoctor.agent.polling.counters import Counters
from pgdoctor.agent.polling.state import ServerState, compute_figures
from pgdoctor.diagnosis.cuts import find_cuts
from pgdoctor.diagnosis.triage import triage
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.escape import encode_json
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.incidents.incident_log import encode_entry
from pgdoctor.incidents.snapshot_archive import StoredVerdict, pack_diagnosis, unpack_snapshot
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.notify.formats import list_formats, load_format
from pgdoctor.render import report as reporting
from pgdoctor.render.incident_view import IncidentView, KeptSnapshot, incidents_table, story_text
from pgdoctor.render.live.screen import ScreenInput, draw_screen
from pgdoctor.render.live.session_rows import list_rows
from pgdoctor.render.live.view import View
from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.notification import Notification
from pgdoctor.render.outbound_alert import describe_event
from pgdoctor.render.page import render_page
from pgdoctor.render.paragraph import strip_styles
from pgdoctor.render.plan import action_text, plan_facts, plan_text
from pgdoctor.render.postmortem import render_postmortem
from pgdoctor.render.report import make_report, to_json
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import render_tree
from pgdoctor.render.triage import triage_facts, triage_lines
from pgdoctor.render.web.monitoring_status import Arming, MonitoringStatus
from pgdoctor.sqltext import ddl, statement
from tests.test_secrets import DRY_RUN, logged


def forget() -> None:
    """Empty what is remembered of texts, so that the next attempt costs what the first one did."""
    remembered = (statement._remembered, statement._searched, ddl._remembered_effect, ddl._remembered_parts)
    for each in (*remembered, reporting._redacted):
        each.cache_clear()


def fresh(work: Callable[[], str]) -> Callable[[], str]:
    """The work, with nothing remembered."""

    def run() -> str:
        forget()
        return work()

    return run


@cache
def _prevention() -> dict[str, str]:
    return {"idle_in_transaction": "Set idle_in_transaction_session_timeout."}


def _event(seen: Diagnosis) -> IncidentEvent:
    return IncidentEvent("started", Incident("1", seen.captured_at, ("unknown",), 1), seen.captured_at)


def _formats(seen: Diagnosis) -> str:
    """The notification in each format."""
    event = _event(seen)
    said = Notification(describe_event(event, seen, 1), event, "shop", "https://pg.example/")
    parts = [part for name in list_formats() for part in load_format(name).render_event(said)]
    return "\n".join(part.body.decode() for part in parts)


def _story(seen: Diagnosis) -> IncidentView:
    relation = next((each.relation for each in seen.blockers), None)
    server = seen.snapshot.server
    told = encode_entry(
        _event(seen), 1, relation=relation, recommendation="none", server=None, database=server.database
    )
    kept = KeptSnapshot(seen.captured_at, seen.blocked_sessions, tuple(map(StoredVerdict.of, seen.blockers)), seen)
    return IncidentView((told,), (kept,))


def _plan(seen: Diagnosis) -> str:
    with logged() as lines:
        mitigator = Mitigator(DRY_RUN)
        asyncio.run(mitigator.consider(seen, None))  # type: ignore[arg-type]
    facts = plan_facts(mitigator.plan, "dry_run", mitigator.settled, find_cuts(seen.blockers, seen.graph))
    return "\n".join([*lines, plan_text(facts), *(action_text(action) for action in mitigator.settled)])


def _live(seen: Diagnosis, view: View) -> str:
    facts = make_report(seen)
    picture = ScreenInput(seen, facts, list_rows(seen, facts, "tree"))
    return "\n".join("".join(span.text for span in line) for line in draw_screen(picture, view, 300, 60))


def _metrics(seen: Diagnosis) -> str:
    state = ServerState(
        connection="connected", error=None, server=seen.snapshot.server, diagnosis=seen, figures=compute_figures(seen)
    )
    body = (
        MetricsPage(lambda: [MetricsSource(None, state, Counters(), None)], {}, lambda: 0, dict)
        .fetch_page("")[0]
        .decode()
    )
    return body + encode_json(describe_health({None: state}, datetime.now(UTC), 0.0)).decode()


#: By name; JSON among them, since it is written to terminals too.
OUTPUTS: dict[str, Callable[[Diagnosis], str]] = {
    "tree": lambda seen: render_tree(make_report(seen), 100),
    "wide tree": lambda seen: render_tree(make_report(seen), 10_000),
    "table": lambda seen: render_table(make_report(seen)),
    "markdown": lambda seen: render_markdown(make_report(seen)),
    "json": lambda seen: to_json(make_report(seen)).decode(),
    "page": lambda seen: render_page(
        MonitoringStatus(None, "connected", 1.0, 0, Arming("dry_run"), "1"), make_report(seen)
    ),
    "live list": lambda seen: _live(seen, View()),
    "live session": lambda seen: _live(seen, View(page="one", chosen=next(iter(seen.snapshot.sessions)))),
    "plan and log": _plan,
    "notification": lambda seen: encode_json(describe_event(_event(seen), seen, 1)).decode(),
    "notification in each format": _formats,
    "postmortem": lambda seen: render_postmortem(_story(seen), _prevention()),
    "story": lambda seen: story_text(_story(seen), 200) + incidents_table(_story(seen).entries),
    "triage": lambda seen: strip_styles(triage_lines(triage_facts(triage(seen, ()), seen), 100)),
    "triage in JSON": lambda seen: encode_json(triage_facts(triage(seen, ()), seen)).decode(),
    "metrics and health": _metrics,
}

#: Not shown, so that it may hold anything but a value.
KEPT = "kept"


def kept(seen: Diagnosis) -> str:
    """What the journal keeps of it."""
    return repr(unpack_snapshot(pack_diagnosis(seen)))
