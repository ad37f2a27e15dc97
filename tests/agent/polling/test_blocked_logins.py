"""No session can log in: the agent sees the logins that wait, tries one of its own, and names the blocker."""

import asyncio
import time
from contextlib import ExitStack

import psycopg
import pytest

from pgdoctor.agent.polling.login_probe import LoginProbe
from pgdoctor.errors import Unreachable
from pgdoctor.model.snapshot import Login
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.unreachable import what_to_do
from tests.logins import locked_logins, logging_in
from tests.scenes.client import wait_until

#: Processes that wait for a lock and are no session yet; the view would wait itself.
_STARTING = """
    select count(distinct l.pid)
    from pg_locks as l left join pg_stat_get_activity(null) as s on s.pid = l.pid
    where not l.granted and (s.pid is null or s.state = 'starting')
"""

_PROBING = 'login_probe_interval = "300ms"\n'


def starting(admin: psycopg.Connection) -> int:
    return admin.execute(_STARTING).fetchone()[0]


@pytest.mark.long
def test_login_that_waits_is_found_with_the_holder(own_server, agent) -> None:
    server = own_server()
    watching = agent(server.dsn, more=_PROBING)
    watching.wait_for("up", 1)
    with psycopg.connect(server.dsn, autocommit=True) as admin, locked_logins(server) as locker:
        with logging_in(server, 2):
            wait_until(lambda: watching.metric("blocked_sessions") >= 2, 60.0)
            watching.wait_for("login_probe_up", 0)
            watching.wait_for('findings{kind="blocked_logins"}', 1)
            [root] = [each for each in watching.get("/diagnosis").json()["blockers"] if each["root"]]
            assert (root["pid"], root["relation"]) == (locker.info.backend_pid, "pg_catalog.pg_authid")
            health = watching.get("/health/deep")
            assert (health.status_code, health.json()["status"]) == (503, "DEGRADED")
            assert "no new connection is possible" in health.json()["components"]["database"]["error"]
            finding = _finding(watching)
            assert str(locker.info.backend_pid) in finding["advice"]
            # The attempt that hangs is the only one, however long it lasts.
            watching.wait_for_polls(10)
            assert starting(admin) == 3
        locker.rollback()
        watching.wait_for("login_probe_up", 1)
        watching.wait_for('findings{kind="blocked_logins"}', 0)
        wait_until(lambda: watching.get("/health/deep").json()["status"] == "UP", 60.0)
    assert [line["event"] for line in watching.lines if line["event"].startswith("login")] == [
        "login failed",
        "login works again",
    ]


def _finding(watching) -> dict[str, str]:
    found = watching.get("/diagnosis").json()["findings"]
    return next(each for each in found if each["kind"] == "blocked_logins")


@pytest.mark.long
def test_agent_that_cannot_log_in_takes_one_slot(own_server, agent) -> None:
    server = own_server()
    watching = agent(server.dsn, deadline="500ms", more='login_probe_interval = "0s"\n')
    watching.wait_for("up", 1)
    with psycopg.connect(server.dsn, autocommit=True) as admin, locked_logins(server) as locker:
        # The view would wait for the catalog of roles.
        ours = "select pg_terminate_backend(pid) from pg_stat_get_activity(null) where application_name = 'pgdoctor'"
        assert admin.execute(ours).fetchall() == [(True,)]
        watching.wait_for('connection_state{state="login_hangs"}', 1)
        time.sleep(3)
        assert starting(admin) == 1
        assert watching.metric('connection_state{state="login_hangs"}') == 1
        locker.rollback()
        watching.wait_for("up", 1)


@pytest.mark.long
def test_login_takes_its_time_and_gives_back_its_slot(own_server, agent) -> None:
    server = own_server()
    watching = agent(server.dsn, more=_PROBING)
    wait_until(lambda: watching.metric("login_seconds") > 0, 60.0)
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        asked = "select count(*) from pg_stat_activity where application_name = 'pgdoctor'"
        wait_until(lambda: admin.execute(asked).fetchone()[0] == 1)


@pytest.mark.long
def test_no_login_is_tried_while_slots_are_short(own_server, agent) -> None:
    server = own_server(max_connections=6, settings={"superuser_reserved_connections": 0})
    watching = agent(server.dsn, more=_PROBING)
    watching.wait_for("up", 1)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(psycopg.connect(server.dsn))
        watching.wait_for_polls(10)
        before = watching.metric("login_seconds")
        watching.wait_for_polls(10)
        assert watching.metric("login_seconds") == before
        assert watching.metric("login_probe_up") == 1


def test_probe_that_is_switched_off_does_nothing() -> None:
    asked = []

    async def read_dsn() -> str:
        asked.append(1)
        return ""

    async def run(interval: float, *, may_run: bool) -> Login | None:
        probe = LoginProbe(read_dsn, lambda: may_run, interval, 1.0)
        task = asyncio.create_task(probe.run())
        await asyncio.sleep(0.5)
        task.cancel()
        return probe.result

    assert asyncio.run(run(0.0, may_run=True)) is None
    assert asyncio.run(run(0.1, may_run=False)) == Login()
    assert not asked


@pytest.mark.parametrize(
    "catalog",
    [
        "pg_authid",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("pg_database", "pg_db_role_setting", "pg_class")),
    ],
)
def test_login_that_hangs_is_distinguished_from_a_server_that_does_not_answer(own_server, catalog: str) -> None:
    server = own_server()
    with locked_logins(server, catalog), pytest.raises(Unreachable) as caught:
        asyncio.run(Connection.open(server.dsn, 1.0))
    assert caught.value.state == "login_hangs"
    assert "catalog" in f"{caught.value} {what_to_do(caught.value.state)}"
