"""What a statement's text says, and what it must not be taken to say."""

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgdoctor.sqltext import statement_kinds
from pgdoctor.sqltext.statement import MOST_STATEMENTS, Conditions, Statement, read_searches, read_statement
from tests.diagnosis.asking import conditions
from tests.examples import examples


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ";;",
        "-- nothing",
        "/* nothing",
        "<insufficient privilege>",
        "hunter2",
        "'lock table a'",
        "1",
        "\x00",
        "with",
    ],
)
def test_text_without_a_statement_gives_nothing(text: str) -> None:
    found = read_statement(text)
    assert found.kind == "unknown"
    assert found.targets == ()
    assert conditions(text) == Conditions()
    properties = (found.is_ddl, found.is_maintenance, found.is_lock_table, found.ends_transaction)
    assert not any(properties)


#: Words that are elsewhere than where they would count.
NOT_WHAT_THEY_MENTION = [
    ("select 'lock table orders'", "select"),
    ("select 1 -- ; drop table orders", "select"),
    ("select 1 /* ; lock orders */", "select"),
    ("select $$; vacuum full$$", "select"),
    ('select * from "lock table"', "select"),
    ("select drop_table, truncate from lock", "select"),
    ("select substring(name for 3) from orders", "select"),
    ("update lock set truncate = 1", "update"),
    ("insert into vacuum select * from analyze_me", "insert"),
    ("with update as (select 1) select * from update", "select"),
    ("vacuum (full false, analyze) orders", "vacuum"),
    ("create table t (a int generated always as (b) stored)", "create_table"),
    ("rollback to savepoint a", "rollback_to_savepoint"),
    ("commit prepared 'a'", "commit_prepared"),
    ("prepare transaction 'a'", "prepare_transaction"),
    ("set role lock", "set"),
]


@pytest.mark.parametrize(("text", "kind"), NOT_WHAT_THEY_MENTION)
def test_it_is_not_what_it_only_mentions(text: str, kind: str) -> None:
    assert read_statement(text).kind == kind


#: Statement, kind, relations. The kinds are checked against the vocabulary below.
STATEMENTS = [
    ("select * from orders", "select", "orders"),
    ("table orders", "select", "orders"),
    ("values (1)", "values", ""),
    ("select * from a, only b join c on true, lateral (select 1) d, f(1)", "select", "a b c"),
    ("select a is distinct from b from orders", "select", "orders"),
    ("select percentile_cont(0.5) within group (order by a) from orders", "select", "orders"),
    ("select * from orders for no key update skip locked", "select_for_update", "orders"),
    ("select * from (select * from orders for update) o", "select_for_update", "orders"),
    ("select a into new from old", "create_table_as", "new"),
    ("insert into public.orders (a) values (1)", "insert", "public.orders"),
    ('update only "Orders" o set a = 1', "update", "Orders"),
    ("delete from Public.ORDERS where a = 1", "delete", "public.orders"),
    ("merge into orders o using s on o.a = s.a when matched then delete", "merge", "orders"),
    ("copy orders (a, b) from stdin", "copy_from", "orders"),
    ("copy orders to '/tmp/x'", "copy_to", "orders"),
    ("copy (select * from orders) to stdout", "copy_to", "orders"),
    ("lock orders", "lock", "orders"),
    ("lock table only a, b in share mode", "lock", "a b"),
    ("truncate a, only b cascade", "truncate", "a b"),
    ("create temp table if not exists s.t (a int)", "create_table", "s.t"),
    ("create unlogged table t as select 1", "create_table_as", "t"),
    ("create foreign table t () server s", "create_table", "t"),
    ("create unique index on only s.t (a)", "create_index", "s.t"),
    ("create index concurrently if not exists i on t using gin (a)", "create_index_concurrently", "t"),
    ("create or replace view v as select 1", "create_view", "v"),
    ("create materialized view v as select 1", "create_materialized_view", "v"),
    ("create trigger x after update of a on t execute function f()", "create_trigger", "t"),
    ("create policy p on t", "create_other", "t"),
    ("create rule r as on insert to t do nothing", "create_other", "t"),
    ("create statistics s on a, b from t", "create_other", "t"),
    ("create function f() returns int begin atomic select 1; end", "create_other", ""),
    ("alter table if exists only public.t add a int, drop b", "alter_table", "public.t"),
    ("alter index i rename to j", "alter_index", "i"),
    ("alter view v rename to w", "alter_other", "v"),
    ("alter type e add value 'x'", "alter_other", ""),
    ("alter trigger x on t rename to y", "alter_other", "t"),
    ("drop table if exists a, s.b cascade", "drop_table", "a s.b"),
    ("drop index i, j", "drop_index", "i j"),
    ("drop index concurrently if exists i", "drop_index_concurrently", "i"),
    ("drop trigger x on t", "drop_other", "t"),
    ("drop function f", "drop_other", ""),
    ("comment on column s.t.a is 'x'", "comment", "s.t"),
    ("comment on table t is 'x'", "comment", "t"),
    ("comment on constraint c on t is 'x'", "comment", "t"),
    ("grant select on t to r", "grant", ""),
    ("revoke all on t from r", "revoke", ""),
    ("vacuum", "vacuum", ""),
    ("vacuum verbose analyze a (x, y), b", "vacuum", "a b"),
    ("vacuum full t", "vacuum_full", "t"),
    ("vacuum (analyze, full) t", "vacuum_full", "t"),
    ("analyze verbose t (a)", "analyze", "t"),
    ("reindex table t", "reindex", "t"),
    ("reindex (concurrently) index i", "reindex_concurrently", "i"),
    ("reindex database concurrently d", "reindex_concurrently", ""),
    ("cluster t using i", "cluster", "t"),
    ("cluster i on t", "cluster", "t"),
    ("repack t", "repack", "t"),
    ("refresh materialized view v", "refresh", "v"),
    ("refresh materialized view concurrently v", "refresh_concurrently", "v"),
    ("begin", "begin", ""),
    ("start transaction", "begin", ""),
    ("end", "commit", ""),
    ("abort", "rollback", ""),
    ("savepoint a", "savepoint", ""),
    ("release a", "release_savepoint", ""),
    ("set a = 1", "set", ""),
    ("show all", "show", ""),
    ("fetch 1 from c", "fetch", ""),
    ("execute p (1)", "execute", ""),
    ("call p(1)", "call", ""),
    ("do $$ lock orders $$", "do", ""),
    ("listen c", "listen", ""),
    ("checkpoint", "checkpoint", ""),
    ("start_replication slot s logical 0/0", "replication", ""),
    # Looked through.
    ("explain analyze verbose update orders set a = 1", "update", "orders"),
    ("explain (analyze, buffers) delete from orders", "delete", "orders"),
    ("explain (select * from orders)", "select", "orders"),
    ("prepare p (int) as update orders set a = $1", "update", "orders"),
    ("declare c no scroll cursor with hold for select * from orders", "select", "orders"),
    ("((select * from orders) union select 1)", "select", "orders"),
    ("with a as (select 1) update orders set b = 1", "update", "orders"),
    ("with a as materialized (delete from orders returning *) select * from a", "delete", "orders"),
    ("with a as (select * from orders) select * from a", "select", "orders"),
    ("with a (x) as (select 1), b as (select * from a, orders) select * from b", "select", "orders"),
    ("with recursive a as (select * from orders union select * from a) select * from a", "select", "orders"),
    ("select * from (select * from (select * from orders) a) b", "select", "orders"),
    ("with a as (select 1) select * from a join orders on true", "select", "orders"),
    ("select * from (select * from a) b join c on true", "select", "a c"),
    ("/* app:web */ -- name: x\nlock orders", "lock", "orders"),
    ("autovacuum: VACUUM ANALYZE public.orders (to prevent wraparound)", "vacuum", "public.orders"),
]


@pytest.mark.parametrize(("text", "kind", "targets"), STATEMENTS, ids=[text for text, *_ in STATEMENTS])
def test_kind_and_relations(text: str, kind: str, targets: str) -> None:
    found = read_statement(text)
    assert found.kind == kind
    assert set(found.targets) == set(targets.split())


def test_every_kind_is_in_the_vocabulary() -> None:
    assert {kind for _, kind, _ in STATEMENTS} <= statement_kinds.KINDS
    assert set(statement_kinds.FAMILY_OF.values()) == set(statement_kinds.FAMILIES)


@pytest.mark.parametrize(
    ("text", "kind", "all_kinds"),
    [
        ("begin; select 1; commit", "select", "begin select commit"),
        ("set lock_timeout = 1; update orders set a = 1", "update", "set update"),
        ("update orders set a = 1; alter table orders add b int", "alter_table", "update alter_table"),
        ("vacuum orders; drop table orders", "drop_table", "vacuum drop_table"),
        ("alter table orders add a int; lock customers", "lock", "alter_table lock"),
        ("select 1; do $$ $$; select 2 for update", "do", "select do select_for_update"),
        ("delete from a; delete from b", "delete", "delete delete"),
        (
            "create rule r as on insert to t do (delete from a; delete from b); select 1",
            "create_other",
            "create_other select",
        ),
        (
            "create function f() begin atomic select case when a then 1 end; end; begin",
            "create_other",
            "create_other begin",
        ),
    ],
)
def test_the_most_telling_of_several_speaks(text: str, kind: str, all_kinds: str) -> None:
    found = read_statement(text)
    assert (found.kind, found.kinds) == (kind, tuple(all_kinds.split()))


def test_of_equals_the_first_speaks() -> None:
    assert read_statement("delete from a; delete from b").targets == ("a",)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("commit", True),
        ("rollback", True),
        ("prepare transaction 'a'", True),
        ("/* by */ END -- now", True),
        ("abort", True),
        ("commit and chain", True),
        ("commit; rollback;", True),
        ("begin; update orders set a = 1; commit", False),
        ("update orders set a = 1; commit", False),
        ("select pg_sleep(60); rollback", False),
        ("begin; commit", False),
        ("commit; begin", False),
        ("commit; begin; update orders set a = 1", False),
        ("do $$ begin update orders set a = 1; commit; end $$", False),
        ("call work()", False),
        ("rollback work to savepoint a", False),
        ("rollback to a", False),
        ("commit prepared 'a'", False),
        ("select 'commit'", False),
    ],
)
def test_statements_that_end_a_transaction_are_known(text: str, ends: bool) -> None:
    assert read_statement(text).ends_transaction is ends


@pytest.mark.parametrize("text", ["commit", "commit; ", "commit; sel", "commit /* and then", "rollback", "rollback t"])
def test_a_text_that_is_cut_off_may_do_more_than_end_its_transaction(text: str) -> None:
    assert not read_statement(text, truncated=True).ends_transaction


def test_an_open_comment_or_literal_is_taken_as_cut_off() -> None:
    assert not read_statement("commit /* and then").ends_transaction


def test_families() -> None:
    assert read_statement("truncate orders").is_ddl
    assert read_statement("create index on orders (a)").is_ddl
    assert not read_statement("reindex table orders").is_ddl
    assert read_statement("reindex table orders").is_maintenance
    assert not read_statement("create index on orders (a)").is_maintenance
    assert read_statement("lock orders").is_lock_table
    assert read_statement("copy orders from stdin").kind == "copy_from"
    assert read_statement("copy orders to stdout").kind == "copy_to"


@pytest.mark.parametrize(
    ("text", "assigned"),
    [
        ("select * from orders where set = 1", ""),
        ("insert into orders values (1) on conflict do nothing", ""),
        ("delete from orders", ""),
        ("update orders set a = 1", "a"),
        ('update orders o set a = (select b, c from d), "E" = f(g, h), (i, j) = (1, 2) from k where l = 1', "a E i j"),
        ("insert into orders values (1) on conflict (a) do update set b = excluded.b, c = 1 where d = 1", "b c"),
        (
            "merge into o using s on true when matched then update set a = 1, b = 2 when not matched then do nothing",
            "a b",
        ),
    ],
)
def test_columns_that_are_set(text: str, assigned: str) -> None:
    assert read_statement(text).assigned == tuple(assigned.split())


# Cut text: the server keeps the first track_activity_query_size - 1 bytes.

WHOLE = "update public.orders set status = 'done', total = 17 where customer_id = 42 and note = 'x' returning id"


def test_a_word_that_touches_the_cut_is_not_trusted() -> None:
    assert read_statement("delete from public.ord").targets == ("public.ord",)
    assert read_statement("delete from public.ord", truncated=True).targets == ()
    assert read_statement("delete from public", truncated=True).targets == ()
    assert read_statement("delete from public.", truncated=True).targets == ()
    assert read_statement('delete from public."ord', truncated=True).targets == ()
    assert read_statement("drop table a, public.ord", truncated=True).targets == ("a",)
    assert read_statement("lock", truncated=True).kind == "unknown"
    assert read_statement("rollback", truncated=True).kind == "unknown"


def test_literal_without_its_end_counts_as_cut() -> None:
    cut = "update orders set a = 'abc"
    assert (read_statement(cut).kind, read_statement(cut).targets, conditions(cut).filters_known) == (
        "update",
        ("orders",),
        False,
    )


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_cut_statement_never_says_more_than_the_whole(length: int) -> None:
    whole, cut = read_statement(WHOLE), read_statement(WHOLE[:length], truncated=True)
    assert cut.kind in (whole.kind, "unknown")
    assert cut.targets in (whole.targets, ())
    assert cut.assigned == whole.assigned[: len(cut.assigned)]
    asked = conditions(WHOLE[:length], truncated=True)
    assert not asked.filters_known or asked == conditions(WHOLE)


@given(st.sampled_from([text for text, *_ in STATEMENTS]), st.integers(0, 80))
def test_a_cut_makes_nothing_more_telling_than_it_is(text: str, length: int) -> None:
    whole, cut = read_statement(text), read_statement(text[:length], truncated=True)
    assert (
        statement_kinds.kind_rank(cut.kind) >= statement_kinds.kind_rank(whole.kind) or cut.kind == "copy"
    )  # of a direction still unseen


# Any text.

GAPS = st.sampled_from([" ", "\n", "\t ", " /* lock orders; */ ", "/**/", " -- drop table x\n", " /* a /* b */ c */ "])


@given(st.sampled_from(STATEMENTS), st.data())
def test_comments_space_and_case_change_nothing(statement: tuple[str, str, str], data: st.DataObject) -> None:
    text = statement[0]
    if "--" in text or '"' in text:
        return
    words = text.split(" ")
    spread = words[0] + "".join(
        data.draw(GAPS) + data.draw(st.sampled_from([word, word.upper()])) for word in words[1:]
    )
    before = data.draw(GAPS)
    assert read_statement(before + spread) == read_statement(text)
    assert conditions(before + spread) == conditions(text)


WORDS = (
    "select from where update set with as ( ) [ ] , ; . ' \" $$ $1 -- /* */ \n a b 1 = in and or not insert into "
    "values explain prepare declare for case end copy vacuum full create table begin atomic on using lock join "
    "only lateral conflict exists like between null is :: ->>"
)
ANY_TEXT = st.text() | st.lists(st.sampled_from(WORDS.split(" "))).map(" ".join)


@examples(300)
@given(ANY_TEXT, st.booleans())
@example("explain " * 50 + "select", False)
@example("select * from " + "(select * from " * 3000, False)
@example("with a as (" * 3000, True)
@example("select * from t where " + "not " * 900 + "a", False)
@example("\ud800", False)
def test_no_text_is_too_strange(text: str, truncated: bool) -> None:
    found = read_statement(text, truncated)
    assert found.kind in statement_kinds.KINDS
    assert set(found.kinds) <= statement_kinds.KINDS
    asked = conditions(text, truncated)
    assert asked.filters_known or not asked.filters


def test_the_work_on_a_huge_text_is_bounded() -> None:
    """A hundred thousand statements and a literal of a megabyte; nothing behind the limits is read."""
    many = read_statement("select 1;" * 100_000)
    assert len(many.kinds) == MOST_STATEMENTS
    assert not many.is_whole
    assert conditions(f"update orders set a = '{'x' * 1_000_000}' where b = 1").has_where


def test_only_a_where_clause_imports_the_parser() -> None:
    script = (
        "import sys\n"
        "from pgdoctor.sqltext.statement import read_statement as read, read_searches as searches\n"
        "read('alter table orders add a int'); read('update orders set a = 1 where b = 1'); searches('select 1')\n"
        "assert 'sqlglot' not in sys.modules\n"
        "assert searches('update orders set a = 1 where b = 1')[0].filters\n"
        "assert 'sqlglot' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_equal_text_is_read_once_and_a_huge_one_is_not_kept() -> None:
    text = "update orders set a = 1 where b = 2"
    assert read_statement(text) is read_statement(text)
    assert read_searches(text) is read_searches(text)
    long, huge = text + " " * 10_000, text + " " * 100_000
    assert read_statement(long) is read_statement(long)
    assert read_statement(huge) is not read_statement(huge)
    assert read_statement(huge) == read_statement(text)
    assert isinstance(read_statement(huge), Statement)
