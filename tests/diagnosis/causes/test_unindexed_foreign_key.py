"""A delete, or a change of a key, whose rows are looked for in a big table that references them without an index."""

import pytest

from pgdoctor.render.report import BlockerReport
from tests.looking import blocker, said
from tests.scenes import Scene
from tests.thinning import thin_cases

#: 400 customers and 20,000 orders of the last one. After the check of each customer a trigger sleeps, so that the
#: statement lasts whether or not there is an index.
_TABLES = """
    create table customers (id int primary key, code int unique, v int default 0);
    insert into customers select g, g from generate_series(1, 400) g;
    create table orders (id int primary key, customer_id int, z int, constraint of_customer
        foreign key (customer_id) references customers ({column}) {action});
    insert into orders select g, 400, g from generate_series(1, {rows}) g;
    create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return null; end';
    create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(0.3); return $1; end';
    create trigger zz after delete or update on customers for each row execute function nap();
    analyze
"""

_DELETE = "delete from customers where id < 400"


def make(scene: Scene, action: str = "", rows: int = 20_000, column: str = "id") -> None:
    scene.admin.execute(_TABLES.format(action=action, rows=rows, column=column))


def facts_of(scene: Scene, statement: str = _DELETE, table: str = "customers") -> BlockerReport:
    """What is said of a session whose statement sleeps, behind its first check or before it."""
    worker = scene.client().start(statement)
    scene.wait_until(lambda: "PgSleep" in worker.shown())
    scene.client().block(f"alter table {table} add column c int")
    return blocker(scene.dsn, worker.pid)


#: Statements that look for nothing in the child table.
NO_CHECK = {
    "another column": "update customers set v = 1 where id < 400",
    "another key": "update customers set code = -code where id < 400",
    "the same value": "update customers set id = id where id < 400",
    "an insert": "insert into customers select g, g, slow(g) from generate_series(1000, 2000) g",
    "not yet begun": "delete from customers where id < 400 and slow(id) is not null",
}


@pytest.mark.parametrize("statement", thin_cases(NO_CHECK))
def test_a_statement_without_a_check_is_not_one(scene: Scene, statement: str) -> None:
    make(scene)
    assert facts_of(scene, statement).classification == "long_query"


def test_a_small_child_may_be_read_as_a_whole(scene: Scene) -> None:
    make(scene, rows=500)
    assert facts_of(scene).classification == "long_query"


USABLE = {
    "on the column": "on orders (customer_id)",
    "descending": "on orders (customer_id desc)",
    "with another behind it": "on orders (customer_id, z)",
    "hash": "on orders using hash (customer_id)",
    "unless it is NULL": "on orders (customer_id) where customer_id is not null",
}

UNUSABLE = {
    "none": "",
    "behind another": "on orders (z, customer_id)",
    "on an expression": "on orders (abs(z))",
    "partial on another column": "on orders (customer_id) where z > 0",
    "partial on some values": "on orders (customer_id) where customer_id > 500",
}


@pytest.mark.parametrize("index", thin_cases(USABLE))
def test_an_index_that_the_check_uses(scene: Scene, index: str) -> None:
    make(scene)
    scene.admin.execute(f"create index {index}; analyze")
    assert facts_of(scene).classification == "long_query"


@pytest.mark.parametrize("index", thin_cases(UNUSABLE))
def test_no_index_that_the_check_uses(scene: Scene, index: str) -> None:
    make(scene)
    if index:
        scene.admin.execute(f"create index {index}; analyze")
    facts = facts_of(scene)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")


def test_an_index_that_is_not_valid_is_none(scene: Scene) -> None:
    make(scene)
    scene.admin.execute("create index half on orders (customer_id)")
    scene.admin.execute("update pg_index set indisvalid = false where indexrelid = 'half'::regclass")
    assert facts_of(scene).classification == "unindexed_scan"


@pytest.mark.parametrize("action", ["", "on delete restrict", "on delete cascade", "on delete set null"])
def test_it_says_the_child_the_check_and_the_index(scene: Scene, action: str) -> None:
    make(scene, action)
    facts = facts_of(scene)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    assert "20,000 rows: no index on public.orders (customer_id) for the foreign key of_customer" in said(facts)
    assert "the check has begun: it holds Row" in said(facts)
    assert facts.recommendation.action == "cancel"
    assert "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)" in facts.recommendation.reason


def test_a_changed_key_is_looked_for_too(scene: Scene) -> None:
    make(scene, column="code")
    facts = facts_of(scene, "update customers set code = -code where id < 400")
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")


def test_waiters_on_a_row_show_it_as_well(scene: Scene) -> None:
    make(scene)
    worker = scene.client().start(_DELETE)
    scene.wait_until(lambda: "PgSleep" in worker.shown())
    scene.client().block("update customers set v = 1 where id = 7")
    assert blocker(scene.dsn, worker.pid).relation == "public.orders"


def test_a_cascade_reaches_the_tables_behind(scene: Scene) -> None:
    make(scene, "on delete cascade")
    scene.admin.execute(
        "create index on orders (customer_id); insert into orders select 50000 + g, g from generate_series(1, 399) g;"
        "create table lines (order_id int references orders);"
        "insert into lines select 1 from generate_series(1, 20000); analyze;"
        # The checks behind a cascade come after all triggers of the first table.
        "drop trigger zz on customers;"
        "create trigger zz after delete on orders for each row execute function nap()"
    )
    facts = facts_of(scene)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.lines")


_PAIRS = """
    create table parents (a int, b int, primary key (a, b));
    insert into parents select g, g from generate_series(1, 400) g;
    insert into parents select 1000, g from generate_series(1, 400) g;
    create table "Child" (a int, "B" int, foreign key (a, "B") references parents);
    insert into "Child" select 1000, 1 + g % 400 from generate_series(1, 20000) g;
    create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return null; end';
    create trigger zz after delete on parents for each row execute function nap();
    analyze
"""


@pytest.mark.parametrize("index", ['(a, "B")', '("B", a)', '("B", a) include (a)', '("B")'])
def test_an_index_on_the_columns_of_a_longer_key_in_any_order_serves(scene: Scene, index: str) -> None:
    scene.admin.execute(f'{_PAIRS}; create index on "Child" {index}')
    assert facts_of(scene, "delete from parents where a < 400", "parents").classification == "long_query"


def test_an_index_on_a_column_of_few_values_does_not_serve_a_longer_key(scene: Scene) -> None:
    """A check that finds a row of its value would read the whole table by it."""
    scene.admin.execute(f'{_PAIRS}; create index on "Child" (a)')
    facts = facts_of(scene, "delete from parents where a < 400", "parents")
    assert (facts.classification, facts.relation) == ("unindexed_scan", 'public."Child"')


def test_a_longer_key_without_index_is_quoted_as_it_must_be(scene: Scene) -> None:
    scene.admin.execute(_PAIRS)
    facts = facts_of(scene, "delete from parents where a < 400", "parents")
    assert (facts.classification, facts.relation) == ("unindexed_scan", 'public."Child"')
    assert 'CREATE INDEX CONCURRENTLY ON public."Child" (a, "B")' in facts.recommendation.reason


_PARTITIONED_CHILD = """
    create table customers (id int primary key);
    insert into customers select g from generate_series(1, 400) g;
    create table orders (id int, customer_id int references customers) partition by range (id);
    create table orders_1 partition of orders for values from (0) to (9000);
    create table orders_2 partition of orders for values from (9000) to (99000);
    insert into orders select g, 400 from generate_series(1, 17999) g;
    create function nap() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return null; end';
    create trigger zz after delete on customers for each row execute function nap();
    analyze
"""


def test_a_partitioned_child_is_as_big_as_its_partitions(scene: Scene) -> None:
    scene.admin.execute(_PARTITIONED_CHILD)
    facts = facts_of(scene)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    assert "about 17,999 rows" in said(facts)
    assert "; CREATE INDEX ON public.orders (customer_id)" in facts.recommendation.reason


def test_partitions_with_an_index_of_their_own_count_as_indexed(scene: Scene) -> None:
    scene.admin.execute(_PARTITIONED_CHILD)
    scene.admin.execute("create index on orders_1 (customer_id)")
    assert facts_of(scene).classification == "long_query"
