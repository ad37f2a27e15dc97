"""What the planner is asked about a blocker's search, and above all what it is not: another session's text."""

import asyncio
import os
import signal
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from msgspec.structs import replace

from pgdoctor.agent.polling.reconnector import Reconnector
from pgdoctor.config.config import AgentSettings
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.rules import Duration
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.explain_statements import explain_searches
from pgdoctor.render.report import make_report, to_json
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import render_tree
from tests.agent.polling.assembling import make_poller
from tests.cli.test_setup import setup
from tests.diagnosis.causes.test_unindexed_scan import create
from tests.forked import pgdoctor
from tests.looking import snapshot
from tests.scenes import Client, Scene

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

_SLOWER = """
    create or replace function slow(int) returns int language plpgsql as
        'begin perform pg_sleep(case $1 when 7 then 0.1 else 3 end); return $1; end'
"""

UNSAFE = "planning could run functions that are not built-in"

#: The session that evaluates `planted(1)` keeps an advisory lock until its session ends, whatever its transaction does.
_PLANTED = """
    create function planted(int) returns int language plpgsql immutable as
        'begin perform pg_advisory_lock_shared(4711); return $1; end'
"""

_TRAPPED = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and pid = %s"


class Look(NamedTuple):
    """One poll with the planner asked: what was found, all that was sent, whether a planted function has run."""

    snapshot: Snapshot
    sent: str
    trapped: bool

    def blocker(self, worker: Client) -> Blocker:
        [found] = [each for each in diagnose(self.snapshot).blockers if each.pid == worker.pid]
        return found

    def said(self, worker: Client) -> str:
        return "; ".join(self.blocker(worker).evidence)


def look(shop: Scene, dsn: str = "", *, explains: bool = True, before: Snapshot | None = None) -> Look:
    """Through a connection that is traced; `before`: about a snapshot of earlier."""

    async def ask() -> Look:
        async with await Connection.open(dsn or shop.dsn, 5.0) as door:
            with tempfile.TemporaryFile() as trace:
                door.connection.pgconn.trace(trace.fileno())
                if before is None:
                    seen = await Collector(door, explains=explains).fetch_snapshot(even_if_quiet=True)
                else:
                    seen = replace(before, plans=await explain_searches(before, door))
                door.connection.pgconn.untrace()
                trace.seek(0)
                sent = trace.read().decode(errors="replace")
            trapped = shop.admin.execute(_TRAPPED, [door.connection.info.backend_pid]).fetchone()
            await door.fetch("gate", wait_threshold=timedelta(), watched="{}")
            return Look(seen, sent, trapped != (0,))

    return asyncio.run(ask())


def working(shop: Scene, where: str = "customer_id = 7", *, more: str = "", waits: bool = True) -> Client:
    """An update that is in progress for a minute, and a session that waits for the row 7 that it has changed."""
    shop.admin.execute(_SLOWER)
    worker = shop.client().start(f"update orders set v = slow(id) where {where}{more}")
    shop.wait_until(lambda: is_held(shop))
    if waits:
        shop.client().block("update orders set v = 2 where id = 7")
    return worker


def is_held(shop: Scene) -> bool:
    """Whether a session has the row 7."""
    try:
        shop.admin.execute("select from orders where id = 7 for update nowait")
    except psycopg.errors.LockNotAvailable:
        return True
    return False


# What must not happen


def test_nothing_is_asked_unless_configured(shop: Scene) -> None:
    worker = working(shop)
    seen = look(shop, explains=False)
    assert "EXPLAIN" not in seen.sent
    assert "EXPLAIN" not in seen.said(worker)
    assert seen.blocker(worker).classification == "unindexed_scan"


def test_no_text_and_no_value_of_the_other_session_is_sent_or_shown(shop: Scene) -> None:
    worker = working(
        shop, "customer_id = 7 and v <> 80119022 /* zq7hunter2 */ and 'zq7hunter2' <> pg_catalog.version()"
    )
    seen = look(shop)
    assert "WHERE (customer_id = $1)" in seen.sent
    assert "80119022" not in seen.sent.split("BEGIN READ ONLY")[1]
    assert "zq7" not in seen.sent.split("BEGIN READ ONLY")[1]
    facts = make_report(diagnose(seen.snapshot))
    shown = [
        to_json(facts).decode(),
        render_tree(facts, 200),
        render_table(facts),
        render_table(facts, 80),
        seen.said(worker),
    ]
    shown.append(pgdoctor("diagnose", "--explain", "--format", "json", "--dsn", shop.dsn).stdout)
    assert "EXPLAIN" in shown[-1]
    assert not [text for text in shown if "80119022" in text or "zq7" in text]


@pytest.mark.parametrize("where", ["planted(1) = 1", "planted(customer_id) = 7", "customer_id = planted(7)"])
def test_a_function_in_the_statement_is_never_called(shop: Scene, where: str) -> None:
    shop.admin.execute(_PLANTED)
    working(shop, f"customer_id = 7 and {where}")
    seen = look(shop)
    assert "EXPLAIN" in seen.sent
    assert not seen.trapped
    assert "planted" not in seen.sent.split("BEGIN READ ONLY")[1]


@pytest.mark.parametrize(
    "planted",
    [
        "create index on orders ((v + planted(1)))",
        "create index on orders (v) where v > planted(1)",
        "create statistics s on id, (v + planted(1)) from orders",
    ],
    ids=["index expression", "index predicate", "statistics"],
)
def test_a_function_in_the_definition_of_the_table_is_never_called(shop: Scene, planted: str) -> None:
    shop.admin.execute(_PLANTED)
    shop.client(planted, autocommit=True)
    worker = working(shop)
    seen = look(shop)
    assert not seen.trapped
    assert UNSAFE in seen.said(worker)
    assert "PREPARE" not in seen.sent
    # It does run wherever the table is planned for.
    shop.admin.execute("explain select from orders where v > 3")
    assert shop.admin.execute(_TRAPPED, [shop.admin.info.backend_pid]).fetchone() == (1,)


def test_a_function_that_partitions_the_table_is_never_called(scene: Scene) -> None:
    scene.admin.execute(_PLANTED)
    scene.admin.execute(
        """
        create table orders (id int, customer_id int, v int) partition by range ((id + planted(0)));
        create table low partition of orders for values from (0) to (40000);
        insert into orders select g, g % 1000 from generate_series(1, 20000) g;
        create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(0.3); return $1; end';
        analyze orders
        """
    )
    worker = working(scene)
    seen = look(scene)
    assert not seen.trapped
    assert UNSAFE in seen.said(worker)


def test_a_function_in_a_check_is_never_called(shop: Scene) -> None:
    shop.admin.execute(_PLANTED)
    shop.client("alter table orders add check (v >= planted(0))", autocommit=True)
    shop.admin.execute(f"alter database {shop.admin.info.dbname} set constraint_exclusion = on")
    worker = working(shop)
    seen = look(shop)
    assert not seen.trapped
    assert "EXPLAIN confirms" in seen.said(worker)
    # It does run where such constraints are looked at.
    shop.client("set constraint_exclusion = on", "explain select from orders where customer_id = 7")
    assert shop.admin.execute("select count(*) > 0 from pg_locks where objid = 4711").fetchone() == (True,)


def test_names_of_the_servers_own_in_another_schema_are_not_taken_for_them(shop: Scene) -> None:
    shop.admin.execute(_PLANTED)
    shop.admin.execute(
        """
        create function equal(int, int) returns bool language sql immutable as
            'select planted($2) operator(pg_catalog.=) $1';
        create operator = (leftarg = int, rightarg = int, procedure = equal);
        create function lower(text) returns text language sql immutable as 'select planted(1)::text';
        alter table orders add email text;
        """
    )
    shop.admin.execute("update orders set email = customer_id")
    worker = working(shop, "lower(email) = '7' and customer_id = 7")
    shop.admin.execute(f"alter database {shop.admin.info.dbname} set search_path = public, pg_catalog")
    seen = look(shop)
    assert "pg_catalog.lower(email) = $1" in seen.sent
    assert not seen.trapped
    assert "EXPLAIN confirms: sequential scan over public.orders" in seen.said(worker)


@pytest.mark.parametrize(
    "kind", ["create domain kind as int check (planted(value) > 0)", "create type kind as enum ('7')"]
)
def test_a_column_of_a_type_that_is_not_the_servers_own_is_not_asked_about(shop: Scene, kind: str) -> None:
    shop.admin.execute(_PLANTED)
    shop.admin.execute(kind)
    shop.client(
        "alter table orders add k kind",
        "update orders set k = '7' where id % 1000 = 7",
        autocommit=True,
    )
    worker = working(shop, "k = '7'")
    seen = look(shop)
    assert not seen.trapped
    assert UNSAFE in seen.said(worker)


def test_only_one_whole_statement_is_asked_about(shop: Scene) -> None:
    first = working(shop, more="; select 1")
    seen = look(shop)
    assert "no index" not in seen.said(first), "which of the two runs is not known"
    assert "EXPLAIN" not in seen.sent
    cut = replace(seen.snapshot.sessions[first.pid], statement="update orders set v = slow(id) where customer_id = 7")
    for truncated, asked in ((True, False), (False, True)):
        sessions = {**seen.snapshot.sessions, first.pid: replace(cut, truncated=truncated)}
        again = look(shop, before=replace(seen.snapshot, sessions=sessions))
        assert ("EXPLAIN" in again.sent) == asked


def test_table_with_a_pending_exclusive_lock_is_not_planned(shop: Scene) -> None:
    worker = working(shop, waits=False)
    shop.client().block("alter table orders add column c int")
    seen = look(shop)
    assert "so EXPLAIN would wait" in seen.said(worker)
    assert "LOCK TABLE" not in seen.sent


def test_a_lock_that_came_between_is_not_queued_for(shop: Scene) -> None:
    worker = working(shop)
    before = snapshot(shop.dsn)
    shop.client().block("alter table orders add column c int")
    seen = look(shop, before=before)
    assert "not confirmed by EXPLAIN: the table or a catalog is locked" in seen.said(worker)
    assert "NOWAIT" in seen.sent
    assert "PREPARE" not in seen.sent


def test_an_index_that_is_locked_is_waited_for_a_moment_only(shop: Scene) -> None:
    worker = shop.client().start("select slow(id) from orders where customer_id = 7 for update")
    shop.wait_until(lambda: is_held(shop))
    shop.client().block("select from orders where id = 7 for update")
    before = snapshot(shop.dsn)
    shop.client().block("reindex index orders_pkey")
    assert "so EXPLAIN would wait" in look(shop).said(worker)
    assert "not confirmed by EXPLAIN: the table or a catalog is locked" in look(shop, before=before).said(worker)


def test_a_locked_catalog_costs_the_confirmation_only(shop: Scene) -> None:
    worker = working(shop)
    before = snapshot(shop.dsn)
    shop.client("lock table pg_catalog.pg_statistic")
    assert "not confirmed by EXPLAIN: the table or a catalog is locked" in look(shop, before=before).said(worker)


def test_a_role_that_may_not_read_the_table_gets_a_message(shop: Scene) -> None:
    worker = working(shop)
    dsn = setup(shop, "watcher", "--stats")
    found = look(shop, dsn)
    assert "not confirmed by EXPLAIN: our role is not permitted to read the table" in found.said(worker)
    assert found.snapshot.unread == ()
    shop.admin.execute("grant select on orders to watcher")
    assert "EXPLAIN confirms" in look(shop, dsn).said(worker)


def test_no_policy_is_planned(shop: Scene) -> None:
    shop.admin.execute(_PLANTED)
    shop.admin.execute("create policy p on orders using (planted(1) = 1); alter table orders enable row level security")
    worker = working(shop)
    dsn = setup(shop, "watcher", "--stats")
    shop.admin.execute("grant select on orders to watcher")
    seen = look(shop, dsn)
    assert not seen.trapped
    assert "not permitted" in seen.said(worker)


def test_a_server_that_falls_silent_costs_the_confirmation_only(shop: Scene) -> None:
    worker = working(shop)
    before = snapshot(shop.dsn)

    async def ask() -> Snapshot:
        async with await Connection.open(shop.dsn, 1.0) as door:
            backend = door.connection.info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            try:
                return replace(before, plans=await explain_searches(before, door))
            finally:
                os.kill(backend, signal.SIGCONT)

    said = Look(asyncio.run(ask()), "", False).said(worker)
    assert "not confirmed by EXPLAIN: the server did not answer" in said


# What is said


def test_a_scan_is_confirmed(shop: Scene) -> None:
    worker = working(shop)
    found = look(shop).blocker(worker)
    assert found.classification == "unindexed_scan"
    assert "EXPLAIN confirms: sequential scan over public.orders to find about 20 rows (generic plan)" in found.evidence


def test_it_is_asked_at_every_poll_through_one_connection(shop: Scene) -> None:
    working(shop)
    seen = snapshot(shop.dsn)

    async def polls() -> list[bool]:
        async with await Connection.open(shop.dsn, 5.0) as door:
            found = []
            for _ in range(8):
                found += [plan.reads_all for plan in (await explain_searches(seen, door)).values()]
                await door.fetch("gate", wait_threshold=timedelta(), watched="{}")
            return found

    assert asyncio.run(polls()) == [True] * 8


def test_the_agent_asks_from_when_configured(shop: Scene, tmp_path: Path) -> None:
    worker = working(shop)

    async def poll() -> list[str]:
        connection, keeper = Reconnector(shop.dsn, 5.0), Keeper(tmp_path / "journal.db")
        settings = AgentSettings(interval=Duration(3600), wait_threshold=Duration(0))
        poller = make_poller(connection, settings, keeper)
        polling = asyncio.create_task(poller.run())
        found = []
        for explain in (False, True):
            poller.reconfigure(replace(settings, explain=explain))
            diagnosis = (await poller.recent(0.0, 5.0)).diagnosis
            assert diagnosis is not None
            found += ["; ".join(each.evidence) for each in diagnosis.blockers if each.pid == worker.pid]
        polling.cancel()
        connection.drop()
        keeper.close()
        return found

    assert ["EXPLAIN" in said for said in asyncio.run(poll())] == [False, True]


@pytest.mark.parametrize(
    ("where", "sent"),
    [
        ("customer_id between 7 and 7", "customer_id >= $1 AND customer_id <= $2"),
        ("customer_id in (7, 8)", "customer_id = $1"),
        ("id = 7 or customer_id = 7", "id = $1 OR customer_id = $2"),
    ],
)
def test_how_conditions_are_asked(shop: Scene, where: str, sent: str) -> None:
    worker = working(shop, where)
    seen = look(shop)
    assert sent in seen.sent
    assert "EXPLAIN confirms: sequential scan" in seen.said(worker)


def test_a_value_that_keeps_an_index_from_being_used_is_asked_with_its_type(shop: Scene) -> None:
    shop.admin.execute("create index on orders (customer_id)")
    worker = working(shop, "customer_id = 7.0")
    seen = look(shop)
    assert "customer_id = $1::pg_catalog.numeric" in seen.sent
    assert "EXPLAIN confirms: sequential scan" in seen.said(worker)


def test_partitions_are_asked_about_together(scene: Scene) -> None:
    scene.admin.execute(
        """
        create table orders (id int, customer_id int, v int) partition by range (id);
        create table low partition of orders for values from (0) to (15000);
        create table high partition of orders for values from (15000) to (40000);
        insert into orders select g, g % 1000 from generate_series(1, 30000) g;
        create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(0.3); return $1; end';
        analyze orders;
        """
    )
    worker = working(scene)
    found = look(scene)
    [plan] = found.snapshot.plans.values()
    assert plan.scans == ("Seq Scan", "Seq Scan")
    assert "EXPLAIN confirms: sequential scan over public.orders" in found.said(worker)


def without_indexes(seen: Snapshot) -> Snapshot:
    """The snapshot as if the catalogs had shown no index."""
    relations = {oid: replace(each, indexes=each.indexes and ()) for oid, each in seen.relations.items()}
    return replace(seen, relations=relations, plans={})


def test_an_index_that_we_did_not_know_of_withdraws_the_claim(shop: Scene) -> None:
    shop.admin.execute("create index on orders (customer_id)")
    worker = working(shop)
    before = without_indexes(snapshot(shop.dsn))
    assert Look(before, "", False).blocker(worker).classification == "unindexed_scan"
    found = look(shop, before=before).blocker(worker)
    assert found.classification == "long_query"
    assert "unindexed_scan" not in found.also
    assert (
        "no unindexed scan according to EXPLAIN: an index finds its rows in public.orders (generic plan)"
        in found.evidence
    )


def test_an_index_that_is_read_as_a_whole_does_not(shop: Scene) -> None:
    shop.admin.execute("create index on orders (id, customer_id); set enable_seqscan = off")
    worker = working(shop)
    assert look(shop).blocker(worker).classification == "unindexed_scan"


# Statements of several tables

_WANTED = """
    create function naps(int) returns int language plpgsql as 'begin perform pg_sleep(9); return $1; end';
    create table wanted (id int primary key, ref int, "Zq7" int);
    alter table orders add ref int; update orders set ref = id;
    insert into wanted select g, g + 5, g from generate_series(1, 3) g;
    create table labels (id int primary key, note int); insert into labels select g, 0 from generate_series(1, 3) g;
    analyze
"""

#: What the text and the statistics alone leave open, and the key that is missing; empty: an index would be of no use.
_SHAPES = {
    "two ties": (
        "update orders set v = naps(orders.id) from wanted zq7, labels l "
        "where zq7.ref = orders.ref and l.id = zq7.id and l.note = orders.v",
        "(ref)",
    ),
    "a filter beside an outer join": (
        "select naps(o.id) from orders o left join wanted w on w.id = o.v where o.ref = 7 /* zq7 */ for update of o",
        "(ref)",
    ),
    "a query around a query": (
        "update orders set v = naps(id) where ref in (select ref from wanted where id in "
        "(select id from labels where note = 0))",
        "(ref)",
    ),
    "a level of a tree by a recursive query": (
        "with recursive tree (id, depth) as (select id, 1 from wanted where id = 1 union all select o.id, t.depth + 1 "
        "from orders o join tree t on o.ref = t.id where t.depth < 2) update orders set v = naps(id) where id in "
        "(select id from tree)",
        "(ref)",
    ),
    "a part of a union": (
        "update orders set v = naps(id) where id in (select id from labels where note = 9 union all select o.id from "
        "wanted w, labels l, orders o where w.ref = o.ref and l.id = w.id and l.note = o.v)",
        "(ref)",
    ),
    "a change in a cte": (
        "with changed as (update orders o set v = naps(o.id) from wanted w, labels l where w.ref = o.ref and "
        "l.id = w.id and l.note = o.v returning o.id as number) select number from changed",
        "(ref)",
    ),
    "the key": (
        "update orders set v = naps(orders.id) from wanted w, labels l where w.ref = orders.id and l.id = w.id "
        "and l.note = orders.v",
        "",
    ),
    "every row": (
        "select naps(o.id) from orders o left join wanted w on w.id = o.v left join labels l on l.id = w.id "
        "for update of o",
        "",
    ),
}


def joining(shop: Scene, statement: str) -> Client:
    """A statement in progress, and who waits for its table without keeping readers out."""
    worker = shop.client().start(statement)
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("lock table orders in exclusive mode")
    return worker


@pytest.mark.parametrize(("statement", "key"), _SHAPES.values(), ids=_SHAPES)
def test_planner_is_asked_about_the_shape_of_a_statement(shop: Scene, statement: str, key: str) -> None:
    shop.admin.execute(_WANTED)
    worker = joining(shop, statement)
    seen = look(shop)
    sent = seen.sent.split("BEGIN READ ONLY")[1]
    assert "PREPARE pgdoctor_search AS " in sent
    assert "zq7" not in sent
    found = seen.blocker(worker)
    if not key:
        assert found.classification == "long_query"
        return
    assert (found.classification, found.relation) == ("unindexed_scan", "public.orders")
    assert f"no index on public.orders {key}" in seen.said(worker)
    assert "EXPLAIN of the statement's shape: sequential scan over public.orders" in seen.said(worker)
    [told] = [each for each in make_report(diagnose(seen.snapshot)).blockers if each.pid == worker.pid]
    assert told.recommendation.reason.endswith(f"CREATE INDEX CONCURRENTLY ON public.orders {key}")
    create(shop, told)
    shop.admin.execute("analyze orders")
    assert "orders_ref_idx" in str(shop.admin.execute(f"explain (costs off) {statement}").fetchall())


def test_join_that_the_text_shows_is_confirmed_by_its_shape(shop: Scene) -> None:
    shop.admin.execute(_WANTED)
    worker = joining(shop, "update orders set v = naps(orders.id) from wanted w where w.ref = orders.ref")
    seen = look(shop)
    assert seen.blocker(worker).classification == "unindexed_scan"
    assert "EXPLAIN confirms: sequential scan over public.orders (generic plan)" in seen.said(worker)


def test_function_is_not_planned_in_a_shape(shop: Scene) -> None:
    shop.admin.execute(_WANTED + ";" + _PLANTED)
    statement = "update orders set v = naps(orders.id) from wanted w, labels l where w.ref = orders.ref "
    worker = joining(shop, f"{statement} and l.id = w.id and l.note = orders.v and w.id <> planted(0)")
    seen = look(shop)
    assert seen.blocker(worker).classification == "long_query"
    assert "planted" not in seen.sent.split("BEGIN READ ONLY")[1]
    assert not seen.trapped


def test_shape_is_not_asked_about_where_one_of_its_tables_has_a_function(shop: Scene) -> None:
    shop.admin.execute(_WANTED + ";" + _PLANTED)
    shop.admin.execute("create index on labels (planted(note))")
    worker = joining(shop, _SHAPES["two ties"][0])
    seen = look(shop)
    assert "PREPARE" not in seen.sent
    assert not seen.trapped
    assert seen.blocker(worker).classification == "long_query"
