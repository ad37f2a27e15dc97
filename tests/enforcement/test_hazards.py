"""Hazards at the edges, by the numbers of the research they come from: on real servers, with all rules on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.fields import Duration
from pgdoctor.model.identity import Identity
from tests.looking import blocker
from tests.mitigation.conftest import DDL, IDLE, SLOW, Incident
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until
from tests.standby import promote, standby_of

ALL = [replace(each, min_wait=Duration(0)) for each in (IDLE, DDL, SLOW)]


def test_h24_another_pgdoctor_is_not_signalled_though_it_is_in_the_way(incident: Incident) -> None:
    other = incident.app("update orders set v = 1 where id = 1", application_name="pgdoctor")
    incident.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = incident.mitigate(*ALL, min_samples=1, patience=0.5)
    assert actions == []
    assert mitigator.refused["own_session"] == 1
    assert incident.alive(other)


def test_h35_a_clock_that_is_wrong_by_an_hour_decides_nothing(
    incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages are the server's; here the clock of the machine that pgdoctor runs on is what is wrong."""
    real = time.time
    for shift in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        holder = incident.app("update orders set v = 1 where id = 1")
        waiter = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
        young, _ = incident.mitigate(replace(IDLE, min_wait=Duration(30)), min_samples=1)
        assert young == []
        [action], _ = incident.mitigate(ALL[0], min_samples=1)
        assert (action.victim.pid, action.outcome) == (holder.pid, "released")
        waiter.finish()


_DECOYS = """
    create function public.pg_cancel_backend(int) returns boolean language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function public.pg_terminate_backend(int, bigint) returns boolean language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function public.pg_blocking_pids(int) returns int[] language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function public.pg_lock_status() returns table (pid int) language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create function public.pg_stat_get_activity(int) returns table (pid int) language plpgsql as $$
        begin raise 'the decoy was called'; end $$;
    create view public.pg_stat_activity as select 1 / 0 as pid;
    create view public.pg_locks as select 1 / 0 as pid;
"""


def test_h39_function_of_the_same_name_in_another_schema_is_never_called(incident: Incident) -> None:
    incident.scene.admin.execute(_DECOYS)
    incident.scene.admin.execute("alter role agent set search_path = public, pg_catalog")
    idle = incident.app("update orders set v = 1 where id = 1")
    busy = incident.app("update orders set v = 1 where id = 2").start("select pg_sleep(60)")
    waiters = [incident.app().block(f"update orders set v = 2 where id = {row}") for row in (1, 2)]
    actions, _ = incident.mitigate(*ALL, min_samples=1, patience=3)
    assert {(each.victim.pid, each.signal, each.outcome) for each in actions} == {
        (idle.pid, "terminate", "released"),
        (busy.pid, "cancel", "released"),
    }
    for waiter in waiters:
        waiter.finish()


def test_h42_of_a_parallel_query_its_leader_is_signalled(incident: Incident) -> None:
    """A worker of it holds the lock that every session waits for, and has no session of its own."""
    admin = incident.scene.admin
    admin.execute(
        "create function nap(id int) returns int language plpgsql parallel safe "
        "as 'begin perform pg_sleep(60); return id; end'"
    )
    name = "force_parallel_mode" if admin.info.server_version < 160000 else "debug_parallel_query"
    setup = (f"set {name} = on", "set parallel_leader_participation = off")
    leader = incident.app(*setup, autocommit=True).start("select nap(id) from orders")
    workers = "select pid from pg_stat_activity where leader_pid = %s and pid <> leader_pid"
    wait_until(lambda: admin.execute(workers, [leader.pid]).fetchall(), what="a parallel worker")
    waiter = incident.app(autocommit=True).block("alter table orders add column note text")
    [action], _ = incident.mitigate(ALL[2], min_samples=1, patience=3, queue_policy="blockers", most=1)
    assert (action.victim.pid, action.signal, action.outcome) == (leader.pid, "cancel", "released")
    with pytest.raises(errors.QueryCanceled):
        leader.finish()
    waiter.finish()


_ORPHAN = """
import sys, time, psycopg
connection = psycopg.connect(sys.argv[1])
connection.execute("update orders set v = 1 where id = 1")
print(connection.info.backend_pid, flush=True)
time.sleep(600)
"""


def test_h47_the_locks_of_a_client_that_says_nothing_any_more_are_freed(incident: Incident) -> None:
    """Its host has gone, or hangs: to the server the connection is as good as ever, until keepalives give up."""
    client = subprocess.Popen([sys.executable, "-c", _ORPHAN, incident.app_dsn], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(client.stdout.readline())  # type: ignore[union-attr]
        client.send_signal(signal.SIGSTOP)
        waiter = incident.app().block("update orders set v = 2 where id = 1")
        [action], _ = incident.mitigate(*ALL, min_samples=1, patience=3)
        assert (action.victim.pid, action.signal, action.outcome) == (pid, "terminate", "released")
        waiter.finish()
    finally:
        client.kill()
        client.communicate()


@pytest.mark.long
def test_h20_on_a_standby_no_session_is_signalled_until_it_is_a_primary(
    own_server: Callable[..., ThrowawayServer],
) -> None:
    primary = own_server()
    with psycopg.connect(primary.dsn, autocommit=True) as connection:
        connection.execute("create role agent login password 'x'; grant pg_monitor, pg_signal_backend to agent")
        connection.execute("create role app login password 'x'")
    with standby_of(primary) as standby, ExitStack() as stack:
        there = make_conninfo(primary.dsn, port=standby.port)
        control = stack.enter_context(psycopg.connect(there, autocommit=True))
        app = make_conninfo(there, user="app", password="x")
        sessions = [stack.enter_context(closing(psycopg.connect(app, autocommit=True))) for _ in range(2)]
        holder, waiter = (Client(session, control) for session in sessions)
        holder.run("select pg_advisory_lock(1)")
        holder.start("select pg_sleep(600)")
        waiter.block("select pg_advisory_lock(1)")
        staged = Incident(None, make_conninfo(there, user="agent", password="x"), "")  # type: ignore[arg-type]
        actions, mitigator = staged.mitigate(*ALL, min_samples=1, patience=1)
        assert actions == []
        assert mitigator.refused["recovery"] >= 1
        assert holder.busy
        assert waiter.busy
        promote(standby, there)
        [action], _ = staged.mitigate(*ALL, min_samples=1, patience=3, most=1)
        assert (action.victim.pid, action.signal) == (holder.pid, "cancel")
        with pytest.raises(errors.QueryCanceled):
            holder.finish()
        holder.run("select pg_advisory_unlock(1)")
        waiter.finish()


_WORKERS = """
    select pid, backend_start, xact_start, query_start, coalesce(state, 'active'), coalesce(state_change, now())
    from pg_stat_activity
    where backend_type in ('walsender', 'logical replication apply worker', 'logical replication worker')
        and (backend_type = 'walsender' or wait_event_type = 'Lock')
    order by pid
"""


@pytest.mark.since(15)
@pytest.mark.long
def test_h4_an_apply_worker_and_a_wal_sender_are_no_clients(own_server: Callable[..., ThrowawayServer]) -> None:
    """The worker holds a row up while it waits for another; past all guards, the signal's own statement lets it be."""
    server = own_server(settings={"wal_level": "logical"})
    with Scene(server.dsn) as scene:
        source = make_conninfo(server.dsn, dbname=scene.database())
        with psycopg.connect(source, autocommit=True) as publisher:
            for connection in (publisher, scene.admin):
                connection.execute("create table orders (id int primary key, v int)")
                connection.execute("insert into orders values (1, 0), (2, 0)")
            publisher.execute("create publication p for table orders")
            publisher.execute("select pg_create_logical_replication_slot('s', 'pgoutput')")
            scene.admin.execute(
                sql.SQL(
                    "create subscription s connection {} publication p "
                    "with (create_slot = false, slot_name = 's', copy_data = false, disable_on_error = true)"
                ).format(source)
            )
            for ending in (
                "drop subscription s",
                "alter subscription s set (slot_name = none)",
                "alter subscription s disable",
            ):
                scene.at_the_end(partial(scene.admin.execute, ending))
            holder = scene.client("update orders set v = 1 where id = 2")
            publisher.execute(
                "begin; update orders set v = 9 where id = 1; update orders set v = 9 where id = 2; commit"
            )
            workers = scene.wait_until(lambda: len(rows := scene.admin.execute(_WORKERS).fetchall()) == 2 and rows, 20)
            waiter = scene.client().block("update orders set v = 3 where id = 1")
            past_all_guards = Incident(scene, server.dsn, "")
            for row in workers:
                for which in ("cancel", "terminate"):
                    assert past_all_guards.send(which, Identity(*row)).answer == "gone"  # type: ignore[arg-type]
            after = scene.admin.execute(_WORKERS).fetchall()
            assert [row[:2] for row in after] == [row[:2] for row in workers]
            enabled = "select subenabled from pg_subscription where subname = 's'"
            assert scene.admin.execute(enabled).fetchone() == (True,)
            holder.run("rollback")
            waiter.finish(10)


_SLOWLY = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
_WORKER = "select pid from pg_stat_activity where backend_type = 'autovacuum worker' and query like %s"


@pytest.mark.long
def test_h18_an_autovacuum_in_the_way_is_left_to_the_server(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server(settings={"autovacuum_naptime": 1})
    with Scene(server.dsn) as scene:
        staged = Incident(scene, scene.role("agent", "pg_monitor", "pg_signal_backend"), scene.role("app"))
        scene.admin.execute("create table orders (id int primary key, v int)")
        scene.admin.execute("insert into orders select g, 0 from generate_series(1, 50000) g")
        scene.admin.execute(f"alter table orders set ({_SLOWLY}, autovacuum_vacuum_threshold = 1)")
        scene.admin.execute("delete from orders where id > 100")
        scene.wait_until(lambda: scene.admin.execute(_WORKER, ["autovacuum: VACUUM%public.orders%"]).fetchone(), 30)
        request = scene.client(autocommit=True).block("alter table orders add column note text")
        looks = 0
        while request.busy:
            actions, mitigator = staged.mitigate(*ALL, min_samples=1)
            assert actions == []
            looks += mitigator.refused["no_rule"]
        assert looks > 0
        request.finish()


@pytest.mark.long
@pytest.mark.deadline(300)
def test_h19_a_vacuum_against_wraparound_stays_and_the_ddl_in_front_of_the_queue_goes(
    own_server: Callable[..., ThrowawayServer],
) -> None:
    server = own_server(
        settings={"autovacuum_naptime": 1, "autovacuum_freeze_max_age": 100_000, "synchronous_commit": "off"}
    )
    with Scene(server.dsn) as scene:
        staged = Incident(scene, scene.role("agent", "pg_monitor", "pg_signal_backend"), "")
        scene.role("app", "create on schema public")
        # A vacuum of the new rows would be as slow, and block the one against wraparound, which runs all the same.
        scene.admin.execute("create table orders (id int primary key, v int) with (autovacuum_enabled = false)")
        scene.admin.execute("insert into orders select g, 0 from generate_series(1, 50000) g")
        scene.admin.execute(f"alter table orders set ({_SLOWLY})")
        scene.admin.execute("alter table orders owner to app")
        for _ in range(12):
            scene.admin.execute(
                "do 'begin for n in 1 .. 10000 loop perform pg_current_xact_id(); commit; end loop; end'"
            )
        against = ["autovacuum: VACUUM%public.orders%(to prevent wraparound)"]
        worker = scene.wait_until(lambda: scene.admin.execute(_WORKER, against).fetchone(), 240)
        request = scene.client(user="app", autocommit=True).block("alter table orders add column note text")
        readers = [scene.client(user="app", autocommit=True).block("select count(*) from orders") for _ in range(2)]
        [action], _ = staged.mitigate(*ALL, min_samples=1, patience=3)
        assert (action.victim.pid, action.signal, action.outcome) == (request.pid, "cancel", "released")
        for reader in readers:
            reader.finish()
        with pytest.raises(errors.QueryCanceled):
            request.finish()
        assert scene.admin.execute(_WORKER, against).fetchone() == worker


def test_h65_a_text_that_ends_in_commit_is_cancelled_while_it_works(incident: Incident) -> None:
    """The server shows the whole text while the first of its statements runs."""
    text = "begin; update orders set v = 1 where id = 1; select pg_sleep(60); commit"
    holder = incident.app(autocommit=True).start(text)
    waiter = incident.app(autocommit=True).block("update orders set v = 2 where id = 1")
    found = blocker(incident.scene.dsn, holder.pid)
    assert found.recommendation.action == "cancel", found
    [action], _ = incident.mitigate(*ALL, min_samples=1, patience=10)
    assert (action.victim.pid, action.signal, action.outcome) == (holder.pid, "cancel", "released")
    waiter.finish()
    with pytest.raises(errors.QueryCanceled):
        holder.finish()


def test_h69_no_session_is_signalled_where_several_hold_the_row(incident: Incident) -> None:
    """H69: three children hold their parent: the end of two released no session, and then the breaker opened."""
    incident.scene.admin.execute("create table parts (id serial, order_id int references orders)")
    incident.scene.admin.execute("alter table parts owner to app")
    children = [incident.app("insert into parts (order_id) values (1)") for _ in range(3)]
    delete = incident.app(autocommit=True).block("delete from orders where id = 1")
    actions, mitigator = incident.mitigate(*ALL, min_samples=1, patience=1)
    assert actions == []
    assert mitigator.refused["release_uncertain"] >= 1
    assert incident.alive(*children)
    assert delete.busy
    # Of the last one the release is certain.
    for child in children[:2]:
        child.run("commit")
    [action], _ = incident.mitigate(*ALL, min_samples=1, patience=3, most=1)
    assert (action.victim.pid, action.outcome) == (children[2].pid, "released")
    with pytest.raises(errors.ForeignKeyViolation):
        delete.finish()
