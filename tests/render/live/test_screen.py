"""The live view from built snapshots: whatever is typed, and whatever has a name, the screen stays a screen."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.model.snapshot import Session
from pgdoctor.render.live.cells import cut_text, pad_text, text_width
from pgdoctor.render.live.screen import ScreenInput, draw_screen, format_short
from pgdoctor.render.live.session_rows import SessionRow, list_rows
from pgdoctor.render.live.view import View, ViewQuestion, keep_view, press_key
from pgdoctor.render.report import make_report
from tests.mitigation.build import DDL, IDLE, READERS, ddl, diagnosis, idle, reader

KEYS = [
    "other",
    "up",
    "down",
    "pageup",
    "pagedown",
    "home",
    "end",
    "enter",
    "escape",
    "left",
    "tab",
    "backspace",
    *"qQtwbalnpckj ?hyYx12/vg+-=",
]

#: A view of the blocked sessions, as while there are some.
LISTED = partial(View, was_blocked=True)


def seen(*sessions: Session, order: Any = "tree", is_grouped: bool = False) -> ScreenInput:
    found = diagnosis(*sessions)
    facts = make_report(found)
    return ScreenInput(found, facts, list_rows(found, facts, order, is_grouped=is_grouped))


def drawn(picture: ScreenInput, view: View | None = None, columns: int = 120, lines: int = 20) -> list[str]:
    return ["".join(span.text for span in line) for line in draw_screen(picture, view or LISTED(), columns, lines)]


@given(st.lists(st.sampled_from(KEYS), max_size=30), st.integers(1, 250), st.integers(1, 60), st.booleans())
def test_screen_is_exactly_full_after_any_key(keys: list[str], columns: int, lines: int, is_lost: bool) -> None:
    picture = replace(seen(), error="connection refused" if is_lost else None)
    view = View()
    for key in keys:
        pressed = press_key(view, key, picture.rows, lines)
        view = pressed.view
        if pressed.wish in ("cancel", "terminate"):
            assert view.chosen in (IDLE, DDL, *READERS)
            view = replace(view, question=ViewQuestion(pressed.wish, view.chosen, ("frees many " * 30,)))
        if pressed.wish == "yes":
            view = replace(view, question=None)
    shown = drawn(picture, view, columns, lines)
    assert len(shown) == lines
    assert max(map(text_width, shown)) <= columns


@given(st.text(), st.integers(0, 30))
def test_a_text_takes_the_cells_that_it_is_given(text: str, columns: int) -> None:
    assert text_width(cut_text(text, columns)) <= columns
    assert text_width(pad_text(text, columns)) == columns
    assert pad_text(text, columns).isprintable()


@given(st.text())
def test_names_of_any_letters_leave_the_columns_where_they_are(name: str) -> None:
    holder = idle(usename=name, application_name=name, datname=name, statement=name)
    for columns in (40, 130, 200):
        for view in (View(), View(page="one", chosen=IDLE)):
            shown = drawn(seen(holder, ddl()), view, columns)
            assert all(line.isprintable() for line in shown)
            assert max(map(text_width, shown)) <= columns


def test_the_orders() -> None:
    assert [row.key for row in seen().rows] == [IDLE, DDL, *READERS]
    assert [row.depth for row in seen().rows] == [0, 1, 2, 2, 2]
    crowd = idle(), ddl(seconds=5.0), reader(31, seconds=30.0), reader(32, seconds=7.0)
    assert [row.key for row in seen(*crowd, order="wait").rows] == [31, 32, DDL, IDLE]
    assert [row.key for row in seen(*crowd, order="blocked").rows][:2] == [IDLE, DDL]
    assert [row.key for row in seen(*crowd, order="class").rows][:2] == [IDLE, DDL]


def test_the_chosen_one_stays_in_sight_in_a_crowd() -> None:
    picture = seen(idle(), *(reader(pid, blockers=(IDLE,)) for pid in range(100, 1100)))
    for chosen in (100, 500, 1099):
        assert any(line.strip().startswith(f"{chosen} ") for line in drawn(picture, LISTED(chosen=chosen), 120, 10))


def test_a_chain_deeper_than_the_tree_is_summed_up() -> None:
    picture = seen(idle(), *(reader(pid, blockers=(pid - 1 if pid > 100 else IDLE,)) for pid in range(100, 1100)))
    assert "sessions more" in "\n".join(row.rest for row in picture.rows)
    assert len(seen(idle(), reader(100, blockers=(IDLE,)), order="wait").rows) == 2


def test_ended_session_is_not_chosen() -> None:
    assert keep_view(View(chosen=31), (SessionRow(30), SessionRow(31))).chosen == 31
    assert keep_view(View(chosen=31), (SessionRow(30),)).chosen is None
    # Its own page says that it is gone.
    assert keep_view(View(chosen=31, page="one"), (SessionRow(30),)).chosen == 31
    assert (
        "31 neither waits nor blocks any more."
        in drawn(seen(idle(), ddl()), LISTED(chosen=31, page="one"), columns=200)[4]
    )


@pytest.mark.parametrize("key", ["c", "k"])
def test_approval_is_asked_only_for_the_chosen_session(key: str) -> None:
    for view in (View(), View(chosen="some gid"), View(chosen=4711)):
        pressed = press_key(view, key, (*seen().rows, SessionRow("some gid")), 10)
        assert pressed.wish == ""
        assert pressed.view.message


def test_only_a_yes_is_a_yes() -> None:
    asked = View(chosen=IDLE, question=ViewQuestion("terminate", IDLE, ("frees 1",)))
    for key in KEYS:
        pressed = press_key(asked, key, seen().rows, 10)
        assert (pressed.wish == "yes") is (key in "yY")
        if key not in "yY":
            assert pressed.view.question is None
            assert pressed.view.message == "no action"


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (80, 24), (250, 60)])
def test_a_question_is_read_on_any_screen(columns: int, lines: int) -> None:
    said = ("app@shop: idle_in_transaction.", "A terminate frees 1 at once (20), 3 more in turn; exact.", "why " * 50)
    shown = drawn(seen(), View(chosen=IDLE, question=ViewQuestion("terminate", IDLE, said)), columns, lines)
    text = " ".join(" ".join(shown).split())
    assert f"terminate {IDLE}?" in text
    assert said[1] in text
    assert shown[-1].strip() == "y: confirm    any other key: go back"
    assert ("enlarge the window" in text) is (lines == 10)


@pytest.mark.parametrize(("columns", "lines"), [(40, 10), (250, 60)])
def test_a_refusal_is_read_on_any_screen(columns: int, lines: int) -> None:
    said = ("terminate 10: no.", "protected: it is the backup's.")
    shown = drawn(seen(), View(notice=said), columns, lines)
    assert all(any(line.strip() == each for line in shown) for each in said)
    assert shown[-1].strip() == "press any key to continue"


def test_a_narrow_screen_has_why_and_not_a_beginning_of_what() -> None:
    shown = drawn(seen(), columns=40, lines=10)
    assert shown[4].split() == ["PID", "BLOCKS", "WAIT", "CLASS"]
    assert "idle" in shown[5]
    assert all(key in shown[-1] for key in ("q quit", "c cancel", "k terminate"))


def test_the_page_of_one_session_says_what_a_signal_would_do() -> None:
    shown = "\n".join(drawn(seen(), View(chosen=DDL, page="one"), 200, 40))
    assert f"{DDL}  migration" in shown
    assert f"has waited 1 min 0 s for AccessExclusiveLock on public.orders, for {IDLE}" in shown
    assert "a cancel frees 3 sessions at once: 31, 32, 33; costs nothing but a retry" in shown
    assert "wants AccessExclusiveLock on public.orders" in shown


def test_no_statement_shows_a_value() -> None:
    picture = seen(idle(statement="select 'hunter2' from t"), ddl())
    for view in (View(), View(chosen=IDLE, page="one")):
        assert "hunter2" not in "\n".join(drawn(picture, view, 300, 40))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (3.61, "3.6s"), (245, "4m05s"), (7500, "2h05m"), (274_000, "3d04h")]
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert format_short(seconds) == text


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_advice_is_wrapped_and_not_cut(columns: int) -> None:
    shown = drawn(seen(idle(), ddl(), *map(reader, READERS)), columns=columns, lines=30)
    assert "costs nothing but a retry" in " ".join(" ".join(shown).split())
    assert not any("…" in line for line in shown[:3])
