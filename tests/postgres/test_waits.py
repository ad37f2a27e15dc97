"""`waits` is exactly what `pg_blocking_pids()` says, for every kind of lock that can be staged."""

from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.render.report import Report, Wait
from tests.looking import look
from tests.postgres.parallel import block_in_a_worker
from tests.scenes import Scene

Stage = Callable[[Scene], object]

STAGES: dict[str, Stage] = {}

# Who waits for whom as the server says, workers folded into their leader, prepared transactions as 0.
TRUTH = """
    select distinct case when a.backend_type = 'parallel worker' then a.leader_pid else a.pid end, b.pid
    from pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) b (pid)
    where a.pid in (select pid from pg_locks where not granted)
"""


def stage(build: Stage) -> Stage:
    STAGES[build.__name__.lstrip("_")] = build
    return build


def see(scene: Scene, dsn: str | None = None) -> Report:
    """The report of a scene that stands still: the truth is the same before and after."""
    before = truth(scene)
    seen = look(dsn or scene.dsn)
    assert before == truth(scene), "the scene moved while it was looked at"
    return seen


def truth(scene: Scene) -> Counter[tuple[int, int]]:
    return Counter(scene.admin.execute(TRUTH).fetchall())


def pairs(waits: tuple[Wait, ...]) -> set[tuple[int, int]]:
    return {(wait.blocked_pid, wait.blocking_pid or 0) for wait in waits}


def orders(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders select g, 0 from generate_series(1, 9) g")


@stage
def _a_row(scene: Scene) -> None:
    orders(scene)
    scene.client("update orders set v = 1 where id = 1")
    scene.client().block("update orders set v = 2 where id = 1")


@stage
def _a_row_convoy(scene: Scene) -> None:
    orders(scene)
    scene.client("update orders set v = 1 where id = 1")
    for _ in range(4):
        scene.client().block("update orders set v = 2 where id = 1")


@stage
def _two_share_lockers_of_a_row(scene: Scene) -> None:
    orders(scene)
    scene.client("select from orders where id = 1 for share")
    scene.client("select from orders where id = 1 for share")
    scene.client().block("update orders set v = 2 where id = 1")


@stage
def _a_ddl_queue(scene: Scene) -> None:
    orders(scene)
    scene.client("select from orders")
    scene.client().block("alter table orders add column c int")
    for _ in range(3):
        scene.client().block("select from orders")
    scene.client().block("update orders set v = 2 where id = 1")


@stage
def _many_holders_of_a_table(scene: Scene) -> None:
    orders(scene)
    for _ in range(3):
        scene.client("select from orders")
    scene.client().block("truncate orders")


@stage
def _an_index_build_behind_a_writer_with_an_innocent_reader(scene: Scene) -> None:
    orders(scene)
    scene.client("select from orders")
    scene.client("update orders set v = 1 where id = 1")
    scene.client().block("create index on orders (v)")


@stage
def _a_unique_key(scene: Scene) -> None:
    orders(scene)
    scene.client("insert into orders values (100, 0)")
    scene.client().block("insert into orders values (100, 0)")


@stage
def _a_foreign_key(scene: Scene) -> None:
    orders(scene)
    scene.admin.execute("create table items (order_id int references orders)")
    scene.client("delete from orders where id = 1")
    scene.client().block("insert into items values (1)")


@stage
def _a_lock_upgrade(scene: Scene) -> None:
    orders(scene)
    scene.client("select from orders")
    scene.client("select from orders").block("lock table orders")


@stage
def _a_session_advisory_lock_of_an_idle_session(scene: Scene) -> None:
    scene.client("select pg_advisory_lock(4711)", autocommit=True)
    scene.client().block("select pg_advisory_lock(4711)")


@stage
def _a_two_part_advisory_lock_in_share_mode(scene: Scene) -> None:
    scene.client("select pg_advisory_xact_lock_shared(-1, 2)")
    scene.client("select pg_advisory_xact_lock_shared(-1, 2)")
    scene.client().block("select pg_advisory_lock(-1, 2)")
    scene.client().block("select pg_advisory_lock_shared(-1, 2)")


@stage
def _a_virtual_transaction(scene: Scene) -> None:
    orders(scene)
    scene.client("update orders set v = 1 where id = 1")
    scene.client(autocommit=True).block("create index concurrently on orders (v)")


@stage
def _an_object(scene: Scene) -> None:
    scene.admin.execute("create type mood as enum ('good')")
    scene.client("alter type mood add value 'bad'")
    scene.client().block("alter type mood add value 'worse'")


@stage
def _a_prepared_transaction_with_a_row(scene: Scene) -> None:
    orders(scene)
    scene.client("update orders set v = 1 where id = 1", "prepare transaction 'scene row'")
    scene.client().block("update orders set v = 2 where id = 1")


@stage
def _two_prepared_transactions_with_a_table_and_a_session(scene: Scene) -> None:
    orders(scene)
    for name in ("one", "two"):
        scene.client("select from orders for share", f"prepare transaction 'scene {name}'")
    scene.client("select from orders")
    scene.client().block("truncate orders")


@stage
def _a_circle_with_somebody_behind_it(scene: Scene) -> None:
    orders(scene)
    patient = {"options": "-c deadlock_timeout=60s"}
    one = scene.client("update orders set v = 1 where id = 1", **patient)
    two = scene.client("update orders set v = 2 where id = 2", **patient)
    one.block("update orders set v = 1 where id = 2")
    two.block("update orders set v = 2 where id = 1")
    scene.client(**patient).block("update orders set v = 3 where id = 1")


@stage
def _a_parallel_worker(scene: Scene) -> None:
    orders(scene)
    block_in_a_worker(scene)


@stage
def _a_speculative_insertion(scene: Scene) -> None:
    # As PostgreSQL's own isolation test insert-conflict-specconflict: an index expression that stops at an
    # advisory lock holds one session between its speculative insertion and the check of it.
    scene.admin.execute("create table upserts (k text, v text)")
    scene.admin.execute(
        "create function stop(text) returns text language plpgsql immutable as "
        "'begin perform pg_advisory_xact_lock(current_setting(''stop.at'')::int); return $1; end'"
    )
    scene.admin.execute("create unique index on upserts ((stop(k)))")
    for number in (1, 2):
        scene.client(f"select pg_advisory_lock({number})", autocommit=True)
        scene.client(f"set stop.at = {number}", autocommit=True).block(
            "insert into upserts values ('k', 'v') on conflict ((stop(k))) do update set v = 'w'"
        )


@pytest.mark.parametrize("name", STAGES)
def test_waits_are_those_of_pg_blocking_pids(scene: Scene, name: str) -> None:
    STAGES[name](scene)
    expected = set(truth(scene))
    assert expected, "nobody waits: the scene is not what it says"
    seen = see(scene)
    assert pairs(seen.waits) == expected
    assert {blocker.pid or 0 for blocker in seen.blockers} == {blocker for _, blocker in expected}
    waiters = {waiter for waiter, _ in expected}
    circular = {pid for cycle in seen.cycles for pid in cycle}
    assert {blocker.pid or 0 for blocker in seen.blockers if blocker.root} == {
        blocker for _, blocker in expected if blocker not in waiters
    }
    assert circular <= waiters


def test_a_scene_without_waits_has_none(scene: Scene) -> None:
    orders(scene)
    scene.client("update orders set v = 1 where id = 1")
    scene.client("select from orders")
    seen = see(scene)
    assert not seen.waits
    assert not seen.blockers
    assert seen.blocked_sessions == seen.waits_total == 0


def test_a_wait_names_both_sides_the_lock_and_its_age(scene: Scene) -> None:
    orders(scene)
    scene.role("app", "all on orders")
    holder = scene.client("update orders set v = 7 where id = 1", application_name="deploy")
    waiter = scene.client(user="app", application_name="checkout").block("update orders set v = 42 where id = 1")
    [wait] = see(scene).waits
    assert (wait.blocked_pid, wait.blocking_pid) == (waiter.pid, holder.pid)
    assert (wait.blocked_user, wait.blocked_application) == ("app", "checkout")
    assert wait.blocked_statement == "update orders set v = ? where id = ?"
    assert (wait.lock_type, wait.lock_mode, wait.relation) == ("transactionid", "ShareLock", "public.orders")
    assert wait.queued is False
    assert wait.wait_seconds is not None
    assert 0 <= wait.wait_seconds < 5


def test_session_that_only_queues_ahead_is_shown_as_queued(scene: Scene) -> None:
    orders(scene)
    reader = scene.client("select from orders")
    alter = scene.client().block("alter table orders add column c int")
    late = scene.client().block("select from orders")
    seen = see(scene)
    assert {(wait.blocked_pid, wait.blocking_pid, wait.queued) for wait in seen.waits} == {
        (alter.pid, reader.pid, False),
        (late.pid, alter.pid, True),
    }
    assert [wait.queued for wait in seen.waits] == [False, True], "lock holders first"
    assert {wait.relation for wait in seen.waits} == {"public.orders"}
    assert [(blocker.pid, blocker.root, blocker.blocked_sessions) for blocker in seen.blockers] == [
        (reader.pid, True, 2),
        (alter.pid, False, 1),
    ]


def test_in_the_queue_for_a_row_the_next_in_line_holds_the_place_and_the_others_queue(scene: Scene) -> None:
    STAGES["a_row_convoy"](scene)
    seen = see(scene)
    # The first waits for the holder's transaction and holds the row's tuple lock, which the other three want.
    assert Counter(wait.lock_type for wait in seen.waits if not wait.queued) == {"transactionid": 1, "tuple": 3}
    assert Counter(wait.lock_type for wait in seen.waits if wait.queued) == {"tuple": 3}
    assert {wait.relation for wait in seen.waits} == {"public.orders"}
    assert seen.blockers[0].root
    assert seen.blockers[0].blocked_sessions == 4


def test_prepared_transactions_are_named_by_their_gid(scene: Scene) -> None:
    STAGES["two_prepared_transactions_with_a_table_and_a_session"](scene)
    seen = see(scene)
    prepared = [wait for wait in seen.waits if wait.blocking_pid is None]
    assert {wait.prepared_gid for wait in prepared} == {"scene one", "scene two"}
    assert {wait.queued for wait in seen.waits} == {False}
    assert {blocker.prepared_gid for blocker in seen.blockers if blocker.pid is None} == {"scene one", "scene two"}


def test_relations_of_another_database_have_their_names_from_there(scene: Scene) -> None:
    orders(scene)
    there = scene.database()
    scene.client("create table orders (id int)", "insert into orders values (1)", "commit", dbname=there)
    scene.client("update orders set id = 2", dbname=there)
    waiter = scene.client(dbname=there).block("update orders set id = 3")
    scene.client("select from orders", dbname=there)
    ddl = scene.client(dbname=there).block("truncate orders")
    seen = see(scene)
    assert {wait.blocked_pid for wait in seen.waits} == {waiter.pid, ddl.pid}
    assert {wait.relation for wait in seen.waits} == {"public.orders"}
    assert {blocker.relation for blocker in seen.blockers} == {"public.orders"}
    assert {blocker.database for blocker in seen.blockers} == {there}


def test_without_pg_monitor_the_blocked_are_found_and_the_output_says_what_is_hidden(scene: Scene) -> None:
    STAGES["a_ddl_queue"](scene)
    blind = scene.role("nobody_special")
    seen = see(scene, blind)
    assert pairs(seen.waits) == set(truth(scene))
    assert [wait.blocked_statement for wait in seen.waits] == [None] * len(seen.waits)
    assert "visibility" in {finding.kind for finding in seen.findings}
    assert "pg_monitor" in " ".join(finding.advice for finding in seen.findings)


def test_with_pg_monitor_nothing_is_hidden(scene: Scene) -> None:
    STAGES["a_ddl_queue"](scene)
    seen = see(scene, scene.role("watcher", "pg_monitor"))
    assert pairs(seen.waits) == set(truth(scene))
    assert not seen.findings
    assert all(wait.blocked_statement for wait in seen.waits)


@pytest.mark.since(16)
@pytest.mark.deadline(240)
def test_worker_that_applies_in_parallel_waits_for_itself(own_server: Callable[..., ThrowawayServer]) -> None:
    """It has a `leader_pid` as workers of a query have, but shares no locks with that process."""
    settings = {"wal_level": "logical", "debug_logical_replication_streaming": "immediate", "deadlock_timeout": "60s"}
    with own_server(settings=settings) as server, Scene(server.dsn) as scene:
        target = psycopg.connect(server.dsn, dbname=scene.database(), autocommit=True)
        for connection in (scene.admin, target):
            connection.execute("create table orders (id int primary key, v int)")
            connection.execute("insert into orders values (7, 0), (8, 0)")
        scene.admin.execute("create publication orders for table orders")
        scene.admin.execute("select pg_create_logical_replication_slot('orders', 'pgoutput')")
        target.execute(
            f"create subscription orders connection '{scene.dsn}' publication orders "
            "with (create_slot = false, slot_name = 'orders', copy_data = false, streaming = parallel)"
        )
        holder = scene.client("update orders set v = 1 where id = 8", dbname=target.info.dbname)
        scene.client("update orders set v = 2 where id = 7", "update orders set v = 2 where id = 8", "commit")
        leading = "select 1 from pg_locks where locktype = 'applytransaction' and not granted"
        scene.wait_until(lambda: scene.admin.execute(leading).fetchone(), timeout=60)
        seen = see(scene)
        target.execute("alter subscription orders disable")
        target.execute("alter subscription orders set (slot_name = none)")
        target.execute("drop subscription orders")
        target.close()
        applied = "select 1 from pg_replication_slots where active"
        scene.wait_until(lambda: not scene.admin.execute(applied).fetchone(), timeout=60)
        scene.admin.execute("select pg_drop_replication_slot('orders')")
    roots = {blocker.pid: blocker.classification for blocker in seen.blockers if blocker.root}
    assert roots == {holder.pid: "idle_in_transaction"}
    assert len(seen.waits) == 2
