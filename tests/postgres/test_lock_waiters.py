"""The gate that reads waiters alone: it knows of the same waits as the gate that counts all sessions."""

import asyncio
import threading

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.postgres.collect import Collector, Gate
from pgdoctor.postgres.connection import Connection
from tests.scenes import Scene
from tests.scenes.client import wait_until

LONG = 3600.0


def read_gates(scene: Scene, threshold: float, *, user_dsn: str | None = None) -> tuple[Gate, Gate | None]:
    """Both gates, one right after the other."""

    async def ask() -> tuple[Gate, Gate | None]:
        async with await Connection.open(user_dsn or scene.dsn, 5.0) as connection:
            collector = Collector(connection)
            counted = await collector.fetch_gate(threshold)
            return counted, await collector.gate_of_waiters(threshold, counted)

    return asyncio.run(ask())


def test_waiters_are_those_of_the_whole_activity(scene: Scene) -> None:
    scene.admin.execute("create table t (id int primary key, v int); insert into t values (1, 1)")
    scene.client("update t set v = 2 where id = 1")
    scene.client().block("update t set v = 3 where id = 1")
    scene.client().block("alter table t add w int")
    scene.client().block("select from t")
    counted, gate = read_gates(scene, LONG)
    assert gate is not None
    assert len(counted.waiting) == 3
    assert gate.waiting == counted.waiting
    assert gate.captured_at > counted.captured_at


def test_wait_of_the_threshold_asks_for_all_sessions(scene: Scene) -> None:
    scene.admin.execute("create table t (id int)")
    scene.client("lock table t")
    assert read_gates(scene, 0.0)[1] is not None
    scene.client().block("select from t")
    assert read_gates(scene, 0.0)[1] is None


def test_advisory_waits_and_safe_snapshots_count(scene: Scene) -> None:
    scene.admin.execute("create table t (id int)")
    scene.client("select pg_advisory_lock(1)")
    scene.client().block("select pg_advisory_lock(1)")
    writer = scene.client("set transaction isolation level serializable", "insert into t values (1)")
    reader = scene.client("begin isolation level serializable, read only, deferrable", autocommit=True)
    reader.start("select from t")
    scene.wait_until(lambda: read_gates(scene, LONG)[0].server.snapshot_waiters == 1)
    counted, gate = read_gates(scene, LONG)
    assert gate is not None
    assert len(gate.waiting) == 1
    assert gate.waiting == counted.waiting
    assert gate.server.snapshot_waiters == 1
    writer.run("rollback")
    reader.finish()


def test_server_without_activity_is_counted_in_full(scene: Scene) -> None:
    scene.admin.execute(f'alter database "{scene.admin.info.dbname}" set track_activities = off')
    assert read_gates(scene, LONG)[1] is None


@pytest.mark.parametrize("change", ["in_recovery", "hidden_sessions"])
def test_standby_and_hidden_sessions_are_counted_in_full(scene: Scene, change: str) -> None:
    async def ask() -> Gate | None:
        async with await Connection.open(scene.dsn, 5.0) as connection:
            collector = Collector(connection)
            counted = await collector.fetch_gate(LONG)
            server = replace(counted.server, **{change: 1})
            return await collector.gate_of_waiters(LONG, replace(counted, server=server))

    assert asyncio.run(ask()) is None


@pytest.mark.since(18)  # Before, a login is in pg_stat_activity only when it is through.
def test_login_behind_a_locked_catalog_asks_for_all_sessions(scene: Scene) -> None:
    locker = scene.client("select 1")

    def log_in() -> None:
        psycopg.connect(scene.dsn).close()

    login = threading.Thread(target=log_in, daemon=True)

    async def ask() -> Gate | None:
        async with await Connection.open(scene.dsn, 5.0) as connection:
            collector = Collector(connection)
            counted = await collector.fetch_gate(LONG)
            assert await collector.gate_of_waiters(LONG, counted) is not None
            locker.run("lock table pg_catalog.pg_database in access exclusive mode")
            login.start()
            wait_until(lambda: locker.run("select 1 from pg_locks where not granted"))
            return await collector.gate_of_waiters(LONG, counted)

    assert asyncio.run(ask()) is None
    locker.run("rollback")
    login.join(5)
