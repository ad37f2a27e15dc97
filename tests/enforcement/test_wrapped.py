"""An agent whose role may signal no session, at a server with the functions of `pgdoctor setup --wrapper`."""

import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from tests.mitigation.conftest import IDLE, SLOW, Incident
from tests.postgres.test_wrapper import ROLE, wrap


@pytest.fixture
def wrapped(incident: Incident) -> Incident:
    wrap(incident.scene)
    incident.scene.admin.execute(f"alter role {ROLE} set deadlock_timeout = '10ms'")
    incident.agent = make_conninfo(incident.scene.dsn, user=ROLE, password="set by the test")
    return incident


def test_an_idle_transaction_is_terminated_through_the_function(wrapped: Incident) -> None:
    holder = wrapped.app("update orders set v = 1 where id = 1")
    waiter = wrapped.app().block("update orders set v = 2 where id = 1")
    actions, _ = wrapped.mitigate(IDLE, min_samples=1, patience=5)
    assert [(each.victim.pid, each.signal, each.outcome) for each in actions] == [(holder.pid, "terminate", "released")]
    waiter.finish()


def test_a_running_statement_is_cancelled_through_the_function(wrapped: Incident) -> None:
    holder = wrapped.app("update orders set v = 1 where id = 1").start("select pg_sleep(60)")
    waiter = wrapped.app().block("update orders set v = 2 where id = 1")
    actions, _ = wrapped.mitigate(SLOW, min_samples=1, patience=5)
    assert [(each.signal, each.outcome) for each in actions] == [("cancel", "released")]
    with pytest.raises(errors.QueryCanceled):
        holder.finish()
    waiter.finish()


def test_signal_refused_by_the_function_is_not_tried(wrapped: Incident) -> None:
    """The configuration has switched its own protection off; the server's stays."""
    wrapped.scene.admin.execute("create role pgdoctor_protected; grant pgdoctor_protected to app")
    wrapped.scene._passwords["pgdoctor_protected"] = ""
    holder = wrapped.app("update orders set v = 1 where id = 1")
    wrapped.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = wrapped.mitigate(IDLE, min_samples=1, protect_defaults=False)
    assert actions == []
    assert mitigator.refused["not_permitted"] == 1
    assert wrapped.alive(holder)


def test_without_the_right_behind_them_nothing_is_tried(wrapped: Incident) -> None:
    wrapped.scene.admin.execute("revoke pg_signal_backend from pgdoctor_signaller")
    holder = wrapped.app("update orders set v = 1 where id = 1")
    wrapped.app().block("update orders set v = 2 where id = 1")
    actions, mitigator = wrapped.mitigate(IDLE, min_samples=1, patience=1)
    assert actions == []
    assert mitigator.refused["may_signal"] == 1
    assert wrapped.alive(holder)
