"""Sessions that wait for each other by the thousand, in four shapes, each with a statement of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

WAITERS = 1_000

#: What a server has to allow for the widest of them (pairs), and some more.
MOST_CONNECTIONS = 2 * WAITERS + 60

SHAPES = ("queue", "convoy", "chain", "pairs")

_TABLE = """
drop table if exists bench;
create table bench (id int primary key, v int);
insert into bench select g, 0 from generate_series(1, {rows}) g;
"""

_PATIENCE = 240.0


@asynccontextmanager
async def staged(dsn: str, shape: str, waiters: int = WAITERS) -> AsyncIterator[None]:
    """So many sessions that wait in this shape, until the end of the block.

    `queue`: readers of a table behind an ALTER that waits behind a reader. `convoy`: all for one row. `chain`: each
    for a row of the one before. `pairs`: each for a row of a session of its own.
    """
    opened: list[psycopg.AsyncConnection[Any]] = []
    try:
        admin = await _connect(dsn, opened)
        await admin.execute(_TABLE.format(rows=waiters + 1))
        waiting = await _STAGERS[shape](dsn, opened, waiters)
        await _wait_for(admin, waiting)
        yield
    finally:
        # A waiter does not read that its client is gone: it would wait on, and then change the row.
        for client in opened[1:]:
            client.pgconn.finish()
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bench'"
            " and pid <> pg_backend_pid()"
        )
        await _wait_for(admin, 0)
        admin.pgconn.finish()


async def _stage_queue(dsn: str, opened: list[psycopg.AsyncConnection[Any]], waiters: int) -> int:
    await _hold(dsn, opened, "select from bench")
    await _send(dsn, opened, "alter table bench add c int")
    await asyncio.sleep(0.3)
    for number in range(waiters):
        await _send(dsn, opened, f"select v from bench where id = {number}")
    return waiters + 1


async def _stage_convoy(dsn: str, opened: list[psycopg.AsyncConnection[Any]], waiters: int) -> int:
    await _hold(dsn, opened, "update bench set v = 1 where id = 1")
    for number in range(waiters):
        await _send(dsn, opened, f"update bench set v = {number} where id = 1")
    return waiters


async def _stage_chain(dsn: str, opened: list[psycopg.AsyncConnection[Any]], waiters: int) -> int:
    await _hold(dsn, opened, "update bench set v = 1 where id = 1")
    for number in range(2, waiters + 2):
        client = await _hold(dsn, opened, f"update bench set v = 1 where id = {number}")
        client.pgconn.send_query(f"update bench set v = {number} where id = {number - 1}".encode())
    return waiters


async def _stage_pairs(dsn: str, opened: list[psycopg.AsyncConnection[Any]], waiters: int) -> int:
    for number in range(1, waiters + 1):
        await _hold(dsn, opened, f"update bench set v = 1 where id = {number}")
        await _send(dsn, opened, f"update bench set v = 2 where id = {number}")
    return waiters


_STAGERS = {"queue": _stage_queue, "convoy": _stage_convoy, "chain": _stage_chain, "pairs": _stage_pairs}


async def _hold(dsn: str, opened: list[psycopg.AsyncConnection[Any]], statement: str) -> psycopg.AsyncConnection[Any]:
    client = await _connect(dsn, opened)
    await client.execute("begin")
    await client.execute(statement)
    return client


async def _send(dsn: str, opened: list[psycopg.AsyncConnection[Any]], statement: str) -> None:
    """Sent, and not waited for: a thousand that wait in this loop would cost more than what is measured."""
    client = await _connect(dsn, opened)
    client.pgconn.send_query(statement.encode())


async def _connect(dsn: str, opened: list[psycopg.AsyncConnection[Any]]) -> psycopg.AsyncConnection[Any]:
    client = await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="bench")
    opened.append(client)
    return client


async def _wait_for(admin: psycopg.AsyncConnection[Any], wanted: int) -> None:
    """Until so many wait for a lock."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            found = await admin.execute("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
            if await found.fetchone() == (wanted,):
                return
            await asyncio.sleep(0.2)
