"""The tables of `preflight.rules`, compared with what a server really locks, rewrites and scans.

Each statement of `statements.sql` is run in a transaction that is rolled back. `make test-matrix` does so on 14 to 18.
"""

import psycopg
import pytest

from pgdoctor.model.preflight import Catalog
from pgdoctor.preflight.judge import Judged, Verdict
from pgdoctor.preflight.rule_tables import action_rules, statement_rules
from tests.preflight.judging import Real, fetch, judge, run, said_locks, stage, statements, uncovered
from tests.preflight.test_alone import CASES
from tests.scenes import Scene

#: They rewrite relations, but not the rows of a table: TRUNCATE makes empty ones, REINDEX indexes.
_NO_ROWS = ("truncate", "reindex")

#: Rows whose statements open or end a transaction, and one that `test_alone` runs.
_ELSEWHERE = ("begin|", "start transaction", "detach partition {other:r} finalize")

#: There is nothing to change in the row that such a statement changes otherwise.
_CHANGES_NOTHING = ("alter domain posint drop not null", "alter role clerk set work_mem = '8MB'")

#: A plan of the server decides whether it reads the table or an index.
_PLANNED = ("select", "explain", "analyze", "insert", "update", "delete", "with", "merge", "copy")


def faults(statement: str, judged: Judged, real: Real) -> list[str]:
    """What was said and is not true, or is true and was not said."""
    effect = judged.effect
    if not effect.is_known or judged.verdict in (Verdict.UNKNOWN, Verdict.FAILS):
        return [f"{judged.verdict.value}: {judged.reasons}"]
    said = said_locks(judged)
    if effect.is_at_most:
        return [f"not said: {uncovered(real.locks, said)}"] if uncovered(real.locks, said) else []
    found = [f"{real.locks - said} not said, {said - real.locks} not true"] if said != real.locks else []
    rewritten = {work.name for work in effect.work if work.kind == "rewrite"}
    if rewritten != real.rewritten and not statement.startswith(_NO_ROWS):
        found.append(f"rewrites {real.rewritten}, not {rewritten}")
    scanned = {work.name for work in effect.work if work.kind in ("scan", "build")}
    if not real.rewritten and not statement.startswith(_PLANNED) and not _is_planned(scanned, real.scanned, statement):
        found.append(f"scans {real.scanned}, not {scanned}")
    return found


def object_faults(statement: str, judged: Judged, real: Real, catalog: Catalog) -> list[str]:
    """The same of types, functions, schemas, roles: locks on them, and changes of their rows in catalogs.

    A table's own type is left out: the lock on the table comes first.
    """
    names = {(each.classid, each.oid): f"{each.kind} {each.name}" for each in catalog.objects}
    relations = {f"type {each.name}" for each in catalog.relations.values()}
    said = {(names[each.key[:2]], each.mode) for each in judged.effect.objects if each.key[:2] in names}
    done = {(names[key], mode) for key, mode in real.objects if key in names and names[key] not in relations}
    locked = {name for name, mode in said if mode}
    missing = {(name, mode) for name, mode in done - said if mode != "AccessShareLock" or name not in locked}
    # Which objects a statement uses is said as "at most".
    untrue = {(name, mode) for name, mode in said - done if mode != "AccessShareLock" and name not in relations}
    found = [f"not said: {missing}"] if missing and "into fresh" not in statement else []
    is_exact = not judged.effect.is_at_most and statement not in _CHANGES_NOTHING
    return [*found, f"not true: {untrue}"] if untrue and is_exact else found


def _is_planned(said: set[str], real: set[str], statement: str) -> bool:
    """The two sides of a foreign key are joined: the server may look up one side in an index."""
    return said == real or ("foreign key" in statement and bool(real) and real <= said)


@pytest.mark.deadline(300)
def test_statements_take_the_locks_and_do_the_work_that_is_said(scene: Scene) -> None:
    stage(scene)
    version = scene.admin.info.server_version // 10_000
    catalog, _ = fetch(scene.dsn, statements(version))
    wrong = {}
    with psycopg.connect(scene.dsn, autocommit=True) as other:
        for statement in statements(version):
            [judged] = judge(statement, catalog, version)
            real = run(scene.admin, statement, other)
            if found := [*faults(statement, judged, real), *object_faults(statement, judged, real, catalog)]:
                wrong[statement] = found
    assert wrong == {}


def test_a_wrong_row_is_found(scene: Scene) -> None:
    """The comparison notices a lock, a rewrite and a scan that was not said, and one that is not true."""
    stage(scene)
    catalog, version = fetch(scene.dsn, ["alter table orders add column x int", "alter table plain set unlogged"])
    [judged] = judge("alter table orders add column x int", catalog, version)
    real = run(scene.admin, "alter table notes alter column n type bigint")
    assert "not said" in str(faults("", judged, real))
    assert "rewrites {'public.notes'}" in str(faults("", judged, real))
    real = run(scene.admin, "alter table orders add check (v > 0)")
    assert faults("", judged, real) == ["scans {'public.orders'}, not set()"]


@pytest.mark.since(18)
def test_each_row_of_the_tables_is_compared(scene: Scene) -> None:
    stage(scene)
    everything = [*statements(18), *(statement for statement, *_ in CASES)]
    catalog, _ = fetch(scene.dsn, everything)
    applied = {
        (rule.form, rule.when)
        for version in range(14, 19)
        for statement in everything
        for judged in judge(statement, catalog, version)
        for rule, _ in judged.effect.applied
    }
    rows = {(rule.form, rule.when) for rule in (*statement_rules(), *action_rules()) if rule.work != "unknown"}
    assert {row for row in rows - applied if not row[0].startswith(_ELSEWHERE)} == set()
