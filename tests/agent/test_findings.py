"""Findings of a real agent: on /diagnosis, as a metric, and without a delay of its polls."""

import json
from concurrent.futures import ThreadPoolExecutor, wait

import psycopg
import pytest

from pgdoctor.diagnosis.finding import finding_kinds
from pgdoctor.postgres.signal import LEADER_KEY
from tests.forked import pgdoctor
from tests.scenes import Scene
from tests.scenes.client import wait_until


def found(watching):
    return [note["kind"] for note in watching.get("/diagnosis").json()["findings"]]


def test_every_kind_is_there_from_the_first_scrape_on(lone_agent):
    series = {name: value for name, value in lone_agent.metrics().items() if name.startswith("pgdoctor_findings{")}
    assert series == {f'pgdoctor_findings{{kind="{kind}"}}': 0 for kind in finding_kinds()}


def test_findings_do_not_need_a_lock_wait(own_server, agent):
    with Scene(own_server(max_connections=20, settings={"synchronous_standby_names": "nobody"}).dsn) as scene:
        scene.admin.execute("create table orders (id int)")
        hanging = scene.client(autocommit=True).start("insert into orders values (1)")
        scene.wait_until(lambda: "SyncRep" in hanging.shown())
        watching = agent(scene.dsn)
        wait_until(lambda: watching.metrics()['pgdoctor_findings{kind="sync_standby_lost"}'] == 1, 20)
        assert found(watching) == ["sync_standby_lost"]
        [note] = watching.get("/diagnosis").json()["findings"]
        assert note["numbers"]["sessions"] == 1
        assert watching.metric("blocked_sessions") == 0


@pytest.mark.long
def test_a_locked_catalog_costs_evidence_and_no_poll(own_server, agent):
    """The agent was there before the lock; what it reads then and cannot get is said."""
    server = own_server()
    with Scene(server.dsn) as scene:
        watching = agent(scene.dsn)
        watching.wait_for("up", 1)
        scene.client("lock table pg_catalog.pg_database")
        wait_until(lambda: "evidence" in found(watching), 30)
        assert "could not be read" in json.dumps(watching.get("/diagnosis").json()["findings"])
        before = watching.metric("poll_duration_seconds_count")
        wait_until(lambda: watching.metric("poll_duration_seconds_count") > before + 10, 20)
        assert watching.metric("up") == 1


@pytest.mark.long
def test_changes_are_reported_while_a_session_is_blocked(own_server, agent):
    server = own_server()
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
        watching = agent(scene.dsn)
        watching.wait_for("up", 1)
        scene.client("update orders set v = 1", application_name="backfill")
        migration = scene.client(application_name="deploy 1.4.2").block("alter table orders add column secret text")
        wait_until(lambda: "recent_changes" in found(watching), 20)
        [note] = watching.get("/diagnosis").json()["findings"]
        assert note["severity"] == "info"
        assert "the server started" in " ".join(note["evidence"])
        assert 'alter table orders add column secret text by "deploy 1.4.2"' in " ".join(note["evidence"])
        assert migration.busy


@pytest.mark.long
def test_restart_of_the_server_is_a_change(own_server, agent):
    server = own_server()
    with psycopg.connect(server.dsn, application_name="checkout"):
        watching = agent(server.dsn)
        # The first time the surroundings are read it is unknown what was there before.
        wait_until(lambda: watching.get("/").text.count("of <bdi>"), 20)
    server.halt()
    server.start()
    watching.wait_for("up", 0)
    watching.wait_for("up", 1)
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table orders (id int)")
        with_orders = agent(scene.dsn)
        scene.client("lock table orders")
        scene.client().block("select from orders")
        for each, what in ((watching, "the server restarted"), (with_orders, "the server started")):
            wait_until(lambda each=each, what=what: what in json.dumps(each.get("/diagnosis").json()["findings"]), 40)


@pytest.mark.long
def test_ddl_of_a_session_that_is_gone_is_reported_too(own_server, agent):
    with Scene(own_server().dsn) as scene:
        scene.admin.execute("create table orders (id int); create table other (id int)")
        watching = agent(scene.dsn)
        watching.wait_for("up", 1)
        # The first time the surroundings are read it is unknown what was there before.
        wait_until(lambda: watching.get("/").text.count("of <bdi>"), 20)
        with psycopg.connect(scene.dsn, autocommit=True) as gone:
            gone.execute("alter table orders add column c text")
            gone.execute("create temporary table mine (id int)")
            gone.execute("analyze other")
        scene.client("lock table other", application_name="oops")
        scene.client().block("select from other")
        altered = "table public.orders was created, altered or rewritten"
        wait_until(lambda: altered in json.dumps(watching.get("/diagnosis").json()["findings"]), 40)
        told = json.dumps(watching.get("/diagnosis").json()["findings"])
        assert "public.other was" not in told
        assert "mine" not in told


@pytest.mark.long
@pytest.mark.deadline(180)
@pytest.mark.parametrize("connecting_anew", [(), ("-C", "--rate=20")], ids=["full load", "connecting anew"])
def test_a_busy_healthy_server_has_no_findings(own_server, agent, connecting_anew):
    """pgbench for a minute, sixteen clients: at full load, and at a modest rate with a new connection each time."""
    server = own_server()
    pgbench = server.bindir / "pgbench"
    with Scene(server.dsn) as scene, ThreadPoolExecutor(1) as pool:
        watching = agent(scene.dsn, interval="1s", deadline="5s", share=0.02)
        server.run(pgbench, "-i", "-s", "4", "-q", scene.dsn, seconds=60)
        load = pool.submit(
            server.run, pgbench, "-c", "16", "-j", "2", "-T", "60", *connecting_anew, scene.dsn, seconds=120
        )
        seen, asked = set(), []
        while not load.done():
            seen.update(found(watching))
            if not seen and len(asked) < 3:
                asked.append(json.loads(pgdoctor("triage", "--format", "json", "--dsn", scene.dsn).stdout))
            wait([load], timeout=0.5)
        assert "number of failed transactions: 0" in load.result() or scene.admin.info.server_version < 150_000
        assert (seen, [each["findings"] for each in asked]) == (set(), [[], [], []])


def test_h59_log_page_metric_and_commands_name_the_stranger(scene, agent):
    dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
    stranger = psycopg.connect(scene.role("app"), autocommit=True, application_name="psql")
    stranger.execute("select pg_advisory_lock(%s)", [LEADER_KEY])
    pid = stranger.info.backend_pid
    watching = agent(dsn)
    wait_until(lambda: watching.metric("leader_lock_strangers") == 1, 30)
    assert watching.metrics()['pgdoctor_findings{kind="leader_lock"}'] == 1
    event = "a session other than pgdoctor holds a lock of the leader election"
    [line] = [each for each in watching.wait_for_lines(event) if each["event"] == event]
    assert (line["level"], line["pid"], line["usename"]) == ("critical", pid, "app")
    assert (line["client_addr"], line["application_name"]) == ("127.0.0.1", "psql")
    for text in (watching.get("/").text, watching.get("/diagnosis").text):
        assert f"PID {pid}" in text
        assert "127.0.0.1" in text
    shown = pgdoctor("mitigate", "--dsn", dsn)
    assert f"\n\ncritical: PID {pid}, " in shown.stdout
    told = json.loads(pgdoctor("mitigate", "--format", "json", "--dsn", dsn).stdout)
    assert told["findings"][0]["severity"] == "critical"
    stranger.close()
    wait_until(lambda: watching.metric("leader_lock_strangers") == 0, 30)
