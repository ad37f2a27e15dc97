"""`pgdoctor holders`: each that holds or awaits a lock is listed, with bounds that hold, though no session waits."""

import json

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.test_bad_input import SECRET, complains
from tests.forked import pgdoctor
from tests.scenes import Scene


def holders(dsn, *arguments):
    result = pgdoctor("holders", *arguments, "--dsn", dsn)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout


def facts(dsn, *arguments):
    return json.loads(holders(dsn, *arguments, "--format", "json"))


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")
    return scene


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--advisory", "many"), "a bigint (42, -1, 0x2a), or two integers (1,2)"),
        (("--advisory", "9223372036854775808"), "a bigint"),
        (("--advisory", "1,4294967296"), "a bigint"),
        (("orders", "--format", "tree"), "'table', 'json'"),
    ],
)
def test_wrong_usage_is_one_line_and_two(arguments, word):
    complains(pgdoctor("holders", *arguments), 2, word)


def test_no_server_is_one_line_and_three():
    complains(pgdoctor("holders", "orders", "--dsn", f"postgresql://app:{SECRET}@127.0.0.1:1/shop"), 3, "refused")


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("nowhere", "no relation nowhere in database"),
        ("a b'c;", "is not the name of a relation"),
        ("orders", "is the name of several relations: archive.orders, public.orders"),
        ("2147483646", "no session has PID"),
    ],
)
def test_relation_that_is_not_there_is_one_line(orders, typed, word):
    orders.admin.execute("create schema archive; create table archive.orders (id int)")
    complains(pgdoctor("holders", typed, "--dsn", orders.dsn), 2, word)


def test_lock_without_a_holder_is_shown(orders):
    text = holders(orders.dsn, "public.orders")
    said = "holds or awaits a lock on public.orders (with 1 index, partition or toast table)."
    assert f"No session and no prepared transaction {said}" in text


def test_holder_and_waiter_of_a_table(orders):
    holder = orders.client("update orders set v = 4711", application_name="checkout")
    waiter = orders.client(application_name="deploy").block("alter table orders add column w text")
    found = facts(orders.dsn, "Orders")
    assert found["target"] == {"kind": "relation", "name": "public.orders", "includes": ["public.orders_pkey"]}
    on_table = [each for each in found["locks"] if each["object"] == "public.orders"]
    assert {(each["pid"], each["mode"], each["granted"]) for each in on_table} == {
        (holder.pid, "RowExclusiveLock", True),
        (waiter.pid, "AccessExclusiveLock", False),
    }
    sessions = {each["pid"]: each for each in found["sessions"]}
    assert sessions[waiter.pid]["blocked_by"] == [holder.pid]
    assert sessions[holder.pid]["statement"] == "update orders set v = ?"
    assert sessions[holder.pid]["state"] == "idle in transaction"
    [held] = [each for each in on_table if each["pid"] == holder.pid]
    assert 0 <= held["held_seconds_at_least"] <= held["held_seconds_at_most"]
    [request] = [each for each in found["locks"] if each["pid"] == waiter.pid]
    assert request["wait_seconds"] >= 0
    text = holders(orders.dsn, "public.orders")
    assert "waits for AccessExclusiveLock" in text
    assert f"{waiter.pid} waits for {holder.pid}" in text
    assert "4711" not in text.replace(str(holder.pid), "").replace(str(waiter.pid), "")
    assert "v = 4711" in holders(orders.dsn, "public.orders", "--show-literals")


def test_lock_of_the_fast_path_and_of_a_partition_is_listed(scene):
    scene.admin.execute("create table events (at int) partition by range (at)")
    scene.admin.execute("create table events_1 partition of events for values from (0) to (10)")
    reader = scene.client("select * from events_1")
    found = facts(scene.dsn, "events")
    assert "public.events_1" in found["target"]["includes"]
    [lock] = found["locks"]
    assert (lock["pid"], lock["object"], lock["fast_path"]) == (reader.pid, "public.events_1", True)


def test_session_that_a_command_waits_for_without_its_lock_is_named(orders):
    """CREATE INDEX CONCURRENTLY waits for old snapshots, also for those that have never touched the table."""
    old = orders.client("begin isolation level repeatable read", "select 1", autocommit=True, application_name="report")
    build = orders.client(autocommit=True)
    build.start("create index concurrently orders_v on orders (v)")
    orders.wait_until(lambda: "virtualxid" in build.shown())
    found = facts(orders.dsn, "orders")
    sessions = {each["pid"]: each for each in found["sessions"]}
    assert sessions[build.pid]["blocked_by"] == [old.pid]
    assert (sessions[old.pid]["listed"], sessions[old.pid]["application"]) == (False, "report")
    assert f'{build.pid} waits for {old.pid} ("report" ' in holders(orders.dsn, "orders")
    told = pgdoctor("diagnose", "--format", "tree", "--dsn", orders.dsn).stdout
    command = "CREATE INDEX CONCURRENTLY (waiting for old snapshots)"
    assert f"holds a transaction whose end {command} waits for" in told
    old.run("rollback")
    build.finish()


@pytest.mark.parametrize(
    ("taken", "typed", "shown"),
    [
        ("42", ("42", "0x2A"), "advisory key 42"),
        ("-1", ("-1", "0xffffffffffffffff"), "advisory key -1"),
        ("72707369", ("72707369",), "advisory key 72707369"),
        ("7, -3", ("7,-3", "(7, -3)", "0x7,0xfffffffd"), "advisory key (7, -3)"),
    ],
)
def test_advisory_lock_by_its_key(scene, taken, typed, shown):
    holder = scene.client(f"select pg_advisory_lock({taken})", autocommit=True, application_name="migrate")
    for key in typed:
        found = facts(scene.dsn, "--advisory", key)
        [lock] = found["locks"]
        assert (found["target"]["name"], lock["object"], lock["pid"]) == (shown, shown, holder.pid)
        assert (lock["mode"], lock["granted"]) == ("ExclusiveLock", True)
        assert lock["held_seconds_at_least"] <= lock["held_seconds_at_most"]


def test_advisory_lock_of_another_database_is_distinguished(scene):
    other = scene.database()
    scene.client("select pg_advisory_lock(42)", autocommit=True, dbname=other)
    [lock] = facts(scene.dsn, "--advisory", "42")["locks"]
    assert lock["object"] == f"advisory key 42 of database {other}"


def test_first_argument_is_the_database_where_a_key_is_given(scene):
    holder = scene.client("select pg_advisory_lock(42)", autocommit=True)
    database = scene.admin.info.dbname
    server = make_conninfo(scene.dsn, dbname="postgres")
    result = pgdoctor("holders", "--advisory", "42", database, PGDOCTOR_DSN=server)
    assert (result.returncode, result.stderr) == (0, "")
    assert str(holder.pid) in result.stdout
    assert "of database" not in result.stdout


def test_all_locks_of_a_session(orders):
    holder = orders.client("update orders set v = 1", "select pg_advisory_lock(42)")
    objects = {each["object"] for each in facts(orders.dsn, str(holder.pid))["locks"]}
    assert {"public.orders", "advisory key 42"} <= objects
    idle = orders.client("select 1", autocommit=True)
    assert f"session {idle.pid} neither holds nor awaits a lock." in holders(orders.dsn, str(idle.pid))


def test_prepared_transaction_is_listed_and_named_for_its_waiter(own_server):
    with Scene(own_server(settings={"max_prepared_transactions": 5}).dsn) as scene:
        scene.admin.execute("create table orders (id int)")
        with psycopg.connect(scene.dsn, autocommit=True) as client:
            client.execute("begin; insert into orders values (1); prepare transaction 'left behind'")
        waiter = scene.client().block("lock table orders")
        found = facts(scene.dsn, "orders")
        held = {(each["prepared_gid"], each["mode"]) for each in found["locks"] if each["granted"]}
        assert ("left behind", "RowExclusiveLock") in held
        text = holders(scene.dsn, "orders")
        assert "prepared transaction left behind (postgres)" in text
        assert f"{waiter.pid} waits for a prepared transaction" in text
        scene.admin.execute("rollback prepared 'left behind'")
        waiter.finish()


def test_role_without_rights_on_the_table_is_reported_all_the_same(orders):
    holder = orders.client("update orders set v = 1")
    dsn = orders.role("watching", "pg_monitor")
    assert str(holder.pid) in holders(dsn, "public.orders")


def test_without_a_target_the_lock_table_is_shown(scene):
    holder = scene.client("select pg_advisory_lock(n) from generate_series(1, 300) n", autocommit=True)
    found = facts(scene.dsn)
    [most] = [each for each in found["holders"] if each["pid"] == holder.pid]
    assert most["locks"] == 300
    assert 300 <= found["objects"] <= found["capacity"]
    text = holders(scene.dsn)
    assert "that the lock table has room for (max_locks_per_transaction" in text
    assert f"session {holder.pid} in " in text
    assert "holds 300 locks" in text
