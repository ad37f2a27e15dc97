"""The sessions of a real server, as the live view reads them."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.model.activity import Activity
from pgdoctor.postgres.activity import ActivityReader
from pgdoctor.postgres.connection import Connection
from tests.scenes import Scene


def read(dsn: str, times: int = 1) -> list[Activity]:
    async def ask() -> list[Activity]:
        async with await Connection.open(dsn) as door:
            reader = ActivityReader(door)
            return [await reader.read_activity() for _ in range(times)]

    return asyncio.run(ask())


def test_sessions_are_read_with_their_names_and_without_our_own(scene: Scene) -> None:
    client = scene.client("select 1 as one", application_name="shop")
    (activity,) = read(scene.dsn)
    found = {session.pid: session for session in activity.sessions}
    session = found[client.pid]
    assert (session.application, session.state, session.database) == (
        "shop",
        "idle in transaction",
        scene.admin.info.dbname,
    )
    assert session.statement == "select 1 as one"
    assert "pgdoctor" not in {each.application for each in found.values()}
    assert activity.all_sessions == len(found)
    assert activity.seconds_since(session.xact_start) is not None


def test_each_reading_is_one_statement_once_names_are_known(scene: Scene) -> None:
    scene.client("select 1")
    first, *others = (each.own_transactions for each in read(scene.dsn, times=4))
    assert [after - before for before, after in zip([first, *others], others, strict=False)] == [1, 1, 1]


def test_locked_catalogs_do_not_keep_it_waiting(scene: Scene) -> None:
    dsn = scene.dsn

    async def ask() -> Activity:
        async with await Connection.open(dsn) as door:
            reader = ActivityReader(door)
            await reader.read_activity()
            scene.client("lock table pg_catalog.pg_authid, pg_catalog.pg_database")
            return await reader.read_activity()

    assert asyncio.run(ask()).all_sessions >= 1


def test_counters_are_those_of_connected_databases(scene: Scene) -> None:
    busy = scene.client(autocommit=True)
    before, after = read(scene.dsn), []

    def has_grown() -> bool:
        for _ in range(50):
            busy.run("select count(*) from pg_class")
        after[:] = read(scene.dsn)
        return _transactions(after[0]) >= _transactions(before[0]) + 100

    scene.wait_until(has_grown)


def _transactions(activity: Activity) -> int:
    return sum(each.transactions for each in activity.counters.values())


def test_role_without_privileges_reads_that_there_are_sessions(scene: Scene) -> None:
    client = scene.client("select 'hunter2'", application_name="shop")
    (activity,) = read(scene.role("watcher"))
    session = next(each for each in activity.sessions if each.pid == client.pid)
    assert (session.state, session.statement, session.backend_type) == (None, None, None)


def test_statement_of_another_encoding_is_no_error(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server()
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("create database latin encoding 'LATIN1' locale 'C' template template0")
    with psycopg.connect(server.dsn, dbname="latin", autocommit=True) as client:
        client.execute("set client_encoding to 'SQL_ASCII'")
        client.pgconn.exec_(b"select 'x' as z\xfcrich")
        (activity,) = read(server.dsn)
    statements = [session.statement or "" for session in activity.sessions]
    assert any("select 'x' as z" in each for each in statements)


@pytest.mark.long
def test_more_sessions_than_the_limit_are_counted(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server(max_connections=1_100)
    clients = [psycopg.connect(server.dsn, autocommit=True) for _ in range(1_020)]
    try:
        (activity,) = read(server.dsn)
        assert len(activity.sessions) == 999
        assert activity.all_sessions == 1_020
    finally:
        for client in clients:
            client.close()
