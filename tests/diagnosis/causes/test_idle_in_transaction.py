from tests.looking import blocker, said
from tests.scenes import Scene


def test_a_running_statement_is_not_idle(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1").start("select pg_sleep(9)")
    shop.client().block("update orders set v = 2 where id = 1")
    assert blocker(shop.dsn, holder.pid).classification == "long_query"


def test_an_idle_session_outside_of_a_transaction_is_not_it(shop: Scene) -> None:
    holder = shop.client("select pg_advisory_lock(1)", autocommit=True)
    shop.client().block("select pg_advisory_lock(1)")
    assert blocker(shop.dsn, holder.pid).classification == "advisory_lock"


def test_an_aborted_transaction_without_savepoint_blocks_nobody(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1")
    waiter = shop.client().block("update orders set v = 2 where id = 1")
    try:
        holder.run("select 1/0")
    except Exception:
        waiter.finish()
    else:
        raise AssertionError("a division by zero went well")


def test_a_forgotten_transaction_is_found_and_is_to_be_terminated(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1", application_name="checkout")
    waiter = shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also, facts.relation) == ("idle_in_transaction", (), "public.orders")
    assert (facts.root, facts.directly_blocked, facts.blocked_sessions) == (True, 1, 1)
    assert facts.recommendation.action == "terminate"
    assert facts.recommendation.pid == holder.pid
    assert "idle in transaction for" in said(facts)
    assert "rows of public.orders" in said(facts)
    holder.run("commit")
    waiter.finish()


def test_the_table_is_the_one_it_holds_not_the_one_it_last_read(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1", "select from other")
    shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("idle_in_transaction", "public.orders")
    assert facts.statement == "select from other"


def test_after_ddl_it_is_a_migration_too(shop: Scene) -> None:
    holder = shop.client("alter table orders add column c int", "select 1")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also, facts.relation) == (
        "idle_in_transaction",
        ("migration",),
        "public.orders",
    )
    assert "holds AccessExclusiveLock on public.orders" in said(facts)


def test_after_lock_table_it_is_an_explicit_lock_too(shop: Scene) -> None:
    # In its strongest mode LOCK TABLE leaves the same locks as ALTER TABLE, so that one cannot be told apart.
    holder = shop.client("lock table orders in exclusive mode", "select 1")
    shop.client().block("delete from orders")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also) == ("idle_in_transaction", ("explicit_lock",))


def test_a_reader_in_front_of_a_migration_is_found(shop: Scene) -> None:
    reader = shop.client("select from orders")
    alter = shop.client().block("alter table orders add column c int")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, reader.pid)
    assert (facts.classification, facts.also, facts.relation) == ("idle_in_transaction", (), "public.orders")
    assert facts.blocked_sessions == 2
    assert blocker(shop.dsn, alter.pid).classification == "migration"


def test_locks_of_before_a_savepoint_are_kept_by_an_aborted_transaction(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1", "savepoint s")
    shop.client().block("update orders set v = 2 where id = 1")
    try:
        holder.run("select 1/0")
    except Exception:
        facts = blocker(shop.dsn, holder.pid)
    assert facts.classification == "idle_in_transaction"
    assert facts.state == "idle in transaction (aborted)"
    assert "idle in transaction (aborted) for" in said(facts)


def test_an_unanswered_unique_key_names_the_table(shop: Scene) -> None:
    holder = shop.client("insert into orders values (99999, 1)")
    shop.client().block("insert into orders values (99999, 1)")
    assert blocker(shop.dsn, holder.pid).relation == "public.orders"
