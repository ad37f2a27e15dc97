"""A server whose messages are not English: the SQLSTATE and libpq's own knowledge tell what its words do not."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.errors import Unreachable
from pgdoctor.postgres import login_refusal
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.connection_errors import connection_error
from pgdoctor.postgres.conninfo import ConnectionTarget
from pgdoctor.postgres.login_refusal import LoginRefusal
from tests.translating_wire import STUMBLE, TranslatingWire

ROLES = """
create role app login password 'right'; create role limited login password 'right' connection limit 0;
create role group_role nologin password 'right'
"""
DATABASES = (
    "create database full_one connection limit 0",
    "create database closed allow_connections false",
    "create database foreign_one",
    "revoke connect on database foreign_one from public",
)


class UnknownLanguage(psycopg.OperationalError):
    """What libpq has said, in words that no table has."""

    def __str__(self) -> str:
        return "FATAL: Passwort-Authentifizierung erforderlich"


@pytest.mark.parametrize(("asks", "state"), [(True, "auth_failed"), (False, "error")])
def test_missing_password_is_known_without_words(
    own_server: Callable[..., ThrowawayServer], asks: bool, state: str
) -> None:
    server = own_server()
    where = f"host=127.0.0.1 port={server.port if asks else 1} user=nobody dbname=postgres passfile={os.devnull}x"
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(where, connect_timeout=5)
    error = UnknownLanguage()
    error._pgconn = refused.value.pgconn
    assert connection_error(error, ConnectionTarget()).state == state


def login_error(dsn: str) -> Unreachable:
    async def log_in() -> None:
        async with await Connection.open(dsn, 20.0):
            pass

    with pytest.raises(Unreachable) as refused:
        asyncio.run(log_in())
    return refused.value


@contextmanager
def filled(dsn: str) -> Iterator[None]:
    """Each connection that the server gives to this role is taken."""
    taken = []
    try:
        while True:
            taken.append(psycopg.connect(dsn))
    except psycopg.OperationalError:
        yield
    finally:
        for each in taken:
            each.close()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_refused_login_has_its_state_in_any_language(own_server: Callable[..., ThrowawayServer], encoding: str) -> None:
    server = own_server(max_connections=10)
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        for statement in (ROLES, *DATABASES):
            admin.execute(statement)
    login_refusal._remembered.clear()
    with TranslatingWire(server.port, encoding) as wire:
        app = f"host=127.0.0.1 port={wire.port} user=app password=right dbname=postgres"
        found = {
            "wrong password": login_error(make_conninfo(app, password="wrong")),
            "unknown role": login_error(make_conninfo(app, user="missing")),
            "no login": login_error(make_conninfo(app, user="group_role")),
            "role limit": login_error(make_conninfo(app, user="limited")),
            "unknown database": login_error(make_conninfo(app, dbname="missing")),
            "database limit": login_error(make_conninfo(app, dbname="full_one")),
            "closed database": login_error(make_conninfo(app, dbname="closed")),
            "no CONNECT": login_error(make_conninfo(app, dbname="foreign_one")),
        }
        with filled(make_conninfo(app, port=server.port)):
            found["reserved"] = login_error(app)
            with filled(server.dsn):
                found["full"] = login_error(app)
    assert {case: error.state for case, error in found.items()} == {
        "wrong password": "auth_failed",
        "unknown role": "auth_failed",
        "no login": "not_permitted",
        "role limit": "too_many_connections_for_role",
        "unknown database": "unknown_database",
        "database limit": "too_many_connections_for_database",
        "closed database": "not_permitted",
        "no CONNECT": "not_permitted",
        "reserved": "too_many_connections",
        "full": "too_many_connections",
    }
    assert STUMBLE in str(found["wrong password"])
    assert "; SQLSTATE 28P01" in str(found["wrong password"])
    assert all("evtug" not in str(error) and "right" not in str(error) for error in found.values())


def test_server_that_shuts_down_says_so_in_any_language(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server()
    login_refusal._remembered.clear()
    with TranslatingWire(server.port, "utf-8") as wire, psycopg.connect(server.dsn):
        # A smart shutdown waits for the session that is open.
        os.kill(server.pid, 15)
        dsn = make_conninfo(server.dsn, port=wire.port)
        while (error := login_error(dsn)).state == "error":
            time.sleep(0.05)
    assert error.state == "starting_up"


def test_known_words_cost_no_second_login(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server()
    with TranslatingWire(server.port, "utf-8") as wire:
        dsn = make_conninfo(server.dsn, port=wire.port, dbname="missing")
        login_refusal._remembered.clear()
        login_error(dsn)
        before = wire.round_trips
        login_error(dsn)
        once = wire.round_trips - before
        assert before == 2 * once
    direct = login_error(make_conninfo(server.dsn, dbname="missing"))
    assert direct.state == "unknown_database"
    assert len(login_refusal._remembered) == 1


def test_sqlstate_of_an_unknown_kind_is_an_error() -> None:
    assert LoginRefusal("XX000").state == "error"
    assert LoginRefusal("53300", "InitProcess").state == "too_many_connections"


@pytest.mark.parametrize("said", ["annullamento a causa di timeout di blocco", 'troppe connessioni per la role "x"'])
def test_single_english_word_decides_nothing(said: str) -> None:
    assert (
        connection_error(psycopg.OperationalError(f"connection failed: FATALE:  {said}"), ConnectionTarget()).state
        == "error"
    )
