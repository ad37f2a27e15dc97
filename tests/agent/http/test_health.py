"""The deep health check: its exact shape, its time, and what it costs the server."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from pgdoctor.agent.http.app import describe_health
from pgdoctor.agent.polling.state import ServerState
from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.polling.test_outage import slot_of_agent, slots_taken, stopped
from tests.scenes.client import wait_until

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

#: What it may take, whatever the server does.
LONGEST = 8.0


def shape(answer: httpx.Response) -> tuple[list[str], list[str]]:
    """The keys of the answer and those of its database, in their order."""
    document = answer.json()
    assert document["service"] == "pgdoctor"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["timestamp"])
    said = datetime.strptime(document["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - said).total_seconds()) < 5
    assert list(document["components"]) == ["database"]
    return list(document), list(document["components"]["database"])


OUTSIDE = ["status", "timestamp", "service", "version", "components"]


def test_up(scene, agent):
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    answer = watching.get("/health/deep")
    assert answer.status_code == 200
    assert shape(answer) == (OUTSIDE, ["status", "latency_ms", "active_connections", "max_connections"])
    database = answer.json()["components"]["database"]
    assert (answer.json()["status"], database["status"]) == ("UP", "UP")
    assert 0 < database["latency_ms"] < 1500
    assert 0 < database["active_connections"] < database["max_connections"]


def test_a_server_without_connections_is_said_as_the_contract_says_it(own_server, agent):
    server = own_server(max_connections=6, settings={"superuser_reserved_connections": 0})
    watching = agent(server.dsn, deadline="2s")
    watching.wait_for("up", 1)
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        others = slots_taken(server.dsn, 4)
        wait_until(lambda: watching.get("/health/deep").json()["components"]["database"]["active_connections"] == 6)
        others.append(slot_of_agent(admin, server.dsn))
        watching.wait_for('connection_state{state="too_many_connections"}', 1)
        answer = watching.get("/health/deep")
        for other in others:
            other.close()
    assert answer.status_code == 503
    document = answer.json()
    assert shape(answer) == (OUTSIDE, ["status", "error", "active_connections", "max_connections"])
    assert document["status"] == "DOWN"
    assert document["components"]["database"] == {
        "status": "DOWN",
        "error": "Connection pool exhausted",
        "active_connections": 6,
        "max_connections": 6,
    }
    watching.wait_for("up", 1)


def test_a_server_that_was_never_seen(lone_agent):
    lone_agent.wait_for('connection_state{state="refused"}', 1)
    answer = lone_agent.get("/health/deep")
    assert answer.status_code == 503
    assert shape(answer) == (OUTSIDE, ["status", "error", "active_connections", "max_connections"])
    database = answer.json()["components"]["database"]
    assert (database["status"], database["active_connections"], database["max_connections"]) == ("DOWN", None, None)


def test_a_server_that_is_full_from_the_start_has_no_numbers():
    full = ServerState(connection="too_many_connections", error="FATAL: sorry, too many clients already")
    database = describe_health({None: full}, datetime.now(UTC), 0.0)["components"]["database"]
    assert database == {
        "status": "DOWN",
        "error": "Connection pool exhausted",
        "active_connections": None,
        "max_connections": None,
    }


def test_a_server_that_hangs_does_not_hold_it_up(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn, deadline="30s", interval="1s")
    watching.wait_for("up", 1)
    with stopped(server), httpx.Client(base_url=f"http://127.0.0.1:{watching.port}", timeout=10) as client:
        statuses = []
        end = time.monotonic() + 4
        while time.monotonic() < end:
            began = time.monotonic()
            answer = client.get("/health/deep")
            assert time.monotonic() - began < LONGEST
            statuses.append(answer.status_code)
        assert statuses[-1] == 503
        assert statuses == sorted(statuses)
    watching.wait_for("up", 1)


def test_a_burst_is_at_most_one_query_a_second(own_server, agent):
    server = own_server(max_connections=20, settings={"log_statement": "all", "log_line_prefix": "%a|"})
    watching = agent(server.dsn, interval="10m", deadline="5s")
    watching.wait_for("up", 1)
    # The first poll is followed by a poll around, which is no part of any health check.
    settled(lambda: asked(server))
    before = asked(server)
    assert before > 0
    began = time.monotonic()
    statuses = asyncio.run(burst(watching.port, 200))
    wait_until(lambda: time.monotonic() - began > 2.5)
    wait_until(lambda: watching.get("/health/deep").status_code == 200)
    seconds = time.monotonic() - began
    # Each is answered; with 503 where the machine is too busy for a poll in time.
    assert set(statuses) <= {200, 503}
    # All that was known was older than the answers may be.
    assert 1 <= asked(server) - before <= seconds


def test_a_burst_on_a_server_that_hangs_is_answered_too(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn, interval="10m", deadline="30s")
    watching.wait_for("up", 1)
    with stopped(server):
        # What is known is soon too old.
        wait_until(lambda: watching.get("/health/deep").status_code == 503)
        assert set(asyncio.run(burst(watching.port, 200))) == {503}


async def burst(port: int, number: int) -> list[int]:
    """Ask on so many connections at the same time; the statuses of the answers."""
    # None of them is kept: each asks once.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits) as client:
        answers = await asyncio.gather(*(client.get("/health/deep") for _ in range(number)))
    return [answer.status_code for answer in answers]


def settled(number: Callable[[], int]) -> None:
    """Wait until it has not grown for half a second."""
    last = -1
    while (now := number()) != last:
        last = now
        time.sleep(0.5)


def asked(server: ThrowawayServer) -> int:
    """How many statements the server has had from an agent, without those by which it reads the server's clock."""
    statements = re.split(r"^pgdoctor\|LOG: +(?:statement|execute)", server.log.read_text(), flags=re.MULTILINE)[1:]
    return sum("clock_timestamp() AS now" not in each for each in statements)
