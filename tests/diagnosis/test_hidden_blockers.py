"""Blockers that the server does not show: a row locked by several, of whom it names one at a time."""

import pytest

from tests.looking import blocker, look, said
from tests.scenes import Scene

AT_LEAST = "at least this one"
CHANGE = "update orders set v = 2 where id = 1"


# Where no session can hide


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("update orders set v = 1 where id = 1", CHANGE),
        ("select from orders where id = 1 for update", CHANGE),
        ("lock table orders in share mode", CHANGE),
        # A session that wants a share is only held up by an exclusive holder of the row.
        ("update orders set v = 1 where id = 1", "select from orders where id = 1 for share"),
        ("update orders set id = 0 where id = 1", "select from orders where id = 1 for key share"),
        ("insert into orders values (0, 1)", "insert into orders values (0, 1)"),
    ],
)
def test_exclusive_holder_of_a_row_or_table_is_known(shop: Scene, statement: str, wanted: str) -> None:
    holder = shop.client(statement)
    shop.client().block(wanted)
    assert AT_LEAST not in said(blocker(shop.dsn, holder.pid))


def test_session_that_only_waits_in_line_is_no_blocker(shop: Scene) -> None:
    shop.client("select from orders where id = 1 for share")
    first = shop.client().block(CHANGE)
    shop.client().block(CHANGE)
    assert AT_LEAST not in said(blocker(shop.dsn, first.pid))


# Where others may


def test_of_two_shares_one_is_named_and_the_other_shows_when_it_is_gone(shop: Scene) -> None:
    holders = {shop.client("select from orders where id = 1 for share").pid for _ in range(2)}
    waiter = shop.client().block(CHANGE)
    seen = look(shop.dsn)
    [named] = seen.blockers
    assert named.pid in holders
    assert AT_LEAST in said(named)
    [cut] = seen.cuts
    assert (cut.pid, cut.released, cut.exact) == (named.pid, (waiter.pid,), False)
    assert seen.recommendation
    assert not seen.recommendation.exact

    shop.admin.execute("select pg_terminate_backend(%s)", [named.pid])
    [other] = holders - {named.pid}
    shop.wait_until(lambda: [each.pid for each in look(shop.dsn).blockers] == [other])
    shop.admin.execute("select pg_terminate_backend(%s)", [other])
    waiter.finish()


@pytest.mark.parametrize("share", ["for share", "for key share"])
def test_the_last_statement_may_be_another_one(shop: Scene, share: str) -> None:
    for _ in range(2):
        shop.client(f"select from orders where id = 1 {share}", "select 1")
    shop.client().block("delete from orders where id = 1")
    [named] = look(shop.dsn).blockers
    assert AT_LEAST in said(named)


def test_the_check_of_a_foreign_key_shares_the_parent(shop: Scene) -> None:
    shop.admin.execute("create table parts (id int, order_id int references orders)")
    for _ in range(2):
        shop.client("insert into parts values (1, 1)")
    shop.client().block("delete from orders where id = 1")
    [named] = look(shop.dsn).blockers
    assert named.relation == "public.orders"
    assert AT_LEAST in said(named)
