"""What is concluded from a condition that is cut off: what is complete, and nothing in doubt."""

import pytest

from pgdoctor.sqltext.conditions import Search
from tests.diagnosis.asking import conditions


def searches(where: str, statement: str = "update orders set v = 1 where {}") -> list[Search] | None:
    """What is asked in front of the cut; None where nothing is left."""
    visible = conditions(statement.format(where), truncated=True).visible
    return visible and [each for asked in visible.filters for arm in asked.arms for each in arm.searches]


@pytest.mark.parametrize(
    "where",
    [
        "c = 1 and ",
        "c = 1 ",
        "c = 1",
        "c = 12",
        "c = 1 or d = 'x",
        "c = 1 and (a = 2 or b = 'x",
        "c not in (1, 2, ",
        "c in (select 1, ",
        "c in (",
        "c = 1 and exists (select 1 from other where id = ",
        "c = 1 and case when a = 1 then 2 else ",
        "c between 1 and ",
        "co",
        "",
    ],
)
def test_nothing_is_left_in_doubt(where: str) -> None:
    if where == "c = 1 and (a = 2 or b = 'x":
        visible = conditions(f"update orders set v = 1 where {where}", truncated=True).visible
        assert visible is not None
        assert {"a", "b"} <= {*visible.at_cut}
    else:
        assert searches(where) is None


@pytest.mark.parametrize("statement", ["update orders set v = 1 where {}", "select * from orders where {}"])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("c in (1, 2, 3", [Search("c", values=20)]),
        ("c in ('a', 'b', 'c", [Search("c", values=20)]),
        ("c in ($1, $2, $3", [Search("c", values=20)]),
        ("c in ('a'::uuid, 'b'::uu", [Search("c", values=10)]),
        ("c = any (array[1, 2, 3", [Search("c", values=20)]),
        ("c = any ('{1,2,3", [Search("c", values=10)]),
        ("a = 5 and c in (1, 2, 3", [Search("a"), Search("c", values=20)]),
        ("a between 1 and 5 and c in (1, 2", [Search("a", "<", is_bounded=True), Search("c", values=10)]),
        ("c = 1 and note = 'abc", [Search("c"), Search("note")]),
        ("c = 1 and note like 'abc", [Search("c")]),
        ("c = 'abc", [Search("c")]),
        ("c = 1 and no", [Search("c")]),
        ("c = 1 and note = 1", [Search("c")]),
    ],
)
def test_complete_conditions_are_left(where: str, expected: list[Search], statement: str) -> None:
    assert searches(where, statement) == expected


def test_names_at_the_cut_are_known() -> None:
    visible = conditions("delete from orders where c = 1 and note is not null and cust", truncated=True).visible
    assert visible is not None
    assert (visible.at_cut, visible.name_at_cut, visible.is_cut) == ((), "cust", True)


def test_whole_text_has_nothing_at_a_cut() -> None:
    found = conditions("delete from orders where c = 1")
    assert (found.visible, found.is_cut) == (None, False)
