"""What is said of a lock by its mode and its object, whatever the text says; and what took it, on a real server."""

from typing import Any

import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.snapshot import Lock, Relation
from tests.building import ORDERS, lock, session, snapshot
from tests.looking import blocker, said
from tests.scenes import Scene

AS, RE, SUE, S, AE = (
    "AccessShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "AccessExclusiveLock",
)
INDEX = Relation(5002, "public.orders_pkey", "i", is_system=False, pages=5, live_rows=9.0, table=ORDERS.oid)
EVEN_SELECT = "which excludes even SELECT"


def working(statement: str, held: str, wanted: str, *more: Lock, on: Relation = ORDERS, **facts: Any) -> Blocker:
    """It runs a statement, holds a relation in one mode, and another session wants that one in another."""
    locks = (lock(10, held, granted=True, relation=on.oid), *more)
    holder = session(10, statement=statement, has_xid=True, locks=locks, **facts)
    waiter = session(20, blockers=(10,), locks=(lock(20, wanted, granted=False, relation=on.oid),))
    [found] = diagnose(snapshot([holder, waiter], relations=(ORDERS, INDEX))).blockers
    return found


def evidence(found: Blocker) -> str:
    return "; ".join(found.evidence)


# The mode


@pytest.mark.parametrize(
    ("statement", "held", "wanted"),
    [
        ("alter table parted attach partition orders default", AE, AS),
        ("alter table orders validate constraint c", AE, AS),
        ("alter table orders detach partition orders_1 concurrently", AE, AS),
        ("create index on other (v)", AE, AS),
    ],
)
def test_strong_lock_excludes_readers_with_any_text(statement: str, held: str, wanted: str) -> None:
    found = working(statement, held, wanted)
    assert (found.classification, f"under {AE}, {EVEN_SELECT}" in evidence(found)) == ("migration", True)
    assert "no reader" not in evidence(found) + found.recommendation.reason


def test_reindex_excludes_readers_of_its_index() -> None:
    found = working("reindex table orders", AE, AS, lock(10, S, granted=True), on=INDEX)
    assert (found.classification, EVEN_SELECT in evidence(found)) == ("maintenance", True)
    assert "holds AccessExclusiveLock on index public.orders_pkey of public.orders" in evidence(found)


def test_reindex_excludes_only_writers_of_its_table() -> None:
    found = working("reindex table orders", S, RE)
    assert "every INSERT, UPDATE and DELETE, but not SELECT" in evidence(found)


def test_concurrent_build_is_said_to_block_no_reader_by_its_lock() -> None:
    found = working("create index concurrently on orders (v)", SUE, AE)
    assert "it blocks no reader or writer" in found.recommendation.reason


def test_advice_is_for_the_statement_that_took_the_lock() -> None:
    assert working("create index on orders (v)", S, RE).advice
    assert not working("create index on orders (v)", AE, AS).advice


# A text of several statements


def test_several_statements_are_not_named_as_the_running_one() -> None:
    found = working("alter table orders add c int; update orders set c = 1; select 1", AE, AS)
    assert found.classification == "migration"
    assert "a text of 3 statements has run for 1 min 0 s; which of them runs now is not known" in evidence(found)
    assert "ALTER TABLE has run" not in evidence(found)


def test_one_statement_in_a_block_is_the_running_one() -> None:
    found = working("begin; set lock_timeout = 0; alter table orders alter v type bigint; commit", AE, AS)
    assert "ALTER TABLE has run for 1 min 0 s" in evidence(found)


def test_request_of_one_of_several_statements_is_reported_by_its_mode() -> None:
    front = session(5, state="idle in transaction", locks=(lock(5, AS, granted=True),))
    text = "update other set v = 1; alter table orders add c int"
    asking = session(10, statement=text, blockers=(5,), locks=(lock(10, AE, granted=False),))
    behind = session(20, blockers=(10,), locks=(lock(20, AS, granted=False),))
    [found] = [each for each in diagnose(snapshot([front, asking, behind])).blockers if each.node == 10]
    assert found.classification == "migration"
    assert "one of its 2 statements asks for AccessExclusiveLock" in evidence(found)


# What took it, on a real server


def test_default_partition_is_locked_while_another_is_attached(shop: Scene) -> None:
    shop.admin.execute("""
        create table parted (id int) partition by range (id); create table rest partition of parted default;
        create table part (id int); insert into part values (5);
    """)
    attach = "alter table parted attach partition part for values from (1) to (9)"
    holder = shop.client(attach).start("select pg_sleep(9)")
    shop.client().block("select from rest")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("migration", "public.rest")
    assert EVEN_SELECT in said(facts)


@pytest.mark.parametrize(
    ("statements", "classification"),
    [
        (["truncate other", "lock table orders in share row exclusive mode"], "explicit_lock"),
        (["alter table other add column c int", "lock table orders"], "explicit_lock"),
        (["lock table other in exclusive mode", "alter table orders add column c int"], "migration"),
        (["analyze orders", "drop index by_v"], "migration"),
        (["lock table orders in access exclusive mode", "alter table other add column c int"], "explicit_lock"),
    ],
)
def test_other_locks_of_the_transaction_do_not_decide(shop: Scene, statements: list[str], classification: str) -> None:
    shop.admin.execute("create index by_v on orders (v)")
    holder = shop.client(*statements).start("select pg_sleep(9)")
    shop.client().block("insert into orders values (99999, 1)")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also, facts.relation) == (classification, (), "public.orders")


@pytest.mark.parametrize(
    "statements",
    [
        ["alter table orders add constraint positive check (id > 0) not valid"],
        ["alter table orders add primary key (id, v)"],
        ["create unique index on orders (id, v)"],
        ["drop trigger before_it on orders"],
        ["drop index by_v"],
        ["drop table lines"],
        ["create table more (order_id int references orders)"],
        ["comment on table orders is 'x'"],
    ],
)
def test_ddl_is_found_by_what_it_has_done_to_the_table(shop: Scene, statements: list[str]) -> None:
    shop.admin.execute("""
        create index by_v on orders (v); alter table orders drop constraint orders_pkey;
        create unique index on orders (id);
        alter table orders add unique (id); create table lines (order_id int references orders (id));
        create function nothing() returns trigger language plpgsql as 'begin return new; end';
        create trigger before_it before insert on orders for each row execute function nothing()
    """)
    holder = shop.client(*(each.replace("references orders)", "references orders (id))") for each in statements))
    holder.start("select pg_sleep(9)")
    shop.client().block("lock table orders")
    assert blocker(shop.dsn, holder.pid).classification != "explicit_lock"


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("create table events_2 partition of events for values in (2)", "select from events"),
        ("create table parts (order_id int references orders)", "update orders set v = 1"),
        ("create table special () inherits (orders)", "alter table orders alter v set statistics 9"),
    ],
)
def test_new_table_locks_the_tables_that_it_names(shop: Scene, statement: str, wanted: str) -> None:
    shop.admin.execute("create table events (id int) partition by list (id)")
    holder = shop.client(statement)
    shop.client().block(wanted)
    found = blocker(shop.dsn, holder.pid)
    assert found.also == ("migration",)
    assert "its text does not show" not in said(found)


def test_lock_of_a_view_is_that_of_the_tables_behind_it(shop: Scene) -> None:
    shop.admin.execute("create view shown as select o.v from orders o join other using (id)")
    holder = shop.client("lock table shown in share mode")
    shop.client().block("update orders set v = 1")
    found = blocker(shop.dsn, holder.pid)
    assert found.also == ("explicit_lock",)
    assert "LOCK TABLE on a view (public.shown) locks the tables behind it, too" in said(found)


def test_ddl_that_found_nothing_to_do_is_said_to_be_possible(shop: Scene) -> None:
    """The server gives an id to a transaction with AccessExclusiveLock, and to none with a weaker lock."""
    holders = [
        shop.client("alter table orders add column if not exists v int", "select 1"),
        shop.client("alter table other disable trigger all", "select 1"),
    ]
    shop.client().block("select from orders")
    shop.client().block("update other set v = 1")
    for holder in holders:
        assert "DDL that found nothing to do" in said(blocker(shop.dsn, holder.pid))
