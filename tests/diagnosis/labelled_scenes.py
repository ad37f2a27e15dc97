"""Real sessions that really block, with the verdict that a DBA would give: for each class what must not match first.

`python -m tests.diagnosis.labelled_scenes 14 18` stages all of them on servers of its own, and prints precision and
recall of each class. A label is what is right, not what is said today: where the server shows nothing by which the
right verdict could be known, the scene is marked `wrong`, with the reason.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo
from tabulate import tabulate

from pgdoctor.cli import setup
from pgdoctor.cli._options import fetch_diagnosis, run_coroutine
from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.cause import class_names
from pgdoctor.render.report import BlockerReport, make_report
from tests.diagnosis import client_scenes
from tests.diagnosis.causes.conftest import TABLES
from tests.diagnosis.scene_shapes import ORDERS, Row, Search
from tests.hammer import hammering, running
from tests.scenes import Client, Scene
from tests.servers import Embedded

#: What a stage returns where the blocker has no PID to be known by: a prepared transaction, or the leader.
PREPARED, WIDEST = None, 0

#: Of a server for scenes of autovacuum and replication. The age is the lowest that there is.
SETTINGS: dict[str, str | int] = {
    "wal_level": "logical",
    "autovacuum_naptime": 1,
    "autovacuum_freeze_max_age": 100_000,
    "deadlock_timeout": "60s",
    "synchronous_commit": "off",
}


def fresh_server(bindir: Path) -> ThrowawayServer:
    """A server of `SETTINGS`, not yet started."""
    return ThrowawayServer(bindir=bindir, settings=SETTINGS)


class Staged(NamedTuple):
    """A scene, and what is to be said of one blocker in it."""

    name: str
    #: Stages it, on a server of `SETTINGS` where it `needs_own`; returns the blocker's PID.
    stage: Callable[..., int | None]
    classification: str
    action: str
    also: tuple[str, ...]
    relation: str | None
    needs_own: bool
    #: It changes the server for what is staged after it: one that is started for it alone.
    spoils_server: bool
    #: A role without rights looks.
    is_hidden: bool
    #: Why another verdict is given today; empty where it is right.
    wrong: str


SCENES: list[Staged] = []


def labelled(
    classification: str,
    action: str,
    *also: str,
    relation: str | None = ORDERS,
    needs_own: bool = False,
    spoils_server: bool = False,
    is_hidden: bool = False,
    wrong: str = "",
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Put a stage into the table; its name is the scene's."""

    def enter(stage: Callable[..., int | None]) -> Callable[..., int | None]:
        name = stage.__name__.replace("_", " ")
        needs = needs_own or spoils_server, spoils_server
        SCENES.append(Staged(name, stage, classification, action, also, relation, *needs, is_hidden, wrong))
        return stage

    return enter


# Parts of scenes


def works(shop: Scene, statement: str, *before: str, **options: Any) -> int:
    """A session in the middle of a statement, which sleeps."""
    worker = shop.client(*before, **options).start(statement)
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    return worker.pid


def delayed(shop: Scene, statement: str) -> int:
    """A session in the middle of a VACUUM or ANALYZE that is held back."""
    worker = shop.client("set vacuum_cost_delay = 100", "set vacuum_cost_limit = 1", autocommit=True).start(statement)
    shop.wait_until(lambda: "VacuumDelay" in worker.shown())
    return worker.pid


def wants_table(shop: Scene, table: str = "orders") -> Client:
    return shop.client().block(f"alter table {table} add column wanted int")


def wants_row(shop: Scene) -> Client:
    """Who asks for row 7, once a session has it: a statement that sleeps has not yet reached it."""

    def is_taken() -> bool:
        try:
            shop.admin.execute("select from orders where id = 7 for update nowait")
        except psycopg.errors.LockNotAvailable:
            return True
        return False

    shop.wait_until(is_taken)
    return shop.client().block("update orders set v = 2 where id = 7")


def wants_to_read(shop: Scene, table: str = "orders") -> Client:
    return shop.client().block(f"select from {table}")


def wants_to_write(shop: Scene) -> Client:
    return shop.client().block("insert into orders values (99999, 1)")


def idles(shop: Scene, *statements: str, **options: Any) -> int:
    """A session in an open transaction that does nothing more."""
    return shop.client(*statements, **options).pid


# long_query: what looks like something worse


@labelled("long_query", "cancel")
def an_update_that_its_index_serves(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where id between 7 and 50")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_report_over_the_whole_table(shop: Scene) -> int:
    worker = works(shop, "select count(*), pg_sleep(9) from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_word_of_ddl_in_a_literal(shop: Scene) -> int:
    worker = works(shop, "select 'lock table orders; drop table orders', pg_sleep(9)", "select from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_select_for_update_by_the_primary_key(shop: Scene) -> int:
    worker = works(shop, "select slow(id) from orders where id between 7 and 50 for update")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_range_of_which_nobody_knows_how_much_it_finds(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where customer_id > 3")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_list_that_a_query_gives(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where customer_id in (select v + 7 from other)")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel", relation="public.other")
def a_small_table_read_as_a_whole(shop: Scene) -> int:
    worker = works(shop, "update other set v = slow(id) where v = 0")
    wants_table(shop, "other")
    return worker


@labelled("long_query", "cancel")
def a_do_block_of_updates(shop: Scene) -> int:
    worker = works(shop, "do 'begin update orders set v = slow(id) where id between 7 and 50; end'")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_procedure(shop: Scene) -> int:
    shop.admin.execute(
        "create procedure work() language plpgsql as 'begin update orders set v = slow(id) where id > 6; end'"
    )
    worker = works(shop, "call work()")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_prepared_statement_by_name(shop: Scene) -> int:
    worker = works(shop, "execute p", "prepare p as update orders set v = slow(id) where id between 7 and 50")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_fetch_from_a_cursor(shop: Scene) -> int:
    worker = works(shop, "fetch 9 from c", "declare c cursor for select slow(id) from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "terminate")
def a_copy_that_waits_for_its_client(shop: Scene) -> int:
    connection = psycopg.connect(shop.dsn)
    shop.at_the_end(connection.close)
    connection.pgconn.send_query(b"copy orders from stdin")
    connection.pgconn.get_result()
    connection.pgconn.put_copy_data(b"77777\t1\t0\n")
    connection.pgconn.flush()
    shop.client().block("lock table orders in share mode")
    return connection.info.backend_pid


@labelled("long_query", "cancel")
def the_same_holder_of_a_wanted_row_throughout(shop: Scene) -> int:
    worker = works(shop, "select pg_sleep(9)", "update orders set v = 1 where id = 7")
    for _ in range(4):
        wants_row(shop)
    return worker


@labelled("idle_in_transaction", "terminate")
def the_same_idle_holder_of_a_wanted_row_throughout(shop: Scene) -> int:
    holder = idles(shop, "update orders set v = 1 where id = 7")
    for _ in range(4):
        wants_row(shop)
    return holder


# unindexed_scan


@labelled("unindexed_scan", "cancel")
def an_update_without_an_index(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where customer_id = 7")
    wants_row(shop)
    return worker


@labelled("unindexed_scan", "cancel")
def a_select_for_update_without_an_index(shop: Scene) -> int:
    worker = works(shop, "select slow(id) from orders where customer_id = 7 for update")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def an_update_joined_by_what_has_an_index(shop: Scene) -> int:
    worker = works(
        shop, "update orders o set v = slow(o.id) from other x where o.id = x.id and o.customer_id > 0 and o.v = 0"
    )
    wants_table(shop)
    return worker


@labelled("unindexed_scan", "cancel")
def a_cast_that_defeats_the_index(shop: Scene) -> int:
    shop.admin.execute("create index on orders (customer_id)")
    worker = works(shop, "update orders set v = slow(id) where customer_id::text = '7'")
    wants_row(shop)
    return worker


@labelled("unindexed_scan", "cancel")
def rows_that_are_moved_to_another_table(shop: Scene) -> int:
    delete = "delete from orders where customer_id = 7 and slow(id) > 0 returning id, v"
    worker = works(shop, f"with moved as ({delete}) insert into other select id + 100, v from moved")
    wants_table(shop)
    return worker


@labelled("unindexed_scan", "cancel")
def a_delete_without_an_index_after_other_statements(shop: Scene) -> int:
    delete = "delete from orders where customer_id = 7 and slow(id) > 0"
    worker = works(shop, delete, "select from other", "savepoint s")
    wants_table(shop)
    return worker


@labelled("unindexed_scan", "cancel", relation="public.lines")
def a_delete_whose_foreign_key_has_no_index(shop: Scene) -> int:
    shop.admin.execute("""
        create table lines (id int primary key, order_id int references orders);
        insert into lines select g, 20000 from generate_series(1, 20000) g;
        create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return null; end';
        create trigger zz after delete on orders for each row execute function nap();
        analyze lines
    """)
    worker = works(shop, "delete from orders where id between 7 and 50")
    wants_row(shop)
    return worker


# idle_in_transaction


@labelled("idle_in_transaction", "terminate")
def a_forgotten_update(shop: Scene) -> int:
    holder = idles(shop, "update orders set v = 1 where id = 7", "select from other")
    wants_row(shop)
    return holder


@labelled("idle_in_transaction", "terminate", "migration")
def a_forgotten_migration(shop: Scene) -> int:
    holder = idles(shop, "alter table orders add column c int", "select 1")
    wants_to_read(shop)
    return holder


@labelled("idle_in_transaction", "terminate", "migration")
def a_forgotten_validation(shop: Scene) -> int:
    shop.admin.execute("alter table orders add constraint positive check (id > 0) not valid")
    holder = idles(shop, "alter table orders validate constraint positive")
    wants_table(shop)
    return holder


@labelled("idle_in_transaction", "terminate", "maintenance", relation="public.totals")
def a_forgotten_refresh(shop: Scene) -> int:
    shop.admin.execute("create materialized view totals as select v, count(*) from orders group by v")
    holder = idles(shop, "refresh materialized view totals")
    wants_to_read(shop, "totals")
    return holder


@labelled("idle_in_transaction", "terminate", "explicit_lock")
def a_forgotten_lock_table(shop: Scene) -> int:
    holder = idles(shop, "lock table orders in exclusive mode", "select 1")
    wants_to_write(shop)
    return holder


@labelled("idle_in_transaction", "terminate", "explicit_lock")
def a_forgotten_lock_table_with_changes(shop: Scene) -> int:
    holder = idles(shop, "lock table orders in exclusive mode", "update orders set v = 1 where id = 1")
    wants_to_write(shop)
    return holder


@labelled("idle_in_transaction", "terminate")
def an_aborted_transaction_with_a_savepoint(shop: Scene) -> int:
    holder = shop.client("update orders set v = 1 where id = 7", "savepoint s")
    try:
        holder.run("select 1/0")
    except psycopg.Error:
        wants_row(shop)
    return holder.pid


@labelled("idle_in_transaction", "terminate")
def a_writer_with_an_advisory_lock_that_nobody_wants(shop: Scene) -> int:
    holder = idles(shop, "select pg_advisory_xact_lock(4711)", "update orders set v = 1 where id = 7")
    wants_row(shop)
    return holder


@labelled("idle_in_transaction", "terminate")
def a_reader_in_front_of_a_migration(shop: Scene) -> int:
    holder = idles(shop, "select from orders", "select 1")
    wants_table(shop)
    wants_to_read(shop)
    return holder


@labelled("idle_in_transaction", "terminate")
def a_cursor_that_is_left_open(shop: Scene) -> int:
    holder = idles(shop, "declare c cursor for select * from orders", "fetch 9 from c")
    wants_table(shop)
    return holder


@labelled("idle_in_transaction", "terminate")
def a_row_locked_for_an_update_that_never_comes(shop: Scene) -> int:
    holder = idles(shop, "select * from orders where id = 7 for update")
    wants_row(shop)
    return holder


@labelled("idle_in_transaction", "terminate")
def a_parent_row_kept_by_an_insert_of_a_child(shop: Scene) -> int:
    shop.admin.execute("create table lines (id int primary key, order_id int references orders)")
    holder = idles(shop, "insert into lines values (1, 7)")
    shop.client().block("delete from orders where id = 7")
    return holder


# migration


@labelled("migration", "cancel")
def a_migration_at_work(shop: Scene) -> int:
    worker = works(shop, "alter table orders add column c int; select pg_sleep(9)")
    wants_to_read(shop)
    return worker


@labelled("migration", "cancel")
def a_queued_migration(shop: Scene) -> int:
    idles(shop, "select from orders")
    alter = wants_table(shop)
    wants_to_read(shop)
    return alter.pid


@labelled("migration", "cancel")
def a_migration_that_reads_after_its_change(shop: Scene) -> int:
    worker = works(shop, "select count(*), pg_sleep(9) from other", "alter table orders add column c int")
    wants_to_read(shop)
    return worker


@labelled("migration", "cancel")
def a_change_inside_of_a_do_block(shop: Scene) -> int:
    worker = works(shop, "do 'begin alter table orders add column c int; perform pg_sleep(9); end'")
    wants_to_read(shop)
    return worker


@labelled("migration", "cancel")
def an_index_build(shop: Scene) -> int:
    shop.admin.execute("""
        create function slowly(int) returns int language plpgsql immutable as
            'begin if $1 = 17000 then perform pg_sleep(9); end if; return $1; end'
    """)
    worker = works(shop, "create index on orders (slowly(id))", "set max_parallel_maintenance_workers = 0")
    wants_to_write(shop)
    return worker


@labelled("migration", "none")
def a_concurrent_index_build_that_waits_for_a_writer(shop: Scene) -> int:
    idles(shop, "update orders set v = 1 where id = 1")
    builder = shop.client(autocommit=True).block("create index concurrently on orders (v)")
    wants_table(shop)
    return builder.pid


@labelled("migration", "cancel")
def a_foreign_key_that_locks_the_parent_too(shop: Scene) -> int:
    shop.admin.execute("create table lines (id int primary key, order_id int)")
    worker = works(shop, "alter table lines add foreign key (order_id) references orders; select pg_sleep(9)")
    wants_to_write(shop)
    return worker


@labelled("migration", "cancel", relation=None)
def a_new_value_of_a_type(shop: Scene) -> int:
    shop.admin.execute("create type colour as enum ('red')")
    worker = works(shop, "alter type colour add value 'blue'; select pg_sleep(9)")
    shop.client().block("alter type colour add value 'green'")
    return worker


# maintenance


@labelled("maintenance", "none")
def a_vacuum_in_front_of_a_migration(shop: Scene) -> int:
    shop.admin.execute("update orders set v = v + 1")
    worker = delayed(shop, "vacuum orders")
    wants_table(shop)
    return worker


@labelled("maintenance", "none")
def an_analyze_in_front_of_a_migration(shop: Scene) -> int:
    worker = delayed(shop, "analyze orders")
    wants_table(shop)
    return worker


@labelled("maintenance", "cancel")
def a_queued_vacuum_full(shop: Scene) -> int:
    idles(shop, "select from orders")
    queued = shop.client(autocommit=True).block("vacuum full orders")
    wants_to_read(shop)
    return queued.pid


@labelled("maintenance", "cancel")
def a_rebuild_of_an_index(shop: Scene) -> int:
    shop.admin.execute("""
        create function slowly(int) returns int language plpgsql immutable as
            'begin if $1 = 17000 and current_query() like ''re%'' then perform pg_sleep(9); end if; return $1; end';
        create index by_slowly on orders (slowly(id))
    """)
    worker = works(shop, "reindex index by_slowly", "set max_parallel_maintenance_workers = 0", autocommit=True)
    wants_to_write(shop)
    return worker


@labelled("maintenance", "cancel", relation="public.totals")
def a_refresh(shop: Scene) -> int:
    shop.admin.execute("create materialized view totals as select id, slow(id) from orders where id < 50 with no data")
    worker = works(shop, "refresh materialized view totals", autocommit=True)
    wants_to_read(shop, "totals")
    return worker


@labelled("maintenance", "none", relation="public.totals")
def a_concurrent_refresh(shop: Scene) -> int:
    shop.admin.execute("""
        create table switch (seconds float); insert into switch values (0);
        create materialized view totals as select id, pg_sleep(seconds)::text as slept from other, switch;
        create unique index on totals (id); update switch set seconds = 3
    """)
    worker = works(shop, "refresh materialized view concurrently totals", autocommit=True)
    shop.client(autocommit=True).block("refresh materialized view concurrently totals")
    return worker


# autovacuum


def kept_busy(shop: Scene, command: str, purpose: str = "") -> int:
    """The worker of autovacuum that works on orders."""
    query = "select pid from pg_stat_activity where backend_type = 'autovacuum worker' and query like %s"
    wanted = [f"autovacuum: {command} public.orders%{purpose}"]
    [pid] = shop.wait_until(lambda: shop.admin.execute(query, wanted).fetchone(), timeout=300)
    wants_table(shop)
    return int(pid)


_SLOW_AUTOVACUUM = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"


@labelled("autovacuum", "none", needs_own=True)
def autovacuum_of_dead_rows(shop: Scene, _: ThrowawayServer) -> int:
    shop.admin.execute(f"alter table orders set ({_SLOW_AUTOVACUUM}, autovacuum_vacuum_threshold = 1)")
    shop.admin.execute("delete from orders")
    return kept_busy(shop, "VACUUM%")


@labelled("autovacuum", "none", needs_own=True)
def autovacuum_that_analyzes(shop: Scene, _: ThrowawayServer) -> int:
    shop.admin.execute(
        f"alter table orders set ({_SLOW_AUTOVACUUM}, autovacuum_vacuum_threshold = 1000000000, "
        "autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 1)"
    )
    shop.admin.execute("update orders set v = 1")
    return kept_busy(shop, "ANALYZE")


# From then on autovacuum starts with the oldest database, always, and comes to no other one by itself.
@labelled("autovacuum", "none", spoils_server=True)
def autovacuum_against_wraparound(shop: Scene, _: ThrowawayServer) -> int:
    shop.admin.execute(f"alter table orders set ({_SLOW_AUTOVACUUM})")
    # In steps that end within the statement timeout of a scene on a busy machine too.
    ages = "do 'begin for n in 1 .. 1000 loop perform pg_current_xact_id(); commit; end loop; end'"
    for _number in range(120):
        shop.admin.execute(ages)
    return kept_busy(shop, "VACUUM%", "(to prevent wraparound)")


# prepared_transaction


@labelled("prepared_transaction", "none")
def a_prepared_update(shop: Scene) -> None:
    shop.client("update orders set v = 1 where id = 7", "prepare transaction 'one'")
    wants_row(shop)
    return PREPARED


@labelled("prepared_transaction", "none")
def a_prepared_migration(shop: Scene) -> None:
    shop.client("alter table orders add column c int", "prepare transaction 'two'")
    wants_to_read(shop)
    return PREPARED


@labelled("prepared_transaction", "none")
def a_prepared_insert_whose_key_others_insert(shop: Scene) -> None:
    shop.client("insert into orders values (99999, 1)", "prepare transaction 'three'")
    wants_to_write(shop)
    return PREPARED


@labelled("prepared_transaction", "none", relation=None)
def a_prepared_transaction_with_an_advisory_lock(shop: Scene) -> None:
    shop.client("select pg_advisory_xact_lock(7)", "prepare transaction 'four'")
    shop.client().block("select pg_advisory_xact_lock(7)")
    return PREPARED


@labelled("prepared_transaction", "none")
def a_prepared_child_that_keeps_its_parent(shop: Scene) -> None:
    shop.client("select from orders where id = 7 for key share", "prepare transaction 'five'")
    shop.client().block("delete from orders where id = 7")
    return PREPARED


# explicit_lock


@labelled("explicit_lock", "cancel")
def lock_table_in_front_of_other_work(shop: Scene) -> int:
    worker = works(shop, "select count(*), pg_sleep(9) from other", "lock table orders in share row exclusive mode")
    wants_to_write(shop)
    return worker


@labelled("explicit_lock", "cancel")
def a_queued_lock_table(shop: Scene) -> int:
    idles(shop, "select from orders")
    locker = shop.client().block("lock table orders")
    wants_to_read(shop)
    return locker.pid


@labelled("explicit_lock", "cancel")
def lock_table_and_the_work_in_one_text(shop: Scene) -> int:
    worker = works(shop, "lock table orders; select pg_sleep(9)")
    wants_to_read(shop)
    return worker


@labelled("explicit_lock", "cancel", "migration")
def lock_table_and_a_change_of_the_schema_in_one_text(shop: Scene) -> int:
    worker = works(shop, "lock table orders; alter table orders add column c int; select pg_sleep(9)")
    wants_to_read(shop)
    return worker


@labelled("explicit_lock", "cancel")
def lock_table_and_changes_under_it(shop: Scene) -> int:
    changes = ("lock table orders in exclusive mode", "update orders set v = 1 where id = 1")
    worker = works(shop, "select count(*), pg_sleep(9) from other", *changes)
    wants_to_write(shop)
    return worker


@labelled("explicit_lock", "cancel")
def a_weaker_lock_table_and_changes_under_it(shop: Scene) -> int:
    changes = ("lock table orders in share row exclusive mode", "update orders set v = 1 where id = 1")
    worker = works(shop, "select count(*), pg_sleep(9) from other", *changes)
    wants_to_write(shop)
    return worker


@labelled("explicit_lock", "cancel")
def the_strongest_lock_table_in_front_of_other_work(shop: Scene) -> int:
    worker = works(shop, "select count(*), pg_sleep(9) from other", "lock table orders")
    wants_to_read(shop)
    return worker


# advisory_lock


@labelled("advisory_lock", "none", relation=None)
def an_advisory_lock_of_an_idle_session(shop: Scene) -> int:
    holder = idles(shop, "select pg_advisory_lock(4711)", autocommit=True)
    shop.client().block("select pg_advisory_lock(4711)")
    return holder


@labelled("idle_in_transaction", "terminate", "advisory_lock", relation=None)
def an_advisory_lock_of_a_forgotten_transaction(shop: Scene) -> int:
    holder = idles(shop, "update orders set v = 1 where id = 7", "select pg_advisory_xact_lock(4711)")
    shop.client().block("select pg_advisory_xact_lock(4711)")
    return holder


@labelled("idle_in_transaction", "none", "advisory_lock", relation=None)
def an_advisory_lock_of_a_session_in_a_forgotten_transaction(shop: Scene) -> int:
    holder = idles(shop, "select pg_advisory_lock(4711)", "update orders set v = 1 where id = 7")
    shop.client().block("select pg_advisory_lock(4711)")
    return holder


@labelled("idle_in_transaction", "terminate", "advisory_lock", relation=None)
def an_advisory_lock_that_its_waiter_asks_for_in_a_transaction(shop: Scene) -> int:
    holder = idles(shop, "select pg_advisory_xact_lock(4711)", "select 1")
    shop.client().block("select pg_advisory_xact_lock(4711)")
    return holder


@labelled("advisory_lock", "none", relation=None)
def an_advisory_lock_around_a_long_statement(shop: Scene) -> int:
    holder = works(shop, "select count(*), pg_sleep(9) from orders", "select pg_advisory_xact_lock(1, 2)")
    shop.client().block("select pg_advisory_lock_shared(1, 2)")
    return holder


# hot_row


@labelled("hot_row", "none")
def a_row_that_everybody_updates(shop: Scene) -> int:
    stack = ExitStack()
    shop.at_the_end(stack.close)
    stack.enter_context(hammering(shop.dsn, 8, running))
    return WIDEST


# backup


def dumps(shop: Scene, server: ThrowawayServer) -> None:
    """pg_dump, of which no session reads what it writes."""
    program = [server.bindir / "pg_dump", shop.dsn]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    shop.at_the_end(lambda: (process.kill(), process.communicate()))


def dumper(shop: Scene, doing: str) -> int:
    query = "select pid from pg_stat_activity where application_name = 'pg_dump' and wait_event = %s and datname = %s"
    words = [doing, shop.admin.info.dbname]
    [pid] = shop.wait_until(lambda: shop.admin.execute(query, words).fetchone(), timeout=20)
    return int(pid)


@labelled("backup", "none", needs_own=True)
def a_dump_in_front_of_a_migration(shop: Scene, server: ThrowawayServer) -> int:
    # More than sockets and pipes take.
    shop.admin.execute("create table bulk as select repeat('x', 1000) as x from generate_series(1, 30000)")
    dumps(shop, server)
    pid = dumper(shop, "ClientWrite")
    wants_table(shop)
    return pid


@labelled("backup", "none", "explicit_lock", needs_own=True)
def a_dump_that_waits_for_its_last_table(shop: Scene, server: ThrowawayServer) -> int:
    idles(shop, "lock table other")
    dumps(shop, server)
    pid = dumper(shop, "relation")
    wants_table(shop)
    return pid


# replication


def subscribes(shop: Scene) -> Scene:
    """Where the table `orders` of this scene is fed from."""
    source = Scene(shop.dsn)
    source.admin.execute(TABLES)
    name = shop.admin.info.dbname
    source.admin.execute("create publication all_orders for table orders")
    source.admin.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    shop.admin.execute(
        f"create subscription orders connection '{make_conninfo(source.dsn)}' publication all_orders "
        f"with (create_slot = false, slot_name = '{name}', copy_data = false)"
    )

    def over() -> None:
        with psycopg.connect(shop.dsn, autocommit=True) as connection:
            connection.execute("alter subscription orders disable")
            connection.execute("alter subscription orders set (slot_name = none)")
            connection.execute("drop subscription orders")
        slot = "select 1 from pg_replication_slots where slot_name = %s and not active"
        source.wait_until(lambda: source.admin.execute(slot, [name]).fetchone(), timeout=20)
        source.admin.execute("select pg_drop_replication_slot(%s)", [name])
        source.close()

    shop.at_the_end(over)
    return source


def apply_worker(shop: Scene, doing: str) -> int:
    query = """
        select pid from pg_stat_activity
        where backend_type like 'logical replication%%worker' and datname = %s and wait_event = %s
    """
    words = [shop.admin.info.dbname, doing]
    [pid] = shop.wait_until(lambda: shop.admin.execute(query, words).fetchone(), timeout=20)
    return int(pid)


@labelled("replication", "none", needs_own=True)
def an_apply_worker_at_work(shop: Scene, _: ThrowawayServer) -> int:
    source = subscribes(shop)
    shop.admin.execute("""
        create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(9); return null; end';
        create trigger zz after update on orders for each row execute function nap();
        alter table orders enable replica trigger zz
    """)
    source.admin.execute("update orders set v = 1 where id = 7")
    pid = apply_worker(shop, "PgSleep")
    wants_row(shop)
    return pid


@labelled("replication", "none", needs_own=True)
def an_apply_worker_that_waits_itself(shop: Scene, _: ThrowawayServer) -> int:
    source = subscribes(shop)
    idles(shop, "update orders set v = 5 where id = 8")
    source.admin.execute("begin; update orders set v = 1 where id = 7; update orders set v = 1 where id = 8; commit")
    pid = apply_worker(shop, "transactionid")
    wants_row(shop)
    return pid


@labelled("replication", "none", "idle_in_transaction", needs_own=True)
def a_walsender_whose_snapshot_an_index_build_waits_for(shop: Scene, _: ThrowawayServer) -> int:
    sender = shop.client(autocommit=True, replication="database")
    sender.run("CREATE_REPLICATION_SLOT a_snapshot TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
    shop.client(autocommit=True).block("create index concurrently on orders (v)")
    return sender.pid


@labelled("idle_in_transaction", "terminate", relation=None, needs_own=True)
def a_transaction_that_a_new_slot_waits_for(shop: Scene, _: ThrowawayServer) -> int:
    holder = idles(shop, "update orders set v = 1 where id = 7")
    sender = shop.client(autocommit=True, replication="database", application_name="Debezium Streaming")
    sender.block("CREATE_REPLICATION_SLOT a_waiting TEMPORARY LOGICAL pgoutput")
    return holder


# Another server


@labelled("long_query", "cancel")
def a_circle_through_dblink(shop: Scene) -> int:
    shop.admin.execute("create extension dblink")
    holder = shop.client("update orders set v = 1 where id = 7")
    holder.start(f"select dblink_exec('{shop.dsn}', 'update orders set v = 2 where id = 7')")
    shop.wait_until(lambda: shop.admin.execute("select 1 from pg_locks where not granted").fetchone())
    return holder.pid


# Locks that are held and not contested


@labelled("unindexed_scan", "cancel")
def a_temporary_table_before_an_update_without_an_index(shop: Scene) -> int:
    update = "update orders set v = slow(id) where customer_id = 7"
    worker = works(shop, update, "create temp table ids (id int)", "insert into ids values (1)")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_temporary_table_before_an_update_with_an_index(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where id between 7 and 50", "create temp table ids (id int)")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_report_with_a_temporary_table(shop: Scene) -> int:
    worker = works(shop, "select count(*), pg_sleep(9) from orders", "create temp table t as select * from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_temporary_table_that_is_emptied_before(shop: Scene) -> int:
    report = "select count(*), pg_sleep(9) from orders"
    worker = works(shop, report, "create temp table t (id int); commit; begin; truncate t; alter table t add v int")
    wants_table(shop)
    return worker


@labelled("idle_in_transaction", "terminate")
def a_forgotten_load_that_emptied_another_table(shop: Scene) -> int:
    holder = idles(shop, "truncate other", "update orders set v = 1 where id = 7")
    wants_row(shop)
    return holder


@labelled("long_query", "cancel")
def a_load_that_emptied_another_table(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where id between 7 and 50", "truncate other")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_refresh_before_an_update(shop: Scene) -> int:
    shop.admin.execute("create materialized view totals as select v, count(*) from other group by v")
    update = "update orders set v = slow(id) where id between 7 and 50"
    worker = works(shop, update, "refresh materialized view totals")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def lock_table_of_another_table_before_an_update(shop: Scene) -> int:
    update = "update orders set v = slow(id) where id between 7 and 50"
    worker = works(shop, update, "lock table other in exclusive mode")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def an_analyze_of_another_table_before_an_update(shop: Scene) -> int:
    worker = works(shop, "update orders set v = slow(id) where id between 7 and 50", "analyze other")
    wants_row(shop)
    return worker


@labelled("long_query", "cancel")
def a_table_made_of_a_query(shop: Scene) -> int:
    worker = works(shop, "create table copies as select id, pg_sleep(9)::text from orders", "truncate other")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_select_into_a_table(shop: Scene) -> int:
    worker = works(shop, "select id, pg_sleep(9)::text as slept into copies from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_materialized_view_that_is_made(shop: Scene) -> int:
    worker = works(shop, "create materialized view copies as select id, pg_sleep(9)::text as slept from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def a_temporary_table_made_of_a_query(shop: Scene) -> int:
    worker = works(shop, "create temp table copies as select id, pg_sleep(9)::text as slept from orders")
    wants_table(shop)
    return worker


@labelled("long_query", "cancel")
def the_weak_lock_of_an_earlier_analyze(shop: Scene) -> int:
    worker = works(shop, "select count(*), pg_sleep(9) from other", "analyze orders")
    wants_table(shop)
    return worker


@labelled("explicit_lock", "cancel")
def lock_table_after_another_table_was_emptied(shop: Scene) -> int:
    worker = works(shop, "select pg_sleep(9)", "truncate other", "lock table orders in share row exclusive mode")
    wants_to_write(shop)
    return worker


@labelled("explicit_lock", "cancel")
def lock_table_and_a_temporary_table(shop: Scene) -> int:
    before = ("lock table orders in share row exclusive mode", "create temp table t (id int)")
    worker = works(shop, "select pg_sleep(9)", *before)
    wants_to_write(shop)
    return worker


@labelled("migration", "cancel")
def a_change_of_data_and_then_an_index_build(shop: Scene) -> int:
    shop.admin.execute("""
        create function slowly(int) returns int language plpgsql immutable as
            'begin if $1 = 5 then perform pg_sleep(9); end if; return $1; end'
    """)
    worker = works(shop, "create index on other (slowly(id))", "update orders set v = 1 where id = 7")
    wants_row(shop)
    return worker


# Requests


MIGRATION = "create procedure mig() language plpgsql as 'begin alter table orders add column c int; end'"
FUNCTION = "create function change() returns int language plpgsql as 'begin {}; return 1; end'"


def queues(shop: Scene, statement: str, *before: str, table: str = "orders", **options: Any) -> int:
    """Who asks for a table that an idle reader has read, and a reader behind it."""
    idles(shop, f"select from {table}")
    asking = shop.client(*before, **options).block(statement)
    wants_to_read(shop, table)
    return asking.pid


@labelled("migration", "cancel")
def a_do_block_that_queues(shop: Scene) -> int:
    return queues(shop, "do 'begin alter table orders add column c int; end'")


@labelled("migration", "cancel")
def a_procedure_that_queues(shop: Scene) -> int:
    shop.admin.execute(MIGRATION)
    return queues(shop, "call mig()", autocommit=True)


@labelled("migration", "cancel")
def a_function_that_queues(shop: Scene) -> int:
    shop.admin.execute(FUNCTION.format("drop table orders"))
    return queues(shop, "select change()")


@labelled("migration", "cancel")
def a_prepared_call_that_queues(shop: Scene) -> int:
    shop.admin.execute(FUNCTION.format("alter table orders add column c int"))
    return queues(shop, "execute p", "prepare p as select change()")


@labelled("migration", "cancel")
def a_trigger_function_that_queues(shop: Scene) -> int:
    shop.admin.execute("""
        create function widen() returns trigger language plpgsql as
            'begin alter table orders add column c int; return new; end';
        create trigger t before insert on other for each row execute function widen()
    """)
    return queues(shop, "insert into other values (99, 1)")


@labelled("migration", "cancel")
def a_do_block_that_queues_for_a_foreign_key(shop: Scene) -> int:
    shop.admin.execute("create table lines (id int primary key, order_id int)")
    idles(shop, "update orders set v = 1 where id = 1")
    key = "alter table lines add foreign key (order_id) references orders"
    asking = shop.client().block(f"do 'begin {key}; end'")
    wants_to_write(shop)
    return asking.pid


@labelled("maintenance", "cancel", relation="public.totals")
def a_function_that_refreshes_and_queues(shop: Scene) -> int:
    shop.admin.execute("create materialized view totals as select v, count(*) from orders group by v")
    shop.admin.execute(FUNCTION.format("refresh materialized view totals"))
    return queues(shop, "select change()", table="totals")


@labelled("explicit_lock", "cancel")
def a_function_that_asks_for_what_only_lock_table_takes(shop: Scene) -> int:
    shop.admin.execute(FUNCTION.format("lock table orders in exclusive mode"))
    idles(shop, "update orders set v = 1 where id = 1")
    asking = shop.client().block("select change()")
    wants_to_write(shop)
    return asking.pid


@labelled("unknown", "none")
def a_procedure_that_only_writes_and_stands_in_the_queue(shop: Scene) -> int:
    shop.admin.execute("create procedure work() language plpgsql as 'begin insert into orders values (99999, 1); end'")
    works(shop, "alter table orders add column c int; select pg_sleep(9)")
    writer = shop.client().block("call work()")
    shop.client().block("lock table orders in share mode")
    return writer.pid


@labelled("migration", "cancel")
def a_request_whose_cancel_is_caught(shop: Scene) -> int:
    tries = (
        "loop begin alter table orders add column c int; exit; exception when query_canceled then null; end; end loop"
    )
    return queues(shop, f"do 'begin {tries}; end'")


@labelled("unknown", "cancel", relation=ORDERS)
def who_waits_for_a_leader_and_holds_rows(shop: Scene) -> int:
    idles(shop, "select pg_advisory_lock(42)", autocommit=True)
    middle = shop.client("update orders set v = 1 where id = 7").block("select pg_advisory_lock(42)")
    wants_row(shop)
    wants_row(shop)
    return middle.pid


@labelled("unknown", "cancel")
def a_second_migrator_that_an_index_build_waits_for(shop: Scene) -> int:
    idles(shop, "select pg_advisory_lock(42)", autocommit=True)
    second = shop.client(autocommit=True).block("select pg_advisory_lock(42)")
    shop.client(autocommit=True).block("create index concurrently on orders (v)")
    return second.pid


# The mode of the lock, whatever the text says


@labelled("migration", "cancel", relation="public.rest")
def a_partition_that_is_attached(shop: Scene) -> int:
    shop.admin.execute("""
        create table parted (id int) partition by range (id); create table rest partition of parted default;
        create table part (id int)
    """)
    attach = "alter table parted attach partition part for values from (1) to (9)"
    worker = works(shop, "select pg_sleep(9)", attach)
    wants_to_read(shop, "rest")
    return worker


@labelled("migration", "cancel")
def a_validation_after_a_new_column(shop: Scene) -> int:
    shop.admin.execute("alter table orders add constraint fine check (slow(id) > 0) not valid")
    before = "alter table orders add column c int"
    worker = works(shop, "alter table orders validate constraint fine", before)
    wants_to_read(shop)
    return worker


@labelled("migration", "cancel")
def an_earlier_validation(shop: Scene) -> int:
    shop.admin.execute("alter table orders add constraint positive check (id > 0) not valid")
    worker = works(shop, "select pg_sleep(9)", "alter table orders validate constraint positive")
    wants_table(shop)
    return worker


@labelled("maintenance", "cancel")
def a_rebuild_of_an_index_that_readers_wait_for(shop: Scene) -> int:
    shop.admin.execute("""
        create function slowly(int) returns int language plpgsql immutable as
            'begin if $1 = 17000 and current_query() like ''re%'' then perform pg_sleep(9); end if; return $1; end';
        create index by_slowly on orders (slowly(id))
    """)
    worker = works(shop, "reindex index by_slowly", "set max_parallel_maintenance_workers = 0", autocommit=True)
    wants_to_read(shop)
    return worker


@labelled("maintenance", "cancel")
def an_earlier_rebuild_of_an_index(shop: Scene) -> int:
    worker = works(shop, "select pg_sleep(9)", "reindex index orders_pkey")
    wants_to_read(shop)
    return worker


@labelled("migration", "cancel", relation="pg_catalog.pg_class")
def rows_of_a_catalog(shop: Scene) -> int:
    worker = works(shop, "select pg_sleep(9)", "grant select on orders to public")
    shop.client().block("grant insert on orders to public")
    return worker


@labelled("long_query", "cancel")
def a_scan_without_an_index_that_may_be_over(shop: Scene) -> int:
    worker = works(shop, "update orders set v = 1 where customer_id = 7; select pg_sleep(9)")
    wants_row(shop)
    return worker


# Who does not react to a cancel


def copies_in(shop: Scene, *before: str) -> int:
    """A COPY in the middle, whose client sends nothing more."""
    connection = psycopg.connect(shop.dsn)
    shop.at_the_end(connection.close)
    for statement in before:
        connection.execute(statement)
    connection.pgconn.send_query(b"copy orders from stdin")
    connection.pgconn.get_result()
    connection.pgconn.put_copy_data(b"77777\t1\t0\n")
    connection.pgconn.flush()
    return connection.info.backend_pid


@labelled("migration", "terminate")
def a_copy_from_its_client_after_truncate(shop: Scene) -> int:
    holder = copies_in(shop, "truncate orders")
    wants_to_read(shop)
    return holder


@labelled("explicit_lock", "terminate")
def a_copy_from_its_client_after_lock_table(shop: Scene) -> int:
    holder = copies_in(shop, "lock table orders")
    wants_to_read(shop)
    return holder


@labelled("long_query", "terminate")
def a_result_that_its_client_does_not_take(shop: Scene) -> int:
    connection = psycopg.connect(shop.dsn)
    shop.at_the_end(connection.close)
    connection.pgconn.send_query(b"select repeat('x', 1000) from orders, other")
    pid = connection.info.backend_pid
    stuck = "select 1 from pg_stat_activity where pid = %s and wait_event = 'ClientWrite'"
    shop.wait_until(lambda: shop.admin.execute(stuck, [pid]).fetchone())
    wants_table(shop)
    return pid


@labelled("migration", "cancel")
def a_procedure_that_may_catch_its_cancel(shop: Scene) -> int:
    tries = "loop begin {}; exit; exception when query_canceled then null; end; end loop"
    shop.admin.execute(MIGRATION.replace("alter table orders add column c int", tries.format("drop table orders")))
    return queues(shop, "call mig()", autocommit=True)


# Advisory locks and tools


@labelled("migration", "cancel", "advisory_lock")
def a_migration_that_more_sessions_wait_for_than_for_its_advisory_lock(shop: Scene) -> int:
    before = ("select pg_advisory_lock(4711)", "alter table orders add column c int")
    worker = works(shop, "select pg_sleep(9)", *before)
    shop.client().block("select pg_advisory_lock(4711)")
    wants_to_read(shop)
    wants_to_read(shop)
    return worker


@labelled("advisory_lock", "none", "migration", relation=None)
def a_migration_whose_advisory_lock_others_want(shop: Scene) -> int:
    worker = works(
        shop, "alter table orders add check (slow(id) > 0)", "select pg_advisory_lock(4711)", "select from other"
    )
    shop.client().block("select pg_advisory_lock(4711)")
    return worker


@labelled("migration", "cancel")
def a_restore_that_changes_the_schema(shop: Scene) -> int:
    change = "alter table orders add check (slow(id) > 0)"
    worker = works(shop, change, application_name="pg_restore")
    wants_to_read(shop)
    return worker


@labelled("backup", "none")
def a_restore_that_fills_a_table(shop: Scene) -> int:
    worker = works(shop, "insert into orders select id + 90000, slow(id) from other", application_name="pg_restore")
    wants_table(shop)
    return worker


# unknown


@labelled("unknown", "none")
def the_next_in_line_for_a_row(shop: Scene) -> int:
    idles(shop, "update orders set v = 1 where id = 7")
    following = wants_row(shop)
    wants_row(shop)
    return following.pid


@labelled("unknown", "none")
def a_writer_in_line_behind_a_migration(shop: Scene) -> int:
    works(shop, "alter table orders add column c int; select pg_sleep(9)")
    writer = wants_to_write(shop)
    shop.client().block("lock table orders in share mode")
    return writer.pid


@labelled("unknown", "none")
def one_of_a_circle(shop: Scene) -> int:
    patient = {"options": "-c deadlock_timeout=60s"}
    one = shop.client("update orders set v = 1 where id = 1", **patient)
    two = shop.client("update orders set v = 2 where id = 2", **patient)
    one.block("update orders set v = 1 where id = 2")
    two.block("update orders set v = 2 where id = 1")
    return one.pid


@labelled("unknown", "none", is_hidden=True)
def a_session_that_our_role_may_not_see(shop: Scene) -> int:
    holder = idles(shop, "alter table orders add column c int")
    wants_to_read(shop)
    return holder


# Scenes of one shape: statements of a transaction, which then sleeps or is idle, and one session that waits for it


#: What the waiter runs.
READ, WRITE, ROW, CHANGE = (
    "select from orders",
    "insert into orders values (99999, 1)",
    "update orders set v = 2 where id = 7",
    "alter table orders add column wanted int",
)
_ROW = "update orders set v = 1 where id = 7"
_LINES = "create table lines (id int primary key, order_id int)"
_NOTHING = "create function nothing() returns trigger language plpgsql as 'begin return new; end'"
_TRIGGER = "create trigger zz before insert on orders for each row execute function nothing()"
_VIEW = "create view seen as select id, v from orders"

ROWS = (
    # Only the rows, or a weak lock, conflict.
    Row("idle with a temporary table", "idle_in_transaction", ("create temp table t (id int)", _ROW), ROW),
    Row("idle with a table made of a query", "idle_in_transaction", ("create table t as select 1", _ROW), ROW),
    Row("idle with a lock on another table", "idle_in_transaction", ("lock table other", _ROW), ROW),
    Row("idle with a change of another table", "idle_in_transaction", (_ROW, "alter table other add c int"), ROW),
    Row("idle with an index on another table", "idle_in_transaction", (_ROW, "create index on other (v)"), ROW),
    Row("idle with a view that reads it", "idle_in_transaction", ("create view w as select v from orders",), CHANGE),
    Row("idle with a new key", "idle_in_transaction", (WRITE,), WRITE),
    Row(
        "idle with a dropped temporary table",
        "idle_in_transaction",
        ("create temp table t (i int)", "drop table t", _ROW),
        ROW,
    ),
    Row("at work with a change of another table", "long_query", (_ROW, "alter table other add c int"), ROW),
    Row("at work with an index on another table", "long_query", (_ROW, "create index on other (v)"), ROW),
    Row("at work with a table made of a query", "long_query", ("select * into t from orders",), CHANGE),
    Row(
        "at work with a vacated temporary table", "long_query", ("create temp table t (i int)", "truncate t", _ROW), ROW
    ),
    Row("at work with rows of a share lock", "long_query", ("select from orders where id = 7 for share",), ROW),
    Row("at work with an analyzed table", "long_query", ("analyze orders", _ROW), ROW),
    Row(
        "at work with a view of another table",
        "long_query",
        ("create or replace view seen as select v from other", _ROW),
        ROW,
    ),
    # DDL's lock.
    Row("truncated", "migration", ("truncate orders",), READ),
    Row("idle and truncated", "idle_in_transaction", ("truncate orders",), READ, ("migration",)),
    Row("without an index", "migration", ("drop index by_v",), READ, setup="create index by_v on orders (v)"),
    Row("with one trigger more", "migration", (_TRIGGER,), WRITE, setup=_NOTHING),
    Row(
        "referenced",
        "migration",
        ("alter table lines add foreign key (order_id) references orders",),
        WRITE,
        setup=_LINES,
    ),
    Row("referenced by a new table", "migration", ("create table l (order_id int references orders)",), WRITE),
    Row("with a column of another name", "migration", ("alter table orders rename column v to w",), READ),
    Row("with statistics", "migration", ("alter table orders alter v set statistics 10",), CHANGE),
    Row("with a comment", "migration", ("comment on table orders is 'x'",), CHANGE),
    Row("with a comment on a column", "migration", ("comment on column orders.v is 'x'",), CHANGE),
    Row("idle and with a comment", "idle_in_transaction", ("comment on table orders is 'x'",), CHANGE, ("migration",)),
    Row("with row security", "migration", ("alter table orders enable row level security",), READ),
    Row("with another default", "migration", ("alter table orders alter v set default 5",), READ),
    Row("of another owner", "migration", ("alter table orders owner to pg_monitor",), READ),
    Row(
        "parent of a dropped table",
        "migration",
        ("drop table lines",),
        READ,
        setup=_LINES.replace("order_id int", "order_id int references orders"),
    ),
    Row("changed inside of DO", "migration", ("do 'begin alter table orders add c int; end'",), READ),
    Row("changed behind a savepoint", "migration", ("savepoint s", "alter table orders add c int", "release s"), READ),
    Row(
        "a view made anew",
        "migration",
        ("create or replace view seen as select id, v from orders",),
        "select from seen",
        relation="public.seen",
        setup=_VIEW,
    ),
    Row(
        "with one partition more",
        "migration",
        ("create table p2 partition of parted for values from (9) to (19)",),
        "select from parted",
        relation="public.parted",
        setup="create table parted (id int) partition by range (id); "
        "create table p1 partition of parted for values from (1) to (9)",
    ),
    Row("with an index more", "migration", ("create index on orders (v)",), WRITE),
    Row("idle and with an index more", "idle_in_transaction", ("create index on orders (v)",), WRITE, ("migration",)),
    # The lock of LOCK TABLE.
    Row("locked in share mode", "explicit_lock", ("lock table orders in share mode",), WRITE),
    Row("locked together with another", "explicit_lock", ("lock table orders, other in exclusive mode",), WRITE),
    Row(
        "locked by a function",
        "explicit_lock",
        ("select locks()",),
        READ,
        setup="create function locks() returns int language plpgsql as 'begin lock table orders; return 1; end'",
    ),
    Row("locked through a view", "explicit_lock", ("lock table seen",), READ, setup=_VIEW),
    Row(
        "locked after a change of another", "explicit_lock", ("alter table other add c int", "lock table orders"), READ
    ),
    Row(
        "idle and locked in share mode",
        "idle_in_transaction",
        ("lock table orders in share mode",),
        WRITE,
        ("explicit_lock",),
    ),
    # Maintenance's lock.
    Row(
        "refreshed",
        "maintenance",
        ("refresh materialized view totals",),
        "select from totals",
        relation="public.totals",
        setup="create materialized view totals as select count(*) from orders",
    ),
    Row("with a rebuilt index", "maintenance", ("reindex index orders_pkey",), READ),
    Row("idle and with a rebuilt index", "idle_in_transaction", ("reindex index orders_pkey",), READ, ("maintenance",)),
    Row("idle and analyzed", "idle_in_transaction", ("analyze orders",), CHANGE, ("maintenance",)),
)


def enter_row(row: Row) -> None:
    """Put a scene of this shape into the table."""
    is_idle = row.classification == "idle_in_transaction" or row.autocommit
    options = {"application_name": row.application_name, "autocommit": row.autocommit}

    def stage(shop: Scene) -> int:
        if row.setup:
            shop.admin.execute(row.setup)
        if is_idle:
            holder = idles(shop, *row.before, **options)
        else:
            holder = works(shop, "select pg_sleep(9)", *row.before, **options)
        shop.client(autocommit=row.waits_outside).block(row.waits)
        return holder

    stage.__name__ = row.name.replace(" ", "_")
    action = row.action or ("terminate" if is_idle else "cancel")
    labelled(row.classification, action, *row.also, relation=row.relation, wrong=row.wrong)(stage)


for _row in (*ROWS, *client_scenes.ROWS):
    enter_row(_row)


# unindexed_scan by a rare value of a column of few values: queues and outboxes

_QUEUE = """
    create table jobs (id int primary key, state text not null, processed bool not null, kind int not null);
    insert into jobs
        select g, case when g % 1000 = 7 then 'ready' else 'done' end, g % 1000 <> 7, g % 3
        from generate_series(1, 20000) g;
    create or replace function slow(int) returns int language plpgsql as 'begin perform pg_sleep(9); return $1; end';
    analyze jobs
"""


SEARCHES = (
    Search("that are ready", "update jobs set kind = slow(id) where state = 'ready'", True),
    Search("that are ready and locked", "select slow(id) from jobs where state = 'ready' for update skip locked", True),
    Search("that are not processed", "update jobs set kind = slow(id) where not processed", True),
    Search("whose processed is false", "delete from jobs where processed = false and slow(id) > 0", True),
    Search("that are ready or new", "update jobs set kind = slow(id) where state in ('ready', 'new')", True),
    Search(
        "that are in a state that none has", "delete from jobs where slow(id) > 0 and state in ('lost', 'ready')", True
    ),
    Search("that are done", "update jobs set kind = slow(id) where state = 'done'", False),
    Search("that are processed", "update jobs set kind = slow(id) where processed", False),
    Search("that are not unprocessed", "delete from jobs where processed is not false and slow(id) > 0", False),
    Search("that are ready or done", "update jobs set kind = slow(id) where state in ('ready', 'done')", False),
    Search("of one of three kinds", "update jobs set kind = slow(id) where kind = 1", False),
    Search(
        "that are ready and have an index",
        "update jobs set kind = slow(id) where state = 'ready'",
        False,
        "create index on jobs (state)",
    ),
    Search(
        "that are ready and have a partial index",
        "update jobs set kind = slow(id) where state = 'ready'",
        False,
        "create index on jobs (id) where state = 'ready'",
    ),
    Search(
        "of an enum that are ready",
        "update jobs set kind = slow(id) where state = 'ready'",
        True,
        "create type job_state as enum ('ready', 'done');"
        "alter table jobs alter state type job_state using state::job_state; analyze jobs",
    ),
    Search(
        "of a padded state that are done",
        "update jobs set kind = slow(id) where state = 'done'",
        False,
        "alter table jobs alter state type char(9); analyze jobs",
    ),
)


_NUMBERS = ", ".join(map(str, range(7, 800)))
_TEXTS = ", ".join(f"'0c6a7a34-93a1-4b0e-8c5d-{number:012}'" for number in range(60))
_WORDS = "x" * 1100
_REFERENCES = (
    "alter table jobs add ref text; update jobs set ref = 'r' || id; create index on jobs (kind); analyze jobs"
)

SEARCHES += (
    # Cut at track_activity_query_size.
    Search(
        "by a list that is cut",
        f"update jobs set kind = slow(id) where ref in ('r7', {_TEXTS})",
        True,
        _REFERENCES.replace("create index on jobs (kind);", ""),
    ),
    Search(
        "by a list of texts that is cut",
        f"delete from jobs where ref = any (array['r7', '{_WORDS}']) and slow(id) > 0",
        True,
        _REFERENCES,
    ),
    Search(
        "by a condition before a text that is cut",
        f"update jobs set processed = slow(id) > 0 where ref = 'r7' and state <> '{_WORDS}'",
        True,
        _REFERENCES,
    ),
    Search(
        "by the key in a list that is cut",
        f"update jobs set kind = slow(id) where ref <> 'r1' and id in ({_NUMBERS})",
        False,
        _REFERENCES,
    ),
    Search(
        "by an index behind the cut",
        # The server shows 1,023 bytes: `… and i`.
        f"select '{'x' * 971}', slow(id) from jobs where ref = 'r7' and id = 7",
        False,
        _REFERENCES,
    ),
    Search(
        "by what the cut hides",
        f"select '{_WORDS}', slow(id) from jobs where id between 7 and 50",
        False,
    ),
    Search(
        "by a list that is cut of few values",
        f"update jobs set processed = slow(id) > 0 where state in ('done', '{_WORDS}')",
        False,
    ),
    Search(
        "by a list of most values that is cut",
        f"select slow(id) from jobs where other_id in ({_NUMBERS}) for update",
        False,
        "alter table jobs add other_id int; update jobs set other_id = id % 900; analyze jobs",
    ),
)


_OPEN_JOBS = "create view open_jobs as select id as number, state, kind as sort, {more} from jobs"

_WORD_X = _OPEN_JOBS.format(more="ref || 'x' as word")

SEARCHES += (
    # Through views.
    Search(
        "by a column of a view",
        "update open_jobs set sort = slow(number) where word = 'r7'",
        True,
        f"{_REFERENCES}; {_OPEN_JOBS.format(more='ref as word')}",
    ),
    Search(
        "by a column of a view that restricts its rows",
        "select slow(number) from open_jobs where word = 'r7' for update",
        True,
        f"{_REFERENCES}; {_OPEN_JOBS.format(more='ref as word')} where not processed or state = 'done'",
    ),
    Search(
        "by a column of a view that has an index",
        "update open_jobs set sort = slow(number) where number between 7 and 50",
        False,
        _OPEN_JOBS.format(more="processed"),
    ),
    Search(
        "by a column of a view whose rows an index finds",
        "select slow(number) from open_jobs where word = 'r7' or word = 'r8'",
        False,
        f"{_REFERENCES}; {_OPEN_JOBS.format(more='ref as word')} where id < 50",
    ),
    Search(
        "by what a view makes of a column",
        "select slow(number) from open_jobs where word = 'r7x'",
        False,
        f"{_REFERENCES}; create index on jobs ((ref || 'x')); {_WORD_X}",
    ),
    Search(
        "of a view of totals",
        "select *, pg_sleep(9) from totals where state = 'ready'",
        False,
        "create view totals as select state, count(*) from jobs group by state",
    ),
)


_WANTED = f"{_REFERENCES}; create table wanted (ref text, note int); insert into wanted select 'r' || g, g from "
_FEW = f"{_WANTED} generate_series(7, 9) g; analyze wanted"
_MANY = f"{_WANTED} generate_series(7, 9000) g; analyze wanted"

SEARCHES += (
    # Joined to the rows of another table.
    Search("of few wanted", "update jobs set kind = slow(id) from wanted w where w.ref = jobs.ref", True, _FEW),
    Search(
        "of few wanted and deleted",
        "delete from jobs j using wanted w where j.ref = w.ref and w.note < 9 and slow(j.id) > 0",
        True,
        _FEW,
    ),
    Search(
        "of few wanted and restricted",
        "update jobs j set kind = slow(j.id) from wanted w where w.ref = j.ref and j.processed",
        True,
        _FEW,
    ),
    Search("of many wanted", "update jobs set kind = slow(id) from wanted w where w.ref = jobs.ref", False, _MANY),
    Search(
        "of few wanted and with an index",
        "update jobs set kind = slow(id) from wanted w where w.ref = jobs.ref",
        False,
        f"{_FEW}; create index on jobs (ref)",
    ),
    Search(
        "of few wanted and with an index beside",
        "update jobs j set kind = slow(id) from wanted w where w.ref = j.ref and j.id < 50",
        False,
        _FEW,
    ),
    Search(
        "of few wanted states",
        "update jobs set kind = slow(id) from wanted w where w.ref = jobs.state",
        False,
        f"{_FEW}; insert into wanted values ('done')",
    ),
    Search(
        "of few that are unlike",
        "update jobs set kind = slow(id) from wanted w where w.ref <> jobs.ref",
        False,
        _FEW,
    ),
)


def stage_search(shop: Scene, search: Search) -> int:
    """The PID of a session in the middle of the statement, with a waiter behind it."""
    shop.admin.execute(_QUEUE)
    if search.setup:
        shop.admin.execute(search.setup)
    worker = works(shop, search.statement)
    wants_table(shop, search.table)
    return worker


def enter_search(search: Search) -> None:
    """Put a scene of this shape into the table."""

    def stage(shop: Scene) -> int:
        return stage_search(shop, search)

    stage.__name__ = f"jobs {search.name}"
    given = "unindexed_scan" if search.is_unindexed else "long_query"
    labelled(given, "cancel", relation=f"public.{search.table}", wrong=search.wrong)(stage)


SEARCHES += client_scenes.SEARCHES

for _search in SEARCHES:
    enter_search(_search)


# The verdicts


def verdict(
    each: Staged, server: ThrowawayServer, *, by_role: bool = False, with_statistics: bool = True
) -> BlockerReport:
    """What is said of a scene, as `pgdoctor diagnose` says it.

    `by_role`: to the role of `pgdoctor setup --stats`, or, without statistics, of plain `pgdoctor setup`.
    """
    with Scene(server.dsn) as shop:
        shop.admin.execute(TABLES)
        pid = each.stage(shop, server) if each.needs_own else each.stage(shop)
        dsn = shop.role(f"stranger_{shop.admin.info.backend_pid}") if each.is_hidden else shop.dsn
        if by_role and not each.is_hidden:
            dsn = role_of_setup(shop, with_statistics=with_statistics)
        if pid == WIDEST:
            return _usual(dsn)
        [found] = [facts for facts in make_report(run_coroutine(fetch_diagnosis(dsn))).blockers if facts.pid == pid]
        return found


def role_of_setup(shop: Scene, *, with_statistics: bool) -> str:
    """The connection string of the role that `pgdoctor setup` makes; the functions belong to one database."""
    name = "pgdoctor"
    shop.admin.execute(CliRunner().invoke(setup.command, ["--stats"] if with_statistics else []).output)
    shop.admin.execute(f"alter role {name} password '{name}'")
    return make_conninfo(shop.dsn, user=name, password=name)


def _usual(dsn: str) -> BlockerReport:
    """What is said of the widest blocker most of the time: a poll may fall between two holders."""
    seen = [found[0] for _ in range(7) if (found := make_report(run_coroutine(fetch_diagnosis(dsn))).blockers)]
    [(usual, _)] = Counter(each.classification for each in seen).most_common(1)
    return next(each for each in seen if each.classification == usual)


def differs(each: Staged, said: BlockerReport) -> str:
    """Where what is said is not the label; empty if nowhere."""
    got = (said.classification, said.also, said.relation, said.recommendation.action)
    wanted = (each.classification, each.also, each.relation, each.action)
    return "" if got == wanted else f"{got}, not {wanted}"


def figures(pairs: Counter[tuple[str, str]]) -> Iterator[tuple[str, int, int, float | None, float | None]]:
    """Class, scenes that are of it, scenes that are said to be, precision, recall."""
    for name in class_names():
        right = pairs[name, name]
        labelled = sum(number for (label, _), number in pairs.items() if label == name)
        said = sum(number for (_, given), number in pairs.items() if given == name)
        yield name, labelled, said, right / said if said else None, right / labelled if labelled else None


def tell(major: int, words: list[str], *, is_wordy: bool, by_role: bool, with_statistics: bool) -> None:
    """Stage the scenes with these words in their names, all without any, on one version; print the figures."""
    begin = time.monotonic()
    pairs: Counter[tuple[str, str]] = Counter()
    wrong = []
    chosen = [each for each in SCENES if not words or any(word in each.name for word in words)]
    bindir = Embedded(major).bindir
    with ExitStack() as stack:
        servers = {
            needs_own: stack.enter_context(fresh_server(bindir) if needs_own else ThrowawayServer(bindir=bindir))
            for needs_own in {each.needs_own for each in chosen}
        }
        for each in chosen:
            try:
                with fresh_server(bindir) if each.spoils_server else nullcontext(servers[each.needs_own]) as server:
                    said = verdict(each, server, by_role=by_role, with_statistics=with_statistics)
            except (AssertionError, psycopg.Error, ValueError) as error:
                wrong.append(f"  not staged: {each.name}: {error!r}")
                continue
            pairs[each.classification, said.classification] += 1
            if difference := differs(each, said):
                wrong.append(f"  not: {each.name}: {difference}")
            if is_wordy:
                print(f"{each.name}\n    {said.classification} {said.also} {said.relation} {said.recommendation}")
                print("".join(f"    - {sentence}\n" for sentence in said.evidence), f"   next: {said.advice}")
    print(f"PostgreSQL {major}: {len(chosen)} scenes in {time.monotonic() - begin:.0f} s\n")
    print(tabulate(figures(pairs), ("class", "labelled", "said", "precision", "recall"), floatfmt=".3f"))
    print("\n".join(("", f"class, also, relation and action all right in {len(chosen) - len(wrong)}", *wrong)))


def main(arguments: list[str]) -> None:
    """`[-v] [--role | --plain-role] [VERSION …] [WORD …]`, in the place of a superuser's view.

    `--role`: as the role of `pgdoctor setup --stats`; `--plain-role`: as that of `pgdoctor setup`.
    """
    versions = [int(each) for each in arguments if each.isdecimal()] or [18]
    words = [each for each in arguments if not each.isdecimal() and not each.startswith("-")]
    for major in versions:
        by_role, is_plain = "--role" in arguments, "--plain-role" in arguments
        tell(major, words, is_wordy="-v" in arguments, by_role=by_role or is_plain, with_statistics=by_role)


if __name__ == "__main__":
    main(sys.argv[1:])
