"""The lock table: who fills it, and what our own statements say once it is full."""

import asyncio

import psycopg
import pytest

from pgdoctor.errors import StatementFailed
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.signal import LEADER_KEY
from tests.cli.test_bad_input import complains
from tests.diagnosis.findings.observing import kinds, observer
from tests.forked import pgdoctor
from tests.scenes import Scene

#: So that the settings promise 10 × 20 = 200 places.
SETTINGS = {"max_locks_per_transaction": 10, "max_prepared_transactions": 0}
CONNECTIONS = 20


@pytest.fixture
def small(own_server):
    with Scene(own_server(max_connections=CONNECTIONS, settings=SETTINGS).dsn) as scene:
        yield scene


def test_sessions_with_many_locks_are_no_finding_while_there_is_room(small):
    small.client("select pg_advisory_lock(n) from generate_series(1, 100) n")
    # Held and wanted by several, an object takes one place; and the fast path takes none.
    small.admin.execute("create table orders (id int)")
    for _ in range(10):
        small.client("select from orders", "select pg_advisory_lock_shared(n) from generate_series(201, 220) n")
    with observer(small.dsn) as seen:
        found = seen.look()
        assert "lock_table_full" not in kinds(found)
        assert 120 <= found.snapshot.surroundings.lock_table.objects < 160


def test_session_that_fills_it_is_named(small):
    holder = small.client("select pg_advisory_lock(n) from generate_series(1, 170) n", application_name="import")
    with observer(small.dsn) as seen:
        note = seen.note("lock_table_full")
    assert (note.severity, note.numbers["capacity"]) == ("warning", 200)
    assert 170 <= note.numbers["objects"] < 200
    assert "(max_locks_per_transaction 10 × (max_connections 20 + max_prepared_transactions 0))" in note.summary
    assert note.advice.startswith(f"end the transaction of {holder.pid}, or let it commit in parts")
    assert (
        f'session {holder.pid} in {small.admin.info.dbname}, "import" (postgres), idle in transaction'
        in note.evidence[0]
    )
    assert "holds 17" in note.evidence[0]
    assert "generate_series(?, ?)" in note.evidence[0]


def fill(client):
    """Take every place that is left. What a statement has taken that fails, it gives back."""
    for number in range(100_000):
        try:
            client.run(f"select pg_advisory_lock({number})")
        except psycopg.errors.OutOfMemory:
            return


def test_full_table_is_critical_and_our_own_errors_say_what_it_is(small):
    hoarder = small.client("select 1", autocommit=True, application_name="import")
    with observer(small.dsn) as seen:
        assert "lock_table_full" not in kinds(seen.look())
        fill(hoarder)
        note = seen.note("lock_table_full")
        assert note.severity == "critical"
        assert note.advice.startswith(f"end the transaction of {hoarder.pid}")
        # A login needs locks, too.
        result = pgdoctor("diagnose", "--dsn", small.dsn)
        complains(result, 3, "failed: out of shared memory: the lock table is full", "max_locks_per_transaction")


def test_statement_of_ours_that_finds_no_place_says_so(small):
    async def take_a_lock():
        async with await Connection.open(small.dsn, 5.0) as door:
            await asyncio.to_thread(fill, hoarder)
            await door.fetch("acquire_leader_lock", key=LEADER_KEY)

    hoarder = small.client("select 1", autocommit=True)
    with pytest.raises(StatementFailed, match=r"the lock table is full.*max_locks_per_transaction"):
        asyncio.run(take_a_lock())
