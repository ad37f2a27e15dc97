"""Reads of concurrent tasks share a round trip; one that is refused costs the others nothing but another one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.errors import StatementFailed, Unreachable
from pgdoctor.postgres.activity_sampling import observe_briefly
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.read_batch import reading_together
from pgdoctor.postgres.server_watch import ServerWatch
from tests.scenes import Scene
from tests.wire import CountingWire

T = TypeVar("T")


def run(dsn: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with await Connection.open(dsn, 5.0) as door:
            return await work(door)

    return asyncio.run(connected())


def round_trips(dsn: str, work: Callable[[Connection], Awaitable[object]]) -> int:
    """How many it takes on a connection that is open."""

    async def count(door: Connection) -> int:
        before = wire.round_trips
        await work(door)
        return wire.round_trips - before

    # Slow enough that all that is sent together is on its way before the first answer comes.
    with CountingWire(int(conninfo_to_dict(dsn)["port"]), delay=0.1) as wire:
        return run(make_conninfo(dsn, port=wire.port), count)


def test_concurrent_reads_share_a_round_trip(scene: Scene) -> None:
    async def read(door: Connection) -> None:
        async with reading_together() as group:
            tasks = [group.create_task(door.read(name)) for name in ("server_limits", "may_signal", "server_clock")]
        assert all(len(task.result()) == 1 for task in tasks)

    assert round_trips(scene.dsn, read) == 1


def test_task_that_starts_tasks_shares_the_round_trip(scene: Scene) -> None:
    async def nested(door: Connection) -> None:
        async with reading_together() as group:
            group.create_task(door.read("may_signal"))
            group.create_task(door.read("server_clock"))

    async def read(door: Connection) -> None:
        async with reading_together() as group:
            group.create_task(door.read("server_limits"))
            group.create_task(nested(door))

    assert round_trips(scene.dsn, read) == 1


def test_refused_read_leaves_the_others(scene: Scene) -> None:
    """The server skips what comes after an error; each is asked again alone."""

    async def read(door: Connection) -> None:
        with psycopg.connect(scene.dsn) as other:
            other.execute("lock table pg_catalog.pg_index in access exclusive mode")
            evidence = CatalogReader(door)
            async with reading_together() as group:
                clock = group.create_task(evidence.fetch_rows("server_clock"))
                indexes = group.create_task(evidence.fetch_rows("indexes", oids=[1]))
                limits = group.create_task(evidence.fetch_rows("server_limits"))
        assert len(clock.result()) == len(limits.result()) == 1
        assert indexes.result() == ()
        assert [text.partition(":")[0] for text in evidence.unread] == ["indexes could not be read"]

    run(scene.dsn, read)


def test_locked_catalogs_use_up_the_patience_of_one_reader(scene: Scene) -> None:
    async def read(door: Connection) -> None:
        with psycopg.connect(scene.dsn) as other:
            other.execute("lock table pg_catalog.pg_index in access exclusive mode")
            evidence = CatalogReader(door, most_timeouts=1)
            async with reading_together() as group:
                for _ in range(5):
                    group.create_task(evidence.fetch_rows("indexes", oids=[1]))
            other.rollback()
        assert sum("could not be read" in text for text in evidence.unread) == 1
        assert sum("were skipped" in text for text in evidence.unread) == 4

    run(scene.dsn, read)


def test_plain_read_raises_its_own_error(scene: Scene) -> None:
    async def read(door: Connection) -> None:
        async with reading_together() as group:
            group.create_task(door.read("server_clock"))
            group.create_task(door.read("indexes", oids="not a list of numbers"))

    with pytest.raises(StatementFailed):
        run(scene.dsn, read)


def test_driver_logs_nothing_of_a_refused_read(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    async def read(door: Connection) -> None:
        for _ in range(20):
            with pytest.raises(StatementFailed):
                await door.fetch("indexes", oids="not a list of numbers")
            evidence = CatalogReader(door)
            async with reading_together() as group:
                for oids in ("no list", [1], "no list", [2]):
                    group.create_task(evidence.fetch_rows("indexes", oids=oids))
            assert len(evidence.unread) == 2

    run(scene.dsn, read)
    assert not caplog.records


def test_lost_connection_is_the_error_of_all(scene: Scene) -> None:
    async def read(door: Connection) -> list[BaseException | object]:
        scene.admin.execute("select pg_terminate_backend(%s)", [door.connection.info.backend_pid])
        tasks = [asyncio.ensure_future(door.read(name)) for name in ("server_clock", "server_limits", "may_signal")]
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    assert [type(error) for error in run(scene.dsn, read)] == [Unreachable] * 3


def test_cancelled_task_leaves_the_others(scene: Scene) -> None:
    async def read(door: Connection) -> None:
        first, second = (asyncio.ensure_future(door.read(name)) for name in ("server_clock", "server_limits"))
        await asyncio.sleep(0)
        first.cancel()
        assert len(await second) == 1

    run(scene.dsn, read)


def test_diagnosis_of_an_incident_takes_four_round_trips(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int primary key, ref int); insert into orders values (1, 1)")
    scene.client("update orders set ref = 2 where ref = 1")
    # Only one waits: a queue would be looked at twice.
    scene.client().block("update orders set ref = 3 where id = 1")

    async def look(door: Connection) -> None:
        diagnosis = await ServerWatch(Collector(door)).diagnose_with_context()
        assert diagnosis.blocked_sessions == 1

    assert round_trips(scene.dsn, look) <= 4


def test_triage_of_an_incident_takes_eight_round_trips(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int primary key, ref int); insert into orders values (1, 1)")
    scene.client("update orders set ref = 2 where ref = 1")
    scene.client().block("update orders set ref = 3 where id = 1")

    async def observe(connection: Connection) -> None:
        _, samples = await observe_briefly(connection)
        assert all(("Lock", "transactionid") in sample.waits for sample in samples)

    assert round_trips(scene.dsn, observe) <= 8


def test_samples_of_one_round_trip_differ(scene: Scene) -> None:
    sleeper = scene.client(autocommit=True)
    sleeper.start(
        "do 'begin loop perform pg_sleep(0.3); perform count(*) from generate_series(1, 1000000); end loop; end'"
    )

    async def see_both(connection: Connection) -> None:
        _, samples = await observe_briefly(connection)
        sampled.append({("Timeout", "PgSleep") in sample.waits for sample in samples})

    sampled: list[set[bool]] = []

    def differ() -> bool:
        run(scene.dsn, see_both)
        return {True, False} in sampled

    scene.wait_until(differ)
