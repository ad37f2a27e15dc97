"""What a cut is said to free, held against what it frees on a real server."""

import pytest

from pgdoctor.diagnosis.cuts import Cut
from tests.looking import blocker, look, said
from tests.scenes import Client, Scene

NESTED = "it may be inside a savepoint"


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


def test_end_of_a_session_with_savepoints_is_exact(shop: Scene) -> None:
    holder = shop.client("savepoint s", "alter table orders add column c int")
    behind = shop.client().block("select from orders")
    cut = cut_of(shop, holder.pid)
    assert (cut.action, cut.exact) == ("terminate", True)
    assert NESTED not in said(blocker(shop.dsn, holder.pid))
    carry_out(shop, cut)
    behind.finish()


# The queue for a row


def test_waiter_for_a_tuple_lock_is_not_released_by_the_first_waiter(shop: Scene) -> None:
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


# A row that several hold


def children(shop: Scene, *parents: int) -> list[Client]:
    """Sessions that have each inserted a child of an order, and whose check of the foreign key holds its row."""
    shop.admin.execute("create table parts (id serial, order_id int references orders)")
    return [shop.client(f"insert into parts (order_id) values ({parent})") for parent in parents]


def end(shop: Scene, *pids: int) -> None:
    for pid in pids:
        shop.admin.execute("select pg_terminate_backend(%s)", [pid])


DELETE = "delete from orders where id = 1"


def test_h69_three_children_hold_the_parent_and_only_the_end_of_all_frees_the_delete(shop: Scene) -> None:
    """H69: the end of one of them is promised to free the DELETE, and frees no session."""
    holders = {child.pid for child in children(shop, 1, 1, 1)}
    delete = shop.client().block(DELETE)
    seen = look(shop.dsn)
    [named], [cut], advice = seen.blockers, seen.cuts, seen.recommendation
    assert {cut.pid, *cut.may_hold_too} == holders
    assert cut.release_uncertain
    assert all(str(pid) in cut.release_uncertain for pid in holders)
    assert advice
    assert (advice.action, advice.signals, advice.exact) == ("none", (), False)
    assert {advice.pid, *advice.may_hold_too} == holders
    assert "ending one may free no session" in advice.reason
    assert "may hold the row too" in said(named)
    offered = named.recommendation
    assert (offered.action, offered.sql) == ("terminate", None)
    assert offered.reason.startswith("not alone, because")

    carry_out(shop, cut)
    shop.wait_until(lambda: {each.pid for each in look(shop.dsn).blockers} <= holders - {cut.pid})
    assert delete.busy
    end(shop, *cut.may_hold_too)
    delete.finish()


def test_h69_a_prepared_transaction_that_shares_the_row_promises_nothing(shop: Scene) -> None:
    first, second = children(shop, 1, 1)
    first.run("prepare transaction 'left'")
    delete = shop.client().block(DELETE)
    [left] = look(shop.dsn).left_alone
    assert (left.prepared_gid, left.frees_at_once) == ("left", 1)
    assert str(second.pid) in str(left.release_uncertain)
    shop.admin.execute("rollback prepared 'left'")
    shop.wait_until(lambda: [each.pid for each in look(shop.dsn).blockers] == [second.pid])
    assert delete.busy


def test_h69_the_last_of_the_children_is_a_promise_that_is_kept(shop: Scene) -> None:
    [child] = children(shop, 1)
    delete = shop.client().block(DELETE)
    seen = look(shop.dsn)
    [cut] = seen.cuts
    assert (cut.pid, cut.released, cut.release_uncertain, cut.may_hold_too) == (child.pid, (delete.pid,), None, ())
    assert seen.recommendation
    assert (seen.recommendation.action, seen.recommendation.pid) == ("terminate", child.pid)
    carry_out(shop, cut)
    delete.finish()


#: The row of another order: what is done to it does not block a session that wants the first one.
FOR_SHARE = "select from orders where id = 1 for share"
KEY_SHARE = "select from orders where id = 1 for key share"
FOR_UPDATE = "select from orders where id = 1 for update"
NO_KEY_UPDATE = "select from orders where id = 1 for no key update"
UPDATE = "update orders set v = 1 where id = 1"
KEY_UPDATE = "update orders set id = 0 where id = 1"
CHILD = "insert into parts (order_id) values ({})"


@pytest.mark.parametrize(
    ("holder", "other", "wanted"),
    [
        # Who changes a row, and who changes it too: children's checks do not conflict.
        ((UPDATE,), (CHILD.format(1),), UPDATE),
        ((UPDATE,), (CHILD.format(1),), NO_KEY_UPDATE),
        ((UPDATE, CHILD.format(1)), (CHILD.format(1),), UPDATE),
        ((FOR_UPDATE, UPDATE), (CHILD.format(2),), UPDATE),
        ((NO_KEY_UPDATE,), (CHILD.format(1),), UPDATE),
        # Who has the row for itself.
        ((FOR_UPDATE,), (CHILD.format(2),), DELETE),
        ((FOR_UPDATE,), (CHILD.format(2),), FOR_UPDATE),
        ((FOR_UPDATE, UPDATE), ("select from orders where id = 2 for update",), FOR_UPDATE),
        ((FOR_UPDATE, UPDATE), ("select from orders where id = 2 for update", "update orders set v = 1 where id = 2"),
         FOR_UPDATE),
        ((DELETE,), (CHILD.format(2),), DELETE),
        # Who wants a share is held up by one session only.
        ((UPDATE,), (CHILD.format(1),), FOR_SHARE),
        ((KEY_UPDATE,), (CHILD.format(2),), KEY_SHARE),
        ((KEY_UPDATE,), (CHILD.format(2),), CHILD.format(1)),
        # Of those who share the table no session locks rows.
        ((CHILD.format(1),), ("select from orders where id = 1",), DELETE),
        ((UPDATE,), ("update orders set v = 1 where id = 2",), DELETE),
        ((FOR_SHARE,), ("select from orders where id = 2 for update",), DELETE),
    ],
)  # fmt: skip
def test_h69_a_certain_release_is_kept(
    shop: Scene, holder: tuple[str, ...], other: tuple[str, ...], wanted: str
) -> None:
    shop.admin.execute("create table parts (id serial, order_id int references orders)")
    first = shop.client(*holder)
    shop.client(*other)
    waiter = shop.client().block(wanted)
    [cut] = look(shop.dsn).cuts
    assert (cut.pid, cut.released, cut.release_uncertain) == (first.pid, (waiter.pid,), None)
    carry_out(shop, cut)
    waiter.finish()


@pytest.mark.parametrize(
    ("holders", "wanted"),
    [
        (((FOR_SHARE,), (FOR_SHARE,)), UPDATE),
        (((FOR_SHARE, "select 1"), (FOR_SHARE, "select 1")), NO_KEY_UPDATE),
        (((KEY_SHARE,), (KEY_SHARE,)), DELETE),
        (((KEY_SHARE,), (KEY_SHARE,)), KEY_UPDATE),
        (((KEY_SHARE,), (FOR_SHARE,)), FOR_UPDATE),
        (((CHILD.format(1),), (CHILD.format(1),)), FOR_UPDATE),
        (((CHILD.format(1), "select 1"), (CHILD.format(1), "select 1")), DELETE),
        # The check of a foreign key goes with an ordinary UPDATE.
        (((UPDATE,), (CHILD.format(1),)), DELETE),
        (((CHILD.format(1),), (UPDATE,)), DELETE),
        (((UPDATE,), (KEY_SHARE,)), FOR_UPDATE),
        (((NO_KEY_UPDATE,), (CHILD.format(1),)), DELETE),
        (((FOR_UPDATE.replace("1", "2"), CHILD.format(1)), (CHILD.format(1),)), DELETE),
        (((FOR_SHARE,), (CHILD.format(1), "update orders set v = 1 where id = 2")), DELETE),
    ],
)
def test_h69_where_others_hold_the_row_nothing_is_promised(
    shop: Scene, holders: tuple[tuple[str, ...], ...], wanted: str
) -> None:
    shop.admin.execute("create table parts (id serial, order_id int references orders)")
    pids = {shop.client(*statements).pid for statements in holders}
    waiter = shop.client().block(wanted)
    [cut] = look(shop.dsn).cuts
    assert cut.release_uncertain
    assert {cut.pid, *cut.may_hold_too} == pids
    carry_out(shop, cut)
    shop.wait_until(lambda: {each.pid for each in look(shop.dsn).blockers} == pids - {cut.pid})
    assert waiter.busy
    end(shop, *cut.may_hold_too)
    waiter.finish()


def test_h69_of_two_waiters_the_certain_one_is_promised(shop: Scene) -> None:
    """The DELETE may wait on for the other child; who waits for what only one of them has changed does not."""
    first, _ = children(shop, 1, 1)
    first.run("update other set v = 1 where id = 1")
    shop.client().block(DELETE)
    certain = shop.client().block("update other set v = 2 where id = 1")
    found = look(shop.dsn)
    [cut] = [each for each in found.cuts if each.pid == first.pid]
    assert (cut.released, cut.release_uncertain) == ((certain.pid,), None)
    carry_out(shop, cut)
    certain.finish()
