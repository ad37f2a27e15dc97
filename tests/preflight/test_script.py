"""Scripts of every kind are split as psql does; what cannot be read is named, and never passes as harmless."""

import pytest

from pgdoctor.preflight.judge import STOPPING, Verdict
from pgdoctor.preflight.script import MOST_STATEMENTS, Problem, split_script
from tests.preflight.judging import judge

BREAK = "alter table orders add constraint c check (v > 0)"


def texts(script: str) -> list[str]:
    return [part.sentence.text for part in split_script(script)]


def test_statements_are_split_as_psql_does() -> None:
    script = """
        -- a; comment
        select ';', $a$ ; $b$ ; $a$, "x;y"; /* ; /* nested ; */ ; */
        create rule r as on insert to t do (delete from a; delete from b);
        create function f() returns int begin atomic select 1; select case when true then 1 end; end;
        select 2
    """
    assert [each.split()[0] for each in texts(script)] == ["select", "create", "create", "select"]
    assert [part.line for part in split_script(script)] == [3, 4, 5, 6]


def test_rows_of_copy_are_no_statements() -> None:
    script = "copy t from stdin;\n1\talter table orders drop column v;\n2\t'\n\\.\nselect 1;"
    assert texts(script) == ["copy t from stdin", "select 1"]
    assert texts("copy t from stdin;\n1\tx;\n") == ["copy t from stdin"]


@pytest.mark.parametrize(
    ("script", "problem", "verdict"),
    [
        ("\\timing on\n", Problem.COMMAND, Verdict.SKIPPED),
        ("\\set ON_ERROR_STOP 1\n", Problem.COMMAND, Verdict.SKIPPED),
        ("\\i other.sql\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("\\c other\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("\\if :{?x}\n", Problem.COMMAND, Verdict.SKIPPED),
        ("\\dt+ public.*\n", Problem.COMMAND, Verdict.SKIPPED),
        ("\\! psql -f other.sql\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("\\e other.sql\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("\\echo x \\\\ drop table orders;\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("\\timing on \\i other.sql\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("\\set x `psql -f other.sql`\n", Problem.UNKNOWN_COMMAND, Verdict.UNKNOWN),
        ("alter table :name add x int", Problem.VARIABLE, Verdict.UNKNOWN),
        ('alter table :"name" add x int', Problem.VARIABLE, Verdict.UNKNOWN),
        ("alter table ${schema}.t add x int", Problem.UNREADABLE, Verdict.UNKNOWN),
        ("alter table t add x text default 'abc", Problem.UNFINISHED, Verdict.UNKNOWN),
        ("do $$ begin perform 1; end $", Problem.UNFINISHED, Verdict.UNKNOWN),
        ("/* alter table t add x int", Problem.UNFINISHED, Verdict.UNKNOWN),
        ("create index on t (lower(a)", Problem.UNBALANCED, Verdict.UNKNOWN),
        ("create index on t (a))", Problem.UNBALANCED, Verdict.UNKNOWN),
    ],
)
def test_unreadable_statements_are_named(script: str, problem: Problem, verdict: Verdict) -> None:
    [judged] = judge(script)
    assert (judged.part.problem, judged.verdict) == (problem, verdict)
    assert judged.reasons == (problem.value,)


@pytest.mark.parametrize(
    "statement",
    [
        "do $$ begin alter table orders drop column v; end $$",
        "call migrate()",
        "execute plan",
        "select migrate()",
        "select app.now()",
        "select pg_advisory_lock(1)",
        "insert into t select migrate(x) from u",
        "create table t as select migrate()",
        "with x as (select migrate()) select * from x",
        "explain analyze select migrate()",
        "create extension postgis",
        "create subscription s connection 'x' publication p",
        "reindex database shop",
        "vacuum",
        "cluster",
        "drop owned by app",
        "drop schema app cascade",
        "drop function f() cascade",
        "alter table orders modify column v bigint",
        "alter table orders add column v int after w",
        "alter table orders alter column v type bigint auto_increment",
        "alter table orders add column v int, engine = innodb",
        "alter table orders drop column v purge",
        "create table t (id int) engine = innodb",
        "alter table `t` add x int",
        "rename table a to b",
        "go",
        "update statistics orders",
        "refresh materialized view concurrently totals with no data twice",
    ],
)
def test_unknown_statements_are_never_harmless(statement: str) -> None:
    assert judge(statement)[0].verdict in STOPPING


@pytest.mark.parametrize("statement", ["", ";;;", "-- nothing", "/* nothing */ ;"])
def test_a_script_may_be_empty(statement: str) -> None:
    assert judge(statement) == ()


def test_a_name_in_quotes_is_no_keyword() -> None:
    [judged] = judge('alter table "Orders; drop" add column "check" int')
    assert judged.verdict is Verdict.BRIEF
    assert judged.effect.locks[0].name == "Orders; drop"


def test_ten_megabytes_are_read() -> None:
    rows = ", ".join(f"({number}, 'x;y')" for number in range(20_000))
    data = "1\talter table x;\n" * 300_000
    script = f"insert into orders values {rows};\n/* {'x' * 5_000_000} */ copy t from stdin;\n{data}\\.\n{BREAK};"
    assert len(script) > 10_000_000
    assert [each.verdict.value for each in judge(script)] == ["harmless", "harmless", "dangerous"]


@pytest.mark.parametrize(
    "script",
    [
        f"alter table orders add column x int {', add column y int' * 2_000}, {BREAK.partition('orders ')[2]}",
        f"insert into orders values (1){', (1)' * 5_000}, (migrate())",
        f"select 1 {', 1' * 5_000}",
    ],
)
def test_a_statement_that_is_not_read_to_its_end_is_not_harmless(script: str) -> None:
    assert [each.verdict for each in judge(script)] == [Verdict.UNKNOWN]


def test_a_script_with_too_many_statements_is_not_harmless() -> None:
    parts = list(split_script("select 1;" * (MOST_STATEMENTS + 10)))
    assert len(parts) == MOST_STATEMENTS + 1
    assert parts[-1].problem is Problem.TOO_MANY
    assert judge("select 1;" * (MOST_STATEMENTS + 1))[-1].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("character", ["(", "[", "'", '"', "$$", "/*", ",", "\\", "\n;", ":", "a.", "not valid "])
def test_hostile_scripts_end(character: str) -> None:
    for script in (character * 20_000, f"alter table t add column x int {character * 10_000}"):
        for judged in judge(script):
            assert judged.verdict is not None
