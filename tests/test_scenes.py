"""The scenes themselves: what they stage is real, what they promise to clear away is gone."""

import psycopg
import pytest
from psycopg import errors

from tests.scenes import Scene
from tests.scenes.client import wait_until


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders select n, 0 from generate_series(1, 10) n")


def blocking_pids(scene, client):
    return scene.admin.execute("select pg_blocking_pids(%s)", [client.pid]).fetchone()[0]


@pytest.mark.usefixtures("orders")
def test_a_row_blocks_until_its_holder_commits(scene):
    holder = scene.client("update orders set v = 1 where id = 1")
    waiter = scene.client().block("update orders set v = 2 where id = 1 returning v")
    assert blocking_pids(scene, waiter) == [holder.pid]
    assert waiter.busy
    holder.run("commit")
    assert waiter.finish() == [(2,)]


@pytest.mark.usefixtures("orders")
def test_readers_queue_behind_waiting_ddl(scene):
    holder = scene.client("select count(*) from orders")
    ddl = scene.client(autocommit=True).block("alter table orders add column w int")
    reader = scene.client().block("select * from orders")
    assert blocking_pids(scene, ddl) == [holder.pid]
    assert blocking_pids(scene, reader) == [ddl.pid]


def test_a_started_statement_is_seen_running(scene):
    sleeper = scene.client().start("select pg_sleep(60)")
    assert sleeper.busy
    assert scene.admin.execute(
        "select state, query from pg_stat_activity where pid = %s", [sleeper.pid]
    ).fetchone() == ("active", "select pg_sleep(60)")


def test_a_statement_that_ends_at_once_has_started_too(scene):
    assert scene.client().start("select 1").finish() == [(1,)]


def test_a_statement_that_does_not_block_is_a_failure(scene):
    with pytest.raises(AssertionError, match=r"to block, but it ended with \[\(1,\)\]: select 1"):
        scene.client().block("select 1")


def test_a_wait_that_never_ends_fails_and_says_what_is_going_on(scene):
    sleeper = scene.client().start("select pg_sleep(60)")
    with pytest.raises(AssertionError, match=r"0\.05 s: select pg_sleep\(60\) \(active Timeout PgSleep"):
        sleeper.finish(timeout=0.05)
    with pytest.raises(AssertionError, match="still busy"):
        sleeper.run("select 1")


def test_the_error_of_a_statement_is_raised_where_its_end_is_awaited(scene):
    client = scene.client(autocommit=True)
    with pytest.raises(errors.DivisionByZero):
        client.run("select 1/0")
    with pytest.raises(errors.UndefinedTable):
        client.start("select * from nowhere").finish()
    assert client.run("select %s + 1", [1]) == [(2,)]


def test_a_waiting_client_can_be_closed(scene):
    scene.client("select pg_advisory_lock(1)")
    waiter = scene.client().block("select pg_advisory_lock(1)")
    waiter.close()
    with pytest.raises(psycopg.OperationalError):
        waiter.finish()


def test_clients_are_as_configured(scene):
    dsn = scene.role("reporter", "pg_monitor", "connect on database postgres")
    other = scene.database()
    client = scene.client(user="reporter", dbname=other, application_name="nightly")
    who = client.run("select current_user, current_database(), current_setting('application_name')")
    assert who == [("reporter", other, "nightly")]
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select pg_has_role('pg_monitor', 'usage')").fetchone() == (True,)


def test_nothing_is_left_behind(server):
    everything = """
        select pid::text from pg_stat_activity where datname like 'scene%' or application_name like 'scene%'
        union all select gid from pg_prepared_xacts
        union all select datname from pg_database where datname like 'scene%'
        union all select rolname from pg_roles where rolname = 'scene_role'
    """
    with psycopg.connect(server.dsn, autocommit=True) as outside:

        def there():
            return set(outside.execute(everything).fetchall())

        before = there()
        with Scene(server.dsn) as scene:
            scene.role("scene_role")
            scene.admin.execute("create table orders (id int)")
            scene.client("insert into orders values (1)", "prepare transaction 'left behind'")
            scene.client("lock table orders in row share mode")
            waiter = scene.client().block("lock table orders")
            scene.client(user="scene_role", dbname="postgres").start("select pg_sleep(60)")
            assert waiter.busy
            assert len(there() - before) >= 6
        wait_until(lambda: there() <= before)
