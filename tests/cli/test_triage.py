"""`pgdoctor triage` as a person types it: one screen, the right layer, the right exit status."""

import json
import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from tests.cli.on_terminal import on_terminal
from tests.cli.test_bad_input import SECRET, complains
from tests.diagnosis.findings.observing import clients
from tests.forked import pgdoctor
from tests.scenes import Scene
from tests.scenes.client import wait_until


def triage(dsn, *arguments):
    result = pgdoctor("triage", "--dsn", dsn, *arguments)
    assert (result.returncode in (0, 1), result.stderr) == (True, ""), result
    return result


def facts(dsn):
    return json.loads(triage(dsn, "--format", "json").stdout)


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int, note text); insert into orders values (1, 0)")
    return scene


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--format", "tree"), "'text', 'json'"),
        (("--dsn", "host"), "is not valid"),
        (("shop", "ada", "now"), "unexpected"),
    ],
)
def test_wrong_usage_is_one_line_and_two(arguments, word):
    complains(pgdoctor("triage", *arguments), 2, word)


def test_no_server_is_one_line_and_three():
    result = pgdoctor("triage", "--dsn", f"postgresql://app:{SECRET}@127.0.0.1:1/shop")
    complains(result, 3, "refused. No server listens there: is PostgreSQL running")


def test_a_server_without_a_connection_left_is_reported_as_such(own_server):
    with Scene(own_server(max_connections=5).dsn) as scene:
        for _ in range(4):
            scene.client()
        complains(pgdoctor("triage", "--dsn", scene.dsn), 3, "too many clients already. No connection is free")


@pytest.mark.long
def test_on_a_quiet_server_it_sends_people_elsewhere(orders):
    result = triage(orders.dsn, "--exit-code")
    assert result.returncode == 0
    assert "impact   no: no session is blocked" in result.stdout
    assert "layer    elsewhere: the server is nearly idle" in result.stdout
    assert "unseen   the machine itself" in result.stdout


@pytest.mark.long
def test_triage_shows_blocked_sessions_and_recent_changes(orders):
    before = datetime.now(UTC)
    reader = orders.client("select * from orders where note = 'secret'", application_name="reporting")
    alter = orders.client(application_name="deploy").block("alter table orders add column c text default 'secret'")
    for _ in range(4):
        orders.client(application_name="checkout").block("select * from orders where note = 'secret'")
    wait_until(lambda: datetime.now(UTC) - before > timedelta(seconds=1.5))
    found = facts(orders.dsn)
    assert (found["hurt"], found["layer"], found["blocked_sessions"]) == (True, "locks", 5)
    assert before - timedelta(seconds=1) < datetime.fromisoformat(found["since"]) < datetime.now(UTC)
    assert found["recommendation"]["pid"] == alter.pid
    [root] = found["roots"]
    assert (root["pid"], root["class"], root["relation"]) == (reader.pid, "idle_in_transaction", "public.orders")
    assert 'alter table orders add column c text default ? by "deploy" (postgres)' in [
        each["what"] for each in found["changes"]
    ]
    assert found["waits"] == {"Lock:relation": 5.0}
    result = triage(orders.dsn, "--exit-code")
    assert result.returncode == 1
    assert "impact   YES: 5 sessions blocked by 1 root blocker, the longest for" in result.stdout
    assert f"→ cancel {alter.pid} frees 4 sessions" in result.stdout
    assert "secret" not in result.stdout + json.dumps(found)


@pytest.mark.long
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_triage_fits_on_the_screen(own_server, columns):
    """Clients fill the connections and are blocked, a slot keeps WAL, a role has no sense of decency."""
    small = {"wal_level": "logical", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    with Scene(own_server(max_connections=30, settings=small).dsn) as scene:
        name = "<script>\u202e\x1b[2J\nx" + "ä" * 20
        scene.admin.execute("select pg_create_physical_replication_slot('stalled', true)")
        scene.admin.execute("select pg_logical_emit_message(false, 'test', repeat('x', 40000000))")
        scene.admin.execute(sql.SQL("create table {0} (i int)").format(sql.Identifier(name)))
        scene.role(name, "pg_monitor")
        scene.admin.execute(sql.SQL("grant all on {0} to {0}").format(sql.Identifier(name)))
        statement = f'select * from "{name}"'
        scene.client(sql.SQL("lock table {}").format(sql.Identifier(name)).as_string(None))
        for _ in range(20):
            scene.client(user=name).block(statement)
        shown = on_terminal("triage", scene.dsn, columns=columns, NO_COLOR="1")
    lines = shown.splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) <= (24 if columns >= 80 else 80)
    assert shown.replace("\n", "").isprintable()
    assert "YES: 20 sessions blocked by 1 root blocker" in " ".join(shown.split())


@pytest.mark.long
def test_connections_that_are_used_up_are_the_layer(own_server):
    with Scene(own_server(max_connections=20).dsn) as scene:
        for _ in range(16):
            scene.client(application_name="reporting")
        found = facts(scene.dsn)
        shown = triage(scene.dsn).stdout
    assert '"reporting" (postgres from 127.0.0.1): 16 connections, 16 idle' in " ".join(shown.split())
    assert (found["hurt"], found["layer"]) == (True, "connections")
    assert "connections are in use" in found["summary"]
    [note] = found["findings"]
    assert note["evidence"][0].startswith('"reporting" (postgres from 127.0.0.1): ')


@contextmanager
def working(scene, statement, clients=3):
    """Clients that run one long statement each."""
    yield [scene.client(autocommit=True).start(statement) for _ in range(clients)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("statement", "layer"),
    [
        ("select count(*) from generate_series(1, 1000000000) n where n % 7 = 3", "CPU"),
        ("select pg_sleep(60)", "elsewhere"),
    ],
)
def test_working_sessions_are_not_blocked_and_the_layer_is_their_wait(scene, statement, layer):
    scene.admin.execute("set statement_timeout = 0")
    with working(scene, statement):
        found = facts(scene.dsn)
    assert (found["hurt"], found["layer"]) == (False, layer)
    assert sum(found["waits"].values()) == pytest.approx(3, abs=0.5)


@pytest.mark.long
def test_a_role_that_sees_nothing_says_so_and_is_not_sure(orders):
    blind = orders.role("watching")
    orders.client()
    found = facts(blind)
    assert found["hurt"] is None
    assert "grant pg_monitor" in found["unseen"][0]
    assert "impact   unknown: no blocked session is visible" in triage(blind).stdout
    assert triage(blind, "--exit-code").returncode == 0


@pytest.mark.long
def test_the_pace_of_a_server_is_reported(orders):
    with clients(orders.dsn, 2, lambda each: each.execute("select * from orders")):
        found = facts(orders.dsn)
    assert found["transactions_per_second"] > 50
    assert (found["rolled_back"], found["hurt"]) == (pytest.approx(0, abs=0.01), False)
    assert found["cache_hits"] > 0.5


@pytest.mark.long
@pytest.mark.parametrize("keeps_commit_times", ["on", "off"])
def test_old_ddl_behind_an_open_transaction_is_not_said_to_be_new(own_server, keeps_commit_times):
    with Scene(own_server(settings={"track_commit_timestamp": keeps_commit_times}).dsn) as scene:
        scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
        scene.client("update orders set v = 1")
        with psycopg.connect(scene.dsn, autocommit=True) as gone:
            gone.execute("create table made_by_deploy (id int)")
        made = datetime.now(UTC)
        time.sleep(4)
        scene.client().block("update orders set v = 2")
        time.sleep(1.5)
        shown = triage(scene.dsn).stdout
        [change] = [each for each in facts(scene.dsn)["changes"] if "made_by_deploy" in each["what"]]
    at = datetime.fromisoformat(change["at"])
    if keeps_commit_times == "on":
        assert change["is_exact"]
        assert abs(at - made) < timedelta(seconds=1.5)
    else:
        assert (change["is_exact"], change["after"]) == (False, None)
        assert at > made
        assert "at an unknown time before " in shown
    assert not re.search("within the last .*made_by_deploy|^changed  [0-3][.].*made_by_deploy", shown)
