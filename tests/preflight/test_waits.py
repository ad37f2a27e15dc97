"""Waits for rows, types, functions, schemas, roles and advisory keys: what is foreseen, and what then really waits."""

import asyncio

import pytest

from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.preflight import fetch_live_state
from pgdoctor.preflight.judge import Judged
from pgdoctor.preflight.obstacles import Obstacle, changed_rows, find_obstacles, needed_keys, needed_oids
from tests.preflight.judging import fetch, judge, stage
from tests.scenes import Scene

#: What a transaction has done that is not over, and a statement that waits for it.
WAITS = [
    ("update orders set body = 'y' where id = 3", "update orders set body = 'z' where id = 3"),
    ("update orders set body = 'y' where id = 3", "delete from orders where id = 3"),
    ("update orders set body = 'y' where id = 3", "update orders set body = 'z'"),
    ("update orders set body = 'y' where id = 3", "select * from orders where id = 3 for update"),
    ("select from orders where id = 3 for update", "update order_view set v = -1 where id = 3"),
    (
        "select from orders where id = 3 for update",
        "with x as (select * from orders where id = 3 for share) select * from x",
    ),
    ("update lines set note = 'm' where order_id = 3", "delete from orders where id = 3"),
    ("update events_1 set v = 'y' where at = 3", "update events set v = 'z' where at = 3"),
    ("insert into lines values (999, 3, 'n')", "delete from orders where id = 3"),
    (
        "update customers set note = 'y' where id = 3",
        "insert into customers values (3) on conflict (id) do update set note = 'z'",
    ),
    (
        "update orders set body = 'y' where id = 3",
        "merge into orders o using notes n on n.n = o.id and n.n = 3 when matched then update set body = 'z'",
    ),
    ("alter type mood add value 'so'", "alter type mood add value 'lala'"),
    ("alter type mood rename value 'ok' to 'fine'", "drop type mood cascade"),
    ("comment on type mood is 'x'", "alter type mood rename value 'ok' to 'fine'"),
    ("alter type pair rename to couple", "alter type pair owner to clerk"),
    ("alter domain posint set default 1", "alter domain posint set default 2"),
    ("create or replace function pick() returns int language sql as 'select 1'", "drop function pick()"),
    (
        "create or replace function pick() returns int language sql as 'select 1'",
        "create or replace function pick() returns int language sql as 'select 2'",
    ),
    ("drop function fixed()", "alter function fixed() owner to clerk"),
    ("grant execute on function touch() to clerk", "grant execute on function touch() to clerk"),
    ("drop schema bare", "create table bare.t (id int)"),
    ("create table bare.t (id int)", "drop schema bare"),
    ("insert into side.far values (9, 9)", "drop schema side cascade"),
    ("grant usage on schema side to clerk", "alter schema side rename to elsewhere"),
    ("comment on schema side is 'x'", "comment on schema side is 'y'"),
    ("grant select on plain to clerk", "grant select on plain to clerk"),
    ("grant select on plain to clerk", "revoke insert on plain from clerk"),
    ("alter role clerk set work_mem = '8MB'", "drop role clerk"),
    ("alter role clerk createdb", "alter role clerk nocreatedb"),
    ("comment on publication pub is 'x'", "drop publication pub"),
    ("comment on extension plpgsql is 'x'", "comment on extension plpgsql is 'y'"),
    ("select pg_advisory_xact_lock(42)", "select pg_advisory_lock(42)"),
    ("select pg_advisory_xact_lock(-7, 8)", "select pg_advisory_xact_lock_shared(-7, 8)"),
]

#: The same, of statements that do not wait.
FREE = [
    ("update orders set body = 'y' where id = 3", "select * from orders"),
    ("update orders set body = 'y' where id = 3", "insert into orders (id, v) values (900, 900)"),
    ("update orders set body = 'y' where id = 3", "select from orders where id = 3 for update skip locked"),
    ("update orders set body = 'y' where id = 3", "update notes set body = 'z' where n = 3"),
    ("alter type mood add value 'so'", "alter type pair rename to couple"),
    ("alter type mood add value 'so'", "create table fresh (id int, p posint)"),
    ("create or replace function pick() returns int language sql as 'select 1'", "select fixed()"),
    ("create table side.t (id int)", "create table side.t2 (id int)"),
    ("grant usage on schema side to clerk", "create table side.t2 (id int)"),
    ("grant select on plain to clerk", "grant select on notes to clerk"),
    ("grant select on plain to clerk", "insert into plain (a) values (900)"),
    ("select pg_advisory_xact_lock(42)", "select pg_advisory_lock(43)"),
    ("select pg_advisory_xact_lock(42)", "select pg_advisory_xact_lock(0, 42)"),
    ("select pg_advisory_xact_lock(42)", "alter table orders add column x int"),
]


def obstacles(dsn: str, statement: str) -> tuple[Judged, tuple[Obstacle, ...]]:
    catalog, version = fetch(dsn, [statement])
    [judged] = judge(statement, catalog, version)

    async def find() -> tuple[Obstacle, ...]:
        async with await Connection.open(dsn, 20) as connection:
            about = needed_keys([judged]), changed_rows([judged])
            live = await fetch_live_state(connection, catalog, needed_oids([judged]), {}, *about)
            return find_obstacles([judged], live)

    return judged, asyncio.run(find())


@pytest.mark.long
@pytest.mark.deadline(120)
def test_waits_are_foreseen(scene: Scene) -> None:
    stage(scene)
    holder, runner = scene.client(), scene.client()
    version = scene.admin.info.server_version
    for before, statement in WAITS:
        if version < 150000 and statement.startswith("merge"):
            continue
        holder.run(before)
        judged, found = obstacles(scene.dsn, statement)
        runner.block(statement)
        holder.run("rollback")
        runner.finish()
        runner.run("rollback")
        assert [each.pid for each in found] == [holder.pid], (before, statement)
        assert judged.effect.is_known or "drop schema" in statement


@pytest.mark.long
@pytest.mark.deadline(120)
def test_statements_that_do_not_wait_are_free(scene: Scene) -> None:
    stage(scene)
    holder, runner = scene.client(), scene.client()
    for before, statement in FREE:
        holder.run(before)
        _, found = obstacles(scene.dsn, statement)
        runner.run("set lock_timeout = '10s'")
        runner.run(statement)
        runner.run("rollback")
        holder.run("rollback")
        assert found == (), (before, statement)


def test_change_of_every_row_waits_and_of_some_may_wait(scene: Scene) -> None:
    """Every row is changed: it waits. Some are: it may."""
    stage(scene)
    holder = scene.client("update orders set body = 'y' where id = 3")
    _, [certain] = obstacles(scene.dsn, "update orders set body = 'z'")
    _, [possible] = obstacles(scene.dsn, "update orders set body = 'z' where id = 4")
    assert certain.pid == possible.pid == holder.pid
    assert certain.reason == "has changed or locked rows of public.orders"
    assert possible.reason == "may have changed or locked the same rows of public.orders"
    assert possible.age is not None
    assert possible.counts(None)
    assert not possible.counts(3600.0)


def test_prepared_transaction_is_waited_for_by_its_rows(scene: Scene) -> None:
    stage(scene)
    client = scene.client("create or replace function pick() returns int language sql as 'select 1'")
    client.run("prepare transaction 'left'")
    _, [found] = obstacles(scene.dsn, "drop function pick()")
    assert (found.pid, found.gid) == (None, "left")
    assert found.reason == "has changed function public.pick, and its transaction is not over"
