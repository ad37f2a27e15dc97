"""Clients that connect again for each request, and busy servers that only seem to."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.findings import connection_churn
from pgdoctor.model.server_context import Rates
from pgdoctor.postgres.activity_sampling import observe_briefly
from pgdoctor.postgres.connection import Connection
from tests.diagnosis.findings.test_thresholds import AROUND, found


@pytest.mark.parametrize(
    ("sessions", "connected", "is_found"),
    [
        # A pool that is busy, one that starts, and a few clients that come and go.
        (0.0, 90, False),
        (100.0, 100, False),
        (99.9, 3, False),
        (100.0, 99, True),
        (400.0, 2, True),
    ],
)
def test_many_short_sessions_are_churn(sessions, connected, is_found):
    rates = {"shop": Rates(sessions=sessions / 2), "app": Rates(sessions=sessions / 2)}
    kinds = [note.kind for note in found(replace(AROUND, lately=rates, usual=rates, connections=connected))]
    assert kinds == (["connection_churn"] if is_found else [])


def test_single_poll_knows_no_rate():
    assert found(replace(AROUND, connections=2)) == []


@pytest.mark.long
@pytest.mark.deadline(120)
def test_clients_that_connect_for_each_request_are_named(own_server, monkeypatch):
    # A busy machine starts fewer backends than it would take for the finding.
    monkeypatch.setattr(connection_churn, "_FAST", 5.0)
    server = own_server()
    pgbench = server.bindir / "pgbench"
    server.run(pgbench, "-i", "-q", server.dsn, seconds=60)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(server.run, pgbench, "-n", "-S", "-C", "-c", "4", "-T", "10", server.dsn, seconds=60)
        asked = []
        while not load.done():
            asked.append(asyncio.run(observe(server.dsn)))
    notes = [note for each in asked for note in each.findings if note.kind == "connection_churn"]
    assert notes
    assert "database postgres: " in notes[0].evidence[0]
    assert notes[0].numbers["connections"] < notes[0].numbers["sessions_per_second"]


async def observe(dsn):
    async with await Connection.open(dsn, 10.0) as door:
        return (await observe_briefly(door))[0]
