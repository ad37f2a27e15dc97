"""What a blocker is said to hold."""

from tests.looking import blocker, said
from tests.scenes import Scene


def test_predicate_locks_are_not_held_against_any_session(shop: Scene) -> None:
    """SIReadLock blocks no session; what a SERIALIZABLE transaction holds is its rows."""
    isolation = "set transaction isolation level serializable"
    holder = shop.client(isolation, "select sum(v) from orders", "select from orders where id = 1 for update")
    shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, holder.pid)
    assert "holds rows of public.orders, RowShareLock on public.orders" in said(facts)
    assert "its locks show no change" in said(facts)
    assert "SIReadLock" not in said(facts)


def test_rows_are_of_their_own_table_beside_a_contested_table_lock(shop: Scene) -> None:
    shop.admin.execute("create table parts (id serial, order_id int references orders)")
    # The check of the foreign key locks the children's table, too.
    holder = shop.client("delete from orders where id = 9")
    shop.client("insert into parts (order_id) values (1)").block("insert into parts (order_id) values (9)")
    shop.client().block("alter table parts add column c int")
    told = said(blocker(shop.dsn, holder.pid))
    assert "holds rows of public.orders" in told
    assert "rows of public.parts" not in told


def test_rows_of_a_catalog_are_said_to_be_what_they_are(shop: Scene) -> None:
    shop.admin.execute("create function one() returns int language sql as 'select 1'")
    holder = shop.client("create or replace function one() returns int language sql as 'select 2'")
    shop.client().block("drop function one()")
    assert "holds rows of pg_catalog.pg_proc (one for each function)" in said(blocker(shop.dsn, holder.pid))


def test_command_without_progress_that_waits_for_a_transaction_is_named(shop: Scene) -> None:
    shop.admin.execute("create index orders_v on orders (v)")
    holder = shop.client("select from orders")
    shop.client(autocommit=True).block("drop index concurrently orders_v")
    assert "holds a transaction whose end DROP INDEX CONCURRENTLY waits for" in said(blocker(shop.dsn, holder.pid))


def test_advisory_lock_in_shared_mode_is_said_to_be_shared(shop: Scene) -> None:
    holder = shop.client("select pg_advisory_lock_shared(7)", autocommit=True)
    shop.client().block("select pg_advisory_lock(7)")
    assert "holds the advisory lock 7 in shared mode" in said(blocker(shop.dsn, holder.pid))
