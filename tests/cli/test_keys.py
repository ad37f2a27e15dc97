"""What curses reads, as keys."""

import curses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.cli._keys import OTHER, decode_keys


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("qy", ["q", "y"]),
        ("\r\n", ["enter", "enter"]),
        ("\x1b", ["escape"]),
        ("\x1bq", ["escape", "q"]),
        # Arrows of a terminal that was not set to send them in the other way, or has not listened.
        ("\x1b[A\x1b[B\x1b[D\x1b[5~\x1b[6~\x1b[H\x1b[F", ["up", "down", "left", "pageup", "pagedown", "home", "end"]),
        ("\x1bOA\x1bOB", ["up", "down"]),
        # With a modifier, of no meaning here; a key of functions; both kinds of a mouse; the brackets of a paste.
        ("\x1b[1;5Ay", [OTHER, "y"]),
        ("\x1b[15~", [OTHER]),
        ("\x1b[M ykq", [OTHER, "q"]),
        ("\x1b[<0;10;5Mq", [OTHER, "q"]),
        ("\x1b[200~k\x1b[201~", [OTHER, "k", OTHER]),
        ("\x1b[", [OTHER]),
    ],
)
def test_a_sequence_is_one_key(typed: str, found: list[str]) -> None:
    assert list(decode_keys(typed)) == found


def test_curses_decodes_its_own_keys() -> None:
    assert list(decode_keys([curses.KEY_DOWN, "k", curses.KEY_F5, curses.KEY_RESIZE])) == ["down", "k", OTHER]


@given(st.lists(st.one_of(st.characters(), st.integers(256, 600), st.just("\x1b"), st.just("["))))
def test_typed_keys_never_multiply(typed: list[int | str]) -> None:
    assert len(list(decode_keys(typed))) <= len(typed)
