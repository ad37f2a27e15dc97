"""Which functions a statement may call: hostile texts take linear time."""

import time

from pgdoctor.postgres.cancel_handlers import _called_names
from tests.building import session

#: Seconds of CPU; before names were read from their first character only, it took 40.
LIMIT = 1.0


def test_called_functions_are_found_by_their_names() -> None:
    assert _called_names(session(1, statement='select "a"(1), public.Refresh (2)')) == ("a", "refresh")
    assert _called_names(session(1, statement="select a(1)", state="idle")) == ()


def test_h85_one_huge_word_is_read_in_linear_time() -> None:
    text = f"select '{'a' * 60_000}'"
    began = time.thread_time()
    assert _called_names(session(1, statement=text)) == ()
    assert time.thread_time() - began < LIMIT
