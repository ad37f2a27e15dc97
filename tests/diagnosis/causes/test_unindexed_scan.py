import re

import pytest
from msgspec.structs import replace

from pgdoctor.render.report import BlockerReport
from tests.looking import blocker, said, snapshot
from tests.scenes import Scene
from tests.thinning import thin_cases

#: Columns beside those of `orders`, for conditions that only a type or a collation decides. Many of them find one row,
#: which is to last until all is seen.
_WIDE = """
    create table orders (
        id int primary key, customer_id int, v int default 0, code char(10) collate "C.utf8",
        name text collate "C.utf8", raw text collate "C", email text, flag bool, state text, "Order" int, void int,
        week int, half int, tags int[], common bool,
        doc jsonb, local_time timestamp, at timestamptz
    );
    insert into orders
        select g, g % 1000, 0, g, g, g, g || '@x', g = 7, (g % 4)::text, g, null, g % 7,
            case when g % 2 = 0 then 0 else g end, array[g], g % 100 <> 9,
            jsonb_build_object('id', g, 'inner', jsonb_build_object('deep_id', g)),
            '2026-01-01 12:00'::timestamp + (g % 1000 - 1) * interval '1 day',
            '2026-01-01 12:00'::timestamptz + (g % 1000 - 1) * interval '1 day'
        from generate_series(1, 20000) g;
    create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(30); return $1; end';
    analyze orders
"""

#: A condition that finds row 7, and the index that there is: it serves, or may serve, or none would help.
SERVED = {
    "no condition": ("true", ""),
    "the primary key": ("id between 7 and 50", ""),
    "the primary key and another": ("id < 50 and customer_id = 7", ""),
    "an inequality": ("customer_id <> 1", ""),
    "an inequality, of what is rare": ("half <> 9", ""),
    "an inequality, of what half the rows have": ("half <> 0", ""),
    "an inequality in an arm of OR": ("state <> '3' or common", ""),
    "an expression nobody can judge": ("slow(customer_id) = 7", ""),
    "a value of a function of one's own, which may change": ("customer_id = slow(7)", ""),
    "leading column": ("customer_id = 7", "(customer_id, v)"),
    "descending": ("customer_id = 7", "(customer_id desc)"),
    "an included column": ("customer_id = 7", "(customer_id) include (v)"),
    "single indexes on both sides of OR": ("id = 7 or customer_id = 7", "(customer_id)"),
    "one of two single indexes": ('customer_id = 7 and "Order" = 7', "(customer_id)"),
    "partial, implied": ("customer_id = 7", "(customer_id) where customer_id is not null"),
    "partial, perhaps implied": ("customer_id = 7", "(customer_id) where customer_id < 100"),
    "partial, on another column": ("customer_id = 7", "(id) where customer_id = 7"),
    "on the expression": ("lower(email) = '7@x'", "(lower(email))"),
    "on the column as it is, by a cast of its type": ("email = '7@x'", "((email::varchar))"),
    "on the condition": ("customer_id = 7", "((customer_id = 7))"),
    "on another expression of the column": ("lower(email) = '7@x'", "(upper(email))"),
    "hash for a value": ("customer_id = 7", "using hash (customer_id)"),
    "brin": ("customer_id = 7", "using brin (customer_id)"),
    "a bigint for an int": ("customer_id = 7::bigint", "(customer_id)"),
    "prefix in collation C": ("raw like '7%'", "(raw)"),
    "prefix in an index of collation C": ("name like '7%'", '(name collate "C")'),
    "prefix with a pattern class": ("name like '7%'", "(name text_pattern_ops)"),
    "a pattern without wildcard": ("name like '7'", "(name)"),
    "a value with a pattern class": ("name = '7'", "(name text_pattern_ops)"),
    "NULL in an index": ("void is null", "(void)"),
    "a truth value that most rows have": ("common", ""),
    "a column of few values": ("state = '3'", ""),
    "a seventh of the rows": ("week = 7 % 7", ""),
    "a value that may be the one of half the rows": ("half = 7 + 0", ""),
    "a value that half the rows have": ("half in (0, 7)", ""),
    "most rows are NULL": ("void is null", ""),
    "a system column": ("tableoid = 'orders'::regclass", ""),
    "few rows are NULL": ("customer_id is not null", ""),
    "a wildcard in front of nothing": ("email like '%'", ""),
    "a wildcard in front, in a column of few values": ("state like '%3'", ""),
    "a pattern that ignores case, of what has none": ("email ilike '7@x%'", ""),
    "an open range of a cast": ("customer_id::text > '6'", ""),
    "a cast of a column of few values": ("week::text = '0'", ""),
    "on the very cast": ("customer_id::text = '7'", "((customer_id::text))"),
    "parts in their own index": ("tags @> array[7]", "using gin (tags)"),
    "an open range": ("customer_id > 6", ""),
    "an open range the other way round, twice said": ("7 <= customer_id and customer_id <> 9", ""),
    "an arm of OR with an open range": ('customer_id = 7 or "Order" > 6', ""),
    "values that a query gives": ("customer_id in (select id + 6 from generate_series(1, 3) id)", ""),
    "any value that a query gives": ("customer_id = any (select id + 6 from generate_series(1, 3) id)", ""),
}

#: A condition that finds row 7, the index that there is, and the keys that are missing; "": the index is not used.
UNSERVED = {
    "no index": ("customer_id = 7", "", "(customer_id)"),
    "a list": ("customer_id in (7, 8)", "", "(customer_id)"),
    "noise": ("customer_id = 7 and pg_sleep(0) is not null", "", "(customer_id)"),
    "an arm of OR without index": ("id = 7 or customer_id = 7", "", "(customer_id)"),
    "both arms of OR": ('customer_id = 7 or "Order" = 7', "", '(customer_id), public.orders ("Order")'),
    "a reserved word": ('"Order" = 7', "", '("Order")'),
    "values that tell most come first": ('customer_id = 7 and "Order" = 7', "", '("Order")'),
    "a column that all rows share is left out": ("customer_id = 7 and v = 0", "", "(customer_id)"),
    "second place behind many values": ("customer_id = 7", "(id, customer_id)", "(customer_id)"),
    "an expression of another column": ("customer_id = 7", "(abs(id))", "(customer_id)"),
    "a function of the column": ("email = '7@x'", "(lower(email))", "(email)"),
    "a calculation of the column": ("customer_id = 7", "(abs(customer_id))", "(customer_id)"),
    "partial, on what is not asked for": ("customer_id = 7", "(customer_id) where v = 0", "(customer_id)"),
    "a range with two ends": ("customer_id between 7 and 8", "", "(customer_id)"),
    "one value that a query gives": ("customer_id = (select 7)", "", "(customer_id)"),
    "an open range behind a value": ("customer_id = 7 and week > 6 - 7", "", "(customer_id)"),
    "hash for a range": ("customer_id < 8 and customer_id > 6", "using hash (customer_id)", "(customer_id)"),
    "another collation": ("name = '7'", '(name collate "C")', "(name)"),
    "a range with a pattern class": ("name between '7' and '70'", "(name text_pattern_ops)", "(name)"),
    "prefix in a language's collation": ("name like '7%'", "(name)", "(name text_pattern_ops)"),
    "a beginning, as a regular expression": ("name ~ '^7$'", "", "(name text_pattern_ops)"),
    "prefix in collation C": ("raw like '7%'", "", "(raw)"),
    "a pattern that is not known": ("name like '7' || ''", "", "(name text_pattern_ops)"),
    "beside a function of one's own": ("customer_id = 7 and v <= slow(7)", "", "(customer_id)"),
    "prefix of a char(n)": ("code like '7%'", "", "(code bpchar_pattern_ops)"),
    "lower without index": ("lower(email) = '7@x'", "(email)", "(lower(email))"),
    "a truth value that one row has": ("flag", "", "(flag)"),
    "a rare value of a column with a frequent one": ("half = 7", "", "(half)"),
    "a truth value that is tested": ("flag is true", "", "(flag)"),
    "an arm that no row meets": ("customer_id = 7 or '' is null or false", "", "(customer_id)"),
    "int as numeric": ("customer_id = 7.0", "(customer_id)", ""),
    "int as float": ("customer_id = 7::float8", "(customer_id)", ""),
    "char(n) as text": ("code = '7'::text", "(code)", ""),
}

#: A condition that finds row 7, the index that there is, why that is of no use, and what to do.
HIDDEN = {
    "a field": (
        "doc ->> 'id' = '7'",
        "(doc)",
        "field of a JSON column",
        "CREATE INDEX CONCURRENTLY ON public.orders ((doc ->> 'id'))",
    ),
    "a field of a document that has an index": (
        "doc ->> 'id' = '7'",
        "using gin (doc)",
        "field of a JSON column",
        "CREATE INDEX CONCURRENTLY ON public.orders ((doc ->> 'id'))",
    ),
    "a beginning with a choice": ("email ~ '^(7@x|8@x)$'", "", "regular expression", "(email gin_trgm_ops)"),
    "a value without blanks": ("lower(btrim(email)) = '7@x'", "", "wrapped in trim()", "on that very expression"),
    "a value that may be empty": ("nullif(email, '') = '7@x'", "", "wrapped in nullif()", "on that very expression"),
    "a field of a field, in a list": (
        "(doc -> 'inner' ->> 'deep_id') in ('7', 'x')",
        "",
        "field of a JSON column",
        "ON public.orders (((doc -> 'inner') ->> 'deep_id'))",
    ),
    "a field as a number": ("(doc ->> 'id')::int = 7", "", "field of a JSON", "(((doc ->> 'id')::integer))"),
    "a day of local time": ("local_time::date = '2026-01-07'", "", "cast of the column", "((local_time::date))"),
    "a day": (
        "at::date = '2026-01-07'",
        "",
        "cast of the column",
        "compare at itself with the two ends of the day, and CREATE INDEX CONCURRENTLY ON public.orders (at)",
    ),
    "a cast": (
        "customer_id::text = '7'",
        "(customer_id)",
        "cast of the column",
        "that very expression: CREATE INDEX CONCURRENTLY ON public.orders ((customer_id::text))",
    ),
    "a cast, in a list": ("customer_id::text in ('7', 'x')", "", "cast of the column", "index on that very expression"),
    "a calculation": ("customer_id + 1 = 8", "(customer_id)", "calculation with the column", "compare customer_id"),
    "a default": ("coalesce(customer_id, 0) = 7", "(customer_id)", "wrapped in coalesce()", "compare customer_id"),
    "a reserved word": ("\"Order\"::text = '7'", "", 'condition on "Order"', 'compare "Order" itself'),
    "a wildcard in front": (
        "email like '%7@x'",
        "(email text_pattern_ops)",
        "leading wildcard",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE INDEX CONCURRENTLY ON public.orders USING gin (email "
        "gin_trgm_ops)",
    ),
    "a pattern that ignores case": ("email ilike '%7@X'", "(email)", "ILIKE or regular", "(email gin_trgm_ops)"),
    "a value that ignores case": (
        "email ilike '7@X'",
        "",
        "ILIKE or regular",
        "compare lower(email) with a value in lower case, and CREATE INDEX CONCURRENTLY ON public.orders "
        "(lower(email))",
    ),
    "an equality that knows NULL": (
        "customer_id is not distinct from 7",
        "",
        "IS NOT DISTINCT FROM",
        "write customer_id = in the place of IS NOT DISTINCT FROM, and CREATE INDEX CONCURRENTLY ON public.orders "
        "(customer_id)",
    ),
    "a regular expression": ("email ~ '[7]@x'", "(email)", "regular expression", "(email gin_trgm_ops)"),
    "a part": ("tags @> array[7]", "(tags)", "no btree serves", "ON public.orders USING gin (tags)"),
}


def updates(shop: Scene, where: str, table: str = "orders") -> str:
    """The class of an update that is in progress, has changed the row 7, and holds it."""
    worker = shop.client().start(f"update {table} set v = slow(id) where {where}")
    row = f"select from {table} where id = 7 for update nowait"

    def holds() -> bool:
        try:
            shop.admin.execute(row)
        except Exception:
            return True
        return False

    shop.wait_until(holds)
    shop.client().block(f"update {table} set v = 2 where id = 7")
    return blocker(shop.dsn, worker.pid).classification


@pytest.fixture
def wide(scene: Scene) -> Scene:
    """A scene with a table of 20,000 rows and columns of many types, of which only `id` has an index."""
    scene.admin.execute(_WIDE)
    return scene


def facts_of(scene: Scene, where: str, index: str) -> BlockerReport:
    """What is said of a running update."""
    if index:
        scene.admin.execute(f"create index on orders {index}")
    worker = scene.client().start(f"update orders set v = slow(id) where {where}")
    scene.wait_until(lambda: "PgSleep" in worker.shown())
    scene.client().block("alter table orders add column c int")
    return blocker(scene.dsn, worker.pid)


def create(scene: Scene, facts: BlockerReport, values: str = "") -> None:
    """Do what is said to be done before it runs again, as it stands. `values`: what belongs in the place of `?`."""
    everybody = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    scene.admin.execute(f"select pg_terminate_backend(pid) {everybody}")
    scene.wait_until(lambda: not scene.admin.execute(f"select {everybody}").fetchall())
    told = facts.recommendation.reason.partition("before it runs again: ")[2]
    told = told.partition(", with the statement's own values")[0].replace("?", values) if values else told
    for statement in re.split("; ", told):
        scene.admin.execute(statement[statement.index("CREATE") :])


@pytest.mark.parametrize(("where", "index"), thin_cases(SERVED))
def test_it_is_not_a_scan_for_want_of_an_index(wide: Scene, where: str, index: str) -> None:
    wide.admin.execute("delete from orders where id < 7")
    assert facts_of(wide, where, index).classification == "long_query"


@pytest.mark.parametrize(("where", "index", "why", "advice"), thin_cases(HIDDEN))
def test_a_plain_index_is_of_no_use(wide: Scene, where: str, index: str, why: str, advice: str) -> None:
    facts = facts_of(wide, where, index)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    assert why in said(facts)
    assert advice in facts.recommendation.reason
    if "CREATE" in facts.recommendation.reason:
        create(wide, facts)


def test_an_open_range_is_said_to_be_in_doubt(wide: Scene) -> None:
    facts = facts_of(wide, "customer_id > 6", "")
    assert facts.classification == "long_query"
    assert "no index on public.orders (customer_id): an index helps only if the range is selective" in said(facts)
    assert "CREATE INDEX" not in facts.recommendation.reason


def test_a_small_table_may_be_read_as_a_whole(shop: Scene) -> None:
    assert updates(shop, "v = 0 and id >= 7", "other") == "long_query"


@pytest.mark.parametrize(("where", "index", "missing"), thin_cases(UNSERVED))
def test_it_reads_everything_to_find_its_rows(wide: Scene, where: str, index: str, missing: str) -> None:
    facts = facts_of(wide, where, index)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    if missing:
        assert f"no index on public.orders {missing};" in said(facts) + ";"
        create(wide, facts)
    else:
        assert "is of no use, for the column" in said(facts)
        assert "CREATE INDEX" not in facts.recommendation.reason


def test_the_planner_agrees(wide: Scene) -> None:
    """What we call served it may search an index for; for what we call unserved it has none to search."""
    wide.admin.execute("set enable_seqscan = off")

    def searches(where: str, index: str) -> bool:
        with wide.admin.transaction(force_rollback=True):
            if index:
                wide.admin.execute(f"create index on orders {index}")
            plan = str(wide.admin.execute(f"explain (costs off) select * from orders where {where}").fetchall())
        return ("Index Cond" in plan or "Recheck Cond" in plan) and "Skip" not in plan

    # An index that is led by another column is searched from end to end where nothing else is allowed.
    wrong = [name for name, (where, index, _) in UNSERVED.items() if "(id, " not in index and searches(where, index)]
    wrong += [name for name, (where, index, *_) in HIDDEN.items() if searches(where, index)]
    doubtful = {"partial, perhaps implied", "partial, on another column", "on another expression of the column"}
    wrong += [
        name for name, (where, index) in SERVED.items() if index and name not in doubtful and not searches(where, index)
    ]
    assert wrong == []


def test_an_index_that_is_not_valid_does_not_serve(shop: Scene) -> None:
    shop.admin.execute("create index half on orders (customer_id)")
    shop.admin.execute("update pg_index set indisvalid = false where indexrelid = 'half'::regclass")
    assert updates(shop, "customer_id = 7") == "unindexed_scan"


@pytest.mark.since(18)
def test_a_btree_is_searched_without_its_first_column_if_that_has_few_values(shop: Scene) -> None:
    shop.admin.execute("create index on orders (v, customer_id)")
    assert updates(shop, "customer_id = 7") == "long_query"


@pytest.mark.until(17)
def test_before_18_a_btree_is_not_searched_without_its_first_column(shop: Scene) -> None:
    shop.admin.execute("create index on orders (v, customer_id)")
    assert updates(shop, "customer_id = 7") == "unindexed_scan"


def test_it_says_the_table_its_size_and_the_index_to_create(shop: Scene) -> None:
    worker = shop.client().start("update orders set v = slow(id) where customer_id = 7")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("alter table orders add column c int")
    facts = blocker(shop.dsn, worker.pid)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    assert "about 20,000 rows: no index on public.orders (customer_id)" in said(facts)
    assert facts.recommendation.action == "cancel"
    assert "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)" in facts.recommendation.reason


def test_a_table_that_was_never_analysed_is_known_by_its_counters(shop: Scene) -> None:
    shop.admin.execute("create table fresh (id int primary key, customer_id int, v int)")
    shop.admin.execute("insert into fresh select g, g % 1000, 0 from generate_series(1, 20000) g")
    shop.wait_until(
        lambda: (
            shop.admin.execute("select n_live_tup > 0 from pg_stat_user_tables where relname = 'fresh'").fetchone()
            == (True,)
        )
    )
    assert updates(shop, "customer_id = 7", "fresh") == "unindexed_scan"


# Sizes.

_PARTITIONED = """
    create table events (id int, day int, kind int, v int default 0) partition by range (day);
    create table events_1 partition of events for values from (0) to (10);
    create table events_2 partition of events for values from (10) to (20);
    insert into events select g, g % 20, g % 1000 from generate_series(1, 24000) g;
    create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(0.3); return $1; end';
    analyze
"""


def on_events(scene: Scene, where: str) -> BlockerReport:
    worker = scene.client().start(f"update events set v = slow(id) where {where}")
    scene.wait_until(lambda: "PgSleep" in worker.shown())
    scene.client().block("alter table events add column c int")
    return blocker(scene.dsn, worker.pid)


def test_partitions_together_are_the_table(scene: Scene) -> None:
    scene.admin.execute(_PARTITIONED)
    facts = on_events(scene, "kind = 7")
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.events")
    assert "about 24,000 rows" in said(facts)
    first, last = "CREATE INDEX CONCURRENTLY ON public.events_1 (kind)", "CREATE INDEX ON public.events (kind)"
    assert f"{first}; CREATE INDEX CONCURRENTLY ON public.events_2 (kind); {last}" in facts.recommendation.reason


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("kind = 7", "on events (kind)"),  # on every partition
        ("kind = 7", "on events_1 (kind)"),  # half of the rows are not too many
        ("kind > 6 and day = 7", ""),  # one partition has 1,200 rows of that day, and is read for them
        ("day < 10", ""),  # all of a partition
    ],
)
def test_partitions_that_are_indexed_or_left_out_do_not_count(scene: Scene, where: str, index: str) -> None:
    scene.admin.execute(_PARTITIONED.replace("24000", "18000"))
    if index:
        scene.admin.execute(f"create index {index}")
    assert on_events(scene, where).classification == "long_query"


def test_an_index_on_the_other_partition_is_of_no_use(scene: Scene) -> None:
    scene.admin.execute(_PARTITIONED)
    scene.admin.execute("create index on events_1 (kind)")
    facts = on_events(scene, "kind = 7")
    assert (facts.classification, "about 12,000 rows" in said(facts)) == ("unindexed_scan", True)


def test_tables_that_inherit_count_with_it(scene: Scene) -> None:
    scene.admin.execute(
        "create table events (id int, kind int, v int); create table old () inherits (events);"
        "insert into events select g, g from generate_series(1, 6000) g;"
        "insert into old select g, g from generate_series(1, 6000) g;"
        "create function slow(int) returns int language plpgsql as 'begin perform pg_sleep(0.3); return $1; end';"
        "analyze"
    )
    facts = on_events(scene, "kind = 7")
    assert (facts.classification, "about 12,000 rows" in said(facts)) == ("unindexed_scan", True)


# What a role may see.


def test_without_statistics_no_index_is_called_for(wide: Scene) -> None:
    """A role that may not read the table sees no statistics of it: a quarter of the rows looks like one."""
    dsn = wide.role(f"watcher_{wide.admin.info.backend_pid}", "pg_monitor")
    worker = wide.client().start("update orders set v = slow(id) where state = '3' and id > 0 - id")
    wide.wait_until(lambda: "PgSleep" in worker.shown())
    wide.client().block("alter table orders add column c int")
    assert blocker(wide.dsn, worker.pid).classification == "long_query"
    facts = blocker(dsn, worker.pid)
    assert facts.classification == "long_query"
    assert "no index on public.orders (state): whether one would help is unknown" in said(facts)
    assert "CREATE INDEX" not in facts.recommendation.reason


def test_an_index_on_the_column_is_a_sign_that_it_tells(wide: Scene) -> None:
    """An index on a column of few values is rare; what keeps it from being used is seen without statistics."""
    dsn = wide.role(f"watcher_{wide.admin.info.backend_pid}", "pg_monitor")
    wide.admin.execute("create index on orders (customer_id)")
    worker = wide.client().start("update orders set v = slow(id) where customer_id = 7.0")
    wide.wait_until(lambda: "PgSleep" in worker.shown())
    wide.client().block("alter table orders add column c int")
    assert blocker(dsn, worker.pid).classification == "unindexed_scan"


def test_the_value_that_is_asked_about_is_found_nowhere(wide: Scene) -> None:
    where = "half = 7 and state in ('zq7hunter2', '3')"
    worker = wide.client().start(f"select slow(id) from orders where {where} for share")
    other = wide.client().start("select slow(id) from orders where state in ('zq7hunter2', '3') for share")
    wide.wait_until(lambda: "PgSleep" in other.shown())
    wide.client().block("alter table orders add column c int")
    seen = snapshot(wide.dsn)
    shares = {(pid, each.column): each.share for pid, found in seen.value_shares.items() for each in found}
    assert shares.keys() == {(worker.pid, "half"), (worker.pid, "state"), (other.pid, "state")}
    assert shares[worker.pid, "half"] == pytest.approx(0.0, abs=0.001)
    assert shares[other.pid, "state"] == pytest.approx(0.25, abs=0.05)
    texts = {pid: replace(session, statement="") for pid, session in seen.sessions.items()}
    assert "zq7" not in repr(replace(seen, sessions=texts))


def test_a_type_of_users_is_never_written_out(wide: Scene) -> None:
    """Its output function is theirs. The value is then not known, which says nothing against the old verdict."""
    wide.admin.execute("create type pair as (a int, b int)")
    wide.admin.execute("alter table orders add p pair; update orders set p = row(id % 3, 1)::pair; analyze orders")
    worker = wide.client().start("update orders set v = slow(id) where p = '(1,1)'::pair")
    wide.wait_until(lambda: "PgSleep" in worker.shown())
    wide.client().block("alter table orders add column c int")
    seen = snapshot(wide.dsn)
    assert (seen.value_shares, seen.unread) == ({}, ())
    assert blocker(wide.dsn, worker.pid).classification == "long_query"


def test_statistics_are_figures_and_never_values(wide: Scene) -> None:
    wide.admin.execute("update orders set email = 'secret' where id % 10 = 0; analyze orders")
    worker = wide.client().start("select slow(id) from orders where email = 'secret' for update")
    wide.wait_until(lambda: "PgSleep" in worker.shown())
    wide.client().block("alter table orders add column c int")
    shown = snapshot(wide.dsn)
    [table] = [each for each in shown.relations.values() if each.name == "public.orders"]
    assert table.columns is not None
    assert table.columns["email"].top_share == pytest.approx(0.1, abs=0.02)
    assert "secret" not in repr(shown.relations)


def test_a_reading_statement_that_blocks_a_migration_is_one_too(wide: Scene) -> None:
    worker = wide.client().start("select slow(id) from orders where customer_id = 7")
    wide.wait_until(lambda: "PgSleep" in worker.shown())
    wide.client().block("alter table orders add column c int")
    assert blocker(wide.dsn, worker.pid).classification == "unindexed_scan"


@pytest.mark.parametrize(
    ("where", "classification"),
    [
        ("o.id = side.number + 6 and o.v = 0", "long_query"),  # found by the primary key
        ("side.number = id - 6 and o.customer_id = 7", "long_query"),  # which may be meant here too
        ("o.customer_id = side.number + 6", "long_query"),  # of how many rows is not known
        ("o.customer_id = 7 and o.v = side.number - 1", "unindexed_scan"),
        ("o.customer_id = 7 and side.number = 1", "unindexed_scan"),
    ],
)
def test_an_update_from_another_table(shop: Scene, where: str, classification: str) -> None:
    shop.admin.execute("create table side (number int); insert into side values (1)")
    worker = shop.client().start(f"update orders o set v = 1 from side where {where} and pg_sleep(30) is not null")
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("alter table orders add column c int")
    assert blocker(shop.dsn, worker.pid).classification == classification


def test_rows_that_are_moved_to_another_table_are_searched_too(shop: Scene) -> None:
    worker = shop.client().start(
        "with moved as (delete from orders where customer_id = 7 and slow(id) > 0 returning id, v) "
        "insert into other select id + 100, v from moved"
    )
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("alter table orders add column c int")
    facts = blocker(shop.dsn, worker.pid)
    assert (facts.classification, facts.relation) == ("unindexed_scan", "public.orders")
    assert "CREATE INDEX CONCURRENTLY ON public.orders (customer_id)" in facts.recommendation.reason


def test_of_two_tables_of_a_name_the_one_that_is_written_is_meant(shop: Scene) -> None:
    shop.admin.execute("create schema archive; create table archive.orders (customer_id int, v int)")
    worker = shop.client("update archive.orders set v = 1").start(
        "update public.orders set v = slow(id) where customer_id = 7"
    )
    shop.wait_until(lambda: "PgSleep" in worker.shown())
    shop.client().block("alter table orders add column c int")
    assert blocker(shop.dsn, worker.pid).relation == "public.orders"
