"""A server whose messages are not English: libpq's own knowledge tells what its words do not."""

import os
from collections.abc import Callable

import psycopg
import pytest

from pgdoctor.demo.server import ThrowawayServer
from pgdoctor.postgres.connection import connection_error
from pgdoctor.postgres.conninfo import ConnectionTarget


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
