"""The gate of a poll: a session that has waited for the threshold opens it, and a short wait does not."""

import asyncio
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from pgdoctor.observer.blocked_since import Statement
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from tests.postgres.parallel import block_in_a_worker
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

LONG = 3600.0


def counted(scene: Scene, *thresholds: float, after: Callable[[], object] = lambda: None) -> list[int]:
    """The waiters that the gate sees from each threshold on, through a door that was open before `after` happened."""

    async def ask() -> list[int]:
        async with await Connection.open(scene.dsn, 5.0) as door:
            await Collector(door).fetch_gate(0.0)
            after()
            return [(await Collector(door).fetch_gate(threshold)).lock_waiters for threshold in thresholds]

    return asyncio.run(ask())


@pytest.fixture
def waiter(scene: Scene) -> Client:
    scene.admin.execute("create table t (id int)")
    scene.client("lock table t")
    return scene.client().block("select from t")


@pytest.mark.usefixtures("waiter")
def test_a_short_wait_does_not_open_it_unless_every_wait_does(scene: Scene) -> None:
    assert counted(scene, LONG, 0.0) == [0, 1]


@pytest.mark.usefixtures("waiter")
def test_a_wait_of_the_threshold_opens_it(scene: Scene) -> None:
    scene.wait_until(lambda: counted(scene, 0.3) == [1])


def test_a_young_wait_in_an_old_statement_opens_it(scene: Scene) -> None:
    scene.admin.execute("create table t (id int)")
    scene.client("lock table t")
    scene.client().block("do 'begin perform pg_sleep(0.5); perform from t; end'")
    assert counted(scene, 0.5) == [1]


@pytest.mark.since(18)  # Before, a login is in pg_stat_activity only when it is through.
def test_a_session_without_a_statement_counts_as_old(scene: Scene) -> None:
    # A login behind a locked pg_database has begun no statement; it would wait there for ever.
    logins: list[threading.Thread] = []

    def lock_out() -> None:
        locker.run("lock table pg_catalog.pg_database in access exclusive mode")
        logins.append(threading.Thread(target=login, daemon=True))
        logins[0].start()
        wait_until(lambda: locker.run("select 1 from pg_locks where not granted"))

    def login() -> None:
        psycopg.connect(scene.dsn).close()

    locker = scene.client("select 1")
    assert counted(scene, LONG, after=lock_out) == [1]
    locker.run("rollback")
    logins[0].join(5)


def waiting(scene: Scene) -> frozenset[Statement]:
    """The statements that the gate shows waiting."""

    async def ask() -> frozenset[Statement]:
        async with await Connection.open(scene.dsn, 5.0) as door:
            return (await Collector(door).fetch_gate(LONG)).waiting

    return asyncio.run(ask())


def test_waiting_statements_are_named_however_young(scene: Scene, waiter: Client) -> None:
    [(began,)] = scene.admin.execute("select query_start from pg_stat_activity where pid = %s", [waiter.pid]).fetchall()
    assert waiting(scene) == {(waiter.pid, began)}


def test_waiting_parallel_worker_is_its_leaders_statement(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int); insert into orders values (1)")
    block_in_a_worker(scene)
    [(pid, _)] = waiting(scene)
    assert scene.admin.execute("select from pg_stat_activity where leader_pid = %s", [pid]).fetchall()


def test_a_parallel_worker_is_as_old_as_its_leaders_statement(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int); insert into orders values (1)")
    block_in_a_worker(scene)
    assert counted(scene, LONG, 0.0) == [0, 1]
    scene.wait_until(lambda: counted(scene, 0.3) == [1])


def test_a_door_knows_what_it_has_cost(scene: Scene) -> None:
    locker = scene.client("select")

    async def ask() -> None:
        async with await Connection.open(scene.dsn, 2.0) as door:
            opened = door.cost
            assert (opened.statements, opened.seconds) == (1, 0.0)
            await Collector(door).fetch_gate(0.0)
            gated = door.cost
            assert gated.statements == 2
            assert 50 < gated.received_bytes - opened.received_bytes < 500
            locker.run("lock table pg_catalog.pg_authid in access exclusive mode")
            began = time.monotonic()
            with pytest.raises(Exception, match="holds a lock on a system catalog"):
                await door.fetch("role_names")
            took = time.monotonic() - began
            locker.run("rollback")
            # Of these seconds the server did nothing for 0.2.
            assert door.cost.statements == 3
            assert door.cost.seconds - gated.seconds < took - 0.1

    asyncio.run(ask())


def test_the_oldest_transaction_is_a_clients_and_not_our_own(scene: Scene) -> None:
    def oldest() -> float:
        async def ask() -> float:
            async with await Connection.open(scene.dsn, 5.0) as door:
                await door.connection.execute("begin")
                return (await Collector(door).fetch_gate(0.0)).server.oldest_transaction

        return asyncio.run(ask())

    scene.client("select 1", autocommit=True)
    assert oldest() == 0.0
    began = time.monotonic()
    scene.client("select 1")
    scene.wait_until(lambda: oldest() > 0.5)
    assert oldest() <= time.monotonic() - began
