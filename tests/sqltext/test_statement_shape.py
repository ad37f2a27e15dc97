"""What is written again of a statement for the planner, and above all what is not."""

import pytest

from pgdoctor.sqltext.statement_shape import read_shape


def shape(text: str) -> str:
    found = read_shape(text)
    if found is None:
        return ""
    names = [table.name for table in found.tables]
    return "".join(names[each] if isinstance(each, int) else each for each in found.pieces)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (
            "update jobs j set k = evil(1) from a, b x where j.r = a.r and x.id = j.id and a.n in (1, 2)",
            'SELECT 1 FROM jobs AS t0, a AS t1, b AS t2 WHERE (t0."r" = t1."r") AND (t2."id" = t0."id") '
            'AND (t1."n" IN ($1))',
        ),
        (
            'delete from "Jobs" using app.a where "Jobs"."R" = a.r and a.d between now() and $3 + 1',
            'SELECT 1 FROM Jobs AS t0, app.a AS t1 WHERE (t0."R" = t1."r") AND (t1."d" BETWEEN $1 AND $2)',
        ),
        (
            "select evil(), j.* from a left join jobs j on j.r = a.r where a.n is not null and not a.done for update",
            'SELECT 1 FROM a AS t0 LEFT JOIN jobs AS t1 ON (t1."r" = t0."r") WHERE (t0."n" IS NOT NULL) '
            'AND (NOT t0."done")',
        ),
        (
            "merge into jobs j using (select r, n from a where n = 7) s on s.r = j.r when matched then delete",
            'SELECT 1 FROM jobs AS t0, (SELECT "r", "n" FROM a AS t1 WHERE ("n" = $1)) AS s2 WHERE (s2."r" = t0."r")',
        ),
        (
            "with w as materialized (select id from jobs where s = 'x' order by p desc, id limit 9 for update) "
            "update jobs set k = 1 from w where jobs.id = w.id",
            'WITH c0 AS MATERIALIZED (SELECT "id" FROM jobs AS t0 WHERE ("s" = $1) ORDER BY "p" DESC, "id" LIMIT $2) '
            'SELECT 1 FROM jobs AS t1, c0 AS s3 WHERE (t1."id" = s3."id")',
        ),
        (
            "insert into a select * from jobs j where exists (select from b where b.r = j.r) and lower(j.m) = 'x'",
            'SELECT 1 FROM jobs AS t0 WHERE EXISTS (SELECT 1 FROM b AS t1 WHERE (t1."r" = t0."r")) '
            'AND (pg_catalog.lower(t0."m") = $1)',
        ),
        (
            "update jobs set k = 1 where r = any (array['a', 'b']) or r = any (select r from a where n > 1)",
            'SELECT 1 FROM jobs AS t0 WHERE (("r" = ANY ($1)) OR ("r" = ANY (SELECT "r" FROM a AS t1 WHERE '
            '("n" > $2))))',
        ),
        (
            "select id from jobs where r = 'x' union select evil() from a where n = 3 order by 1 limit 5",
            '(SELECT 1 FROM jobs AS t0 WHERE ("r" = $1)) UNION ALL (SELECT 1 FROM a AS t1 WHERE ("n" = $2))',
        ),
        (
            "with recursive tree (id, depth) as (select id, 1 from jobs where r = 'x' union all select j.id, "
            "t.depth + 1 from jobs j join tree t on j.parent = t.id) delete from jobs "
            "where id in (select id from tree)",
            'WITH RECURSIVE c0 (o1, o2) AS ((SELECT "id", NULL FROM jobs AS t0 WHERE ("r" = $1)) UNION ALL '
            '(SELECT t1."id", NULL FROM jobs AS t1 JOIN c0 AS s3 ON (t1."parent" = s3.o1))) '
            'SELECT 1 FROM jobs AS t2 WHERE ("id" IN (SELECT s5.o1 FROM c0 AS s5))',
        ),
        (
            "with moved as (delete from jobs j using a where a.r = j.r returning j.id as number) "
            "insert into b select number, evil() from moved where number > 3",
            'WITH c0 AS MATERIALIZED (SELECT t2."id" AS o1 FROM jobs AS t2, a AS t3 WHERE (t3."r" = t2."r")) '
            "(SELECT 1 FROM c0 AS s5 WHERE (s5.o1 > $1)) UNION ALL "
            '(SELECT 1 FROM jobs AS t0, a AS t1 WHERE (t1."r" = t0."r"))',
        ),
        (
            "with done as (update jobs set k = 1 where r = 'x') select from a where n = 2 order by n limit 1",
            '(SELECT 1 FROM a AS t1 WHERE ("n" = $2) ORDER BY "n" LIMIT $3) UNION ALL '
            '(SELECT 1 FROM jobs AS t0 WHERE ("r" = $1))',
        ),
        (
            "update jobs j set k = 1 from (select r as key, evil(n) as m from a where n = 1) w where w.key = j.r",
            'SELECT 1 FROM jobs AS t0, (SELECT "r" AS o1, NULL AS o2 FROM a AS t1 WHERE ("n" = $1)) AS s2 '
            'WHERE (s2.o1 = t0."r")',
        ),
    ],
)
def test_statement_is_written_again(text: str, written: str) -> None:
    found = read_shape(text)
    assert found is not None
    assert (shape(text), found.is_whole) == (written, True)


@pytest.mark.parametrize(
    "condition",
    [
        "evil(a) = 1",
        "a = evil(1)",
        "a ~~~ 1",
        "a like 'zq7%'",
        "data ->> 'zq7' = 'x'",
        "a = random()",
        "x.a = 1",
        "ctid = 1",
    ],
)
def test_condition_that_is_not_understood_is_left_out(condition: str) -> None:
    found = read_shape(f"select from jobs where b = 1 and {condition}")
    assert found is None or not found.is_whole
    assert shape(f"select from jobs where b = 1 and {condition}") in ("", 'SELECT 1 FROM jobs AS t0 WHERE ("b" = $1)')


@pytest.mark.parametrize(
    "text",
    [
        "select from jobs zq7 where zq7.a = 'zq7' /* zq7 */ -- zq7",
        "with zq7 as (select a from jobs where b = 'zq7') update jobs set c = zq7() from zq7 where zq7.a = jobs.a",
        "select 'zq7' as zq7 from (select a from jobs as zq7) zq7, jobs where zq7.a = jobs.a and b = $zq7$zq7$zq7$",
        "update jobs set zq7 = 1 where a = (select max(a) from jobs zq7 where zq7.b = e'zq7') returning zq7",
        "select zq7(a) from jobs where a = 1 group by zq7 order by zq7 limit 7",
        "select a from jobs where a = 'x'::zq7 and b = cast('zq7' as text) and zq7(a) and a operator(zq7.=) b",
    ],
)
def test_no_word_but_tables_and_columns_is_written(text: str) -> None:
    found = read_shape(text)
    assert found is None or "zq7" not in "".join(map(str, found.pieces)).lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "begin",
        "select 1",
        "alter table jobs add c int",
        "select from jobs tablesample system (1)",
        "select from jobs natural join a",
        "select from jobs join a using (id)",
        "select from evil() as e",
        "select from jobs, lateral (select a from b) x",
        "select from jobs where a in (select evil(b) from a)",
        "merge into jobs j using a on a.r = j.r when not matched by source then delete",
        "select from jobs where a in (select evil(b) as b from a)",
        "select from jobs where a in (select b from a union select evil(b) from a)",
        "with zq7 as (delete from a returning evil(b) as b) select from jobs join zq7 on zq7.b = jobs.a",
        "select from jobs where b = 'cut",
    ],
)
def test_text_that_is_not_understood_has_no_shape(text: str) -> None:
    assert shape(text) in ("", "SELECT 1 FROM jobs AS t0")
