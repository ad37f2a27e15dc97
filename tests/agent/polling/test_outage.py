"""The server is away, hangs, refuses: the agent answers all the same, says so, and comes back by itself."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.agent.running import SOON, processes
from tests.scenes.client import wait_until

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

END_OURS = "select pg_terminate_backend(pid, 1000) from pg_stat_activity where application_name = 'pgdoctor'"


@contextmanager
def stopped(server):
    """A server that accepts connections and says nothing."""
    # The postmaster first: what it forks meanwhile would go on.
    os.kill(server.pid, signal.SIGSTOP)
    pids = processes(server.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def own_sessions(server):
    with psycopg.connect(server.dsn) as connection:
        [(number,)] = connection.execute(
            "select count(*) from pg_stat_activity where application_name = 'pgdoctor'"
        ).fetchall()
    return number


def connected(dsn):
    """A connection, or None where there is no place for it."""
    try:
        return psycopg.connect(dsn, autocommit=True)
    except psycopg.OperationalError:
        return None


def slots_taken(dsn, number):
    """So many connections. Who has just closed one, as the start of a server does, may keep its slot for a moment."""
    return [wait_until(lambda: connected(dsn), 10) for _ in range(number)]


def slot_of_agent(connection, dsn):
    """A connection that takes the agent's place first."""

    def taken():
        connection.execute(END_OURS)
        return connected(dsn)

    return wait_until(taken, 20)


def fails(connection, statement):
    with pytest.raises(psycopg.Error):
        connection.execute(statement)


def incident(metrics):
    """The series that speak of an incident, and are not zero."""
    spoken = ("pgdoctor_block", "pgdoctor_oldest", "pgdoctor_connections", "pgdoctor_max_connections")
    return {name for name, value in metrics.items() if value and name.startswith(spoken) and "_total" not in name}


def test_a_server_that_crashes_and_comes_back(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn)
    holder, waiter = psycopg.connect(server.dsn), psycopg.connect(server.dsn)
    holder.execute("create table t ()")
    waiting = threading.Thread(target=fails, args=(waiter, "select from t"))
    holder.commit()
    holder.execute("lock table t")
    waiting.start()
    watching.wait_for("blocked_sessions", 1)
    server.halt("immediate")
    watching.wait_for("up", 0)
    assert incident(watching.metrics()) == set()
    watching.wait_for('connection_state{state="refused"}', 1)
    deep = watching.get("/health/deep")
    assert (deep.status_code, deep.json()["status"]) == (503, "DOWN")
    assert "refused" in deep.json()["components"]["database"]["error"]
    assert watching.get("/health").status_code == 200
    assert watching.get("/diagnosis").status_code == 503
    assert "failed: Connection refused" in watching.get("/").text
    server.start()
    watching.wait_for("up", 1)
    watching.wait_for('connection_state{state="connected"}', 1)
    wait_until(lambda: watching.get("/health/deep").status_code == 200)
    wait_until(lambda: own_sessions(server) == 1)
    waiting.join()
    holder.close()
    waiter.close()


@pytest.mark.parametrize("deadline", ["1s", "30s"])
def test_waiting_that_no_agent_saw_is_not_counted(own_server, agent, deadline):
    server = own_server(max_connections=20)
    watching = agent(server.dsn, deadline=deadline)
    with psycopg.connect(server.dsn) as holder, psycopg.connect(server.dsn) as waiter:
        holder.execute("create table t ()")
        holder.commit()
        holder.execute("lock table t")
        waiting = threading.Thread(target=fails, args=(waiter, "select from t"))
        waiting.start()
        watching.wait_for("blocked_sessions", 1)
        began, blind = time.monotonic(), 2.5
        with stopped(server):
            before = watching.metric("blocked_session_seconds_total")
            time.sleep(blind)
            watching.wait_for("up", 0)
        watching.wait_for("blocked_sessions", 1)
        wait_until(lambda: watching.metric("blocked_session_seconds_total") > before + 0.5)
        counted = watching.metric("blocked_session_seconds_total") - before
        assert counted < time.monotonic() - began - blind + 1
        waiter.cancel()
        waiting.join()


def test_a_server_that_hangs(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn)
    watching.wait_for("up", 1)
    series = watching.metrics().keys()
    with stopped(server):
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert watching.metrics().keys() == series
            assert watching.get("/health").status_code == 200
            time.sleep(0.1)
        watching.wait_for("up", 0)
        watching.wait_for('connection_state{state="timeout"}', 1)
        assert watching.get("/health/deep").status_code == 503
        assert watching.get("/diagnosis").status_code == 503
    watching.wait_for("up", 1)
    assert watching.metric("polls_skipped_total") > 0
    # A stopped server has accepted what was given up meanwhile; it is rid of that as soon as it looks.
    wait_until(lambda: own_sessions(server) == 1)


def test_results_expire_before_a_hanging_poll_ends(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn, deadline="30s")
    watching.wait_for("up", 1)
    with stopped(server):
        watching.wait_for("up", 0)
        assert incident(watching.metrics()) == set()
        assert "no answer" in watching.get("/diagnosis").json()["error"]
    watching.wait_for("up", 1)


@pytest.mark.parametrize("begun", [True, False])
def test_sigterm_ends_it_while_the_server_hangs(own_server, agent, begun):
    server = own_server(max_connections=20)
    if begun:
        watching = agent(server.dsn, deadline="30s")
        watching.wait_for("up", 1)
    with stopped(server):
        if begun:
            watching.wait_for("up", 0)
        else:
            watching = agent(server.dsn, deadline="30s")
        seconds, status = watching.end()
    assert seconds < SOON
    assert status == 0


def test_a_server_without_slots(own_server, agent):
    server = own_server(max_connections=5, settings={"superuser_reserved_connections": 0})
    [last] = slots_taken(server.dsn, 1)
    with last:
        others = slots_taken(server.dsn, 4)
        watching = agent(server.dsn)
        watching.wait_for('connection_state{state="too_many_connections"}', 1)
        assert watching.metric("up") == 0
        for other in others:
            other.close()
        watching.wait_for("up", 1)
        wait_until(lambda: own_sessions(server) == 1)


def test_it_comes_back_after_its_session_was_terminated(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn)
    watching.wait_for("up", 1)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for _ in range(3):
            wait_until(lambda: connection.execute(END_OURS).rowcount == 1)
            watching.polls_until("up", 1)
            assert own_sessions(server) <= 1


def test_a_wrong_password_is_said_and_tried_again(scene, agent):
    dsn = scene.role("watcher", "pg_monitor", password="right of the test")
    watching = agent(make_conninfo(dsn, password="wrong of the test"))
    watching.wait_for('connection_state{state="auth_failed"}', 1)
    assert watching.metric("up") == 0
    assert 'password authentication failed for user "watcher"' in watching.get("/").text.replace("&quot;", '"')
    scene.admin.execute("alter role watcher password 'wrong of the test'")
    watching.wait_for("up", 1)
    lines = watching.wait_for_lines("connected")
    failures = [line for line in lines if line["event"] == "server cannot be polled"]
    assert [line["state"] for line in failures] == ["auth_failed"]


def test_it_starts_without_a_server(agent):
    watching = agent("postgresql://app:hunter2-of-the-test@127.0.0.1:1/shop")
    watching.wait_for('connection_state{state="refused"}', 1)
    assert watching.metric("up") == 0
    assert watching.get("/health").json()["status"] == "UP"
    assert watching.get("/health/deep").status_code == 503
    assert watching.metric("last_poll_timestamp_seconds") > time.time() - 10
    assert watching.metric("last_success_timestamp_seconds") == 0
    seconds, status = watching.end(signal.SIGINT)
    assert (seconds < SOON, status) == (True, 0)
