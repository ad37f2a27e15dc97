"""A stranger in the leader election is named; programs with advisory locks of their own, and other agents, are not."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.diagnosis.findings.leader_lock import leader_lock_notes
from pgdoctor.enforcement.leader import REHEARSAL_KEY, LeaderElection
from pgdoctor.model.diagnosis import Finding
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_context import lock_strangers
from pgdoctor.postgres.signal import LEADER_KEY
from tests.diagnosis.findings.observing import observer
from tests.leading import take_the_lead
from tests.mitigation.conftest import Incident
from tests.scenes import Scene

Session = psycopg.Connection[Any]


@pytest.fixture
def connected() -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []

    def connect(dsn: str, application: str, key: int) -> Session:
        session = psycopg.connect(dsn, autocommit=True, application_name=application)
        session.execute("select pg_advisory_lock(%s)", [key])
        opened.append(session)
        return session

    yield connect
    for session in opened:
        session.close()


def found(dsn: str) -> list[Finding]:
    async def work() -> list[Finding]:
        async with await Connection.open(dsn) as door:
            return list(leader_lock_notes(await lock_strangers(door)))

    return asyncio.run(work())


def test_locks_of_programs_and_of_agents_are_none(incident: Incident, connected: Callable[..., Session]) -> None:
    """Another key, a pair of keys with the same numbers, and agents that lead, rehearse and follow."""
    connected(incident.app_dsn, "worker", LEADER_KEY >> 32)
    connected(incident.app_dsn, "worker", LEADER_KEY + (1 << 32))
    pair = connected(incident.app_dsn, "worker", 1)
    pair.execute("select pg_advisory_lock(%s, %s)", [LEADER_KEY >> 32, LEADER_KEY & 0xFFFFFFFF])

    async def work() -> None:
        elsewhere = make_conninfo(incident.agent, dbname=incident.scene.database())
        opened = [await Connection.open(dsn) for dsn in (incident.agent, elsewhere, elsewhere)]
        await take_the_lead(opened[0])
        assert await LeaderElection().try_to_lead(opened[1], "dry_run", datetime.now(UTC))
        assert list(await lock_strangers(opened[2])) == []
        for door in opened:
            door.abandon()

    asyncio.run(work())


@pytest.mark.parametrize("key", [LEADER_KEY, REHEARSAL_KEY, LEADER_KEY + 7_000])
def test_h59_a_stranger_is_named(incident: Incident, connected: Callable[..., Session], key: int) -> None:
    """In whatever database, and though it calls itself pgdoctor."""
    elsewhere = make_conninfo(incident.app_dsn, dbname=incident.scene.database())
    stranger = connected(elsewhere, "pgdoctor", key)
    [note] = found(incident.agent)
    assert (note.kind, note.severity) == ("leader_lock", "critical")
    for word in (f"PID {stranger.info.backend_pid}", "app from 127.0.0.1", '"pgdoctor"', stranger.info.dbname):
        assert word in note.summary


def test_h59_many_strangers_are_one_finding(incident: Incident, connected: Callable[..., Session]) -> None:
    for number in range(3):
        connected(incident.app_dsn, "psql", LEADER_KEY + 1_000 * number)
    [note] = found(incident.agent)
    assert "and 2 more sessions hold" in note.summary
    assert len(note.evidence) == note.numbers["strangers"] == 3


def test_h59_a_role_that_may_signal_is_a_warning(incident: Incident, connected: Callable[..., Session]) -> None:
    operator = incident.scene.role("operator", "pg_signal_backend")
    connected(operator, "pgdoctor", LEADER_KEY)
    [note] = found(incident.agent)
    assert note.severity == "warning"
    connected(operator, "psql", LEADER_KEY + 8)
    assert [note.severity for note in found(incident.agent)] == ["critical", "warning"]


@pytest.mark.long
def test_h59_a_prepared_transaction_is_named(own_server: Callable[..., Any]) -> None:
    """It outlives its session, and has no PID."""
    server = own_server(settings={"max_prepared_transactions": 5})
    with Scene(server.dsn) as scene:
        owner = scene.client()
        owner.run("begin")
        owner.run(f"select pg_advisory_xact_lock({LEADER_KEY})")
        owner.run("prepare transaction 'left behind'")
        with observer(scene.dsn) as seen:
            note = seen.note("leader_lock")
        assert "prepared transaction left behind" in note.summary
        scene.admin.execute("rollback prepared 'left behind'")
