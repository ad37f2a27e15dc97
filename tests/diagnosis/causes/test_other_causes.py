"""Causes that a scene or two tell: what they are not first, then what they are."""

from typing import Any

import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.looking import blocker, look, said
from tests.scenes import Scene


def test_a_holder_of_rows_and_an_advisory_lock_no_session_wants_is_no_advisory_blocker(shop: Scene) -> None:
    holder = shop.client("select pg_advisory_lock(1)", "update orders set v = 1 where id = 1")
    shop.client().block("update orders set v = 2 where id = 1")
    assert blocker(shop.dsn, holder.pid).classification == "idle_in_transaction"


@pytest.mark.parametrize(("arguments", "key"), [("4711", "4711"), ("-1", "-1"), ("-3, 4", "(-3, 4)")])
def test_an_advisory_lock_is_named_by_its_key_and_never_signalled(shop: Scene, arguments: str, key: str) -> None:
    holder = shop.client(f"select pg_advisory_lock({arguments})", autocommit=True)
    shop.client().block(f"select pg_advisory_lock({arguments})")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("advisory_lock", None)
    assert f"the advisory lock {key}" in said(facts)
    assert facts.recommendation.action == "none"
    assert look(shop.dsn).cuts == ()


def test_a_prepared_transaction_is_named_with_what_to_say(shop: Scene) -> None:
    shop.client("update orders set v = 1 where id = 1", "prepare transaction 'it''s one'")
    shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, None)
    assert (facts.classification, facts.pid, facts.prepared_gid) == ("prepared_transaction", None, "it's one")
    assert (facts.root, facts.relation, facts.recommendation.action) == (True, "public.orders", "none")
    assert "ROLLBACK PREPARED 'it''s one'" in facts.recommendation.reason
    assert look(shop.dsn).cuts == ()


@pytest.mark.parametrize(
    "statements",
    [
        ["lock table orders"],
        ["lock table orders", "select 1"],
        ["lock table orders in exclusive mode", "select 1"],
        ["lock table orders in share mode", "insert into other values (99, 1)", "select 1"],
        ["lock table orders in share row exclusive mode", "update orders set v = 1", "select 1"],
        ["savepoint s", "lock table orders", "release s", "update orders set v = 1"],
    ],
)
def test_lock_table_is_no_migration_with_any_next_statement(shop: Scene, statements: list[str]) -> None:
    holder = shop.client(*statements)
    shop.client().block("insert into orders values (99999, 1)")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also) == ("idle_in_transaction", ("explicit_lock",))
    assert "is taken by DDL and by LOCK TABLE" not in said(facts)


@pytest.mark.parametrize(
    "statement",
    [
        "alter table orders add column c int",
        "alter table orders alter v drop default",
        "alter table orders alter v drop not null",
        "alter table orders add check (id > 0) not valid",
        "alter table orders drop constraint positive",
        "alter table orders rename column v to w",
        "alter table orders rename constraint positive to above",
        "alter table orders enable row level security",
        "create trigger zz after insert on orders for each row execute function nothing()",
        "create rule zz as on update to orders do also nothing",
        "truncate orders",
        "drop index by_v",
        "do 'begin alter table orders add column c int; end'",
        "savepoint s; alter table orders add column c int; release s",
    ],
)
def test_ddl_is_no_lock_table_with_any_next_statement(shop: Scene, statement: str) -> None:
    shop.admin.execute("""
        alter table orders add constraint positive check (v >= 0); create index by_v on orders (v);
        create function nothing() returns trigger language plpgsql as 'begin return null; end'
    """)
    holder = shop.client(*statement.split("; ") if "release" in statement else [statement], "select 1")
    shop.client().block("insert into orders values (99999, 1)")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also) == ("idle_in_transaction", ("migration",))
    assert "its transaction has changed a definition, as the catalogs show" in said(facts)


@pytest.mark.parametrize(
    "statements",
    [
        ["create index on orders (v)"],  # whose own relation no session sees yet
        ["lock table orders", "create temporary table scratch (id int)"],
        ["create trigger zz after insert on watched for each row execute function nothing()"],
        ["create policy everybody on watched using (true)"],
    ],
)
def test_where_only_the_text_would_tell_the_doubt_is_said(shop: Scene, statements: list[str]) -> None:
    shop.admin.execute("""
        create function nothing() returns trigger language plpgsql as 'begin return null; end';
        create table watched (id int); alter table watched enable row level security;
        create trigger before_it after insert on watched for each row execute function nothing()
    """)
    holder = shop.client(*statements, "select 1")
    table = "watched" if "watched" in statements[0] else "orders"
    shop.client().block(f"insert into {table} values (99999)")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.also) == ("idle_in_transaction", ("migration",))
    assert "is taken by DDL and by LOCK TABLE" in said(facts)


def test_a_lock_on_an_index_is_not_said_to_be_on_its_table(shop: Scene) -> None:
    holder = shop.client("reindex index orders_pkey", "select 1")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("idle_in_transaction", "public.orders")
    assert (
        said(facts).count("holds AccessExclusiveLock on index public.orders_pkey of public.orders, ShareLock on ") == 1
    )


def test_lock_table_in_the_middle_of_work(shop: Scene) -> None:
    holder = shop.client("lock table orders in share row exclusive mode").start("select pg_sleep(9)")
    shop.client().block("update orders set v = 2 where id = 1")
    facts = blocker(shop.dsn, holder.pid)
    assert (facts.classification, facts.relation) == ("explicit_lock", "public.orders")
    assert "holds ShareRowExclusiveLock on public.orders" in said(facts)


def test_a_queued_lock_table(shop: Scene) -> None:
    shop.client("select from orders")
    locker = shop.client().block("lock table orders")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, locker.pid)
    assert (facts.classification, facts.root) == ("explicit_lock", False)
    assert facts.recommendation.action == "cancel"
    assert "LOCK asks for AccessExclusiveLock, which excludes even SELECT" in said(facts)
    assert "SET lock_timeout" in (facts.advice or "")


def test_maintenance_by_hand(shop: Scene) -> None:
    shop.client("select from orders")
    queued = shop.client(autocommit=True).block("vacuum full orders")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, queued.pid)
    assert (facts.classification, facts.relation) == ("maintenance", "public.orders")
    assert "VACUUM FULL" in said(facts)


def test_a_running_vacuum_in_front_of_ddl(shop: Scene) -> None:
    shop.admin.execute("update orders set v = v + 1")
    vacuum = shop.client("set vacuum_cost_delay = 100", "set vacuum_cost_limit = 1", autocommit=True)
    vacuum.start("vacuum orders")
    shop.wait_until(lambda: "VacuumDelay" in vacuum.shown())
    shop.client().block("alter table orders add column c int")
    facts = blocker(shop.dsn, vacuum.pid)
    assert (facts.classification, facts.relation) == ("maintenance", "public.orders")


def test_autovacuum_is_known_by_its_backend(own_server: Any) -> None:
    server: ThrowawayServer = own_server(
        settings={
            "autovacuum_naptime": 1,
            "autovacuum_vacuum_threshold": 1,
            "autovacuum_vacuum_cost_delay": 100,
            "autovacuum_vacuum_cost_limit": 1,
            "deadlock_timeout": "60s",
        }
    )
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table t (id int); insert into t select generate_series(1, 50000)")
        scene.admin.execute("delete from t")
        worker = "select pid from pg_stat_activity where backend_type = 'autovacuum worker' and query like '%public.t%'"
        [pid] = scene.wait_until(lambda: scene.admin.execute(worker).fetchone(), timeout=20)
        scene.client().block("alter table t add column c int")
        facts = blocker(scene.dsn, pid)
        assert (facts.classification, facts.relation) == ("autovacuum", "public.t")
        assert "VACUUM: scanning heap" in said(facts)
        assert facts.recommendation.action == "none"


def test_a_backup_is_left_alone(shop: Scene) -> None:
    dump = shop.client("select from orders", application_name="pg_dump")
    alter = shop.client().block("alter table orders add column c int")
    shop.client().block("select from orders")
    assert blocker(shop.dsn, dump.pid).classification == "backup"
    assert [cut.pid for cut in look(shop.dsn).cuts] == [alter.pid]


def test_a_process_of_replication_is_reported_by_its_backend_and_left_alone(own_server: Any) -> None:
    server: ThrowawayServer = own_server(settings={"wal_level": "replica", "max_wal_senders": 2})
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table t (id int primary key, v int); insert into t values (1, 0)")
        sender = scene.client(autocommit=True, replication="database")
        sender.run("begin; update t set v = 1 where id = 1")
        scene.client().block("update t set v = 2 where id = 1")
        facts = blocker(scene.dsn, sender.pid)
        assert (facts.classification, facts.recommendation.action) == ("replication", "none")


def test_a_queue_for_a_row_held_by_the_same_session_throughout_is_no_hot_row(shop: Scene) -> None:
    holder = shop.client().start("update orders set v = 1 where id = 7; select pg_sleep(9)")
    for _ in range(3):
        shop.client().block("update orders set v = 2 where id = 7")
    assert blocker(shop.dsn, holder.pid).classification == "long_query"


def test_a_row_whose_holder_has_changed_is_hot(shop: Scene) -> None:
    holder = shop.client().start("update orders set v = 1 where id = 7; select pg_sleep(9)")
    for _ in range(3):
        shop.client().block("update orders set v = 2 where id = 7")
    [[table]] = shop.admin.execute("select 'orders'::regclass::oid::int8").fetchall()
    seen = look(shop.dsn, former_holders={table: frozenset({1, 2, holder.pid})})
    assert {each.classification for each in seen.blockers} == {"hot_row"}
    assert {each.recommendation.action for each in seen.blockers} == {"none"}
    assert len(seen.blockers) == 3
    assert not seen.cuts


def test_a_session_that_only_waits_in_line_is_not_accused(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 7")
    next_in_line = shop.client().block("update orders set v = 2 where id = 7")
    shop.client().block("update orders set v = 3 where id = 7")
    facts = blocker(shop.dsn, next_in_line.pid)
    assert (facts.classification, facts.root, facts.recommendation.action) == ("unknown", False, "none")
    assert "is queued itself: not the cause; has waited" in said(facts)
    assert f"for {holder.pid} (idle in transaction for" in said(facts)


def test_hidden_session_is_unknown(shop: Scene) -> None:
    holder = shop.client("update orders set v = 1 where id = 7")
    shop.client().block("update orders set v = 2 where id = 7")
    facts = blocker(shop.role("stranger"), holder.pid)
    assert (facts.classification, facts.statement, facts.recommendation.action) == ("unknown", None, "none")
    assert "hidden" in said(facts)


def test_a_committer_that_waits_for_its_standby_is_never_signalled(own_server: Any) -> None:
    server: ThrowawayServer = own_server(settings={"synchronous_standby_names": "nobody"})
    with Scene(server.dsn) as scene:
        scene.client(
            "set synchronous_commit = local",
            "create table t (id int primary key, v int)",
            "insert into t values (1, 0)",
            autocommit=True,
        )
        holder = scene.client(autocommit=True).start("update t set v = 1")
        scene.wait_until(lambda: "SyncRep" in holder.shown())
        scene.client(autocommit=True).block("update t set v = 2")
        facts = blocker(scene.dsn, holder.pid)
        assert facts.recommendation.action == "none"
        assert "durability" in facts.recommendation.reason
        scene.admin.execute("alter system set synchronous_standby_names = ''")
        scene.admin.execute("select pg_reload_conf()")


def test_members_of_a_circle_are_left_to_the_server(shop: Scene) -> None:
    patient = {"options": "-c deadlock_timeout=60s"}
    one = shop.client("update orders set v = 1 where id = 1", **patient)
    two = shop.client("update orders set v = 2 where id = 2", **patient)
    one.block("update orders set v = 1 where id = 2")
    two.block("update orders set v = 2 where id = 1")
    seen = look(shop.dsn)
    assert {each.recommendation.action for each in seen.blockers} == {"none"}
    assert {each.root for each in seen.blockers} == {False}
    assert seen.cycles == (tuple(sorted((one.pid, two.pid))),)
    assert not seen.cuts
    assert [finding.kind for finding in seen.findings] == ["deadlock"]
