"""A slow line between agent and server: it costs patience, and none of the server's time."""

import asyncio

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.postgres.connection import Connection
from tests.scenes.client import wait_until
from tests.wire import CountingWire

#: Seconds of a round trip.
SLOW = 0.3


def through(dsn, wire):
    return make_conninfo(dsn, port=wire.port)


def port_of(dsn):
    return int(conninfo_to_dict(dsn)["port"])


def test_statements_cost_the_servers_time_and_not_that_of_the_line(scene):
    async def costs(dsn):
        async with await Connection.open(dsn, 15.0) as door:
            before = door.cost
            for _ in range(5):
                await door.fetch("server_limits")
            return door.cost.statements - before.statements, door.cost.seconds - before.seconds

    with CountingWire(port_of(scene.dsn), delay=SLOW) as wire:
        statements, seconds = asyncio.run(costs(through(scene.dsn, wire)))
    assert statements == 5
    # Five round trips take 1.5 s.
    assert 0 < seconds < 3 * SLOW


def test_time_that_a_statement_takes_is_counted(scene):
    scene.client("select pg_advisory_lock_shared(n) from generate_series(1, 4000) n")

    async def cost(dsn):
        async with await Connection.open(dsn, 15.0) as door:
            await door.fetch("lock_strangers", key=1, own_application="x", most=1)
            before = door.cost.seconds
            await door.fetch("lock_strangers", key=1, own_application="x", most=1)
            return door.cost.seconds - before

    # Reading the lock table costs about 0.5 us a lock.
    assert asyncio.run(cost(scene.dsn)) > 0.001


@pytest.mark.long
@pytest.mark.deadline(120)
def test_slow_line_makes_polls_no_less_frequent(scene, agent):
    scene.admin.execute("create table t ()")
    with CountingWire(port_of(scene.dsn), delay=SLOW) as wire:
        watching = agent(through(scene.dsn, wire), interval="1s", deadline="10s", share=0.02)
        watching.wait_for("up", 1, timeout=30)
        scene.client("lock table t")
        for number in (1, 3, 6):
            for _ in range(number - int(watching.metric("blocked_sessions"))):
                scene.client().block("select from t")
            watching.wait_for("blocked_sessions", number, timeout=20)
            # The full poll shows them too, not the gate alone.
            wait_until(lambda number=number: len(blocked_pids(watching)) == number, 20)
            # The line alone would make it a minute; a busy machine makes it several seconds.
            assert watching.metric("poll_interval_seconds") < 20
            assert watching.metric("up") == 1
        watching.end()


def blocked_pids(watching):
    return {wait["blocked_pid"] for wait in watching.get("/diagnosis").json().get("waits", ())}
