"""Clients that send the same statement again and again because it is cancelled."""

import time
from contextlib import suppress

import psycopg
import pytest

from tests.diagnosis.findings.observing import APART, clients, kinds, observer

#: They take some looks, a second apart.
pytestmark = pytest.mark.long


def patient(connection):
    """What goes on all the time."""
    connection.execute("select *, pg_sleep(0.01) from orders")


def impatient(connection):
    """Give up a statement that waits for a lock, and try again at once."""
    with suppress(psycopg.errors.QueryCanceled):
        connection.execute("set statement_timeout = '50ms'; update orders set v = v + 1 where note = 'secret'")


def rolling_back(connection):
    """End a transaction by a rollback, as some pools do."""
    connection.execute("begin; select * from orders; rollback")


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int, v int, note text); insert into orders values (1, 0, 'secret')")
    return scene


def test_clients_that_retry_what_is_cancelled_are_a_storm(orders):
    with observer(orders.dsn) as seen, clients(orders.dsn, 2, patient):
        assert kinds(seen.look()) == []
        orders.client("lock table orders in exclusive mode")
        with clients(orders.dsn, 5, impatient):
            note = seen.wait_for("retry_storm")
    assert note.severity == "warning"
    assert note.numbers["rollbacks_per_second"] >= 2
    assert note.numbers["failing_share"] > 0.01
    assert note.numbers["clients"] >= 3
    assert note.numbers["clients_before"] == 0
    assert "update orders set v = v + ? where note = ?" in note.evidence[0]
    assert note.evidence[1] == 'sent by "checkout" (postgres)'
    assert "secret" not in str(note)


def test_one_client_that_does_not_wait_before_it_tries_again_is_enough(orders):
    orders.admin.execute("create unique index on orders (id)")
    with observer(orders.dsn) as seen, clients(orders.dsn, 4, patient):
        for _ in range(3):
            assert kinds(seen.look()) == []
            time.sleep(APART)
        with clients(orders.dsn, 1, lambda each: _tried(each, "insert into orders values (1)")):
            note = seen.wait_for("retry_storm")
    assert note.evidence[0] == "insert into orders values (?)"
    assert "probably the statement that 1 client sends (0 before)" in note.summary


def test_first_poll_names_senders_and_refers_to_the_log(orders):
    orders.admin.execute("create unique index on orders (id)")
    with (
        clients(orders.dsn, 4, patient),
        clients(orders.dsn, 1, lambda each: _tried(each, "insert into orders values (1)")),
        observer(orders.dsn) as seen,
    ):
        seen.look()
        note = seen.wait_for("retry_storm")
    assert "see the server's log for the statement" in note.summary
    assert "sent by 1 client: insert into orders values (?)" in note.evidence


def _tried(connection, statement):
    with suppress(psycopg.Error):
        connection.execute(statement)


def test_a_pool_that_ends_every_transaction_by_a_rollback_is_none(orders):
    with clients(orders.dsn, 5, rolling_back) as over, observer(orders.dsn) as seen:
        orders.wait_until(lambda: _rollbacks(orders) > 1_000, timeout=30)
        for _ in range(5):
            over.wait(APART)
            assert "retry_storm" not in kinds(seen.look())


def _rollbacks(scene):
    found = scene.admin.execute("select xact_rollback from pg_stat_database where datname = current_database()")
    return found.fetchone()[0]
