"""Blockers in other databases than the one that pgdoctor is connected to, on real servers."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.other_databases import MOST_DATABASES
from pgdoctor.render.report import BlockerReport, Report, make_report
from tests.diagnosis.causes.conftest import TABLES
from tests.looking import look, said, snapshot
from tests.pooler import PROGRAM, pooler
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

#: Reads `orders` as a whole, and a few rows more slowly, so that it lasts.
SCAN = "update orders set v = 1 where customer_id in (7, 8, 9, 10, 11) and slow(v) is not null"

#: pgdoctor's own connections to other databases.
OWN = "select count(*) from pg_stat_activity where application_name = 'pgdoctor' and datname = %s"


class Elsewhere:
    """One more database of a scene, with the tables of a shop; pgdoctor is connected to another one."""

    def __init__(self, scene: Scene, name: str | None = None) -> None:
        self.scene = scene
        self.name = scene.database() if name is None else name
        self.dsn = make_conninfo(scene.dsn, dbname=self.name)
        self.run(TABLES)

    def run(self, statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(statements)

    def alter(self, statement: str) -> None:
        """Run a statement with its name in place of `{}`."""
        self.scene.admin.execute(sql.SQL(statement).format(sql.Identifier(self.name)))

    def client(self, *statements: str, **options: Any) -> Client:
        return self.scene.client(*statements, dbname=self.name, **options)

    def incident(self) -> Client:
        """A session that is idle in its transaction and holds a row of `orders` up."""
        holder = self.client("update orders set v = 1 where id = 1")
        self.client().block("update orders set v = 2 where id = 1")
        return holder


@pytest.fixture
def billing(scene: Scene) -> Elsewhere:
    return Elsewhere(scene)


def of(report: Report, client: Client) -> BlockerReport:
    [found] = [each for each in report.blockers if each.pid == client.pid]
    return found


def test_a_migration_in_another_database_has_the_name_of_its_table(billing: Elsewhere) -> None:
    migration = billing.client("alter table orders add note text", application_name="flyway")
    waiter = billing.client().block("select count(*) from orders")
    seen = diagnose(snapshot(billing.scene.dsn))
    assert seen.locate_blocker(seen.blockers[0]) == f"{billing.name}: public.orders"
    report = make_report(seen)
    found = of(report, migration)
    assert (found.relation, found.database, found.in_other_database) == ("public.orders", billing.name, True)
    assert found.place == f"{billing.name}: public.orders"
    assert "holds AccessExclusiveLock on public.orders" in said(found)
    assert f"names, indexes and statistics are those of database {billing.name}" in found.evidence
    [wait] = report.waits
    assert (wait.blocked_pid, wait.relation, wait.database) == (waiter.pid, "public.orders", billing.name)
    assert wait.waits_for == f"AccessShareLock on public.orders of database {billing.name}"


def test_an_unindexed_update_in_another_database_has_a_create_index_that_works(billing: Elsewhere) -> None:
    scan = billing.client("update orders set v = 1 where id = 8").start(SCAN)
    waiter = billing.client().block("update orders set v = 2 where id = 8")
    found = of(look(billing.scene.dsn), scan)
    assert (found.classification, found.relation) == ("unindexed_scan", "public.orders")
    where, _, index = found.recommendation.reason.partition("before it runs again: ")[2].partition(": ")
    assert where == f"in database {billing.name}"
    assert index == "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)"
    billing.scene.admin.execute("select pg_terminate_backend(%s)", [scan.pid])
    waiter.finish()
    waiter.run("commit")
    billing.run(index)


def test_explain_asks_the_planner_of_the_other_database(billing: Elsewhere) -> None:
    scan = billing.client("update orders set v = 1 where id = 8").start(SCAN)
    billing.client().block("update orders set v = 2 where id = 8")
    seen = diagnose(snapshot(billing.scene.dsn, explains=True))
    [found] = [each for each in seen.blockers if each.pid == scan.pid]
    assert found.classification == "unindexed_scan"
    assert any("EXPLAIN" in sentence or "planner" in sentence for sentence in found.evidence), found.evidence


def test_copies_of_one_template_keep_their_own_names(scene: Scene) -> None:
    """A copy has the OIDs of its template, so the same number is another table in each."""
    first = Elsewhere(scene)
    second = scene.database()
    scene.admin.execute(sql.SQL("drop database {0}").format(sql.Identifier(second)))
    scene.admin.execute(
        sql.SQL("create database {0} template {1}").format(sql.Identifier(second), sql.Identifier(first.name))
    )
    with psycopg.connect(make_conninfo(scene.dsn, dbname=second), autocommit=True) as admin:
        admin.execute("alter table orders rename to invoices")
    holder = scene.client("update invoices set v = 1 where id = 1", dbname=second)
    scene.client(dbname=second).block("update invoices set v = 2 where id = 1")
    report = look(first.dsn)
    assert of(report, holder).relation == "public.invoices"
    assert {wait.relation for wait in report.waits} == {"public.invoices"}
    own = first.incident()
    report = look(first.dsn)
    assert of(report, own).relation == "public.orders"
    assert of(report, own).place == "public.orders"
    assert of(report, holder).relation == "public.invoices"


def test_hostile_names_of_databases_and_tables(scene: Scene) -> None:
    name = scene.database()
    hostile = f"{name} \"; drop ' %s {{}} host=evil\t\\"
    scene.admin.execute(sql.SQL("alter database {} rename to {}").format(sql.Identifier(name), sql.Identifier(hostile)))
    scene._databases[scene._databases.index(name)] = hostile
    scene._databases.reverse()
    odd = Elsewhere(scene, hostile)
    odd.run('alter table orders rename to "Or""ders; --"')
    holder = odd.client("""update "Or""ders; --" set v = 1 where id = 1""")
    odd.client().block("""update "Or""ders; --" set v = 2 where id = 1""")
    found = of(look(scene.dsn), holder)
    assert found.relation == 'public."Or""ders; --"'
    assert found.database == hostile


def test_a_database_without_connect_is_one_sentence(billing: Elsewhere) -> None:
    watcher = billing.scene.role("pgdoctor_role", "pg_monitor")
    billing.alter("revoke connect on database {} from public")
    holder = billing.incident()
    found = of(look(watcher), holder)
    assert found.classification == "idle_in_transaction"
    assert found.relation is None
    [sentence] = [each for each in found.evidence if "was not read" in each]
    assert sentence == (
        f"the catalog of database {billing.name} was not read: our role may not connect to it; "
        f"GRANT CONNECT ON DATABASE {billing.name} TO pgdoctor_role permits that"
    )
    billing.alter("grant connect on database {} to pgdoctor_role")
    assert of(look(watcher), holder).relation == "public.orders"


def test_a_database_that_allows_no_connections_is_one_sentence(billing: Elsewhere) -> None:
    holder = billing.incident()
    billing.alter("alter database {} allow_connections false")
    found = of(look(billing.scene.dsn), holder)
    assert found.relation is None
    assert "it does not allow connections" in said(found)
    billing.alter("alter database {} allow_connections true")


def test_limits_are_left_to_clients(billing: Elsewhere) -> None:
    watcher = billing.scene.role("pgdoctor_role", "pg_monitor")
    holder = billing.incident()
    billing.scene.admin.execute("alter role pgdoctor_role connection limit 3")
    assert "too few connections of our role are free" in said(of(look(watcher), holder))
    billing.scene.admin.execute("alter role pgdoctor_role connection limit 10")
    assert of(look(watcher), holder).relation == "public.orders"
    billing.alter("alter database {} connection limit 4")
    assert "too few connections of it are free" in said(of(look(watcher), holder))


def test_the_last_slots_of_the_server_are_left_to_clients(own_server: Callable[..., ThrowawayServer]) -> None:
    server = own_server(max_connections=12)
    with Scene(server.dsn) as scene:
        billing = Elsewhere(scene)
        holder = billing.incident()
        # Three are reserved for superusers, three are taken, and pgdoctor's own is the fourth: five are left.
        assert of(look(scene.dsn), holder).relation == "public.orders"
        for _ in range(3):
            scene.client("select")
        assert "too few connections of the server are free" in said(of(look(scene.dsn), holder))


def test_a_database_that_is_switched_off_is_one_sentence(billing: Elsewhere) -> None:
    holder = billing.incident()

    async def ask() -> Snapshot:
        async with await Connection.open(billing.scene.dsn, 5.0) as door:
            door.looks_into_databases = False
            return await Collector(door).fetch_snapshot()

    found = of(make_report(diagnose(asyncio.run(ask()))), holder)
    assert found.relation is None
    assert f"the catalog of database {billing.name} was not read: look_into_databases is off" in found.evidence


def test_no_more_than_some_databases_are_open_at_once(scene: Scene) -> None:
    others = [Elsewhere(scene) for _ in range(MOST_DATABASES + 1)]
    holders = [each.incident() for each in others]
    others[-1].client().block("update orders set v = 2 where id = 1")
    report = look(scene.dsn)
    named = [of(report, holder).relation for holder in holders]
    assert named.count("public.orders") == MOST_DATABASES
    assert named[-1] == "public.orders", "the one with most sessions comes first"
    assert sum("at most 3 other databases" in said(of(report, holder)) for holder in holders) == 1


class Polling:
    """One connection that looks at a scene again and again, as an agent does."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def run(self, work: Callable[["Polling"], Any]) -> Any:
        async def polling() -> Any:
            async with await Connection.open(self.scene.dsn, 5.0) as door:
                self.collector = Collector(door)
                self.collector.patience = 0.3
                return await work(self)

        return asyncio.run(polling())

    async def look(self) -> Report:
        return make_report(diagnose(await self.collector.fetch_snapshot()))

    async def find_named(self, client: Client) -> BlockerReport:
        """Look until that blocker's relation has its name: a first connection may outlast the patience of a poll."""
        deadline = time.monotonic() + 60
        while (found := of(await self.look(), client)).relation is None:
            assert time.monotonic() < deadline, said(found)
        return found

    def own(self, database: str) -> int:
        return self.scene.admin.execute(OWN, [database]).fetchone()[0]


def test_the_connection_is_kept_between_polls_and_closed_soon_after_the_incident(billing: Elsewhere) -> None:
    holder = billing.incident()

    async def work(polling: Polling) -> None:
        found = await polling.find_named(holder)
        pids = set()
        for _ in range(4):
            await polling.look()
            pids |= {row[0] for row in billing.scene.admin.execute(OWN.replace("count(*)", "pid"), [billing.name])}
            await asyncio.sleep(0.2)
        assert found.relation == "public.orders"
        assert len(pids) == 1
        holder.run("commit")
        began = time.monotonic()
        while polling.own(billing.name):
            await polling.look()
            await asyncio.sleep(0.1)
            assert time.monotonic() - began < 60

    Polling(billing.scene).run(work)


def test_drop_database_is_not_held_up(scene: Scene) -> None:
    name = scene.database()
    billing = Elsewhere(scene, name)
    holder = billing.client("update orders set v = 1 where id = 1")
    waiter = billing.client().block("update orders set v = 2 where id = 1")

    async def work(polling: Polling) -> None:
        assert (await polling.find_named(holder)).relation == "public.orders"
        assert polling.own(name) == 1
        # DROP DATABASE waits five seconds for the sessions in it, so that these have to be gone before.
        ended = "select bool_and(pg_terminate_backend(pid, 9000)) from pg_stat_activity where pid = any(%s)"
        assert scene.admin.execute(ended, [[holder.pid, waiter.pid]]).fetchone() == (True,)
        dropping = asyncio.to_thread(billing.alter, "drop database {}")
        task = asyncio.ensure_future(dropping)
        while not task.done():
            await polling.look()
            await asyncio.sleep(0.2)
        task.result()

    Polling(scene).run(work)
    scene._databases.remove(name)


def test_a_login_that_hangs_delays_no_poll(billing: Elsewhere) -> None:
    """DROP DATABASE locks the database while it waits, five seconds, for the sessions in it to leave."""
    holder = billing.incident()
    dropping = billing.scene.client(autocommit=True).start(f"drop database {billing.name}")
    billing.scene.wait_until(
        lambda: billing.scene.admin.execute(
            "select 1 from pg_locks where locktype = 'object' and classid = 1262 and mode = 'AccessExclusiveLock'"
        ).fetchone()
    )

    async def work(polling: Polling) -> None:
        seconds = []
        for _ in range(5):
            began = time.monotonic()
            found = of(await polling.look(), holder)
            seconds.append(time.monotonic() - began)
        assert "has not answered for" in said(found)
        assert found.classification == "idle_in_transaction"
        # The first one has waited for a moment, and no other.
        assert min(seconds[1:]) < seconds[0]
        with pytest.raises(psycopg.errors.ObjectInUse):
            await asyncio.to_thread(dropping.finish, 10)
        for _ in range(50):
            found = of(await polling.look(), holder)
            await asyncio.sleep(0.1)
        assert found.relation == "public.orders"

    Polling(billing.scene).run(work)


def test_a_connection_that_is_ended_is_one_sentence_and_comes_back(billing: Elsewhere) -> None:
    holder = billing.incident()

    async def work(polling: Polling) -> None:
        assert (await polling.find_named(holder)).relation == "public.orders"
        billing.scene.admin.execute(OWN.replace("count(*)", "pg_terminate_backend(pid)"), [billing.name])
        wait_until(lambda: polling.own(billing.name) == 0)
        found = of(await polling.look(), holder)
        assert found.relation is None
        assert f"the catalog of database {billing.name} was not read: connection to" in said(found)
        for _ in range(250):
            found = of(await polling.look(), holder)
            if found.relation is not None:
                break
            await asyncio.sleep(0.1)
        assert found.relation == "public.orders"
        assert polling.own(billing.name) == 1

    Polling(billing.scene).run(work)


def test_a_locked_catalog_elsewhere_delays_no_poll(billing: Elsewhere) -> None:
    """Each statement behind the lock takes half a second: what comes too late is there for the next poll."""
    holder = billing.incident()
    locker = billing.client("lock table pg_index in access exclusive mode")

    async def work(polling: Polling) -> None:
        seconds = []
        for _ in range(10):
            began = time.monotonic()
            found = of(await polling.look(), holder)
            seconds.append(time.monotonic() - began)
            assert found.classification == "idle_in_transaction"
            await asyncio.sleep(0.1)
        assert f"the catalog of database {billing.name} was not read" in said(found)
        # With all statements behind the lock waited for, each poll would take a second and more.
        assert min(seconds) < 0.8
        locker.run("rollback")
        # A login that has failed is tried again after ten seconds.
        for _ in range(250):
            found = of(await polling.look(), holder)
            if found.relation is not None:
                break
            await asyncio.sleep(0.1)
        assert found.relation == "public.orders"

    Polling(billing.scene).run(work)


def test_a_healthy_poll_and_an_incident_at_home_open_nothing(billing: Elsewhere) -> None:
    async def work(polling: Polling) -> None:
        await polling.look()
        billing.scene.admin.execute("create table here (id int); insert into here values (1)")
        billing.scene.client("update here set id = 2")
        billing.scene.client().block("update here set id = 3")
        report = await polling.look()
        assert report.waits_total == 1
        assert polling.collector._connection.beside is None

    Polling(billing.scene).run(work)


def test_the_connections_are_pinned_and_ours(billing: Elsewhere) -> None:
    holder = billing.incident()
    billing.alter("alter database {} set search_path = evil")
    billing.alter("alter database {} set work_mem = '64kB'")

    async def work(polling: Polling) -> None:
        assert (await polling.find_named(holder)).relation == "public.orders"
        door = polling.collector._connection.beside._readers.popitem()[1]
        connection = await door.pool._pool.getconn()
        for name, value in (("search_path", "pg_catalog, pg_temp"), ("work_mem", "32MB"), ("lock_timeout", "500ms")):
            row = await (await connection.execute(f"show {name}")).fetchone()
            assert row == (value,)
        await door.pool._pool.putconn(connection)
        await door.close()

    Polling(billing.scene).run(work)


def test_a_prepared_transaction_elsewhere_says_where_to_finish_it(billing: Elsewhere) -> None:
    if billing.scene.admin.execute("show max_prepared_transactions").fetchone() == ("0",):
        pytest.skip("needs max_prepared_transactions")
    billing.client("update orders set v = 1 where id = 1", "prepare transaction 'of billing'", autocommit=False)
    billing.client().block("update orders set v = 2 where id = 1")
    [found] = [each for each in look(billing.scene.dsn).blockers if each.prepared_gid == "of billing"]
    assert found.database == billing.name
    assert found.recommendation.reason.endswith(f"in database {billing.name}")


@pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer")
def test_through_a_pooler_no_other_database_is_opened(billing: Elsewhere, tmp_path: Path) -> None:
    """PgBouncer keeps a connection to the database for ten minutes, and DROP DATABASE would fail for as long."""
    holder = billing.incident()
    with pooler(billing.scene.dsn, tmp_path, "transaction") as through:
        found = of(look(through), holder)
        assert found.relation is None
        assert "a pooler would keep a connection to it open" in said(found)
        assert billing.scene.admin.execute(OWN, [billing.name]).fetchone() == (0,)


def test_the_other_databases_are_closed_with_the_first_connection(billing: Elsewhere) -> None:
    billing.incident()
    snapshot(billing.scene.dsn)
    wait_until(lambda: billing.scene.admin.execute(OWN, [billing.name]).fetchone() == (0,))
