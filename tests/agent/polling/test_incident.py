"""A block, from its beginning to its end, as metrics, JSON and page show it."""

import json
import time

import psycopg
import pytest

from tests.agent.test_metrics import MOST_SERIES
from tests.scenes.client import wait_until

#: What has to have been waited for before it counts, by default.
THRESHOLD = 0.1


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v text)")
    scene.admin.execute("insert into orders values (1, 'x')")


@pytest.mark.usefixtures("orders")
def test_a_block_shows_within_two_polls_and_is_gone_within_two(scene, agent):
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    holder = scene.client("update orders set v = 'hidden-one' where id = 1")
    waiter = scene.client(application_name="check<out>").block("update orders set v = 'hidden-two' where id = 1")
    time.sleep(THRESHOLD)
    # One may be in progress already; the next one sees it.
    metrics = watching.wait_for_polls(2)
    assert metrics["pgdoctor_blocked_sessions"] == 1
    assert metrics['pgdoctor_blockers{class="idle_in_transaction"}'] == 1
    assert metrics['pgdoctor_blocked_sessions_by_class{class="idle_in_transaction"}'] == 1
    assert metrics['pgdoctor_oldest_blocker_transaction_seconds{class="idle_in_transaction"}'] > 0
    assert metrics['pgdoctor_connections{state="idle in transaction"}'] >= 1

    found = watching.get("/diagnosis").json()
    [wait] = found["waits"]
    assert (wait["blocked_pid"], wait["blocking_pid"]) == (waiter.pid, holder.pid)
    assert found["blockers"][0]["class"] == "idle_in_transaction"

    page = watching.get("/").text
    assert f'id="b{holder.pid}"' in page
    assert f'id="w{waiter.pid}"' in page
    assert "check&lt;out&gt;" in page
    for text in (page, json.dumps(found), watching.get("/metrics").text):
        assert "hidden-" not in text

    holder.run("commit")
    metrics = watching.wait_for_polls(2)
    assert metrics["pgdoctor_blocked_sessions"] == 0
    assert metrics['pgdoctor_blockers{class="idle_in_transaction"}'] == 0
    assert metrics["pgdoctor_oldest_wait_seconds"] == 0
    assert watching.get("/diagnosis").json()["waits"] == []


def test_the_wait_grows_older(scene, agent):
    scene.admin.execute("create table t ()")
    watching = agent(scene.dsn)
    scene.client("lock table t")
    scene.client().block("select from t")
    wait_until(lambda: watching.metric("oldest_wait_seconds") > 0.5, 5)
    assert watching.metric("oldest_wait_seconds") < 60


def test_a_role_without_rights_is_shown_as_blind(scene, agent):
    watching = agent(scene.role("watcher"))
    watching.wait_for("up", 1)
    assert watching.metric("visibility") == 0
    deep = watching.get("/health/deep")
    assert deep.status_code == 503
    assert deep.json()["status"] == "DEGRADED"
    assert "pg_monitor" in deep.json()["components"]["database"]["error"]
    page = watching.get("/").text
    assert "cannot be seen" in page
    assert "pg_monitor" in page


def test_a_role_with_rights_is_not_blind(scene, agent):
    watching = agent(scene.role("watcher", "pg_monitor"))
    watching.wait_for("visibility", 1)
    deep = watching.get("/health/deep").json()
    assert deep["status"] == "UP"
    assert deep["components"]["database"]["max_connections"] > deep["components"]["database"]["active_connections"] > 0
    assert deep["components"]["database"]["latency_ms"] > 0


def test_the_connection_is_the_same_from_poll_to_poll(scene, agent):
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)

    def sessions():
        return scene.admin.execute(
            "select pid from pg_stat_activity where application_name = 'pgdoctor' and datname = current_database()"
        ).fetchall()

    [first] = sessions()
    watching.wait_for_polls(6)
    assert sessions() == [first]


def test_under_enforce_it_releases_the_waiters(scene, agent):
    rule = (
        'name = "idle"\nclass = "idle_in_transaction"\naction = "terminate"\nmin_wait = "300ms"\nmin_session_age = "0s"'
    )
    quick = 'min_samples = 2\nstartup_grace = "0s"\nallow_short_waits = true\nallow_superuser = true'
    table = f'[mitigation]\nmode = "enforce"\n{quick}\n[[mitigation.rules]]\n{rule}\n'
    watching = agent(scene.dsn, more=table, arguments=("--enforce",))
    watching.wait_for("up", 1)
    acted = 'actions_total{action="terminate",outcome="released",rule="idle"}'
    assert watching.metric(acted) == 0
    assert "ARMED" in watching.get("/").text
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    waiter.finish()
    watching.wait_for(acted, 1)
    with pytest.raises(psycopg.Error):
        holder.run("select 1")
    said = [line["event"] for line in watching.lines if line["logger"] == "pgdoctor.mitigation"]
    assert said == ["mitigation intent", "mitigation outcome"]


def test_without_rules_it_touches_no_session(scene, agent):
    watching = agent(scene.dsn)
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    scene.client().block("select from t")
    watching.wait_for("blocked_sessions", 1)
    watching.wait_for_polls(6)
    assert holder.run("select 1") == [(1,)]
    assert not [line for line in watching.lines if line["logger"] == "pgdoctor.mitigation"]


def test_a_wait_below_the_threshold_is_no_incident(scene, agent):
    watching = agent(scene.dsn, more='wait_threshold = "1500ms"')
    watching.wait_for("up", 1)
    scene.admin.execute("create table t ()")
    scene.client("lock table t")
    began = time.monotonic()
    scene.client().block("select from t")
    assert watching.get("/diagnosis").json()["waits"] == []
    watching.wait_for("blocked_sessions", 1)
    assert time.monotonic() - began > 1.4
    # The diagnosis says what is waited for at this moment, the figures the blocked sessions: a second one has just
    # come.
    scene.client().block("select from t")
    counted = 0
    while counted < 2:
        waits, counted = of_one_poll(watching)
        assert counted == sum(wait["wait_seconds"] >= 1.5 for wait in waits) <= len(waits)


def of_one_poll(watching):
    """What the diagnosis says of waits, and how many blocked sessions the metrics count."""
    while True:
        before, waits, now = watching.metrics(), watching.get("/diagnosis").json().get("waits", []), watching.metrics()
        polls = "pgdoctor_poll_duration_seconds_count"
        if before[polls] == now[polls]:
            return waits, now["pgdoctor_blocked_sessions"]


def test_an_incident_is_counted_with_its_waiting_and_its_end(scene, agent):
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    before = watching.metrics()
    assert before["pgdoctor_blocked_session_seconds_total"] == 0
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    began = time.monotonic()
    waiters = [scene.client().block("select from t") for _ in range(2)]
    watching.wait_for("blocked_sessions", 2)
    wait_until(lambda: watching.metric("blocked_session_seconds_total") > 2, 5)
    assert watching.metric("wait_depth") == 1
    assert len(watching.metrics()) < MOST_SERIES
    assert watching.metric('incidents_total{class="idle_in_transaction"}') == 1
    holder.run("commit")
    for waiter in waiters:
        waiter.finish()
    waited = time.monotonic() - began
    watching.wait_for("incident_duration_seconds_count", 1)
    after = watching.metrics()
    # They may have come, and gone, right after a poll; a gap of more than a second between two is not counted.
    assert 2 < after["pgdoctor_blocked_session_seconds_total"] <= 2 * (waited + 2)
    assert sum(number for name, number in after.items() if "incidents_total" in name) == 1
    for name in ("statements_total", "received_bytes_total"):
        assert after[f"pgdoctor_{name}"] > before[f"pgdoctor_{name}"] > 0
    lines = watching.wait_for_lines("incident ended")
    told = [line["event"] for line in lines if line["event"].startswith("incident")]
    assert told == ["incident started", "incident ended"]


def test_a_circle_is_counted(scene, agent):
    scene.admin.execute("create table a (); create table b ()")
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    first, second = scene.client("lock table a"), scene.client("lock table b")
    for each in (first, second):
        each.run("set deadlock_timeout = '20s'")
    first.block("select from b")
    second.block("select from a")
    watching.wait_for("wait_cycles", 1)


@pytest.mark.parametrize(
    "catalog", ["pg_authid", *(pytest.param(each, marks=pytest.mark.long) for each in ("pg_class", "pg_database"))]
)
def test_a_locked_catalog_does_not_blind_it(scene, agent, catalog):
    scene.admin.execute("create table t ()")
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    # The waiter knows the table already: it would wait for the catalog.
    waiter = scene.client("select from t", "commit")
    locker, holder = scene.client("select 1"), scene.client("lock table t")
    locker.run(f"lock table pg_catalog.{catalog} in access exclusive mode")
    # The waiters cannot be read now, so it is not waited for here.
    waiter._begin("select from t")
    # The server's own processes may come to wait for a catalog too.
    wait_until(lambda: watching.metric("blocked_sessions") >= 1, 10)
    now = watching.wait_for_polls(4)
    assert now["pgdoctor_up"] == 1
    assert now['pgdoctor_connections{state="active"}'] >= 1

    def blocked() -> list[int]:
        return [wait["blocked_pid"] for wait in watching.get("/diagnosis").json()["waits"]]

    assert waiter.pid in blocked()
    holder.run("commit")
    waiter.finish()
    wait_until(lambda: waiter.pid not in blocked())
    locker.run("rollback")
    watching.wait_for("blocked_sessions", 0)
    assert not [line for line in watching.lines if line["event"] == "server cannot be polled"]


def test_a_poll_that_fails_is_no_healthy_server(scene, agent):
    scene.admin.execute("create table t ()")
    dsn = scene.role("watcher", "pg_monitor")
    watching = agent(dsn, share=0.01)
    watching.wait_for("up", 1)
    scene.admin.execute("revoke execute on function pg_blocking_pids(int) from public")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    watching.wait_for('connection_state{state="error"}', 1)
    polls = watching.metric("poll_duration_seconds_count")
    for _ in range(20):
        # Between two polls too, where only the gate is asked, and answers.
        assert watching.metric("up") == 0
        time.sleep(0.05)
    assert watching.metric("poll_duration_seconds_count") > polls
    assert "permission denied" in watching.get("/health/deep").json()["components"]["database"]["error"]
    scene.admin.execute("grant execute on function pg_blocking_pids(int) to public")
    watching.wait_for("blocked_sessions", 1)
    holder.run("commit")
    waiter.finish()
