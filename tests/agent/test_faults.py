"""What befalls a server in its life, while the agent looks: it answers throughout, says the truth, and comes back.

Every poll at a metric here has to be answered within a second.
"""

import os
import re
import signal
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests import binaries
from tests.agent.polling.test_outage import END_OURS, fails, own_sessions, slot_of_agent, slots_taken, stopped
from tests.scenes.client import wait_until
from tests.standby import promote, standby_of

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

#: Two intervals and the deadline of these agents are 1.4 s; a busy machine takes many times as long.
RIGHT_WITHIN = 20.0


def test_the_postmaster_killed(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn)
    watching.wait_for("up", 1)
    os.kill(server.pid, signal.SIGKILL)
    watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
    server.halt()
    server.start()
    watching.wait_for("up", 1)
    wait_until(lambda: own_sessions(server) == 1)


def test_stopped_for_twenty_seconds(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn)
    watching.wait_for("up", 1)
    with stopped(server):
        watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            assert watching.metric("up") == 0
            assert watching.get("/health/deep").status_code == 503
            time.sleep(0.2)
    watching.wait_for("up", 1)
    wait_until(lambda: own_sessions(server) == 1)


def test_its_session_ended_twenty_times_in_a_row(own_server, agent):
    server = own_server(max_connections=20)
    watching = agent(server.dsn)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for _ in range(20):
            wait_until(lambda: connection.execute(END_OURS).rowcount == 1)
            watching.polls_until("up", 1)
    wait_until(lambda: own_sessions(server) == 1)


def test_slots_used_up_after_its_start(own_server, agent):
    server = own_server(max_connections=6, settings={"superuser_reserved_connections": 0})
    watching = agent(server.dsn)
    watching.wait_for("up", 1)
    others = slots_taken(server.dsn, 5)
    fails_to_connect(server.dsn)
    watching.polls_until("up", 1)
    # One of the others takes its place.
    others.append(slot_of_agent(others[0], server.dsn))
    watching.wait_for('connection_state{state="too_many_connections"}', 1)
    assert watching.metric("up") == 0
    for other in others:
        other.close()
    watching.wait_for("up", 1)


def test_its_password_changed_and_changed_back(scene, agent):
    dsn = scene.role("watcher", "pg_monitor", password="first of the test")
    watching = agent(dsn)
    watching.wait_for("up", 1)
    scene.admin.execute("alter role watcher password 'second of the test'")
    # An open connection does not mind.
    assert watching.wait_for_polls(2)["pgdoctor_up"] == 1
    scene.admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'watcher'")
    watching.wait_for('connection_state{state="auth_failed"}', 1)
    assert watching.metric("up") == 0
    scene.admin.execute("alter role watcher password 'first of the test'")
    watching.wait_for("up", 1)


def test_failover_to_a_standby_and_back(own_server, agent):
    primary = own_server(max_connections=20)
    with standby_of(primary) as standby:
        both = make_conninfo(
            primary.dsn,
            host="127.0.0.1,127.0.0.1",
            port=f"{primary.port},{standby.port}",
            target_session_attrs="read-write",
        )
        watching = agent(both)
        watching.wait_for("up", 1)
        primary.halt("immediate")
        watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
        there = make_conninfo(primary.dsn, port=standby.port)
        promote(standby, there)
        watching.wait_for("up", 1, timeout=15)
        blocked_at(there, watching)
        standby.halt("immediate")
        watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
        primary.start()
        watching.wait_for("up", 1, timeout=15)
        blocked_at(primary.dsn, watching)


def test_a_standby_promoted_under_it(own_server, agent):
    primary = own_server(max_connections=20)
    with standby_of(primary) as standby:
        there = make_conninfo(primary.dsn, port=standby.port)
        watching = agent(there)
        watching.wait_for("up", 1)
        wait_until(lambda: seen(watching).get("in_recovery") is True)
        promote(standby, there)
        wait_until(lambda: seen(watching).get("in_recovery") is False)
        blocked_at(there, watching)


@pytest.mark.deadline(180)
def test_the_server_upgraded_under_it(own_server, agent):
    new = own_server(max_connections=20)
    with ThrowawayServer(bindir=binaries.bindir(14), max_connections=20) as old:
        if old.version_num // 10_000 == new.version_num // 10_000:
            pytest.skip("the version under test is the oldest one")
        for server in (old, new):
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute("create role watcher login password 'watcher of the test'")
                connection.execute("grant pg_monitor to watcher")
        new.halt()
        watching = agent(make_conninfo(old.dsn, user="watcher", password="watcher of the test"))
        watching.wait_for("up", 1)
        blocked_at(old.dsn, watching)
        old.halt()
        watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
        new.port = old.port
        new.start()
        watching.wait_for("up", 1)
        wait_until(lambda: seen(watching).get("version_num") == new.version_num)
        blocked_at(new.dsn, watching)
    lines = watching.wait_for_lines("connected", 2)
    told = [line["server_version"] for line in lines if line["event"] == "connected"]
    assert told == [old.version_num, new.version_num]


@pytest.mark.parametrize("hours", [-1, 1])
def test_its_own_clock_an_hour_off(scene, agent, tmp_path, monkeypatch, hours):
    """Ages are the server's: what it says of waits does not depend on the clock of its host."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import time; true = time.time; time.time = lambda: true() + {hours * 3600}"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    shift = watching.metric("last_success_timestamp_seconds") - time.time()
    assert shift == pytest.approx(hours * 3600, abs=60), "the clock is off"
    scene.admin.execute("create table orders ()")
    scene.client().run("lock table orders")
    scene.client().block("select from orders")
    watching.wait_for("blocked_sessions", 1)
    assert 0 < watching.metric("oldest_wait_seconds") < 60
    wait_until(lambda: watching.get("/health/deep").status_code == 200)


@pytest.mark.deadline(300)
def test_a_thousand_polls_leave_nothing_behind(own_server, agent):
    """Incidents come and go, its session is ended now and then: no descriptor, thread or megabyte more than before."""
    server = own_server(max_connections=30)
    watching = agent(server.dsn, interval="100ms")
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("create table t ()")
        for _ in range(20):
            live_through(server, watching, connection)
        before = resources(watching.pid)
        first = polls(watching)
        while polls(watching) < first + 1_000:
            live_through(server, watching, connection)
    after = resources(watching.pid)
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["threads"] <= before["threads"] + 2
    assert after["rss_kb"] <= before["rss_kb"] * 1.1


def live_through(server, watching, connection):
    """An incident from beginning to end, and a connection lost."""
    blocked_at(server.dsn, watching)
    watching.get("/diagnosis")
    watching.get("/")
    wait_until(lambda: connection.execute(END_OURS).rowcount == 1)
    watching.polls_until("up", 1)


def blocked_at(dsn, watching):
    """A session waits there, is seen, and is released."""
    with psycopg.connect(dsn, autocommit=True) as holder, psycopg.connect(dsn, autocommit=True) as waiter:
        holder.execute("create table if not exists fault ()")
        holder.execute("begin; lock table fault")
        waiting = threading.Thread(target=fails, args=(waiter, "select from fault"))
        waiting.start()
        watching.wait_for("blocked_sessions", 1)
        waiter.cancel()
        waiting.join()
    watching.wait_for("blocked_sessions", 0)


def seen(watching):
    """The server as the last poll saw it; nothing where that failed."""
    return watching.get("/diagnosis").json().get("server", {})


def polls(watching):
    return watching.metric("poll_duration_seconds_count")


def resources(pid):
    """What a process has open, and how much it weighs."""
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
        "rss_kb": int(re.search(r"VmRSS:\s+(\d+)", status)[1]),
    }


def fails_to_connect(dsn):
    with pytest.raises(psycopg.OperationalError, match=r"too many|already"):
        psycopg.connect(dsn)
