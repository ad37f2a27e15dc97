"""Working or queued, how far, for whom, and what would have been better: what must not be said first."""

import asyncio
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.blocker import command_progress
from pgdoctor.model.snapshot import CommandProgress
from pgdoctor.postgres.connection import Connection
from tests.looking import blocker, look, said, snapshot
from tests.scenes import Scene

_SLOW = """
    create function slowly(int) returns int language plpgsql immutable as
        'begin if $1 > 17000 then perform pg_sleep(0.3); end if; return $1; end'
"""


def test_nothing_is_extrapolated_from_nothing():
    assert command_progress.seconds_left(CommandProgress("CREATE INDEX", "scanning table", 0, 0), 10) is None
    assert command_progress.seconds_left(CommandProgress("CREATE INDEX", "scanning table", 1, 1000), 10) is None
    assert command_progress.seconds_left(CommandProgress("CREATE INDEX", "scanning table", 50, 100), None) is None
    assert command_progress.seconds_left(CommandProgress("CREATE INDEX", "sorting live tuples", 0, 0), 10) is None
    assert command_progress.seconds_left(CommandProgress("REINDEX", "scanning table", 90, 100), 10) is None, (
        "of how many indexes?"
    )


def test_a_phase_is_not_the_whole():
    read = CommandProgress("CREATE INDEX", "scanning table", 99, 100)
    assert not command_progress.is_nearly_done(read, 10), "the tree is still to be built"
    assert command_progress.is_nearly_done(CommandProgress("CREATE INDEX", "loading tuples in tree", 90, 100), 60)
    assert not command_progress.is_nearly_done(
        CommandProgress("CREATE INDEX", "loading tuples in tree", 90, 100), 36_000
    )
    assert not command_progress.is_nearly_done(CommandProgress("COPY FROM", "copying", 79, 100), 10)


def test_counters_that_run_over_are_no_more_than_all():
    assert command_progress.phase_share(CommandProgress("VACUUM", "scanning heap", 12, 10)) == 1
    assert command_progress.seconds_left(CommandProgress("COPY FROM", "copying", 12, 10), 5) == 0


def test_the_sentence():
    read = CommandProgress("CREATE INDEX", "scanning table", 92, 100)
    assert (
        command_progress.describe_progress(read, 46)
        == "CREATE INDEX: scanning table, 92 % (92 of 100), roughly 54 s left"
    )
    assert command_progress.describe_progress(CommandProgress("COPY FROM", "copying"), 5) == "COPY FROM: copying"
    assert (
        command_progress.describe_progress(CommandProgress("COPY FROM", "copying", 12_345), 5)
        == "COPY FROM: copying, 12,345 bytes so far"
    )
    waits = CommandProgress("CREATE INDEX CONCURRENTLY", "waiting for old snapshots", 1, 3)
    assert (
        command_progress.describe_progress(waits, 46)
        == "CREATE INDEX CONCURRENTLY: waiting for old snapshots, 1 of 3 done"
    )


def test_a_quiet_server_is_not_asked_for_progress(shop: Scene) -> None:
    shop.admin.execute(_SLOW)
    shop.client("set max_parallel_maintenance_workers = 0").start("create index on orders (slowly(id))")
    assert snapshot(shop.dsn).progress == {}


def test_an_index_build_in_the_middle(shop: Scene) -> None:
    shop.admin.execute(_SLOW)
    builder = shop.client("set max_parallel_maintenance_workers = 0").start("create index on orders (slowly(id))")
    shop.client().block("insert into orders values (99999, 1)")
    facts = blocker(shop.dsn, builder.pid)
    assert facts.classification == "migration"
    assert facts.evidence[0].startswith("holds ShareLock on public.orders, for ")
    assert "is working: CREATE INDEX has run for" in said(facts)
    assert "under ShareLock, which excludes every INSERT, UPDATE and DELETE, but not SELECT" in said(facts)
    seen = snapshot(shop.dsn).progress[builder.pid]
    percent = int(command_progress.phase_share(seen) * 100)
    assert (seen.command, seen.phase) == ("CREATE INDEX", "scanning table")
    assert 75 < percent < 100
    assert f"CREATE INDEX: scanning table, {percent} % ({seen.done} of {seen.total}), roughly" in said(facts)
    assert facts.advice == "CREATE INDEX CONCURRENTLY does not block writers"
    assert facts.recommendation.action == "cancel"


@pytest.mark.parametrize("command", ["vacuum", "analyze"])
def test_throttled_vacuum_shows_its_progress(shop: Scene, command: str) -> None:
    shop.admin.execute("update orders set v = v + 1")
    vacuum = shop.client("set vacuum_cost_delay = 100", "set vacuum_cost_limit = 10", autocommit=True)
    vacuum.start(f"{command} orders")
    shop.wait_until(lambda: "VacuumDelay" in vacuum.shown())
    shop.client().block("alter table orders add column c int")
    shop.wait_until(lambda: (seen := snapshot(shop.dsn).progress.get(vacuum.pid)) and seen.done)
    facts = blocker(shop.dsn, vacuum.pid)
    assert facts.classification == "maintenance"
    phase = {"vacuum": "VACUUM: scanning heap", "analyze": "ANALYZE: acquiring sample rows"}[command]
    percent = int(command_progress.phase_share(snapshot(shop.dsn).progress[vacuum.pid]) * 100)
    assert any(f"{phase}, {each} %" in said(facts) for each in range(percent + 1))


def test_cluster_shows_its_phase(shop: Scene) -> None:
    shop.admin.execute(_SLOW.replace("0.3", "0"))
    shop.admin.execute("create index by_slowly on orders (slowly(id))")
    shop.admin.execute(_SLOW.replace("create function", "create or replace function"))
    worker = shop.client("set enable_indexscan = off").start("cluster orders using by_slowly")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, worker.pid)
    assert (facts.classification, facts.relation) == ("maintenance", "public.orders")
    assert "holds AccessExclusiveLock on public.orders, for" in said(facts)
    assert "CLUSTER: sorting tuples" in said(facts)


def test_a_base_backup_shows_how_far_it_is(own_server: Any, tmp_path: Path) -> None:
    """It blocks no session, so that only the statement itself can be asked."""
    server: ThrowawayServer = own_server(settings={"wal_level": "replica"})
    program = [server.bindir / "pg_basebackup", "-d", server.dsn, "-D", tmp_path / "copy", "-c", "fast", "-X", "none"]
    process = subprocess.Popen([*program, "--max-rate=100", "--progress"], stderr=subprocess.DEVNULL)
    query = "select pid from pg_stat_activity where application_name = 'pg_basebackup'"

    async def ask(pid: int) -> Sequence[Any]:
        async with await Connection.open(server.dsn, 5.0) as door:
            return await door.fetch("progress", pids=[pid])

    def streams() -> Any:
        rows = asyncio.run(ask(pid))
        return rows and rows[0].phase == "streaming database files" and rows[0].done and rows[0]

    try:
        with Scene(server.dsn) as scene:
            [pid] = scene.wait_until(lambda: scene.admin.execute(query).fetchone(), timeout=20)
            row = scene.wait_until(streams, timeout=20)
    finally:
        process.kill()
        process.wait()
    seen = CommandProgress(row.command, row.phase, row.done, row.total)
    assert 0 < (command_progress.phase_share(seen) or 0) < 0.5
    assert command_progress.describe_progress(seen, 10).startswith("base backup: streaming database files, ")


def test_a_command_whose_progress_our_role_may_not_see(shop: Scene) -> None:
    shop.admin.execute(_SLOW)
    builder = shop.client("set max_parallel_maintenance_workers = 0").start("create index on orders (slowly(id))")
    shop.client().block("insert into orders values (99999, 1)")
    assert snapshot(shop.role("stranger")).progress == {}
    assert blocker(shop.role("watcher", "pg_monitor"), builder.pid).classification == "migration"
    assert snapshot(shop.dsn).unread == ()


def test_a_poll_does_not_wait_for_progress(shop: Scene) -> None:
    """The views would: they join pg_database."""
    shop.admin.execute(_SLOW)
    builder = shop.client("set max_parallel_maintenance_workers = 0").start("create index on orders (slowly(id))")
    shop.client().block("insert into orders values (99999, 1)")
    dsn, seen = shop.dsn, {}

    async def ask() -> None:
        async with await Connection.open(dsn, 5.0) as door:
            locker = shop.client("lock pg_database, pg_am, pg_class in access exclusive mode")
            for row in await door.fetch("progress", pids=[builder.pid]):
                seen[row.pid] = row.phase
            locker.run("rollback")

    asyncio.run(ask())
    assert seen == {builder.pid: "scanning table"}


def test_queued_alter_names_the_excluded_statements(shop: Scene) -> None:
    shop.client("select from orders")
    alter = shop.client().block("alter table orders alter column v type bigint")
    shop.client().block("select from orders")
    facts = blocker(shop.dsn, alter.pid)
    assert re.search(r"is queued: has waited \d.* for AccessExclusiveLock on public.orders", said(facts))
    assert "ALTER TABLE asks for AccessExclusiveLock, which excludes even SELECT" in said(facts)
    assert "is working" not in said(facts)
    assert "new column" in facts.advice
    assert "SET lock_timeout = '3s'" in facts.advice


@pytest.mark.parametrize("statement", ["create index concurrently on orders (v)", "reindex table concurrently orders"])
def test_concurrent_build_names_its_blocker_and_is_never_signalled(shop: Scene, statement: str) -> None:
    writer = shop.client("update orders set v = 1 where id = 1")
    builder = shop.client(autocommit=True).block(statement)
    shop.client().block("alter table orders add column c int")
    facts = blocker(shop.dsn, builder.pid)
    assert f"for {writer.pid} (idle in transaction for " in said(facts)
    assert "waiting for writers before build, 0 of 1 done" in said(facts)
    assert facts.recommendation.action == "none"
    assert builder.pid not in {cut.pid for cut in look(shop.dsn).cuts}


def test_a_copy_at_its_end_is_let_finish(shop: Scene) -> None:
    """Almost all of the file is read, and the last rows take their time."""
    shop.admin.execute("""
        create function lingers() returns trigger language plpgsql as
            'begin if new.id = 39999 then perform pg_sleep(9); end if; return new; end';
        create trigger t before insert on orders for each row execute function lingers();
    """)
    [[folder]] = shop.admin.execute("select current_setting('data_directory')").fetchall()
    rows = "select id + 20000, customer_id, v from orders"
    shop.admin.execute(f"copy ({rows}) to '{folder}/rows of {shop.admin.info.dbname}'")
    copying = shop.client().start(f"copy orders from '{folder}/rows of {shop.admin.info.dbname}'")
    shop.wait_until(lambda: "PgSleep" in copying.shown())
    shop.client().block("lock table orders in share mode")
    facts = blocker(shop.dsn, copying.pid)
    assert facts.classification == "long_query"
    assert "COPY FROM: copying, 100 %" in said(facts)
    assert facts.recommendation.action == "none"
    assert "let it finish" in facts.recommendation.reason
    assert copying.pid not in {cut.pid for cut in look(shop.dsn).cuts}


def test_an_update_of_everything_gets_the_advice_of_batches(shop: Scene) -> None:
    holder = shop.client().start("update orders set v = slow(v)")
    shop.wait_until(lambda: "PgSleep" in holder.shown())
    shop.client().block("lock table orders in share mode")
    assert "batches" in (blocker(shop.dsn, holder.pid).advice or "")
