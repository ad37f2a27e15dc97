"""Each index that is advised is created, word for word, and the planner uses it for the statement that lacked it."""

from typing import Any

import pytest

from pgdoctor.render.report import BlockerReport
from tests.diagnosis.causes.conftest import TABLES
from tests.diagnosis.causes.test_unindexed_scan import HIDDEN, UNSERVED, create, facts_of
from tests.diagnosis.causes.test_unindexed_scan import wide as wide
from tests.diagnosis.labelled_scenes import SEARCHES, stage_search
from tests.diagnosis.scene_shapes import Search
from tests.looking import blocker
from tests.scenes import Scene

#: All of it together takes many seconds.
pytestmark = [pytest.mark.long, pytest.mark.deadline(120)]

#: Those of a partitioned table have no rows, and stand in no plan.
_INDEXES = """
    select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid >= 16384 and c.relkind = 'i'
"""

#: Values of a statement that stand as `?` in the advice.
_LEFT_OUT = {
    "that are not done": "'done'",
    "that Django excludes": "'done'",
    "that are neither done nor lost": "'done', 'lost'",
    "that are not done by age": "'done'",
}

#: The index is there, and the condition is to be written in another way.
_INDEXED = "by a tag as any beside its index"

_REWRITTEN = {"by a tag as any": "update jobs set kind = naps(id) where tags @> array['t7']"}

_MERGE = Search(
    "merged",
    "merge into jobs j using wanted w on w.ref = j.ref when matched then update set kind = slow(j.id)",
    True,
    "alter table jobs add ref text; update jobs set ref = 'r' || id; analyze jobs; create table wanted (ref text);"
    "insert into wanted select 'r' || g from generate_series(7, 9) g; analyze wanted",
)


def indexes(scene: Scene) -> set[str]:
    return {name for (name,) in scene.admin.execute(_INDEXES).fetchall()}


def assert_used(scene: Scene, facts: BlockerReport, statement: str, values: str = "") -> None:
    before = indexes(scene)
    create(scene, facts, values)
    scene.admin.execute("analyze")
    new = indexes(scene) - before
    plan = str(scene.admin.execute(f"explain (costs off) {statement}").fetchall())
    assert {name for name in new if name in plan} == new, plan
    assert new


def unindexed() -> list[Any]:
    found = [each for each in SEARCHES if each.is_unindexed and each.name != _INDEXED]
    return [
        pytest.param(each, id=each.name, marks=[pytest.mark.xfail(reason=each.wrong)] if each.wrong else [])
        for each in found
    ]


@pytest.mark.parametrize("search", unindexed())
def test_index_for_a_labelled_scene_is_used(scene: Scene, search: Search) -> None:
    scene.admin.execute(TABLES)
    facts = blocker(scene.dsn, stage_search(scene, search))
    # What the advice asks to write in another way is written so.
    assert_used(scene, facts, _REWRITTEN.get(search.name, search.statement), _LEFT_OUT.get(search.name, ""))


@pytest.mark.since(15)
def test_index_for_a_merge_is_used(scene: Scene) -> None:
    scene.admin.execute(TABLES)
    pid = stage_search(scene, _MERGE)
    assert_used(scene, blocker(scene.dsn, pid), _MERGE.statement)


@pytest.mark.since(17)
def test_merge_that_is_about_all_rows_is_no_search(scene: Scene) -> None:
    scene.admin.execute(TABLES)
    more = "update jobs set processed = true; analyze jobs"
    text = _MERGE.statement + " when not matched by source then update set kind = slow(j.id)"
    pid = stage_search(scene, _MERGE._replace(statement=text, setup=f"{_MERGE.setup}; {more}"))
    assert blocker(scene.dsn, pid).classification == "long_query"


#: Of these no key is advised, only what to compare.
_WITHOUT_KEY = frozenset({"a calculation", "a default", "a value without blanks", "a value that may be empty"})

_WITH_INDEX = {name: where for name, (where, _, missing) in UNSERVED.items() if missing}
_WITH_INDEX |= {name: where for name, (where, *_) in HIDDEN.items() if name not in _WITHOUT_KEY}


#: What the advice asks to write in another way.
_WRITTEN_SO = {
    "a day": "at >= '2026-01-07' and at < '2026-01-08'",
    "a value that ignores case": "lower(email) = '7@x'",
    "an equality that knows NULL": "customer_id = 7",
}


@pytest.mark.parametrize("name", _WITH_INDEX)
def test_index_for_a_condition_is_used(wide: Scene, name: str) -> None:
    where, index = _WITH_INDEX[name], (UNSERVED | HIDDEN)[name][1]
    facts = facts_of(wide, where, index)
    assert facts.classification == "unindexed_scan"
    where = _WRITTEN_SO.get(name, where)
    assert_used(wide, facts, f"select * from orders where {where}")
