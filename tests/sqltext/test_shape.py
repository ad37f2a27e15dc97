"""What is remembered by the shape of a text is what the text itself says."""

from hypothesis import example, given
from hypothesis import strategies as st

from pgdoctor.diagnosis.blocker import row_locks
from pgdoctor.sqltext import ddl, statement
from pgdoctor.sqltext.shape import find_shape
from tests.examples import examples
from tests.sqltext.test_redact import PIECES

STATEMENTS = [
    'update "t 42" set "a 7" = 3 where b = \'x\'', "insert into t7 values (1, 'a')", "select 1 from a for share",
    "delete from t where id = 5", "lock table t in share mode", "alter table t add c int default 5",
    "create index i9 on t (a)", "select f(33) for no key update", "insert into t select 5 on conflict do nothing",
]  # fmt: skip


@examples(400)
@given(
    st.lists(st.sampled_from(STATEMENTS + PIECES) | st.text(max_size=3), max_size=6).map(" ".join),
    st.integers(0, 80),
    st.booleans(),
)
@example("update $a€5$ x $a€6$ t $a€5$", 0, False)
@example("update a€5 set b = 1", 0, True)
@example('lock table "t 5"', 0, False)
def test_a_statement_by_its_shape_is_the_statement(text: str, length: int, truncated: bool) -> None:
    cut = text[: length or None]
    for alike in (find_shape(cut), cut.replace("7", "3"), cut):
        # The others are remembered first.
        assert statement.read_statement(alike, truncated) == statement._read_text(alike, truncated)
        assert ddl.split_parts(alike, truncated) == ddl._read_parts(alike, truncated)
        assert ddl.ddl_effect(alike, truncated) == ddl._read_effect(alike, truncated)
        assert row_locks.read_row_words(alike) == row_locks._read_words(alike)
        assert row_locks._guessed_mode(alike) == row_locks._guess_mode(alike)


def test_texts_of_one_shape_differ_in_values_alone() -> None:
    shapes = {
        find_shape(f"update t set a = {number}, b = 'it''s {number}' where c = '{number}'") for number in (12, 34)
    }
    assert len(shapes) == 1
    assert find_shape("select a1 from t2") == "select a1 from t2"
    assert find_shape("select 1 from t") != find_shape("select 1.5 from t")
