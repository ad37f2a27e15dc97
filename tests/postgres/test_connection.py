"""The door: how a connection failed, and that nothing hangs on it."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.errors import PgdoctorError, StatementFailed, Unreachable, UsageError
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.connection_errors import STATES, connection_error
from pgdoctor.postgres.conninfo import ConnectionTarget
from pgdoctor.postgres.dsn import parse_dsn
from tests.scenes import Scene

TARGET = ConnectionTarget(("10.0.0.5:5432",), "x")


def failure(dsn: str, deadline: float = 2.0) -> PgdoctorError:
    async def attempt() -> None:
        async with await Connection.open(dsn, deadline):
            pass

    with pytest.raises(PgdoctorError) as caught:
        asyncio.run(attempt())
    return caught.value


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("FATAL:  the database system is starting up", "starting_up"),
        ("FATAL:  the database system is shutting down", "starting_up"),
        ("FATAL:  the database system is in recovery mode", "starting_up"),
        ("FATAL:  the database system is not yet accepting connections", "starting_up"),
        ('FATAL:  database "x" is not currently accepting connections', "not_permitted"),
        ('FATAL:  permission denied for database "x"', "not_permitted"),
        ('FATAL:  role "x" is not permitted to log in', "not_permitted"),
        ('FATAL:  role "x" does not exist', "auth_failed"),
        ('FATAL:  password authentication failed for user "x"', "auth_failed"),
        ('FATAL:  no pg_hba.conf entry for host "h", user "u", database "d", no encryption', "auth_failed"),
        ('FATAL:  database "x" does not exist', "unknown_database"),
        ("FATAL:  sorry, too many clients already", "too_many_connections"),
        (
            "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "too_many_connections",
        ),
        ('FATAL:  too many connections for role "x"', "too_many_connections_for_role"),
        ('FATAL:  too many connections for database "x"', "too_many_connections_for_database"),
        ('connection to server at "::1", port 1 failed: Connection refused', "refused"),
        ("something new", "error"),
    ],
)
def test_how_a_connection_failed_is_reported_by_what_the_server_says(said: str, state: str) -> None:
    error = connection_error(psycopg.OperationalError(f"connection failed: {said}"), TARGET)
    assert error.state == state
    assert state in STATES
    assert "\n" not in str(error)


def test_a_socket_that_is_not_there_is_not_taken_for_any_file() -> None:
    missing = failure("host=/nonexistent user=x")
    assert isinstance(missing, Unreachable)
    said = "connection to /nonexistent/.s.PGSQL.5432 as x failed: No such file or directory"
    assert (missing.state, str(missing)) == ("refused", said)


def test_an_error_keeps_what_the_server_says() -> None:
    rejected = 'no pg_hba.conf entry for host "h", user "u", database "d", no encryption'
    said = str(connection_error(psycopg.OperationalError(rejected), TARGET))
    assert said == f"connection to 10.0.0.5:5432 as x failed: {rejected}"


@pytest.mark.parametrize("dsn", ["host", "postgresql://u:p@ss@h/d", "postgresql://u:p:x/y@h/d", "nonsense=1"])
def test_a_dsn_that_does_not_parse_is_wrong_usage(dsn: str) -> None:
    with pytest.raises(UsageError):
        parse_dsn(dsn)


def test_a_missing_database_is_distinguished_from_a_missing_server(scene: Scene) -> None:
    missing = failure(make_conninfo(scene.dsn, dbname="nowhere"))
    assert isinstance(missing, Unreachable)
    assert missing.state == "unknown_database"
    refused = failure("host=127.0.0.1 port=1 user=x")
    assert isinstance(refused, Unreachable)
    assert refused.state == "refused"


def test_settings_of_role_and_database_do_not_change_our_session(scene: Scene) -> None:
    dsn = scene.role("watcher", "pg_monitor")
    scene.admin.execute("alter role watcher set statement_timeout = '500ms'")
    scene.admin.execute("alter role watcher set idle_session_timeout = '1s'")
    scene.admin.execute("alter role watcher set idle_in_transaction_session_timeout = '1s'")
    if scene.admin.info.server_version >= 170000:
        scene.admin.execute("alter role watcher set transaction_timeout = '500ms'")
    scene.admin.execute("alter role watcher set search_path = public")
    scene.admin.execute("create function public.pg_backend_pid() returns int language sql as 'select 0'")

    async def settings() -> list[tuple[str, str]]:
        async with await Connection.open(dsn, 5.0) as door:
            await door.fetch("gate", wait_threshold=timedelta(), watched="{}")
            cursor = await door.connection.execute(
                "select name, setting from pg_settings where name in "
                "('statement_timeout', 'lock_timeout', 'idle_session_timeout', 'search_path', 'application_name', "
                "'idle_in_transaction_session_timeout', 'transaction_timeout', 'default_transaction_read_only') "
                "order by name"
            )
            return await cursor.fetchall()

    transaction_timeout = [("transaction_timeout", "0")] if scene.admin.info.server_version >= 170000 else []
    assert asyncio.run(settings()) == [
        ("application_name", "pgdoctor"),
        ("default_transaction_read_only", "on"),
        ("idle_in_transaction_session_timeout", "60000"),
        ("idle_session_timeout", "0"),
        ("lock_timeout", "500"),
        ("search_path", "pg_catalog, pg_temp"),
        ("statement_timeout", "4000"),
        *transaction_timeout,
    ]


def test_a_statement_that_fails_leaves_the_connection_good(scene: Scene) -> None:
    locker = scene.client("select")

    async def ask() -> None:
        async with await Connection.open(scene.dsn, 2.0) as door:
            locker.run("lock table pg_catalog.pg_authid")
            with pytest.raises(StatementFailed) as caught:
                await door.fetch("role_names")
            locker.run("rollback")
            assert caught.value.sqlstate == "55P03"
            assert door.is_open
            assert len(await door.fetch("gate", wait_threshold=timedelta(), watched="{}")) == 1

    asyncio.run(ask())


def test_a_server_that_hangs_is_given_up_within_the_deadline(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server()

    async def ask() -> float:
        async with await Connection.open(server.dsn, 1.0) as door:
            backend = door.connection.info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            try:
                began = time.monotonic()
                with pytest.raises(Unreachable) as caught:
                    await door.fetch("gate", wait_threshold=timedelta(), watched="{}")
                assert caught.value.state == "timeout"
                assert not door.is_open
                return time.monotonic() - began
            finally:
                os.kill(backend, signal.SIGCONT)

    assert 0.9 < asyncio.run(ask()) < 2.0


def test_a_server_that_accepts_and_says_nothing_is_given_up_within_the_deadline(
    own_server: Callable[..., ThrowawayServer],
) -> None:
    server = own_server()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        error = failure(server.dsn, 1.0)
        assert time.monotonic() - began < 2.0
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert isinstance(error, Unreachable)
    assert error.state == "timeout"


@pytest.mark.parametrize("timeout", ["abc", "-1", "1e9", "0"])
def test_connect_timeout_of_any_kind_ends_in_one_line(timeout: str) -> None:
    error = failure(f"host=127.0.0.1 port=1 connect_timeout={timeout}", 1.0)
    assert isinstance(error, (Unreachable, UsageError))
    assert "\n" not in str(error)


@pytest.mark.skipif(sys.platform != "linux", reason="a socket option of Linux")
def test_login_that_is_lost_with_its_line_ends_with_tcp(scene: Scene) -> None:
    async def read_limit() -> int:
        async with await Connection.open(scene.dsn, 20.0) as connection:
            with socket.socket(fileno=os.dup(connection.connection.pgconn.socket)) as line:
                return line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert asyncio.run(read_limit()) == 25_000
