"""Which lock a statement takes: by the text, and what a server really grants for it."""

import pytest

from pgdoctor.sqltext.ddl import AE, SRE, SUE, DdlEffect, S, ddl_effect, keeps_out
from tests.scenes import Scene


@pytest.mark.parametrize(
    "text",
    ["", "select 1", "insert into t values (1)", "alter table", "alter table t", "grant select on t to u", "do 'x'"],
)
def test_text_alone_does_not_decide(text):
    assert ddl_effect(text) == DdlEffect()


def test_a_cut_text_tells_only_what_more_of_it_cannot_change():
    assert ddl_effect("alter table t validate constraint c, drop colum", truncated=True).mode == AE
    assert ddl_effect("alter table t validate constraint c, ", truncated=True).mode is None
    assert ddl_effect("update t set a = 1", truncated=True) == DdlEffect()


@pytest.mark.parametrize(
    "text",
    [
        "update t set a = 1 where id = 2",
        "alter table t add foreign key (a) references p not valid",
        "alter table t add check (a > 0) not valid",
        "create index concurrently i on t (a)",
        "alter table t detach partition p concurrently",
        "alter table t validate constraint c",
        "delete from t",
    ],
)
def test_safe_ddl_gets_no_advice(text):
    assert ddl_effect(text).safer == ""


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("create unique index i on t (a)", "CREATE INDEX CONCURRENTLY"),
        ("alter table t add constraint f foreign key (a) references p", "NOT VALID, then VALIDATE"),
        ("alter table t add foreign key (a) references p", "NOT VALID, then VALIDATE"),
        ("alter table t add check (a > 0)", "NOT VALID, then VALIDATE"),
        ("alter table t alter column a set not null", "IS NOT NULL) NOT VALID"),
        ("alter table t alter a set not null", "IS NOT NULL) NOT VALID"),
        ("alter table t add b int, alter column a type bigint", "new column"),
        ("alter table t alter column a set data type bigint", "new column"),
        ("alter table t add primary key (a)", "USING INDEX"),
        ("alter table t add constraint u unique (a)", "USING INDEX"),
        ("alter table t detach partition p", "CONCURRENTLY"),
        ("vacuum full t", "pg_repack"),
        ("vacuum (full, verbose) t", "pg_repack"),
        ("reindex table t", "CONCURRENTLY"),
        ("refresh materialized view v", "CONCURRENTLY"),
        ("truncate t", "lock_timeout"),
        ("update t set a = 1", "batches"),
    ],
)
def test_the_safer_form(text, advice):
    assert advice in ddl_effect(text).safer


@pytest.mark.parametrize(
    "text",
    [
        "create index concurrently i on t (a)",
        "drop index concurrently i",
        "reindex (concurrently) table t",
        "refresh materialized view concurrently v",
        "alter table t detach partition p concurrently",
        "alter table t detach partition s.p finalize",
    ],
)
def test_the_concurrent_forms(text):
    assert ddl_effect(text).is_concurrent


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("refresh materialized view concurrently v", ""),
        ("create index i on t (a)", ""),
        ("create index concurrently i on t (a)", "an invalid index"),
        ("drop index concurrently i", "an invalid index"),
        ("reindex table concurrently t", "an invalid index"),
        ("alter table t detach partition p", ""),
        ("alter table t detach partition p concurrently", "half detached"),
    ],
)
def test_leftovers_of_an_action_are_findings(text, left):
    assert left in ddl_effect(text).leaves
    assert bool(left) == bool(ddl_effect(text).leaves)


def test_a_constraint_called_concurrently_is_no_concurrent_form():
    assert not ddl_effect('alter table t drop constraint "concurrently"').is_concurrent
    assert not ddl_effect("alter table t detach partition concurrently").is_concurrent


@pytest.mark.parametrize(
    ("mode", "whom"), [(AE, "even SELECT"), (SRE, "INSERT"), (S, "INSERT"), (SUE, "other DDL"), ("RowShareLock", "")]
)
def test_lock_mode_names_the_excluded_statements(mode, whom):
    assert whom in keeps_out(mode)
    assert bool(keeps_out(mode)) == bool(whom)


_TABLES = """
    create table p (id int primary key);
    create table t (id int primary key, a int default 0, n text, check (a >= 0)) with (fillfactor = 90);
    alter table t add constraint c check (a < 9) not valid;
    create index i on t (a);
    create function f() returns trigger language plpgsql as 'begin return new; end';
    create trigger g after insert on t for each row execute function f();
    create table part (id int) partition by list (id);
    create table part1 partition of part for values in (1);
    create table part2 (id int)
"""

_REAL = [
    "truncate t",
    "drop table t",
    "drop index i",
    "create index j on t (a)",
    "create unique index j on t (id, a)",
    "create trigger h after insert on t for each row execute function f()",
    "vacuum_or_analyze: analyze t",
    "reindex table t",
    "alter table t add column z int",
    "alter table only t add column if not exists z int, validate constraint c",
    "alter table t validate constraint c",
    "alter table t alter column a set statistics 10",
    "alter table t alter a set statistics 10, alter n set statistics 10",
    "alter table t alter a set (n_distinct = 5)",
    "alter table t alter column a reset (n_distinct)",
    "alter table t set (fillfactor = 70, autovacuum_enabled = off)",
    "alter table t set (user_catalog_table = true)",
    "alter table t reset (fillfactor)",
    "alter table t cluster on i",
    "alter table t set without cluster",
    "alter table t disable trigger g",
    "alter table t enable always trigger g",
    "alter table t add foreign key (a) references p",
    "alter table t add constraint k foreign key (a) references p not valid",
    "alter table t add check (a < 5) not valid",
    "alter table t alter column a set not null",
    "alter table t alter a type bigint",
    "alter table t alter a drop default",
    "alter table t alter column n set storage external",
    "alter table t rename a to b",
    "alter table t rename to u",
    "alter table t enable row level security",
    "alter table t replica identity full",
    "alter table t drop constraint c",
    "alter table part attach partition part2 for values in (2)",
    "alter table part detach partition part1",
]


@pytest.mark.parametrize("text", _REAL)
def test_the_mode_is_the_one_the_server_grants(scene: Scene, text: str) -> None:
    text = text.removeprefix("vacuum_or_analyze: ")
    scene.admin.execute(_TABLES)
    table = "part" if " part " in text else "t"
    oid = scene.admin.execute(f"select '{table}'::regclass::oid::int8").fetchone()[0]
    client = scene.client(text)
    modes = client.run(f"select mode from pg_locks where pid = pg_backend_pid() and relation = {oid}")
    order = ["AccessShareLock", "RowShareLock", "RowExclusiveLock", SUE, S, SRE, "ExclusiveLock", AE]
    assert ddl_effect(text).mode == max((mode for (mode,) in modes), key=order.index)
