"""Which conditions an index could serve: in words, and against the planner of a real server."""

import logging

import pytest

from pgdoctor.sqltext.conditions import NO_COLUMN, Alternative, Filter, Search
from pgdoctor.sqltext.statement import Conditions, read_searches
from tests.diagnosis.asking import conditions
from tests.scenes import Scene


def where(condition: str) -> Conditions:
    return conditions(f"select * from orders where {condition}")


def plain(*columns: str) -> Filter:
    return Filter(tuple(Alternative((Search(column),)) for column in columns))


# Nothing may be concluded from these.
@pytest.mark.parametrize(
    "condition",
    [
        "",
        "a = 1 and b = 'cut",
        r"a = 'c:\' or b = '",  # where the literal ends depends on a setting
        "a = 1a",
        "ctid = '(0,1)'",  # needs no index
        "(a = 1) = true",  # the planner makes a = 1 of it
        "case when a = 1 then true end",
        "current of c",
        "a = 1 and not (b < 1 or b > 2)",
        "(a = 1 and (b = 2 or c = 3)) or d = 4",
        "(" * 9 + "a = 1" + ")" * 9,
        " and ".join(f"a{number} = 1" for number in range(400)),
        "a = ",
        "= 1",
        "a = = 1",
        f"{'a' * 20_000} = 1",
    ],
)
def test_nothing_is_known_of_what_cannot_be_read(condition: str) -> None:
    found = where(condition)
    assert (found.has_where, found.filters_known, found.filters) == (True, False, ())


def test_a_cut_condition_is_not_known_but_one_before_the_cut_is() -> None:
    assert not conditions("delete from orders where a = 1 and b", truncated=True).filters_known
    assert not conditions("delete from orders where a = 1 ", truncated=True).filters_known
    assert not conditions("select * from orders ord", truncated=True).filters_known
    assert conditions("select * from orders where a = 1 order by b, c, d", truncated=True).filters == (plain("a"),)
    assert conditions("select * from orders order by b, c, d", truncated=True).filters_known


def test_without_a_condition_that_is_known() -> None:
    found = conditions("update orders set a = 1")
    assert (found.scanned, found.has_where, found.filters_known, found.filters) == ("orders", False, True, ())


@pytest.mark.parametrize(
    "text", ["insert into orders values (1)", "lock orders", "create index on orders (a) where b = 1"]
)
def test_statement_without_a_search_has_no_conditions(text: str) -> None:
    found = conditions(text)
    assert (found.scanned, found.filters_known, found.has_where) == ("", False, False)


# Other tables.


def test_conditions_on_other_tables_are_left_out() -> None:
    found = conditions(
        "select * from orders o join c on c.id = o.cid where o.a = 1 and c.b = 2 and o.d = c.d and e = 3"
    )
    assert (found.scanned, found.filters, found.is_joined) == ("orders", (plain("a"),), True)


@pytest.mark.parametrize(
    "text",
    [
        "update orders set a = 1 from c where c.id = orders.cid",
        "delete from orders using c where c.id = orders.cid",
        "merge into orders using c on c.id = orders.cid when matched then delete",
        "delete from orders where exists (select 1 from c where c.id = orders.cid)",
        "delete from orders where not exists (select 1 from c where c.id = cid)",
        "delete from orders where a = (select max(a) from c where c.id = orders.cid)",
        "select * from (select * from orders) o join c on c.id = o.cid",
    ],
)
def test_a_join_is_known_as_one(text: str) -> None:
    found = conditions(text)
    assert (found.scanned, found.is_joined, found.filters) == ("orders", True, ())


def test_one_value_of_a_query_is_no_join() -> None:
    found = conditions("delete from orders where a = 1 and d = (select max(d) from c)")
    assert (found.filters, found.is_joined) == ((plain("a"), plain("d")), False)


@pytest.mark.parametrize("condition", ["a in (select a from c)", "a = any (select a from c)", "a not in (select 1)"])
def test_the_values_of_a_query_are_joined(condition: str) -> None:
    found = conditions(f"delete from orders where {condition} and d = 1")
    assert (found.filters, found.is_joined) == ((plain("d"),), True)


def test_a_condition_around_a_query_leaves_the_inside_unknown() -> None:
    inside = "select * from orders where a = 1"
    assert conditions(f"select * from ({inside}) o").filters == (plain("a"),)
    assert not conditions(f"select * from ({inside}) o where b = 2").filters_known
    assert not conditions(f"with o as ({inside}) select * from o where b = 2").filters_known


@pytest.mark.parametrize(
    ("text", "scanned"),
    [
        ("select * from public.orders o where o.a = 1", "public.orders"),
        ("select * from public.orders where orders.a = 1", "public.orders"),
        ("select * from public.orders where public.orders.a = 1", "public.orders"),
        ('update "Orders" as "O" set b = 1 where "O".a = 1', "Orders"),
        ("delete from only orders o where o.A = 1", "orders"),
        ("insert into archive select * from orders where a = 1 on conflict (b) where c do update set d = 1", "orders"),
        ("insert into archive (x) with q as (select 1) select * from orders where a = 1", "orders"),
        ("merge into orders o using s on s.id = o.id and o.a = 1 when matched then delete", "orders"),
        ("with q as (select * from orders where a = 1) select * from q", "orders"),
        ("explain analyze select * from orders where a = 1", "orders"),
        ("select case when x then 1 end from orders where a = 1 group by b", "orders"),
        ("(select * from orders where a = 1) union all select * from other where b = 2", "orders"),
        ("select * from orders where a = 1 for update", "orders"),
    ],
)
def test_the_table_that_is_searched(text: str, scanned: str) -> None:
    found = conditions(text)
    assert (found.scanned, found.filters, found.filters_known) == (scanned, (plain("a"),), True)


# Forms of text that clients send.


@pytest.mark.parametrize(
    ("condition", "columns"),
    [
        ("a in ($1,$2,$3)", "a"),  # a dollar quote to sqlglot
        ("a=$1 and b=$2", "a b"),
        ("a = ? and b in (?, ?)", "a b"),  # as redacted
        ("a > now() - interval ? and b like ?", "a b"),
        (f"a in ({', '.join('1' * 1_500)})", "a"),
        ("a = 'it''s' and b = E'it\\'s' and c = $x$it's$x$", "a b c"),
        ("a = 1 -- and b = 2\n and /* c = 3 and */ d = 4", "a d"),
        ("comment = 'x' and value = 1 and key = 2 and date = 3", "comment value key date"),
        ('"Order" = 1 and "a b" = 2', "Order|a b"),
    ],
)
def test_forms_that_clients_send(condition: str, columns: str) -> None:
    names = columns.split("|" if "|" in columns else " ")
    assert [arm.columns for each in where(condition).filters for arm in each.arms] == [(name,) for name in names]


@pytest.mark.parametrize(
    "text",
    [
        "delete from orders where a = 1 and b in (select b from lines where d = 2)",  # few of them are looked up
        "delete from orders where b not in (select b from lines where d = 2)",
        "delete from orders where b = (select max(b) from lines where d = orders.a)",
        "delete from orders where b = (select max(b) from lines where d = 2 and a = id)",  # perhaps that of orders
        "with l as (select * from lines where d = 2) delete from orders using l where orders.b = l.b and l.c = 3",
        "select * from (select * from lines where d = 2) l where l.c = 3",
        "insert into orders select * from lines l where exists (select from orders where d = 2)",
    ],
)
def test_a_query_inside_that_may_be_narrowed_is_left_alone(text: str) -> None:
    assert not any(asked.filters == (plain("d"),) for asked in read_searches(text))


@pytest.mark.parametrize(
    "text",
    [
        "with l as (delete from lines where d = 2 returning *) insert into old select * from l",
        "with l as (update lines set c = 1 where d = 2 returning b) delete from orders using l where orders.b = l.b",
        "with l as (select b from lines where d = 2 for update) delete from orders using l where orders.b = l.b",
        "delete from orders where b = (select max(b) from lines where d = 2)",
        "delete from orders where b in (select b from lines where d = 2)",
    ],
)
def test_a_query_inside_that_is_run_as_it_stands(text: str) -> None:
    first, *others = read_searches(text)
    assert first == conditions(text)
    assert [(asked.scanned, asked.filters) for asked in others] == [("lines", (plain("d"),))]


@pytest.mark.parametrize(
    ("text", "tied"),
    [
        ("select * from orders o join lines l on l.a = o.b where o.d = 2", None),  # ON may tie it as well
        ("select * from orders o, lines l where l.a = o.b and o.d = 2", None),
        ("merge into orders o using lines l on l.a = o.b and o.d = 2 when matched then delete", None),
        ("delete from orders o using lines l where l.a = o.b and b and o.d = 2", ("b",)),
        ("update orders set v = 1 from lines l where l.a = id and orders.d = 2", ("id",)),  # whose id it is unknown
        ("update orders set v = 1 from lines l where l.a = orders.a + orders.b and orders.d = 2", ("a", "b")),
        ("select * from orders where d = 2 and exists (select from lines l where l.a = orders.b)", ("b",)),
        ("select * from orders where d = 2 and b in (select a from lines)", ("b", "a")),
        ("select * from orders where d = 2", ()),
    ],
)
def test_join_conditions_tie_a_table_to_others(text: str, tied: tuple[str, ...] | None) -> None:
    assert conditions(text).tied == tied


def test_rows_that_are_fetched_by_their_place_need_no_index() -> None:
    text = "delete from orders where ctid in (select ctid from orders where a = 1 limit 9) and d = 2"
    assert not conditions(text).filters_known


def test_queries_inside_are_looked_at_up_to_a_bound() -> None:
    assert len(read_searches("select 1 where " + " and ".join(["1 = (select a from t where b = 2)"] * 100))) < 10


def test_no_literal_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in ("a = 'secret' and b[1] = 'secret'", "a = = 'secret'", "a = 'secret' frobnicate 'secret'"):
            assert "secret" not in repr(where(text))
    assert caplog.records == []


# Arms.


def test_or_has_an_arm_for_each_side() -> None:
    assert where("a = 1 and (b = 2 or c = 3)").filters == (plain("a"), plain("b", "c"))
    assert where("(a = 1 and b = 2) or c = 3").filters == (
        Filter((Alternative((Search("a"), Search("b"))), Alternative((Search("c"),)))),
    )


def test_a_condition_without_a_column_is_noise() -> None:
    noise = Filter((Alternative(obstacle=NO_COLUMN),))
    assert where("pg_sleep(1) is not null and 1 = 1 and a = 2").filters == (noise, noise, plain("a"))


#: A condition, and the words why no plain btree serves it.
OBSTACLES = [
    ("a <> 1", "<> cannot use an index"),
    ("a not in (1, 2)", "NOT IN cannot use an index"),
    ("not (a = 1)", "<> cannot use an index"),
    ("b not like 'x%'", "a negation cannot use an index"),
    ("a is distinct from 1", "IS DISTINCT FROM cannot use an index"),
    ("a is not distinct from 1", "IS NOT DISTINCT FROM cannot use an index"),
    ("ts::date = '2020-01-01'", "cast of the column"),
    ("a + 1 = 2", "calculation with the column"),
    ("-a = 1", "calculation with the column"),
    ("b || 'x' = 'yx'", "calculation with the column"),
    ("lower(b) = 'x'", "column is wrapped in lower()"),
    ("coalesce(a, 0) = 1", "column is wrapped in coalesce()"),
    ("date_trunc('day', ts) = '2020-01-01'", "column is wrapped in date_trunc()"),
    ("extract(year from ts) = 2020", "column is wrapped in extract()"),
    ("abs(a) = 1", "column is wrapped in abs()"),
    ("b like '%x'", "leading wildcard"),
    ("b like '_x'", "leading wildcard"),
    ("b ilike 'x%'", "ILIKE or regular expression"),
    ("b ~ 'x'", "ILIKE or regular expression"),
    ("b ~* '^x'", "ILIKE or regular expression"),
    ("b like any (array['x%', 'y%'])", "one of several patterns"),
    ("j->>'k' = 'v'", "field of a JSON column"),
    ("j @> '{}'", "an operator that no btree serves"),
    ("j ? 'k'", "an operator that no btree serves"),
    ("to_tsvector('simple', b) @@ to_tsquery('x')", "column is wrapped in to_tsvector()"),
    ("tags && array[1]", "an operator that no btree serves"),
    ("case a when 1 then true end", "the column is part of an expression"),
    ("1 = any (tags)", "search inside of an array column"),
    ("tags[1] = 1", "element of the column"),
    ("ts at time zone 'utc' = '2020-01-01'", "time zone conversion of the column"),
    ("b collate \"POSIX\" = 'x'", "another collation than the column's"),
    ("a = d", "compares columns of the same row"),
    ("a in (1, d)", "compares columns of the same row"),
    ("a between d and d", "compares columns of the same row"),
    ("a + 1 between 1 and 2", "calculation with the column"),
    ("a = random()", "compared with a volatile function"),
    ("ts < clock_timestamp()", "compared with a volatile function"),
]

#: A condition, and the column that an index on it is searched by.
SERVED = [
    ("a = 1", "a"),
    ("1 = a", "a"),
    ("a in (1, 2)", "a"),
    ("a = any ('{1,2}')", "a"),
    ("a = any (array[1, 2])", "a"),
    ("a < 1", "a"),
    ("a between 1 and 2", "a"),
    ("a between 1 and d", "a"),
    ("1 between a and d", "a"),
    ("a is null", "a"),
    ("a is not null", "a"),
    ("a = -1", "a"),
    ("a = 1 + 2", "a"),
    ("a = 1::bigint", "a"),
    ("a = (select 1)", "a"),
    ("not (a < 1)", "a"),
    ("(a, d) = (1, 2)", "a"),
    ("(a, d) > (1, 2)", "a"),
    ("row (a, d) = row (1, 2)", "a"),
    ("flag", "flag"),
    ("not flag", "flag"),
    ("flag is true", "flag"),
    ("flag <> true", "flag"),
    ("b like 'x%'", "b"),
    ("b like 'x'", "b"),
    ("b ~ '^x'", "b"),
    ("b similar to 'x%'", "b"),
    ("b = current_user", "b"),
    ("b = session_user", "b"),
    ("b = upper('x')", "b"),
    ("ts > now() - interval '1 day'", "ts"),
    ("ts = date '2020-01-01'", "ts"),
    ("ts >= current_date", "ts"),
]


@pytest.mark.parametrize(("condition", "obstacle"), OBSTACLES, ids=[condition for condition, _ in OBSTACLES])
def test_no_plain_index_serves(condition: str, obstacle: str) -> None:
    (found,) = where(condition).filters
    assert [(arm.columns, arm.obstacle) for arm in found.arms] == [((), obstacle)]
    assert found.arms[0].mentions


@pytest.mark.parametrize(
    "condition", ["a::text = '1'", "cast(a as text) = '1'", "'1' = a::text", "a::varchar in ('1', '2')"]
)
def test_cast_to_text_matters_unless_the_column_is_text(condition: str) -> None:
    (found,) = where(condition).filters
    assert found.arms[0].columns == ("a",)
    otherwise = found.arms[0].unless_text
    assert otherwise is not None
    assert (otherwise.obstacle, otherwise.helper, otherwise.mentions) == ("cast of the column", "expression", ("a",))


@pytest.mark.parametrize(
    ("condition", "tie"),
    [
        ("b in (select c from lines)", ("b", "lines", "lines", "c", 0)),
        ("b = any (select l.c from lines l where l.d = 2)", ("b", "lines", "l", "c", 1)),
        ("exists (select 1 from public.lines l where l.c = orders.b and d = 2)", ("b", "public.lines", "l", "c", 1)),
        ("exists (select from lines l where l.c = orders.b) and a = 1", ("b", "lines", "l", "c", 0)),
        ("not exists (select from lines l where l.c = orders.b)", None),
        ("b not in (select c from lines)", None),
        ("b in (select c from lines limit 9)", None),
        ("b in (select max(c) from lines)", None),
        ("b in (select c from lines union select 2)", None),
        ("b in (select c from lines, more)", None),
        ("b in (select l.c from lines l where l.d = orders.a)", None),
        ("b in (select c from lines) or a = 1", None),
        ("b in (select c from lines) and d in (select c from lines)", None),
        ("exists (select from lines l where l.c > orders.b)", None),
        ("exists (select from lines l where l.c = orders.b and l.d = orders.a)", None),
        ("exists (select from lines l where l.c = orders.b group by l.d)", None),
    ],
)
def test_query_in_a_condition_ties_one_column(condition: str, tie: tuple[str, str, str, str, int] | None) -> None:
    found = where(condition).tie
    assert (found and (found.column, found.table, found.other, found.other_column, len(found.filters))) == tie


@pytest.mark.parametrize(("condition", "column"), SERVED, ids=[condition for condition, _ in SERVED])
def test_a_plain_index_serves(condition: str, column: str) -> None:
    (found,) = where(condition).filters
    assert [arm.obstacle for arm in found.arms] == [""]
    assert column in found.arms[0].columns


@pytest.mark.parametrize(
    ("condition", "search"),
    [
        ("a = 1", Search("a")),
        ("a < 1", Search("a", "<")),
        ("a between 1 and 2", Search("a", "<", is_bounded=True)),
        ("a between 1 and d", Search("a", "<")),
        ("1 between a and d", Search("a", "<")),
        ("a is null", Search("a", "null")),
        ("a is not null", Search("a", "not null")),
        ("b like 'x%'", Search("b", "prefix")),
        ("b like 'x'", Search("b")),  # no wildcard: any index finds it
        ("b like $1", Search("b", "pattern")),
        (r"b like E'x\\%'", Search("b")),
        ("b like 'x!%' escape '!'", Search("b", "pattern")),
        ("b ~ '^x'", Search("b", "pattern")),  # '^x$' is a value
        ("a = 5.0", Search("a", "=", "numeric")),
        ("a = -5.0", Search("a", "=", "numeric")),
        ("a = 5::numeric", Search("a", "=", "numeric")),
        ("a in (1, 2.5)", Search("a", "=", "numeric")),
        ("a in ($1, $2, $3)", Search("a", values=3)),
        ("a = any (array[1, 2])", Search("a", values=2)),
        ("a = 1::float8", Search("a", "=", "float")),
        ("a = 'x'::text", Search("a", "=", "text")),
        ("a = 1::bigint", Search("a")),
    ],
)
def test_index_is_searched_for_its_columns(condition: str, search: Search) -> None:
    assert where(condition).filters == (Filter((Alternative((search,)),)),)


def test_another_collation_of_the_value_leaves_the_condition_unknown() -> None:
    assert not where("b = 'x' collate \"C\"").filters_known


def test_an_index_on_lower_would_be_searched_for_a_value() -> None:
    functions = {
        condition: [arm.function for each in where(condition).filters for arm in each.arms]
        for condition in ("lower(b) = 'x'", "upper(b) in ('x', 'y')", "lower(b) > 'x'", "lower(b) = b", "abs(a) = 1")
    }
    assert list(functions.values()) == [["lower"], ["upper"], [""], [""], [""]]


@pytest.mark.parametrize(
    ("condition", "helper"),
    [
        ("a::text <> '1'", ""),
        ("a::text > '1'", ""),  # how much an open range finds is not known
        ("a::text = d::text", ""),  # columns of the same row
        ("a::text in ('1', d::text)", ""),
        ("a::bool = true", ""),
        ("extract(year from ts) = 2020", ""),  # few values
        ("a % 10 = 1", ""),
        ("extract(year from ts::date) = 2020", ""),
        ("length(trim(b)) = 3", ""),
        ("(a + 1)::text = '2'", "expression"),
        ("length(b) = 1", ""),
        ("own(a) = 1", ""),  # a function that a user has made may do anything
        ("b like '%'", ""),  # all rows
        ("b like '%_%'", ""),
        ("b not like '%x'", ""),
        ("b not ilike 'x'", ""),
        ("lower(b) like '%x'", ""),
        ("b !~ 'x'", ""),
        ("j ? 'k'", ""),
        ("ts::date = current_date", "expression"),
        ("ts::date between '2020-01-01' and '2020-01-02'", "expression"),
        ("(ts at time zone 'utc') = '2020-01-01'", "expression"),
        ("a + 1 = 2", "expression"),
        ("coalesce(a, 0) = 1", "expression"),
        ("j->>'k' = 'v'", "expression"),
        ("b like '%x'", "trigrams"),
        ("b ilike '7%'", ""),  # digits have no case
        ("b ilike $1", ""),
        ("b ~* '^7'", ""),
        ("b ilike '%x%'", "trigrams"),
        ("b ~* 'x'", "trigrams"),
        ("b ~ 'x'", "trigrams"),
        ("tags && array[1]", "gin"),
        ("j @> '{}'", "gin"),
    ],
)
def test_advice_names_an_index_behind_an_obstacle(condition: str, helper: str) -> None:
    assert [arm.helper for each in where(condition).filters for arm in each.arms] == [helper]


def test_the_planner_agrees(scene: Scene) -> None:
    """With sequential scans out of favour it searches an index for what we call served, and for nothing else."""
    scene.admin.execute(
        'create table orders (a int, b text collate "C", d int, ts timestamptz, flag bool, j jsonb, tags int[]);'
        "insert into orders select i, i, i, now(), i % 2 = 0, '{}', '{}' from generate_series(1, 1000) i;"
        "create index on orders (a); create index on orders (b); create index on orders (ts);"
        "create index on orders (flag); analyze orders; set enable_seqscan = off"
    )

    def is_served(condition: str) -> bool:
        rows = scene.admin.execute(f"explain (costs off) select * from orders where {condition}").fetchall()
        return any("Index Cond" in str(row) for row in rows)

    wrong = [condition for condition, _ in SERVED if not is_served(condition)]
    wrong += [condition for condition, _ in OBSTACLES if is_served(condition)]
    assert wrong == []


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("a <> 1", ["1"]),
        ("1 <> a", ["1"]),
        ("not (a = 1)", ["1"]),
        ("a not in (1, 'x')", ["1", "'x'"]),
        ("not a in (1)", ["1"]),
        ("a <> $1", []),
        ("a <> b", []),
        ("a <> 1 + 1", []),
        ("(a, b) <> (1, 2)", []),
        ("a <> true", []),
        ("a not in (1, b)", []),
        ("a <> all (array[1, 2])", []),
    ],
)
def test_values_that_no_wanted_row_has_are_known(condition: str, values: list[str]) -> None:
    text = f"select * from orders where {condition}"
    [found] = where(condition).filters
    [arm] = found.arms
    assert [text[place : place + len(value)] for place, value in zip(arm.excluded, values, strict=True)] == values
    assert (arm.helper == "others") is bool(values)
