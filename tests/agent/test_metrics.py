"""The set of series is the same whatever happens on the server, and says nothing that a user chose."""

import asyncio
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from pgdoctor.agent.metrics import MetricsSource
from pgdoctor.agent.metrics_page import STATES_OF_PROCESS, MetricsPage, prefers_open_metrics
from pgdoctor.agent.polling.counters import BOUNDS, Counters, Durations
from pgdoctor.agent.polling.state import ServerState, compute_figures
from pgdoctor.diagnosis.cause import class_names
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.incidents.incident import IncidentEvent, IncidentPoll, advance_incident, recur_incident
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.model.snapshot import Connections, Lock, Relation, ServerInfo, Session, Snapshot
from pgdoctor.postgres.connection_errors import STATES
from tests.agent.running import series

NOW = datetime(2026, 5, 22, 23, 10, tzinfo=UTC)
#: Stands for all that users choose: names, statements, literals.
SECRET = "zq7secret"

#: Statements of every class, and some that are none.
STATEMENTS = [
    f"alter table {SECRET} add x int",
    f"select * from {SECRET} where v = '{SECRET}'",
    f"update t set v = 1 where w = '{SECRET}'",
    f"lock table {SECRET}",
    f"vacuum {SECRET}",
    f"autovacuum: VACUUM {SECRET}",
    f"select pg_advisory_lock(1, '{SECRET}')",
    "commit",
    f"'{SECRET}",
    "",
    None,
]
PIDS = range(1, 9)
#: Of one server, whatever happens on it.
MOST_SERIES = 400


def server(hidden: int = 0) -> ServerInfo:
    return ServerInfo(
        version_num=180000,
        in_recovery=False,
        max_connections=100,
        connections=10,
        connections_by_state=Connections(active=3, unknown=hidden),
        database=SECRET,
        database_oid=1,
        hidden_sessions=hidden,
    )


@st.composite
def locks(draw: st.DrawFn, pid: int) -> Lock:
    granted = draw(st.booleans())
    locktype = draw(st.sampled_from(["relation", "transactionid", "tuple", "virtualxid", "advisory", SECRET]))
    return Lock(
        pid=pid,
        locktype=locktype,
        database=draw(st.sampled_from([0, 1, 2])),
        relation=7 if locktype in ("relation", "tuple") else None,
        page=None,
        tuple=None,
        virtualxid=None,
        transactionid=5 if locktype == "transactionid" else None,
        classid=None,
        objid=None,
        objsubid=None,
        virtualtransaction="1/1",
        mode=draw(st.sampled_from(["AccessShareLock", "RowExclusiveLock", "AccessExclusiveLock", SECRET])),
        granted=granted,
        waitstart=None if granted else NOW - timedelta(seconds=draw(st.floats(0, 1e6))),
    )


@st.composite
def sessions(draw: st.DrawFn, pid: int) -> Session:
    return Session(
        pid=pid,
        blockers=tuple(draw(st.lists(st.sampled_from(PIDS), max_size=4))),
        locks=tuple(draw(st.lists(locks(pid), max_size=3))),
        usename=SECRET,
        datname=SECRET,
        application_name=SECRET,
        backend_type=draw(st.sampled_from(["client backend", "autovacuum worker", "walsender", SECRET, None])),
        state=draw(st.sampled_from(["active", "idle", "idle in transaction", SECRET, None])),
        statement=draw(st.sampled_from(STATEMENTS)),
        wait_event_type=draw(st.sampled_from(["Lock", "Client", None])),
        wait_event=draw(st.sampled_from(["SyncRep", "ClientRead", SECRET, None])),
        xact_start=draw(st.sampled_from([None, NOW - timedelta(seconds=100)])),
        state_change=NOW - timedelta(seconds=10),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    pids = draw(st.sets(st.sampled_from(PIDS)))
    return Snapshot(
        captured_at=NOW,
        server=server(draw(st.sampled_from([0, 3]))),
        sessions={pid: draw(sessions(pid)) for pid in sorted(pids)},
        relations={7: Relation(oid=7, name=SECRET, kind="r", is_system=False, pages=10, live_rows=1e6)},
        former_holders={7: frozenset({1, 2})},
    )


def shown(state: ServerState) -> str:
    return exposed([MetricsSource(None, state, Counters(), Mitigator(Mitigation()))])


def exposed(watched: list[MetricsSource], accept: str = "") -> str:
    return (
        MetricsPage(lambda: watched, {}, lambda: 0, lambda: dict.fromkeys(STATES_OF_PROCESS, True))
        .fetch_page(accept)[0]
        .decode()
    )


def found(snapshot: Snapshot) -> ServerState:
    diagnosis = diagnose(snapshot)
    return ServerState(
        connection="connected",
        error=None,
        server=snapshot.server,
        diagnosis=diagnosis,
        figures=compute_figures(diagnosis),
    )


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("text/plain, application/openmetrics-text", True),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.6", True),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=9.9.9", False),
        ("application/openmetrics-text;q=nonsense", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/vnd.google.protobuf, text/html, */*", False),
        ("", False),
    ],
)
def test_the_format_is_the_one_that_is_liked_best(accept: str, wanted: bool):
    assert prefers_open_metrics(accept) is wanted


def test_simultaneous_requests_share_a_page_and_later_ones_get_a_newer_page():
    asyncio.run(ask_together())


async def ask_together() -> None:
    made = 0

    def watched() -> list[MetricsSource]:
        nonlocal made
        made += 1
        return []

    exposition = MetricsPage(watched, {}, lambda: made, dict)
    pages = [exposition.page_of_this_turn("") for _ in range(10)]
    assert made == 1
    assert len(set(pages)) == 1
    await asyncio.sleep(0)
    assert series(exposition.page_of_this_turn("")[0].decode())["pgdoctor_log_messages_dropped_total"] == 2


ALWAYS = series(shown(ServerState())).keys()


@given(snapshots())
def test_the_series_are_the_same_and_say_nothing_of_users(snapshot: Snapshot):
    state = found(snapshot)
    page = shown(state)
    values = series(page)
    assert values.keys() == ALWAYS
    assert SECRET not in page
    assert values["pgdoctor_blocked_sessions"] == state.diagnosis.blocked_sessions
    by_class = [values[f'pgdoctor_blockers{{class="{name}"}}'] for name in class_names()]
    assert sum(by_class) == len(state.diagnosis.blockers)
    for name in class_names():
        assert values[f'pgdoctor_blocked_sessions_by_class{{class="{name}"}}'] <= state.diagnosis.blocked_sessions
    assert all(value >= 0 for value in values.values())
    assert len(values) < MOST_SERIES


@pytest.mark.parametrize("connection", ["", *STATES])
def test_one_state_at_most_is_hot(connection):
    values = series(shown(ServerState(connection=connection)))
    assert values.keys() == ALWAYS
    hot = [name for name, value in values.items() if value and name.startswith("pgdoctor_connection_state")]
    assert hot == ([f'pgdoctor_connection_state{{state="{connection}"}}'] if connection else [])


def test_two_roots_of_one_class_do_not_count_a_session_twice():
    waiting = Session(pid=3, blockers=(1, 2), state="active")
    idle = [Session(pid=pid, state="idle in transaction", backend_type="client backend") for pid in (1, 2)]
    snapshot = Snapshot(NOW, server(), {each.pid: each for each in (*idle, waiting)})
    counted = found(snapshot).figures
    assert counted.blockers["idle_in_transaction"] == 2
    assert counted.blocked_by_class["idle_in_transaction"] == 1


def test_outdated_state_is_not_shown():
    state = found(Snapshot(NOW, server()))
    assert state.as_of(2.9, interval=1.0, deadline=5.0) is state
    late = state.as_of(3.1, interval=1.0, deadline=5.0)
    assert (late.up, late.connection, late.diagnosis, late.figures) == (False, "timeout", None, None)


def test_a_moment_is_not_too_old_however_short_the_interval():
    state = found(Snapshot(NOW, server()))
    assert state.as_of(0.9, interval=0.1, deadline=5.0).up
    assert not state.as_of(1.1, interval=0.1, deadline=5.0).up


def test_a_poll_that_takes_longer_than_the_interval_is_not_lost():
    found_slowly = ServerState(diagnosis=diagnose(Snapshot(NOW, server())), duration=2.0)
    assert found_slowly.as_of(5.9, interval=1.0, deadline=9.0).up
    assert not found_slowly.as_of(6.1, interval=1.0, deadline=9.0).up


def test_slow_poll_is_too_old_once_gate_and_full_poll_would_have_failed():
    found_slowly = ServerState(diagnosis=diagnose(Snapshot(NOW, server())), duration=34.0)
    assert found_slowly.as_of(10.9, interval=1.0, deadline=5.0).up
    assert not found_slowly.as_of(11.1, interval=1.0, deadline=5.0).up


def test_blind_is_not_visible():
    assert series(shown(found(Snapshot(NOW, server(hidden=2)))))["pgdoctor_visibility"] == 0
    assert series(shown(found(Snapshot(NOW, server()))))["pgdoctor_visibility"] == 1


def test_durations_fall_into_their_buckets():
    durations = Durations()
    for seconds in (0.0, BOUNDS[0], BOUNDS[-1] + 1):
        durations.add(seconds)
    assert (durations.bounds[0], durations.sum_buckets()[0]) == (str(BOUNDS[0]), 2)
    assert durations.bounds[-2:] == (str(BOUNDS[-1]), "+Inf")
    assert durations.sum_buckets()[-2:] == (2, 3)


def test_every_help_text_of_a_finding_says_how_old_it_may_be():
    texts = [line for line in shown(ServerState()).splitlines() if line.startswith("# HELP pgdoctor_block")]
    assert texts
    assert all("last poll" in text for text in texts)


def test_no_help_text_looks_like_a_sample():
    """A script that waits for the text "pgdoctor_up 1" must not find it in the HELP line."""
    texts = [line.removeprefix("# HELP ") for line in shown(ServerState()).splitlines() if line.startswith("# HELP ")]
    assert texts
    assert not [text for text in texts if text.partition(" ")[2][:1].isdigit()]


def test_waits_below_the_threshold_are_not_counted():
    def waiter(pid: int, blocker: int, seconds: float | None, query_seconds: float = 100.0) -> Session:
        since = None if seconds is None else NOW - timedelta(seconds=seconds)
        asked = Lock(pid, "relation", 1, 7, *[None] * 8, "AccessShareLock", False, since)  # type: ignore[arg-type]
        began = NOW - timedelta(seconds=query_seconds)
        return Session(pid=pid, blockers=(blocker,), locks=(asked,), query_start=began, state="active")

    idle = [Session(pid=pid, state="idle in transaction", backend_type="client backend") for pid in (1, 2)]
    young, old, unknown = waiter(3, 1, 0.01), waiter(4, 2, 5.0), waiter(5, 3, None)
    fresh = waiter(6, 1, None, query_seconds=0.01)
    snapshot = Snapshot(NOW, server(), {each.pid: each for each in (*idle, young, old, unknown, fresh)})
    diagnosis = diagnose(snapshot)
    counted = compute_figures(diagnosis, 0.1)
    # 5 waits for the young 3, and so for 1: both are counted, for a session has waited for them.
    assert counted.blocked_sessions == 2
    assert counted.blockers["idle_in_transaction"] == 2
    assert sum(counted.blockers.values()) == 3
    assert counted.blocked_by_class["idle_in_transaction"] == 2
    assert (counted.oldest_wait, counted.depth) == (5.0, 2)
    assert compute_figures(diagnosis, 0.0).blocked_sessions == 4
    nobody = compute_figures(diagnose(Snapshot(NOW, server(), {each.pid: each for each in (*idle, young, fresh)})), 0.1)
    assert (nobody.blocked_sessions, nobody.leading, sum(nobody.blockers.values())) == (0, None, 0)


def test_blocked_seconds_are_counted_by_class() -> None:
    counters = Counters()
    counters.add_blocked(3, {"migration": 3, "hot_row": 1}, 2.0)
    counters.add_blocked(1, {"migration": 1}, 0.5)
    page = series(exposed([MetricsSource(None, ServerState(), counters, None)]))
    assert page["pgdoctor_blocked_session_seconds_total"] == 6.5
    by_class = "pgdoctor_blocked_session_seconds_by_class_total"
    assert page[f'{by_class}{{class="migration"}}'] == 6.5
    assert page[f'{by_class}{{class="hot_row"}}'] == 2.0
    assert page[f'{by_class}{{class="backup"}}'] == 0.0


def test_page_link_of_each_server_follows_the_external_url() -> None:
    def links(url: str | None, *names: str | None) -> set[str]:
        watched = [MetricsSource(name, ServerState(), Counters(), None) for name in names]
        page = MetricsPage(lambda: watched, {}, lambda: 0, dict, external_url=lambda: url).fetch_page("")[0].decode()
        return {name for name in series(page) if name.startswith("pgdoctor_page")}

    assert links(None, "a") == set()
    assert links("http://h/p", None) == {'pgdoctor_page_info{manual="http://h/p/explain/",url="http://h/p/"}'}
    assert links("http://h/p/", "a", "b") == {
        f'pgdoctor_page_info{{manual="http://h/p/explain/",server="{name}",url="http://h/p/?server={name}"}}'
        for name in "ab"
    }


def ended_incident() -> Counters:
    counters = Counters()
    incident, started = advance_incident(None, IncidentPoll(NOW, 3, "migration"))
    incident, changed = advance_incident(incident, IncidentPoll(NOW + timedelta(seconds=7), 4, "hot_row"))
    for seconds in (8, 9):
        incident, ended = advance_incident(incident, IncidentPoll(NOW + timedelta(seconds=seconds), 0))
    for event in (*started, *changed, *ended):
        counters.add_event(event, now=1e9)
    return counters


TWO_SERVERS = [
    MetricsSource("shop", ServerState(connection="refused"), ended_incident(), Mitigator(Mitigation())),
    MetricsSource("ledger", ServerState(), Counters(), Mitigator(Mitigation())),
]
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def test_an_incident_counts_under_each_class_that_led_it():
    values = series(exposed(TWO_SERVERS))
    for name, number in {"migration": 1, "hot_row": 1, "unknown": 0}.items():
        assert values[f'pgdoctor_incidents_total{{class="{name}",server="shop"}}'] == number
    assert values['pgdoctor_incident_duration_seconds_sum{server="shop"}'] == 8


def test_incident_that_comes_back_counts_no_second_twice():
    counters = ended_incident()
    incident, _ = advance_incident(None, IncidentPoll(NOW, 3, "migration"))
    at = NOW + timedelta(seconds=20)
    again, events = recur_incident(incident, NOW + timedelta(seconds=8), IncidentPoll(at, 2, "migration"))
    ended = IncidentEvent("ended", again, at + timedelta(seconds=5))
    for event in (*events, ended):
        counters.add_event(event, now=1e9)
    values = series(exposed([MetricsSource("shop", ServerState(), counters, None)]))
    assert values['pgdoctor_incident_duration_seconds_sum{server="shop"}'] == 8 + 5
    assert values['pgdoctor_incident_duration_seconds_count{server="shop"}'] == 2


def test_examples_of_incidents_are_shown_in_openmetrics_only():
    assert "20260522T231000000" not in exposed(TWO_SERVERS)
    families = list(openmetrics.text_string_to_metric_families(exposed(TWO_SERVERS, OPEN_METRICS)))
    examples = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    assert [(each.labels, each.value) for each in examples] == [({"incident": "20260522T231000000"}, 8.0)]


def test_of_several_servers_each_has_all_series_with_its_label():
    values = series(exposed(TWO_SERVERS))
    named = {server: {name for name in values if f'server="{server}"' in name} for server in ("shop", "ledger")}
    assert {name.replace("shop", "ledger") for name in named["shop"]} == named["ledger"]
    # What is left is about the process.
    left = values.keys() - named["shop"] - named["ledger"]
    assert {name.partition("{")[0].removeprefix("pgdoctor_") for name in left if name.startswith("pgdoctor_")} == {
        "log_messages_dropped_total",
        "notifications_queued",
        "journal_size_bytes",
        "journal_lasting_bytes",
        "journal_max_size_bytes",
        *STATES_OF_PROCESS,
        "build_info",
    }
    # Of each family only one heading, or Prometheus takes none of it.
    headings = [line for line in exposed(TWO_SERVERS).splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings))


def test_the_page_parses_and_tells_how_the_process_is():
    families = {each.name for each in parser.text_string_to_metric_families(exposed(TWO_SERVERS))}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= families


#: What `promtool check metrics` complains of in a name: units that are not base units, types, reserved suffixes.
UNITS = "milliseconds|microseconds|ms|us|sec|secs|minutes|hours|days|kilobytes|kb|mb|megabytes|bits|percent"
TYPES = "counter|gauge|histogram|summary|metric"


@pytest.mark.parametrize("watched", [TWO_SERVERS, TWO_SERVERS[:1]], ids=["two", "one"])
def test_names_and_help_texts_are_as_prometheus_wants_them(watched):
    page = exposed(watched)
    families = list(parser.text_string_to_metric_families(page))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name), family.name
        assert family.documentation.strip(), family.name
        assert not re.search(rf"(^|_)({UNITS}|{TYPES})(_|$)", family.name), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), family.name
        assert f"# TYPE {family.name}{'_total' if family.type == 'counter' else ''} {family.type}" in page
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in sample.labels), sample
            assert ("le" in sample.labels) == sample.name.endswith("_bucket"), sample
            if family.type == "counter":
                assert sample.name == f"{family.name}_total"
        identities = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(identities)) == len(identities), family.name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
@pytest.mark.parametrize(
    "watched", [TWO_SERVERS, [MetricsSource(None, ServerState(), Counters(), None)]], ids=["two", "one"]
)
def test_promtool_finds_nothing_to_complain_about(watched):
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=exposed(watched), capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
