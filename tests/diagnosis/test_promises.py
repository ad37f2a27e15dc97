"""What a cut is said to free, held against what it frees on a real server."""

import pytest

from pgdoctor.diagnosis.cuts import Cut
from tests.looking import blocker, look, said
from tests.scenes import Client, Scene

NESTED = "it may be behind a savepoint"


def cut_of(shop: Scene, pid: int) -> Cut:
    [cut] = [cut for cut in look(shop.dsn).cuts if cut.pid == pid]
    return cut


def carry_out(shop: Scene, cut: Cut) -> None:
    shop.admin.execute(f"select pg_{cut.action}_backend(%s)", [cut.pid])


def queued_alter(shop: Scene, *before: str) -> Client:
    """A migration in the queue for orders, which has a lock on other."""
    shop.client("select from orders")
    return shop.client("alter table other add column c int", *before).block("alter table orders add column c int")


# Savepoints


@pytest.mark.parametrize("before", [(), ("savepoint s", "release s")])
def test_a_cancel_of_a_whole_transaction_is_exact(shop: Scene, before: tuple[str, ...]) -> None:
    alter = queued_alter(shop, *before)
    behind = [shop.client().block(f"select from {table}") for table in ("orders", "other")]
    cut = cut_of(shop, alter.pid)
    assert (cut.action, cut.exact, cut.released) == ("cancel", True, tuple(sorted(each.pid for each in behind)))
    assert NESTED not in said(blocker(shop.dsn, alter.pid))
    carry_out(shop, cut)
    for each in behind:
        each.finish()


def test_a_cancel_behind_a_savepoint_is_a_forecast(shop: Scene) -> None:
    alter = queued_alter(shop, "savepoint s")
    queues, waits = [shop.client().block(f"select from {table}") for table in ("orders", "other")]
    cut = cut_of(shop, alter.pid)
    assert (cut.action, cut.exact) == ("cancel", False)
    assert NESTED in said(blocker(shop.dsn, alter.pid))
    carry_out(shop, cut)
    queues.finish()
    left = blocker(shop.dsn, alter.pid)
    assert (left.state, left.directly_blocked) == ("idle in transaction (aborted)", 1)
    carry_out(shop, cut_of(shop, alter.pid))
    waits.finish()


def test_a_mere_request_is_given_up_behind_a_savepoint_too(shop: Scene) -> None:
    shop.client("select from orders")
    alter = shop.client("update other set v = 1", "savepoint s").block("alter table orders add column c int")
    behind = shop.client().block("select from orders")
    cut = cut_of(shop, alter.pid)
    assert (cut.exact, cut.released) == (True, (behind.pid,))
    carry_out(shop, cut)
    behind.finish()


def test_the_end_of_a_session_is_exact_whatever_savepoints_it_has(shop: Scene) -> None:
    holder = shop.client("savepoint s", "alter table orders add column c int")
    behind = shop.client().block("select from orders")
    cut = cut_of(shop, holder.pid)
    assert (cut.action, cut.exact) == ("terminate", True)
    assert NESTED not in said(blocker(shop.dsn, holder.pid))
    carry_out(shop, cut)
    behind.finish()


# The queue for a row


def test_who_waits_for_a_place_in_the_queue_for_a_row_is_not_released_by_the_first_of_it(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1")
    first = shop.client("alter table other add column c int").block("update orders set v = 2 where id = 1")
    second = shop.client().block("update orders set v = 3 where id = 1")
    reader = shop.client().block("select from other")
    cut = cut_of(shop, first.pid)
    assert (cut.released, cut.frees_in_turn) == ((reader.pid,), 1)
    assert blocker(shop.dsn, first.pid).relation == "public.other"
    carry_out(shop, cut)
    reader.finish()
    shop.wait_until(lambda: [each.pid for each in look(shop.dsn).blockers] == [holder.pid])
    assert second.busy
