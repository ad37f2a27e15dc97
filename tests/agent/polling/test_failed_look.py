"""A full poll that runs into a timeout: the gate has answered, so the agent is up and counts on."""

import pytest

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
