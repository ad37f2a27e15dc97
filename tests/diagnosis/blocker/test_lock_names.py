"""Names of locks: what is locked, who is at work, and what the blocker waits for itself."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.diagnosis.blocker.lock_names import describe_object
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import LockedObject, Relation
from pgdoctor.observer.observer import Observer
from pgdoctor.render.report import Report, make_report
from pgdoctor.render.tree import render_tree
from tests.building import NOW, ago, lock, row, session, snapshot, transaction
from tests.looking import blocker, look, said
from tests.scenes import Scene
from tests.scenes.client import wait_until

#: What stages each lock, who holds it, who wants it, and its name.
OBJECTS = {
    "role": ("create role {own}", "drop role {own}", "drop role {own}", "AccessExclusiveLock on role {own}"),
    "schema": ("create schema s", "create table s.t ()", "drop schema s", "AccessExclusiveLock on schema s"),
    "type": (
        "create type mood as enum ('well')",
        "drop type mood",
        "alter type mood add value 'ill'",
        "ExclusiveLock on type public.mood",
    ),
    "function": (
        "create function f(int, text) returns int language sql as 'select 1'",
        "drop function f",
        "drop function f",
        "AccessExclusiveLock on function public.f(integer,pg_catalog.text)",
    ),
    "extension": ("", "drop extension plpgsql", "drop extension plpgsql", "AccessExclusiveLock on extension plpgsql"),
    "publication": (
        "create publication p",
        "drop publication p",
        "drop publication p",
        "AccessExclusiveLock on publication p",
    ),
    "database": (
        "",
        "comment on database {own} is 'a'",
        "comment on database {own} is 'b'",
        "ShareUpdateExclusiveLock on database {own}",
    ),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_object_lock_is_named_by_its_object(scene: Scene, kind: str) -> None:
    own = scene.admin.info.dbname
    staged, held, wanted, expected = (text.format(own=own) for text in OBJECTS[kind])
    if staged:
        scene.admin.execute(staged)
    holder = scene.client(held)
    waiter = scene.client(autocommit=True).block(wanted)
    facts = look(scene.dsn)
    assert [wait.waits_for for wait in facts.waits] == [expected]
    assert expected.partition(" on ")[2] in said(next(each for each in facts.blockers if each.pid == holder.pid))
    holder.run("rollback")
    waiter.finish()


def test_notify_queue_is_named_and_its_holder_is_left_alone(own_server) -> None:
    server = own_server(settings={"synchronous_standby_names": "ghost"})
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table events (id int)")
        commit = scene.client(autocommit=True).start("insert into events values (1); notify a")
        wait_until(lambda: "SyncRep" in commit.shown())
        waiter = scene.client(autocommit=True).block("insert into events values (1); notify a")
        facts = look(scene.dsn)
        [wait] = facts.waits
        assert (wait.blocked_pid, wait.relation) == (waiter.pid, None)
        assert wait.waits_for == "AccessExclusiveLock on the queue of NOTIFY"
        holder = next(each for each in facts.blockers if each.pid == commit.pid)
        assert holder.recommendation.action == "none"
        assert "transactions with NOTIFY commit one at a time" in said(holder)
        assert "for a synchronous standby (IPC:SyncRep)" in said(holder)
        scene.admin.execute("alter system set synchronous_standby_names = ''")
        scene.admin.execute("select pg_reload_conf()")
        waiter.finish()


def test_unique_key_is_a_key_that_the_other_transaction_has_inserted(scene: Scene) -> None:
    scene.admin.execute("create table users (mail text unique)")
    holder = scene.client("insert into users values ('a')")
    xid = scene.admin.execute("select backend_xid from pg_stat_activity where pid = %s", [holder.pid]).fetchone()[0]
    scene.client().block("insert into users values ('a')")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for == f"a key of public.users that transaction {xid} has inserted"
    assert "holds keys of public.users that others insert, too" in said(blocker(scene.dsn, holder.pid))


def test_update_to_a_key_of_another_insert_waits_for_a_row_or_a_key(scene: Scene) -> None:
    scene.admin.execute("create table users (mail text unique); insert into users values ('b')")
    scene.client("insert into users values ('a')")
    scene.client().block("update users set mail = 'a'")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for == "a row or a key of public.users"


def test_statement_that_hides_what_it_does_waits_for_a_row_or_a_key(scene: Scene) -> None:
    scene.admin.execute("create table users (mail text unique)")
    scene.admin.execute("create function sign_up() returns void language sql as $$insert into users values ('a')$$")
    scene.client("select sign_up()")
    scene.client().block("select sign_up()")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for == "a row or a key of public.users"


def test_row_of_a_parent_is_no_key_for_an_insert(scene: Scene) -> None:
    scene.admin.execute("create table parent (id int primary key); insert into parent values (1)")
    scene.admin.execute("create table child (parent int references parent)")
    scene.client("delete from parent")
    scene.client().block("insert into child values (1)")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for == "a row of public.parent"


def test_row_that_a_trigger_of_an_insert_wants_is_no_key(scene: Scene) -> None:
    """Behind a row that has changed hands a waiter holds no tuple lock, which would name the row."""
    scene.admin.execute("create table totals (v int); insert into totals values (0); create table sales (v int)")
    scene.admin.execute(
        "create function add_up() returns trigger language plpgsql as "
        "'begin update totals set v = v + new.v; return new; end'"
    )
    scene.admin.execute("create trigger add_up after insert on sales for each row execute function add_up()")
    first, second, third = scene.client("insert into sales values (1)"), scene.client(), scene.client()
    second.block("insert into sales values (2)")
    third.block("insert into sales values (3)")
    first.run("commit")
    # Either may get the row next.
    turns = ((second, third), (third, second))
    holder, waiter = scene.wait_until(
        lambda: next((each for each in turns if each[0].shown().startswith("idle in transaction")), None)
    )
    scene.wait_until(lambda: "transactionid" in waiter.shown())
    wait = next(each for each in look(scene.dsn).waits if each.blocked_pid == waiter.pid)
    assert wait.blocking_pid == holder.pid
    assert wait.waits_for is not None
    assert wait.waits_for.startswith("a row")


def test_second_table_of_a_transaction_still_names_its_key(scene: Scene) -> None:
    scene.admin.execute("create table users (mail text unique); create table visits (v int)")
    scene.client("insert into users values ('a')")
    scene.client("insert into visits values (1)").block("insert into users values ('a')")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for is not None
    assert wait.waits_for.startswith("a key of public.users")


def test_name_of_a_new_table_is_a_key_that_a_transaction_has_inserted(scene: Scene) -> None:
    scene.client("create table twice ()")
    scene.client().block("create table twice ()")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for is not None
    assert wait.waits_for.startswith("a key")
    assert wait.waits_for.endswith("has inserted")


def test_concurrent_index_waits_for_the_end_of_a_transaction(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int)")
    scene.client("insert into orders values (1)")
    scene.client(autocommit=True).block("create index concurrently on orders (id)")
    [wait] = look(scene.dsn).waits
    assert wait.waits_for is not None
    assert wait.waits_for.startswith("the end of virtual transaction ")
    assert wait.waits_for.endswith(", for public.orders")


@pytest.mark.parametrize(
    ("state", "statement", "expected"),
    [
        ("autocommit", "select pg_advisory_lock(7)", "session-level lock, held outside of a transaction"),
        ("open", "select pg_advisory_lock(7)", "session-level lock: the end of the transaction does not"),
        ("open", "select pg_advisory_xact_lock(7)", "transaction-level lock"),
        ("open", "select pg_advisory_lock(7); select 1", "session-level lock: "),
        ("moved on", "select pg_advisory_lock(7)", "does not show"),
    ],
)
def test_level_of_an_advisory_lock(scene: Scene, state: str, statement: str, expected: str) -> None:
    holder = scene.client(statement, autocommit=state == "autocommit")
    if state == "moved on":
        holder.run("select 1")
    scene.client().block("select pg_advisory_lock(7)")
    facts = look(scene.dsn)
    assert expected in said(facts.blockers[0])
    assert facts.waits[0].waits_for == "ExclusiveLock on advisory key 7"


def test_children_stand_in_the_order_of_the_queue(scene: Scene) -> None:
    scene.client("select pg_advisory_lock(1)", autocommit=True)
    queue = [scene.client(autocommit=True, application_name=f"job {each}") for each in range(4)]
    for each in reversed(queue):
        each.block("select pg_advisory_lock(1)")
        _let_waitstart_differ(scene, each.pid)
    drawn = render_tree(look(scene.dsn), 200)
    places = [drawn.index(f"─ {each.pid} has waited") for each in reversed(queue)]
    assert places == sorted(places)


def _let_waitstart_differ(scene: Scene, pid: int) -> None:
    """Wait until the server has recorded when the wait began, and its clock has moved on."""
    asked = "select 1 from pg_locks where pid = %s and not granted and waitstart < clock_timestamp()"
    wait_until(lambda: scene.admin.execute(asked, [pid]).fetchone())


def test_wait_of_the_blocker_is_said_with_its_bound(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int)")
    holder = scene.client("lock table orders").start("select pg_sleep(60)")
    scene.client().block("select from orders")
    facts = blocker(scene.dsn, holder.pid)
    assert (facts.wait_event_type, facts.wait_event) == ("Timeout", "PgSleep")
    assert "waits in pg_sleep() (Timeout:PgSleep), for " in said(facts)


def test_wait_of_the_blocker_for_its_client_is_said(scene: Scene) -> None:
    scene.admin.execute("create table big as select repeat('x', 1000) as v from generate_series(1, 20000)")
    with psycopg.connect(scene.dsn) as reader, reader.cursor() as cursor, cursor.copy("copy big to stdout") as copy:
        next(iter(copy))
        scene.client().block("alter table big add column w int")
        _wait_for_event(scene, reader.info.backend_pid, "ClientWrite")
        facts = blocker(scene.dsn, reader.info.backend_pid)
        assert "for its client to read what it sends (Client:ClientWrite)" in said(facts)
        # The rest of the rows is not wanted.
        scene.admin.execute("select pg_terminate_backend(%s)", [reader.info.backend_pid])
        reader.close()


def test_wait_of_the_blocker_for_another_server_is_said(scene: Scene) -> None:
    scene.admin.execute("create extension dblink; create table orders (id int)")
    elsewhere = make_conninfo(scene.dsn).replace("'", "''")
    holder = scene.client("lock table orders")
    holder.start(f"select * from dblink('{elsewhere}', 'select 1 from pg_sleep(60)') as t (a int)")
    scene.client().block("select from orders")
    shown = "select 1 from pg_stat_activity where pid = %s and wait_event_type = 'Extension'"
    wait_until(lambda: scene.admin.execute(shown, [holder.pid]).fetchone())
    assert "for another server, through dblink (Extension:" in said(blocker(scene.dsn, holder.pid))


def _wait_for_event(scene: Scene, pid: int, event: str) -> None:
    asked = "select 1 from pg_stat_activity where pid = %s and wait_event = %s"
    wait_until(lambda: scene.admin.execute(asked, [pid, event]).fetchone())


def _reading(**facts) -> Report:
    """A blocker that reads a file, and one who waits for it."""
    held = lock(1, "AccessExclusiveLock", granted=True)
    asked = lock(2, "AccessShareLock", granted=False)
    sessions = session(1, locks=(held,), **facts), session(2, blockers=(1,), locks=(asked,))
    return make_report(diagnose(snapshot(sessions)))


def test_idle_or_computing_blocker_waits_for_nothing() -> None:
    for facts in ({}, {"state": "idle in transaction", "wait_event_type": "Client", "wait_event": "ClientRead"}):
        assert not any("wait" in each for each in _reading(**facts).blockers[0].evidence)


def test_wait_seen_in_earlier_snapshots_is_said_with_its_time() -> None:
    memory = Observer()
    held, asked = lock(1, "AccessExclusiveLock", granted=True), lock(2, "AccessShareLock", granted=False)
    said_each = []
    for seconds in (20, 10, 0):
        reading = session(1, locks=(held,), wait_event_type="IO", wait_event="DataFileRead")
        waiting = session(2, blockers=(1,), locks=(asked,))
        found = memory.diagnose_snapshot(snapshot((reading, waiting), ago(seconds)))
        said_each.append("; ".join(found.blockers[0].evidence))
    assert "waits for I/O (IO:DataFileRead), for 40 s at most" in said_each[0]
    assert "has waited for I/O (IO:DataFileRead) in each snapshot for 20 s" in said_each[2]


def test_wait_in_another_statement_does_not_count_for_this_one() -> None:
    memory = Observer()
    held, asked = lock(1, "AccessExclusiveLock", granted=True), lock(2, "AccessShareLock", granted=False)
    for began in (60, 5):
        reading = session(1, locks=(held,), wait_event_type="IO", wait_event="DataFileRead", query_start=ago(began))
        found = memory.diagnose_snapshot(snapshot((reading, session(2, blockers=(1,), locks=(asked,)))))
    assert "waits for I/O (IO:DataFileRead), for 5.0 s at most" in found.blockers[0].evidence


INDEX = Relation(oid=6000, name="public.gin", kind="i", is_system=False, pages=1, live_rows=1.0)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"locktype": "extend"}, "the extension of public.orders"),
        ({"locktype": "page", "relation": 6000, "page": 0}, "the pending list of index public.gin"),
        ({"locktype": "page", "page": 3}, "page 3 of public.orders"),
        ({"locktype": "extend", "relation": 6000}, "the extension of index public.gin"),
        ({"locktype": "relation", "database": 7}, "relation 5000 of database other"),
        ({"locktype": "relation", "relation": 77}, "relation 77"),
        ({"locktype": "object", "relation": None, "classid": 1260, "objid": 5, "database": 0}, "role app"),
        ({"locktype": "object", "relation": None, "classid": 1260, "objid": 6, "database": 0}, "role 6"),
        (
            {"locktype": "object", "relation": None, "classid": 1255, "objid": 5, "database": 7},
            "function 5 of database other",
        ),
        ({"locktype": "object", "relation": None, "classid": 99, "objid": 5}, "object 5 of catalog 99"),
        (
            {"locktype": "object", "relation": None, "classid": 1262, "objid": 0, "database": 0},
            "the queue of NOTIFY",
        ),
        ({"locktype": "spectoken", "transactionid": 9}, "a key that transaction 9 is inserting with ON CONFLICT"),
        ({"locktype": "virtualxid", "virtualxid": "3/4"}, "virtual transaction 3/4"),
        ({"locktype": "something new"}, "a something new"),
    ],
)
def test_every_lock_type_has_a_name(about, expected) -> None:
    named = snapshot((), relations=(INDEX, *snapshot(()).relations.values()))
    seen = type(named)(
        captured_at=NOW,
        server=named.server,
        relations=named.relations,
        objects=(LockedObject(1260, 5, "role", "app"),),
    )
    assert describe_object(seen, lock(1, "ExclusiveLock", granted=True, **about), "other") == expected


def test_extension_of_a_file_is_no_lock_of_a_statement() -> None:
    extend = {"locktype": "extend"}
    sessions = (
        session(1, locks=(lock(1, "ExclusiveLock", granted=True, **extend),), statement="insert into orders select 1"),
        session(2, blockers=(1,), locks=(lock(2, "ExclusiveLock", granted=False, **extend),)),
    )
    facts = make_report(diagnose(snapshot(sessions)))
    assert facts.waits[0].waits_for == "its turn to extend public.orders"
    assert facts.blockers[0].recommendation.action == "none"
    assert "it adds pages to public.orders" in said(facts.blockers[0])


def test_wait_for_a_row_stays_one_for_a_row() -> None:
    sessions = (
        session(1, locks=(transaction(1, 1, granted=True),), has_xid=True),
        session(2, blockers=(1,), locks=row(2, 1), statement="insert into orders select 1"),
        session(3, blockers=(1,), locks=(transaction(3, 1, granted=False),), statement="update orders set v = 1"),
    )
    facts = make_report(diagnose(snapshot(sessions)))
    assert [wait.waits_for for wait in facts.waits] == ["a row of public.orders", "a row"]


def test_hostile_name_of_an_object_stays_on_its_line(scene: Scene) -> None:
    scene.admin.execute('create schema "x\n\x1b[31m"')
    scene.client('create table "x\n\x1b[31m".t ()')
    scene.client().block('drop schema "x\n\x1b[31m"')
    drawn = render_tree(look(scene.dsn), 500)
    assert "\x1b" not in drawn
    assert any("─" in line and "AccessExclusiveLock on schema" in line for line in drawn.splitlines())
