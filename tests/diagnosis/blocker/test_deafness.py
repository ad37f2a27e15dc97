"""Who does not react to a cancel, or catches it: the signal that is proposed, carried out on a real server."""

import pytest

from pgdoctor.diagnosis.blocker.deafness import explain_deafness, explain_persistence
from tests.building import session
from tests.looking import blocker, look
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

ADD = "alter table orders add column c int"
RETRIES = "loop begin {}; exit; exception when {} then null; end; end loop"


def queued(shop: Scene, statement: str, **options: bool) -> tuple[Client, Client]:
    """Who asks for orders behind an idle reader, and a reader behind it."""
    shop.client("select from orders")
    return shop.client(**options).block(statement), shop.client().block("select from orders")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"wait_event_type": "Lock", "wait_event": "relation"},
        {"statement": "do $$ begin perform 1; exception when others then null; end $$"},
        {"statement": "select 57014000"},
        {"may_catch_cancel": True},
    ],
)
def test_running_session_reacts_to_a_cancel(facts: dict[str, str]) -> None:
    assert explain_deafness(session(1, **facts)) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"state": "idle in transaction"}, "it is idle in transaction"),
        ({"wait_event": "ClientRead"}, "it waits for its client (ClientRead)"),
        ({"wait_event": "ClientWrite"}, "it waits for its client (ClientWrite)"),
    ],
)
def test_deaf_session_is_reported_with_the_reason(facts: dict[str, str], reason: str) -> None:
    assert reason in (explain_deafness(session(1, **facts)) or "")


def test_dblink_may_outlast_a_first_cancel(shop: Scene) -> None:
    """It reads the rest of the result before it ends: the cancel is a forecast, and a second one is certain."""
    shop.admin.execute("create extension dblink")
    shop.client("update orders set v = 1 where id = 2")
    far = f"dblink('{shop.dsn}', 'select v from orders where id = 2 for update')"
    asking = shop.client("update orders set v = 1 where id = 1").start(f"select * from {far} as t (v int)")
    waiter = shop.client().block("update orders set v = 3 where id = 1")
    wait_until(lambda: "Extension" in asking.shown())
    facts = blocker(shop.dsn, asking.pid)
    assert facts.recommendation.action == "cancel"
    assert "if it continues, cancel it again" in facts.recommendation.reason
    [cut] = [cut for cut in look(shop.dsn).cuts if cut.pid == asking.pid]
    assert not cut.exact
    shop.admin.execute("select pg_cancel_backend(%s)", [asking.pid])
    wait_until(lambda: shop.admin.execute("select pg_cancel_backend(%s)", [asking.pid]) and not asking.busy, 20.0)
    waiter.finish()


@pytest.mark.parametrize(
    ("statement", "event", "goes_on"),
    [
        ("select * from dblink('far', 'select 1') as t (a int)", "Extension", True),
        ("select f()", "DblinkGetResult", True),
        ("select dblink_exec('far', 'update t set v = 1')", "DblinkGetResult", False),
        ("update far.orders set v = 1", "PostgresFdwGetResult", False),
    ],
)
def test_only_dblink_itself_may_outlast_a_cancel(statement: str, event: str, goes_on: bool) -> None:
    facts = session(1, statement=statement, wait_event_type="Extension", wait_event=event)
    assert bool(explain_persistence(facts)) is goes_on


def test_handler_of_a_do_block_asks_again_after_a_cancel(shop: Scene) -> None:
    asking, reader = queued(shop, f"do 'begin {RETRIES.format(ADD, 'query_canceled')}; end'")
    facts = blocker(shop.dsn, asking.pid)
    assert (facts.classification, facts.recommendation.action) == ("migration", "cancel")
    assert "may catch it: if it continues, terminate" in facts.recommendation.reason
    [cut] = [cut for cut in look(shop.dsn).cuts if cut.pid == asking.pid]
    assert not cut.exact
    shop.admin.execute("select pg_cancel_backend(%s)", [asking.pid])
    reader.finish()
    following = shop.client().block("select from orders")
    shop.admin.execute("select pg_terminate_backend(%s)", [asking.pid])
    following.finish()


def test_handler_of_a_procedure_is_found_in_its_source(shop: Scene) -> None:
    shop.admin.execute(
        f"create procedure mig() language plpgsql as 'begin {RETRIES.format(ADD, 'query_canceled')}; end'"
    )
    asking, reader = queued(shop, "call mig()", autocommit=True)
    [cut] = [cut for cut in look(shop.dsn).cuts if cut.pid == asking.pid]
    assert (cut.action, cut.exact) == ("cancel", False)
    assert "may catch it" in cut.reason
    shop.admin.execute("select pg_cancel_backend(%s)", [asking.pid])
    reader.finish()


def test_handler_of_others_does_not_catch_a_cancel(shop: Scene) -> None:
    shop.admin.execute(f"create procedure mig() language plpgsql as 'begin {RETRIES.format(ADD, 'others')}; end'")
    asking, reader = queued(shop, "call mig()", autocommit=True)
    [cut] = [cut for cut in look(shop.dsn).cuts if cut.pid == asking.pid]
    assert "may catch it" not in cut.reason
    assert (cut.action, cut.released) == ("cancel", (reader.pid,))
    shop.admin.execute("select pg_cancel_backend(%s)", [asking.pid])
    reader.finish()
