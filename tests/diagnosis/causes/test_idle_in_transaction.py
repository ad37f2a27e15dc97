from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.server_context import ClientApplication, ServerContext
from pgdoctor.model.snapshot import Session
from tests.building import NOW, ORDERS, ago, lock, session, snapshot
from tests.looking import blocker, look, said
from tests.mitigation.build import IDLE, ddl, diagnosis, idle, reader
from tests.scenes import Scene


def test_a_running_statement_is_not_idle(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1").start("select pg_sleep(9)")
    shop.client().block("update orders set v = 2 where id = 1")
    assert blocker(shop.dsn, holder.pid).classification == "long_query"


def test_an_idle_session_outside_of_a_transaction_is_not_it(shop: Scene) -> None:
    holder = shop.client("select pg_advisory_lock(1)", autocommit=True)
    shop.client().block("select pg_advisory_lock(1)")
    assert blocker(shop.dsn, holder.pid).classification == "advisory_lock"


def test_an_aborted_transaction_without_savepoint_blocks_no_session(shop: Scene) -> None:
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
    # In its strongest mode LOCK TABLE leaves the same locks as ALTER TABLE, so that one cannot be distinguished.
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


# Its story, from snapshots made by hand: what must not be said first


def told(*others: Session, clients: tuple[ClientApplication, ...] = (), **facts: Any) -> str:
    """What is said of 10, which is idle in its transaction and holds a reader up, with these clients connected."""
    seen = snapshot([idle(**facts), reader(31, blockers=(IDLE,)), *others])
    found = diagnose(replace(seen, surroundings=ServerContext(read_at=NOW, clients=clients)))
    [verdict] = [each for each in found.blockers if each.node == IDLE]
    assert verdict.classification == "idle_in_transaction"
    return "; ".join(verdict.evidence)


def test_a_silent_client_on_this_host_is_not_called_gone() -> None:
    for address in (None, "127.0.0.1", "::1"):
        assert "most likely alive" in told(client_addr=address, state_change=ago(86_400))


def test_a_remote_client_that_was_here_a_minute_ago_is_not_called_gone() -> None:
    assert "gone" not in told(client_addr="10.0.0.7", state_change=ago(60))


def test_a_silence_that_others_share_is_not_called_gone() -> None:
    other = idle(11, state_change=ago(3_000), application_name="other")
    assert "gone" not in told(other, client_addr="10.0.0.7", state_change=ago(6_000))


def test_two_sessions_of_one_application_are_no_pool_yet() -> None:
    assert "pool" not in told(session(40, application_name="reporting"))


def test_sessions_without_a_name_or_from_elsewhere_are_no_pool() -> None:
    nameless = [session(pid, application_name="") for pid in (40, 41, 42)]
    assert "pool" not in told(*nameless, application_name="")
    elsewhere = [session(pid, application_name="reporting", client_addr=f"10.0.0.{pid}") for pid in (40, 41, 42)]
    assert "pool" not in told(*elsewhere, client_addr="10.0.0.7")


def test_a_remote_client_silent_for_much_longer_than_others_may_be_gone() -> None:
    other = idle(11, state_change=ago(20), application_name="other")
    said_of_it = told(other, client_addr="10.0.0.7", state_change=ago(6_000))
    assert 'its client is "reporting" at 10.0.0.7; it may be gone' in said_of_it


def test_several_sessions_of_one_application_and_address_are_likely_a_pool() -> None:
    mates = [session(pid, application_name="reporting", client_addr="10.0.0.7") for pid in (40, 41, 42)]
    assert "likely a pool: 3 other sessions" in told(*mates, client_addr="10.0.0.7", state_change=ago(6_000))


def test_idle_sessions_of_one_application_count_for_a_pool() -> None:
    """A snapshot of the waits has only those that wait, or are waited for."""
    pool = ClientApplication("reporting", "app", "10.0.0.7", connections=4, idle=3, idle_in_transaction=1, fresh=0)
    assert "likely a pool: 3 other sessions" in told(client_addr="10.0.0.7", clients=(pool,))
    assert "likely a pool" not in told(client_addr="10.0.0.8", clients=(pool,))
    assert "likely a pool" not in told(client_addr="10.0.0.7", clients=(replace(pool, addresses=2),))


@pytest.mark.parametrize("name", ["PgBouncer", "app - pgbouncer", "RDS Proxy", "Odyssey"])
def test_a_pooler_by_its_name(name: str) -> None:
    assert "a pooler" in told(application_name=name, client_addr="10.0.0.7")


def test_no_more_than_three_locks_are_named_those_in_the_way_first() -> None:
    tables = [replace(ORDERS, oid=5000 + place, name=f"public.t{place}") for place in range(6)]
    held = [
        lock(IDLE, mode, granted=True, relation=5000 + place)
        for place, mode in enumerate(
            ("AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareLock", "ExclusiveLock", "AccessShareLock")
        )
    ]
    seen = snapshot([idle(locks=tuple(held)), ddl()])
    [found] = diagnose(replace(seen, relations={each.oid: each for each in tables})).blockers
    wanted = "holds AccessShareLock on public.t0, ExclusiveLock on public.t4, ShareLock on public.t3, 2 more, for "
    assert any(sentence.startswith(wanted) for sentence in found.evidence)


@pytest.mark.parametrize("waited", [5, 45, 600, None])
def test_since_when_it_is_held_is_said_with_its_bounds(waited: float | None) -> None:
    """A waiter may have waited for an earlier holder. An idle session got its locks before it idled."""
    [found] = diagnosis(idle(xact_start=ago(600)), ddl(seconds=waited)).blockers
    assert "holds AccessShareLock on public.orders, for 1 min 0 s at least, 10 min 0 s at most" in found.evidence
    [found] = diagnosis(idle(xact_start=ago(600), state_change=ago(600)), ddl(seconds=waited)).blockers
    assert "holds AccessShareLock on public.orders, for 10 min 0 s" in found.evidence


# Its story, on a real server


def test_reads_and_locks_are_no_changes(shop: Scene) -> None:
    holder = shop.client("select from orders where id = 1 for update")
    shop.client().block("update orders set v = 2 where id = 1")
    assert "its locks show no change" in said(blocker(shop.dsn, holder.pid))


def test_a_change_that_keeps_no_lock_is_one(shop: Scene) -> None:
    """GRANT gives the locks on the catalogs back at once; its transaction's id is left."""
    holder = shop.client("grant select on orders to public")
    shop.client().block("grant insert on orders to public")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("idle_in_transaction", "pg_catalog.pg_class")
    assert "it has a transaction id: it may have changed rows" in said(facts)


def test_its_changes_its_locks_and_its_client_are_reported(shop: Scene) -> None:
    holder = shop.client(
        "update other set v = 1", "update orders set v = 1 where id = 1", "select 1", application_name="checkout"
    )
    shop.client().block("update orders set v = 2 where id = 1")
    story = said(blocker(shop.dsn, holder.pid))
    assert "holds rows of public.orders, RowExclusiveLock on public.orders" in story
    assert "RowExclusiveLock on public.other" in story
    assert "it has a transaction id: it may have changed rows" in story
    assert 'its client is "checkout"' in story


def test_an_aborted_transaction_has_nothing_left_to_lose(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 1", "savepoint s")
    waiter = shop.client().block("update orders set v = 2 where id = 1")
    with pytest.raises(psycopg.Error):
        holder.run("select 1/0")
    seen = look(shop.dsn)
    [facts] = seen.blockers
    assert "a statement of it failed" in said(facts)
    assert "changed rows" not in said(facts)
    assert "nothing left to lose but the session" in facts.recommendation.reason
    assert seen.cuts[0].loses == "the session; its transaction is already aborted"
    assert (facts.recommendation.action, facts.recommendation.pid) == ("terminate", holder.pid)
    shop.admin.execute("select pg_terminate_backend(%s)", [holder.pid])
    waiter.finish()


@pytest.mark.parametrize(("application", "is_alike"), [("deploy", False), ("migrate", True)])
def test_index_build_that_waits_for_its_own_client_is_said(shop, application, is_alike):
    holder = shop.client(
        "set transaction isolation level repeatable read", "select from other", application_name="migrate"
    )
    build = shop.client(autocommit=True, application_name=application)
    build.block("create index concurrently on orders (v)")
    told = said(blocker(shop.dsn, holder.pid))
    assert (f"{build.pid} comes from the same client: it may wait for itself" in told) == is_alike
