import pytest

from tests.looking import blocker, look, said
from tests.scenes import Scene


def test_a_long_select_is_not_a_migration(shop: Scene) -> None:
    reader = shop.client().start("select count(*), pg_sleep(9) from orders")
    shop.client().block("alter table orders add column c int")
    assert blocker(shop.dsn, reader.pid).classification == "long_query"


def test_a_lock_table_is_not_a_migration(shop: Scene) -> None:
    holder = shop.client().start("lock table orders; select pg_sleep(9)")
    shop.client().block("select from orders")
    assert blocker(shop.dsn, holder.pid).classification == "explicit_lock"


def test_a_word_of_ddl_in_a_literal_makes_no_migration(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1").start("select 'alter table orders', pg_sleep(9)")
    shop.client().block("update orders set v = 2 where id = 1")
    assert blocker(shop.dsn, holder.pid).classification == "long_query"


def test_a_queued_alter_is_named_and_is_the_best_cut(shop: Scene) -> None:
    reader = shop.client("select from orders")
    alter = shop.client().block("alter table orders add column c int")
    for _ in range(3):
        shop.client().block("select from orders")
    report = look(shop.dsn)
    facts = blocker(shop.dsn, alter.pid)
    assert (facts.classification, facts.root, facts.relation) == ("migration", False, "public.orders")
    assert (facts.recommendation.action, facts.recommendation.pid) == ("cancel", alter.pid)
    assert " for AccessExclusiveLock on public.orders" in said(facts)
    best, second = report.cuts
    assert (best.action, best.pid, best.frees_at_once, best.exact) == ("cancel", alter.pid, 3, True)
    assert (second.action, second.pid, second.frees_at_once, second.frees_in_turn) == ("terminate", reader.pid, 1, 4)


def test_a_working_migration_that_holds_its_lock(shop: Scene) -> None:
    holder = shop.client().start("alter table orders add column c int; select pg_sleep(9)")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.root, facts.relation) == ("migration", True, "public.orders")
    assert "holds AccessExclusiveLock on public.orders" in said(facts)


def test_held_locks_tell_when_the_text_does_not(shop: Scene) -> None:
    holder = shop.client("alter table orders add column c int").start("select pg_sleep(9)")
    shop.client().block("select from orders")
    assert blocker(shop.dsn, holder.pid).classification == "migration"


@pytest.mark.parametrize(
    "ddl",
    [
        "alter table orders alter column v type bigint",
        "create index on orders (v)",
        "truncate orders",
        "drop table orders",
        "alter table orders add check (v >= 0)",
        "create trigger t after insert on orders for each row execute function suppress_redundant_updates_trigger()",
    ],
)
def test_every_form_of_ddl_in_a_transaction_shows(shop: Scene, ddl: str) -> None:
    holder = shop.client().start(f"{ddl}; select pg_sleep(9)")
    shop.wait_until(lambda: "pg_sleep" in holder.shown() and "PgSleep" in holder.shown())
    shop.client().block("insert into orders values (99999, 1)")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("migration", "public.orders")


def test_create_index_concurrently_is_left_alone(shop: Scene) -> None:
    shop.client("update orders set v = 1 where id = 1")
    builder = shop.client(autocommit=True).block("create index concurrently on orders (v)")
    shop.client().block("alter table orders add column c int")
    facts = blocker(shop.dsn, builder.pid)
    assert facts.classification == "migration"
    assert facts.recommendation.action == "none"
    assert builder.pid not in {cut.pid for cut in look(shop.dsn).cuts}
