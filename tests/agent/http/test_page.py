"""The page: whatever a database client chose as a name is text on it, and nothing else."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import msgspec
import pytest

from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.snapshot import Connections
from pgdoctor.render.page import render_page
from pgdoctor.render.report import BlockerReport, RecommendationFacts, Report, ServerFacts, Wait
from pgdoctor.render.servers_page import ServerRow, render_servers_page
from pgdoctor.render.web.monitoring_status import Arming, MonitoringStatus
from tests.agent.running import RunningAgent
from tests.agent.test_metrics import NOW
from tests.building import NOW as AT

HOSTILE = '"><script>alert(1)</script><img src=x onerror=y>\x1b[31m\u202e&'
WATCH = MonitoringStatus(
    error=None, connection="connected", age=1.0, hidden_sessions=0, arming=Arming("off"), version="1"
)
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "script",
        "noscript",
        "link",
        "body",
        "main",
        "footer",
        "h1",
        "h2",
        "h3",
    ),
    *("p", "div", "section", "article", "ul", "li", "span", "b", "bdi", "code", "a", "details", "summary", "time"),
    *("svg", "rect", "path"),
}
ATTRIBUTES = {
    *(
        "lang",
        "dir",
        "charset",
        "http-equiv",
        "content",
        "name",
        "rel",
        "href",
        "class",
        "id",
        "role",
        "hidden",
        "scope",
    ),
    *("aria-labelledby", "aria-hidden", "datetime", "viewbox", "preserveaspectratio", "x", "width", "height", "d"),
}
VOID = {"meta", "link", "rect", "path"}
DOWN = MonitoringStatus(
    error=HOSTILE, connection="refused", age=None, hidden_sessions=0, arming=Arming("off"), version="1"
)


def blocker(pid: int, *, root: bool = True, in_cycle: bool = False) -> BlockerReport:
    return BlockerReport(
        pid=pid,
        classification="idle_in_transaction",
        also=(HOSTILE,),
        root=root,
        relation=HOSTILE,
        directly_blocked=1,
        blocked_sessions=2,
        statement=HOSTILE,
        user=HOSTILE,
        database=HOSTILE,
        application=HOSTILE,
        client=HOSTILE,
        state=HOSTILE,
        transaction_seconds=1.0,
        evidence=(HOSTILE,),
        recommendation=RecommendationFacts("terminate", pid, HOSTILE),
        in_cycle=in_cycle,
    )


def wait(blocked: int, blocking: int) -> Wait:
    return Wait(
        blocked_pid=blocked,
        blocked_user=HOSTILE,
        blocked_statement=HOSTILE,
        blocked_application=HOSTILE,
        blocking_pid=blocking,
        blocking_user=HOSTILE,
        blocking_statement=HOSTILE,
        lock_type=HOSTILE,
        lock_mode=HOSTILE,
        relation=HOSTILE,
        wait_seconds=None,
        queued=False,
        waits_for=HOSTILE,
    )


def facts(blockers: list[BlockerReport], waits: list[Wait]) -> Report:
    return Report(
        schema_version=1,
        captured_at=NOW,
        server=ServerFacts(180000, False, 100, 10, Connections(), HOSTILE),
        waits=tuple(waits),
        blockers=tuple(blockers),
        waits_total=len(waits),
        blocked_sessions=len({each.blocked_pid for each in waits}),
        cuts=(),
        cycles=(),
        findings=(),
    )


class Checker(HTMLParser):
    """Which elements and attributes a page has, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize(
    "shown",
    [
        render_page(DOWN, None),
        render_page(WATCH, facts([], [])),
        render_page(msgspec.structs.replace(WATCH, server="shop", looked=30.0), facts([], [])),
        render_servers_page([], "1", Arming("off")),
        render_servers_page(
            [ServerRow("shop", HOSTILE, 0, 0, 0.0, None), ServerRow("ledger", None, 2, 3, 4.0, HOSTILE)],
            "1",
            Arming("off"),
        ),
        render_page(WATCH, facts([blocker(1), blocker(2, root=False)], [wait(2, 1), wait(3, 2)])),
        render_page(WATCH, facts([blocker(1, root=False, in_cycle=True)], [wait(1, 2), wait(2, 1)])),
    ],
)
def test_shown_values_are_text(shown):
    checked = Checker(shown)
    assert checked.open == []
    assert checked.elements <= ELEMENTS
    assert checked.attributes <= ATTRIBUTES
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_the_tree_has_every_session_once():
    chain = [wait(pid + 1, pid) for pid in range(1, 20)]
    shown = render_page(WATCH, facts([blocker(1), *(blocker(pid, root=False) for pid in range(2, 20))], chain))
    drawn = re.findall(r'<span class="pid">(\d+)</span> has waited', shown)
    assert len(drawn) == len(set(drawn)) >= 5


def test_a_crowd_is_counted_and_not_drawn():
    shown = render_page(WATCH, facts([blocker(1)], [wait(pid, 1) for pid in range(2, 1000)]))
    assert len(shown) < 50_000
    assert "and 988 sessions more" in shown


@pytest.mark.parametrize(("mode", "word"), [("enforce", "ARMED"), ("disarmed", "DISARMED"), ("dry_run", "dry run")])
def test_how_mitigation_is_switched(mode, word):
    watch = MonitoringStatus(
        error=None, connection="connected", age=1.0, hidden_sessions=3, arming=Arming(mode), version="1"
    )
    shown = render_page(watch, facts([], []))
    assert word in shown
    assert "No blocked session is visible, but 3 sessions cannot be seen" in shown
    blocked = render_page(watch, facts([blocker(1)], [wait(2, 1)]))
    assert "<b>BLIND:</b> 3 sessions cannot be seen" in blocked


def test_the_worst_server_comes_first():
    calm, blocked, down = (
        ServerRow("a", None, 0, 0, 0.0, None),
        ServerRow("b", None, 0, 3, 4.0, "migration"),
        ServerRow("c", "x", 0, 0, 0.0, None),
    )
    shown = render_servers_page([calm, blocked, down], "1", Arming("off"))
    assert re.findall(r'href="\?server=(\w)"', shown) == ["c", "b", "a"]
    assert "3 servers, 1 DOWN, 3 blocked" in shown
    assert render_servers_page([calm], "1", Arming("off")).count('"verdict good"') == 1


def test_a_poll_that_is_older_than_the_poll_is_said():
    spaced = msgspec.structs.replace(WATCH, looked=30.0)
    assert "last full poll 30 s ago" in render_page(spaced, facts([], []))
    assert "full look" not in render_page(WATCH, facts([], []))


def test_a_broken_configuration_is_said_on_the_page_of_all_servers_too():
    shown = render_servers_page([ServerRow("a", None, 0, 0, 0.0, None)], "1", Arming("disarmed"))
    assert "Mitigation: DISARMED" in shown
    assert "Mitigation" not in render_servers_page([ServerRow("a", None, 0, 0, 0.0, None)], "1", Arming("dry_run"))


def test_page_shows_brakes_beside_the_mode():
    arming = Arming("enforce", ("The breaker is open, no session is signalled: <b>.",), leads=True)
    shown = render_page(msgspec.structs.replace(WATCH, arming=arming), facts([], []))
    assert "This agent is the leader: no other agent acts at this server." in shown
    assert "The breaker is open, no session is signalled: &lt;b&gt;." in shown
    assert "is the leader" not in render_page(WATCH, facts([], []))


def test_the_last_incidents_the_latest_first():
    def incident(minutes, classes, peak):
        began = AT - timedelta(minutes=minutes)
        return Incident(f"i{minutes}", began, classes, peak)

    past = tuple(
        IncidentEvent("ended", incident(minutes, ("migration",), minutes), AT - timedelta(minutes=minutes - 1))
        for minutes in range(60, 10, -1)
    )
    watch = msgspec.structs.replace(
        WATCH, incident=incident(2, ("unknown", "long_query"), 7), ended=past, now=AT + timedelta(seconds=30)
    )
    shown = render_page(watch, facts([], []))
    assert "<b>unknown → long_query</b></a>: up to 7 sessions blocked <b>ongoing</b>, started" in shown
    peaks = re.findall(r"<b>migration</b></a>: up to (\d+) sessions blocked for 1 min 0 s, until", shown)
    assert peaks == [str(peak) for peak in range(11, 31)]
    assert "(10 min 30 s ago)" in shown


def test_finding_names_its_session():
    evidence = tuple(f"app{number} has {HOSTILE}" for number in range(9))
    note = Finding("connection_saturation", "critical", "95 of 100 connections are in use", "free some", {}, evidence)
    shown = render_page(WATCH, msgspec.structs.replace(facts([], []), findings=(note,)))
    assert (
        '<div class="verdict bad"><h1><bdi>No session is blocked, but 95 of 100 connections are in use</bdi></h1>'
        in shown
    )
    assert "app5 has" in shown
    assert "app6 has" not in shown
    assert "and 3 more" in shown
    assert "<script>alert" not in shown


def test_no_two_elements_share_an_id():
    prepared = [msgspec.structs.replace(blocker(1), pid=None, prepared_gid=f"gid {number}") for number in range(2)]
    waits = [
        msgspec.structs.replace(wait(9 + number, 1), blocking_pid=None, prepared_gid=f"gid {number}")
        for number in range(2)
    ]
    ids = re.findall(r' id="(\w+)"', render_page(WATCH, facts(prepared, waits)))
    assert {"w9", "w10"} <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["hot_row", "journal_full", "breaker", "PgdoctorBlind", "agent"])
def test_topic_of_the_manual_is_plain_text_under_the_strict_policy(lone_agent: RunningAgent, name: str) -> None:
    page = lone_agent.get(f"/explain/{name}")
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert len(page.text.splitlines()) > 5


@pytest.mark.parametrize("name", ["teapot", "..%2fagent", "%3Cscript%3E", "agent.md", "x" * 5_000, ""])
def test_unknown_topic_is_not_found_and_not_echoed(lone_agent: RunningAgent, name: str) -> None:
    page = lone_agent.get(f"/explain/{name}")
    assert page.status_code == 404
    assert page.headers["content-type"] == "application/json"
    assert "script" not in page.text
