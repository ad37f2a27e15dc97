"""A full poll that runs into a timeout: the gate has answered, so the agent is up and counts on."""

import asyncio

import pytest

from pgdoctor.agent.polling.pacing import Pacing
from pgdoctor.agent.polling.poll import PollRunner
from pgdoctor.config.config import AgentSettings
from pgdoctor.mitigation.rules import Duration
from pgdoctor.postgres.connection import Connection

#: What a full poll needs and the gate does not; each transaction that changes it makes all sessions read it again.
CHANGE = "alter function pg_catalog.pg_blocking_pids(int) cost 1"


@pytest.fixture
def watching(scene, agent):
    """An agent that has made a full poll, at a server where one session waits for another."""
    scene.admin.execute("create table orders (id int)")
    watching = agent(scene.dsn, more='wait_threshold = "0s"')
    scene.client("lock table orders")
    scene.client().block("select from orders")
    watching.wait_for('blockers{class="idle_in_transaction"}', 1)
    return watching


def lock_the_functions(scene):
    """Now each full poll has to read pg_proc, and waits for a lock on it. Returns the session that holds the lock."""
    change = scene.client(CHANGE)
    # In the queue before the change is over, so that no session reads it in between.
    locking = scene.client().block("lock table pg_catalog.pg_proc in access exclusive mode")
    change.run("commit")
    locking.finish()
    return locking


def test_earlier_diagnosis_stands_while_full_polls_time_out(scene, watching):
    locking = lock_the_functions(scene)
    watching.wait_for_lines("full poll failed")
    looked = watching.metric("last_full_poll_timestamp_seconds")
    found = watching.wait_for_polls(3)
    assert found["pgdoctor_up"] == 1
    assert found["pgdoctor_blocked_sessions"] >= 1
    assert found['pgdoctor_blockers{class="idle_in_transaction"}'] == 1
    assert found["pgdoctor_last_full_poll_timestamp_seconds"] == looked > 0
    assert found["pgdoctor_last_success_timestamp_seconds"] > looked
    assert watching.metric("full_polls_failed_total") >= 1
    assert watching.get("/health").status_code == 200
    assert "the lock waits could not be read now" in watching.get("/diagnosis").text
    locking.run("rollback")
    scene.wait_until(lambda: watching.metric("last_full_poll_timestamp_seconds") > looked)
    assert "the lock waits could not be read now" not in watching.get("/diagnosis").text


def test_gate_is_shown_while_a_full_poll_takes_long(scene):
    scene.admin.execute("create table orders (id int)")
    scene.client("lock table orders")
    scene.client().block("select from orders")

    async def poll():
        runner = PollRunner(AgentSettings(interval=Duration(0.05), wait_threshold=Duration(0)), Pacing())
        async with await Connection.open(scene.dsn, 15.0) as connection:
            first = await runner.examine(connection)
            shown = []
            locking = await asyncio.to_thread(lock_the_functions, scene)
            # Until a full poll waits for that lock, and in the end fails: meanwhile the gate is all that is known.
            while not runner.failed_full_polls:
                await runner.examine(connection, shown.append, is_urgent=True)
            locking.run("rollback")
            return first, shown

    first, shown = asyncio.run(poll())
    assert first.is_new
    assert shown
    assert not shown[-1].is_new
    assert shown[-1].diagnosis is first.diagnosis or shown[-1].diagnosis.blockers
    assert shown[-1].figures.blocked_sessions >= 1
