"""Every output of a diagnosis, each as a function of its own, so that each can be timed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from pgdoctor.agent.exposition import Exposition
from pgdoctor.agent.http import health
from pgdoctor.agent.metrics import Watched
from pgdoctor.agent.state import State, figures
from pgdoctor.agent.tally import Tally
from pgdoctor.diagnosis import ddl, statement
from pgdoctor.diagnosis.archive import Judged, archived, unpacked
from pgdoctor.diagnosis.cuts import cuts
from pgdoctor.diagnosis.diagnosis import Diagnosis
from pgdoctor.diagnosis.escape import encode_json
from pgdoctor.diagnosis.incident import Event, Incident
from pgdoctor.diagnosis.past import entry
from pgdoctor.diagnosis.triage import triage
from pgdoctor.mitigation.execute import Mitigator
from pgdoctor.render import report as reporting
from pgdoctor.render.alert import alert
from pgdoctor.render.live.rows import rows
from pgdoctor.render.live.screen import Seen, screen
from pgdoctor.render.live.view import View
from pgdoctor.render.markdown_report import markdown
from pgdoctor.render.page import page
from pgdoctor.render.plan import action_text, plan_facts, plan_text
from pgdoctor.render.postmortem import postmortem
from pgdoctor.render.report import report, to_json
from pgdoctor.render.story import Kept, Story, incidents_table, story_text
from pgdoctor.render.table import table
from pgdoctor.render.tree import tree
from pgdoctor.render.triage import triage_facts, triage_text
from pgdoctor.render.web.watch import Arming, Watch
from tests.test_secrets import DRY_RUN, logged


def forget() -> None:
    """Empty what is remembered of texts, so that the next attempt costs what the first one did."""
    for each in (statement._remembered, statement._searched, ddl.effect, reporting._redacted):
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


def _event(seen: Diagnosis) -> Event:
    return Event("started", Incident("1", seen.captured_at, ("unknown",), 1), seen.captured_at)


def _story(seen: Diagnosis) -> Story:
    relation = next((each.relation for each in seen.blockers), None)
    server = seen.snapshot.server
    told = entry(_event(seen), 1, relation=relation, recommendation="none", server=None, database=server.database)
    kept = Kept(seen.captured_at, seen.blocked_sessions, tuple(map(Judged.of, seen.blockers)), seen)
    return Story((told,), (kept,))


def _plan(seen: Diagnosis) -> str:
    with logged() as lines:
        mitigator = Mitigator(DRY_RUN)
        asyncio.run(mitigator.consider(seen, None))  # type: ignore[arg-type]
    facts = plan_facts(mitigator.plan, "dry_run", mitigator.settled, cuts(seen.blockers, seen.graph))
    return "\n".join([*lines, plan_text(facts), *(action_text(action) for action in mitigator.settled)])


def _live(seen: Diagnosis, view: View) -> str:
    facts = report(seen)
    picture = Seen(seen, facts, rows(seen, facts, "tree"))
    return "\n".join("".join(span.text for span in line) for line in screen(picture, view, 300, 60))


def _metrics(seen: Diagnosis) -> str:
    state = State(
        connection="connected", error=None, server=seen.snapshot.server, diagnosis=seen, figures=figures(seen)
    )
    body = Exposition(lambda: [Watched(None, state, Tally(), None)], {}, lambda: 0, dict).page("")[0].decode()
    return body + encode_json(health({None: state}, datetime.now(UTC), 0.0)).decode()


#: By name; JSON among them, since it is written to terminals too.
OUTPUTS: dict[str, Callable[[Diagnosis], str]] = {
    "tree": lambda seen: tree(report(seen), 100),
    "wide tree": lambda seen: tree(report(seen), 10_000),
    "table": lambda seen: table(report(seen)),
    "markdown": lambda seen: markdown(report(seen)),
    "json": lambda seen: to_json(report(seen)).decode(),
    "page": lambda seen: page(Watch(None, "connected", 1.0, 0, Arming("dry_run"), "1"), report(seen)),
    "live list": lambda seen: _live(seen, View()),
    "live session": lambda seen: _live(seen, View(page="one", chosen=next(iter(seen.snapshot.sessions)))),
    "plan and log": _plan,
    "notification": lambda seen: encode_json(alert(_event(seen), seen, 1)).decode(),
    "postmortem": lambda seen: postmortem(_story(seen), _prevention()),
    "story": lambda seen: story_text(_story(seen), 200) + incidents_table(_story(seen).entries),
    "triage": lambda seen: triage_text(triage_facts(triage(seen, ()), seen), 100),
    "triage in JSON": lambda seen: encode_json(triage_facts(triage(seen, ()), seen)).decode(),
    "metrics and health": _metrics,
}

#: Not shown to anybody, so that it may hold anything but a value.
KEPT = "kept"


def kept(seen: Diagnosis) -> str:
    """What the journal keeps of it."""
    return repr(unpacked(archived(seen)))
