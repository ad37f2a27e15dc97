"""A session holds AccessExclusiveLock on a catalog: the class comes from what is left, in time, and says so."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.report import make_report
from tests.diagnosis.labelled_scenes import role_of_setup
from tests.scenes import Scene

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

#: A locked catalog: the class and the table that are left, and what is said of it.
CATALOGS = {
    "pg_index": ("long_query", "public.orders", "indexes could not be read"),
    "pg_opclass": ("long_query", "public.orders", "indexes could not be read"),
    "pg_attribute": ("long_query", "public.orders", "columns could not be read"),
    "pg_class": ("long_query", None, "relations could not be read"),
    "pg_constraint": ("unindexed_scan", "public.orders", "foreign keys could not be read"),
    "pg_statistic": ("unindexed_scan", "public.orders", "statistics could not be read"),
}

#: Seconds of a poll at most, of which each statement that runs into a lock takes half a one.
_IN_TIME = 3.0


def poll_behind(scene: Scene, lock: Callable[[], object]) -> tuple[Snapshot, float]:
    """What an agent reads that was connected before the lock was taken, and the seconds it took.

    A new connection to the database would wait for pg_class and its like before a client could set a lock_timeout.
    """

    async def ask() -> tuple[Snapshot, float]:
        async with await Connection.open(scene.dsn, 5.0) as door:
            collector = Collector(door)
            await collector.fetch_snapshot()
            lock()
            begin = time.monotonic()
            return await collector.fetch_snapshot(), time.monotonic() - begin

    return asyncio.run(ask())


@pytest.mark.parametrize("catalog", CATALOGS)
def test_h38_a_locked_catalog_costs_evidence_but_no_diagnosis(shop: Scene, catalog: str) -> None:
    classification, relation, unread = CATALOGS[catalog]
    worker = shop.client().start("update orders set v = slow(id) where customer_id = 7")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    locker, waiter = shop.client("select 1"), shop.client("select 1")

    def lock() -> None:
        waiter.block("alter table orders add column c int")
        locker.run(f"lock table pg_catalog.{catalog} in access exclusive mode")

    seen, seconds = poll_behind(shop, lock)
    facts = make_report(diagnose(seen))
    [found] = [each for each in facts.blockers if each.pid == worker.pid]
    assert (found.classification, found.relation) == (classification, relation)
    [note] = [note.summary for note in facts.findings if unread in note.summary]
    assert note.endswith("another session holds a lock on a system catalog that this needs")
    assert seconds < _IN_TIME


def test_nothing_that_is_read_waits_for_a_lock_on_the_table_itself(shop: Scene) -> None:
    shop.admin.execute("create index on orders (abs(v)) where v > 5; create table parts () inherits (orders)")
    worker = shop.client("alter table orders add column c int default 1; alter table parts add column d int")
    worker.start("update orders set v = slow(id) where customer_id = 7")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    seen, seconds = poll_behind(shop, lambda: shop.client().block("select 1 from orders"))
    [found] = [each for each in make_report(diagnose(seen)).blockers if each.pid == worker.pid]
    assert (found.classification, found.also) == ("migration", ("unindexed_scan",))
    assert (seen.unread, seconds < _IN_TIME / 6) == ((), True)


@pytest.mark.parametrize("catalog", ["pg_authid", "pg_auth_members"])
def test_lock_between_login_and_first_poll_costs_no_diagnosis(scene: Scene, catalog: str) -> None:
    dsn = role_of_setup(scene, with_statistics=False)
    locker, waiter = scene.client("select 1"), psycopg.connect(scene.dsn)
    scene.at_the_end(waiter.close)

    async def ask() -> Snapshot:
        async with await Connection.open(dsn, 5.0) as door:
            locker.run(f"lock table pg_catalog.{catalog} in access exclusive mode")
            # The scene's own look at the activity would wait for the lock, too.
            waiter.pgconn.send_query(f"select from pg_catalog.{catalog}".encode())
            while not (seen := await Collector(door).fetch_snapshot(even_if_quiet=True)).sessions:
                pass
            return seen

    [found] = diagnose(asyncio.run(ask())).blockers
    locker.run("rollback")
    assert (found.pid, found.relation) == (locker.pid, f"pg_catalog.{catalog}")
