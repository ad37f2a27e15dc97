"""Statements that run in no transaction, compared with what they lock while another session keeps them waiting."""

import asyncio

import psycopg
import pytest

from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.preflight import fetch_live_state
from pgdoctor.preflight.judge import Verdict
from pgdoctor.preflight.obstacles import find_obstacles, needed_oids
from tests.preflight.judging import fetch, judge, read_locks, relation_names, run, said_locks, stage, uncovered
from tests.scenes import Scene

pytestmark = pytest.mark.long

#: A statement, and what another transaction has done when it runs.
CASES = [
    ("create index concurrently on orders (at)", "update orders set body = 'x' where id = 1"),
    ("create unique index concurrently if not exists u on orders (id, v)", "update orders set body = 'x' where id = 1"),
    ("drop index concurrently orders_status", "select from orders"),
    ("reindex index concurrently orders_status", "update orders set body = 'x' where id = 1"),
    ("reindex table concurrently orders", "update orders set body = 'x' where id = 1"),
    ("reindex (concurrently) index orders_status", "update orders set body = 'x' where id = 1"),
    ("reindex (verbose, concurrently true) table orders", "update orders set body = 'x' where id = 1"),
    ("alter table events detach partition events_1 concurrently", "lock table events_1 in share update exclusive mode"),
    ("reindex schema side", "select from side.far where id = 1"),
    ("vacuum notes", "lock table notes in share update exclusive mode"),
    ("vacuum full notes", "select from notes"),
    ("vacuum (full) notes", "select from notes"),
]


@pytest.mark.parametrize(("statement", "before"), CASES, ids=[case[0] for case in CASES])
def test_waiting_statement_takes_what_is_said(scene: Scene, statement: str, before: str) -> None:
    stage(scene)
    catalog, version = fetch(scene.dsn, [statement])
    [judged] = judge(statement, catalog, version)
    names = relation_names(scene.admin)
    blocker = scene.client(before)
    runner = scene.client(autocommit=True).block(statement)
    real = read_locks(scene.admin, runner.pid, names)
    assert real
    assert uncovered(real, said_locks(judged)) == set()
    if not judged.effect.is_at_most:
        assert real == said_locks(judged)

    async def find() -> set[int | None]:
        async with await Connection.open(scene.dsn, 20) as connection:
            live = await fetch_live_state(connection, catalog, needed_oids([judged]), {})
            return {each.pid for each in find_obstacles([judged], live)}

    assert blocker.pid in asyncio.run(find())
    blocker.run("commit")
    runner.finish()


@pytest.mark.parametrize("statement", [case[0] for case in CASES])
def test_it_fails_inside_of_a_transaction(scene: Scene, statement: str) -> None:
    stage(scene)
    catalog, version = fetch(scene.dsn, [statement])
    _, judged, _ = judge(f"begin; {statement}; commit", catalog, version)
    assert judged.verdict is Verdict.FAILS
    scene.admin.execute("begin")
    with pytest.raises(Exception, match="cannot run inside a transaction block"):
        scene.admin.execute(statement)
    scene.admin.execute("rollback")


def test_broken_off_detach_is_finished_with_the_locks_that_are_said(scene: Scene) -> None:
    stage(scene)
    statement = "alter table events detach partition events_1 finalize"
    catalog, version = fetch(scene.dsn, [statement])
    reader = scene.client("select from events")
    runner = scene.client(autocommit=True).start("alter table events detach partition events_1 concurrently")
    pending = "select 1 from pg_inherits where inhdetachpending"
    scene.wait_until(lambda: scene.admin.execute(pending).fetchone())
    scene.admin.execute("select pg_cancel_backend(%s)", [runner.pid])
    with pytest.raises(psycopg.errors.QueryCanceled):
        runner.finish()
    reader.run("commit")
    [judged] = judge(statement, catalog, version)
    assert run(scene.admin, statement).locks == said_locks(judged)
