"""The list of all sessions from values: order, filter, keys, and any names on a screen of any size."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.activity import ActiveSession, Activity, MachineUsage, ProcessUsage
from pgdoctor.render.live.activity_rows import list_activity
from pgdoctor.render.live.cells import text_width
from pgdoctor.render.live.filtering import filter_rows
from pgdoctor.render.live.screen import ScreenInput, draw_screen, format_short_size, listed_rows
from pgdoctor.render.live.session_rows import SessionRow, list_rows
from pgdoctor.render.live.view import View, follow_blocking, keep_view, press_key, shown_tab
from pgdoctor.render.report import make_report
from tests.building import NOW, snapshot
from tests.mitigation.build import IDLE, READERS, diagnosis

#: Of a server on which no session is blocked.
CALM = diagnose(snapshot(()))


def active(pid: int, state: str | None = "active", seconds: float = 1.0, **facts: Any) -> ActiveSession:
    began = NOW - timedelta(seconds=seconds)
    usual = {"backend_type": "client backend", "state_change": began, "xact_start": began, "application": f"app {pid}"}
    return ActiveSession(pid=pid, state=state, **(usual | facts))


def sessions_screen(
    *sessions: ActiveSession, view: View | None = None, columns: int = 120, lines: int = 20
) -> list[str]:
    shown = view or View()
    activity = Activity(NOW, sessions, len(sessions))
    seen = ScreenInput(CALM, make_report(CALM), activity=activity, activity_rows=list_activity(activity, shown.sort))
    return ["".join(span.text for span in line) for line in draw_screen(seen, shown, columns, lines)]


def pids(*sessions: ActiveSession, sort: Any = "state") -> list[int]:
    return [row.pid for row in list_activity(Activity(NOW, sessions), sort)]


def test_sessions_are_listed_by_state_and_the_longest_in_it_first() -> None:
    listed = (
        active(1, "idle", 900),
        active(2, None, 5),
        active(3, "idle in transaction", 1),
        active(4, "active", 1),
        active(5, "active", 60),
        active(6, "idle in transaction (aborted)", 7),
    )
    assert pids(*listed) == [5, 4, 6, 3, 2, 1]


def test_order_by_age_is_that_of_the_transactions() -> None:
    young, old, none = active(1, seconds=1), active(2, "idle in transaction", 99), active(3, "idle", xact_start=None)
    assert pids(young, old, none, sort="transaction") == [2, 1, 3]


USAGE = {
    1: ProcessUsage(cpu=0.0, memory=3 * 1024**2, read=0.0, written=None),
    2: ProcessUsage(cpu=97.25, memory=900 * 1024, read=1_200.0, written=5e9),
    3: ProcessUsage(),
}


@pytest.mark.parametrize(
    ("sort", "first"),
    [("cpu", [2, 1, 3]), ("memory", [1, 2, 3]), ("read", [2, 1, 3]), ("written", [2, 1, 3]), ("age", [3, 2, 1])],
)
def test_sessions_are_sorted_by_what_they_take(sort: Any, first: list[int]) -> None:
    listed = Activity(NOW, (active(1, seconds=1), active(2, seconds=2), active(3, seconds=3)))
    assert [row.pid for row in list_activity(listed, sort, USAGE)] == first


@pytest.mark.parametrize(("columns", "shown"), [(80, 0), (84, 1), (120, 2), (170, 4)])
def test_resource_use_of_sessions_is_shown_where_known(columns: int, shown: int) -> None:
    activity = Activity(NOW, (active(1), active(2), active(3)), 3)
    rows = list_activity(activity, "state", USAGE)
    seen = ScreenInput(
        CALM, make_report(CALM), activity=activity, activity_rows=rows, usage=MachineUsage(USAGE, load=1.234)
    )
    text = "\n".join("".join(span.text for span in line) for line in draw_screen(seen, View(), columns, 20))
    assert "load 1.23" in " ".join(text.split())
    values = ("97.2", "900 k", "1.2 k", "4.7 G")
    assert [value in text for value in values] == [place < shown for place in range(4)]
    there = "\n".join(sessions_screen(active(1), columns=columns))
    assert "CPU%" not in there
    assert "load" not in there


def test_sort_column_is_shown_on_a_narrow_screen() -> None:
    activity = Activity(NOW, (active(1), active(2), active(3)), 3)
    view = View(sort="written")
    rows = list_activity(activity, view.sort, USAGE)
    seen = ScreenInput(CALM, make_report(CALM), activity=activity, activity_rows=rows, usage=MachineUsage(USAGE))
    text = "\n".join("".join(span.text for span in line) for line in draw_screen(seen, view, 84, 20))
    assert "WRITE/s" in text
    assert "READ/s" not in text
    assert "4.7 G" in text


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (None, ""),
        (0, "0"),
        (1, "0.0 k"),
        (1023, "1.0 k"),
        (1024 * 999.4, "999 k"),
        (1024 * 999.6, "1.0 M"),
        (2**62, "4096 P"),
    ],
)
def test_a_size_takes_six_cells_at_most(number: float | None, said: str) -> None:
    assert format_short_size(number) == said
    assert len(said) <= 6


def test_keys_sort_the_list_of_all_sessions_and_not_that_of_the_blocked() -> None:
    pressed = press_key(View(), "m", (), 10).view
    assert (pressed.sort, pressed.order) == ("memory", "tree")
    pressed = press_key(View(was_blocked=True), "w", (), 10).view
    assert (pressed.sort, pressed.order) == ("state", "wait")
    assert "by memory" in "\n".join(sessions_screen(active(1), view=View(sort="memory")))


@pytest.mark.parametrize(
    ("session", "style"),
    [
        (active(1), "plain"),
        (active(1, wait_event_type="Lock", wait_event="tuple"), "bad"),
        (active(1, "idle in transaction", 60), "warn"),
        (active(1, "idle in transaction", 1), "plain"),
        (active(1, "idle", 60), "dim"),
    ],
)
def test_style_says_what_needs_attention(session: ActiveSession, style: str) -> None:
    (row,) = list_activity(Activity(NOW, (session,)), "state")
    assert row.style == style


def test_statement_shows_no_literal() -> None:
    shown = "\n".join(sessions_screen(active(7, statement="select 'hunter2', 4711"), columns=200))
    assert "select ?, ?" in shown
    shown = "\n".join(
        sessions_screen(active(7, statement="select 'hunter2', 4711"), view=View(page="one", chosen=7), columns=200)
    )
    assert "runs: select ?, ?" in shown


@given(
    st.text(max_size=100),
    st.sampled_from([40, 80, 100, 200]),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from(["list", "one", "help"]),
)
def test_any_names_leave_the_screen_a_screen(name: str, columns: int, lines: int, is_wrapped: bool, page: Any) -> None:
    facts: dict[str, Any] = dict.fromkeys(
        ("application", "user", "database", "client", "wait_event", "statement"), name
    )
    view = View(page=page, chosen=5, is_wrapped=is_wrapped, filter=name[:3])
    shown = sessions_screen(active(5, name or None, **facts), active(6), view=view, columns=columns, lines=lines)
    assert len(shown) == lines
    assert all(line.isprintable() for line in shown)
    assert max(map(text_width, shown)) <= columns


def test_wrapped_statement_takes_some_lines_and_keeps_the_chosen_session_in_sight() -> None:
    many = [active(pid, seconds=1000 - pid, statement="select " + "column_name, " * 300) for pid in range(100, 140)]
    for chosen in (100, 120, 139):
        shown = sessions_screen(*many, view=View(is_wrapped=True, chosen=chosen))
        assert any(line.startswith(str(chosen)) for line in shown)


def test_chosen_session_stays_in_sight_of_a_long_list() -> None:
    many = [active(pid, seconds=2000 - pid) for pid in range(100, 1100)]
    for chosen in (100, 500, 1099):
        shown = sessions_screen(*many, view=View(chosen=chosen), lines=12)
        assert any(line.startswith(f"{chosen} ") for line in shown)
        # The heading, and rows down to the keys.
        assert all(line.strip() for line in shown[5:])


def test_sessions_beyond_the_limit_are_counted() -> None:
    activity = Activity(NOW, (active(1),), all_sessions=1_501)
    seen = ScreenInput(CALM, make_report(CALM), activity=activity, activity_rows=list_activity(activity, "state"))
    shown = "\n".join("".join(span.text for span in line) for line in draw_screen(seen, View(), 120, 20))
    assert "1,500 more sessions not shown" in shown


# Filter


def rows(*depths_and_words: tuple[int, str]) -> tuple[SessionRow, ...]:
    return tuple(SessionRow(number, depth=depth, who=word) for number, (depth, word) in enumerate(depths_and_words))


def test_filter_keeps_the_sessions_that_are_waited_for() -> None:
    tree = rows((0, "root"), (1, "other"), (1, "middle"), (2, "WANTED"), (0, "second"), (1, "last"))
    assert [row.who for row in filter_rows(tree, "wanted")] == ["root", "middle", "WANTED"]
    assert filter_rows(tree, "") == tree
    assert filter_rows(tree, "nothing") == ()


@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=5))), st.text(max_size=3))
def test_filtered_rows_are_in_their_order_and_every_match_is_kept(listed: list[tuple[int, str]], text: str) -> None:
    made = rows(*listed)
    found = filter_rows(made, text)
    assert list(found) == [row for row in made if row in found]
    assert {row.key for row in made if text.casefold() in row.who.casefold()} <= {row.key for row in found}


def test_letters_of_a_filter_are_no_keys() -> None:
    view = View()
    for key in ("/", *"qck", "backspace", " ", "up", "y"):
        pressed = press_key(view, key, (), 10)
        assert pressed.wish == ""
        view = pressed.view
    assert view.filter == "qc y"
    kept = press_key(view, "enter", (), 10).view
    assert (kept.is_typing, kept.filter) == (False, "qc y")
    assert press_key(kept, "escape", (), 10).view.filter == ""
    assert press_key(view, "escape", (), 10).view == View()


# Which list


def test_list_of_the_blocked_comes_when_a_session_is_blocked_and_goes_afterwards() -> None:
    calm = View()
    assert shown_tab(calm) == "sessions"
    blocked = follow_blocking(calm, is_blocked=True)
    assert shown_tab(blocked) == "blocked"
    chosen = press_key(blocked, "tab", (), 10).view
    assert shown_tab(chosen) == "sessions"
    assert shown_tab(follow_blocking(chosen, is_blocked=True)) == "sessions"
    assert shown_tab(follow_blocking(follow_blocking(chosen, is_blocked=False), is_blocked=True)) == "blocked"


def test_chosen_session_is_kept_only_in_a_list_that_has_it() -> None:
    found = diagnosis()
    activity = Activity(NOW, (active(IDLE), active(99)))
    seen = ScreenInput(
        found,
        make_report(found),
        list_rows(found, make_report(found), "tree"),
        activity=activity,
        activity_rows=list_activity(activity, "state"),
    )
    for chosen, kept in ((IDLE, IDLE), (99, None)):
        view = View(was_blocked=True, chosen=chosen)
        assert keep_view(view, listed_rows(seen, view)).chosen == kept


def test_equal_waiters_are_one_row_that_cannot_be_chosen() -> None:
    found = diagnosis()
    grouped = list_rows(found, make_report(found), "tree")
    (crowd,) = [row for row in grouped if row.sessions > 1]
    assert (crowd.sessions, crowd.key, crowd.pid, crowd.wait) == (len(READERS), None, None, 60.0)
    seen = ScreenInput(found, make_report(found), grouped)
    view = View(was_blocked=True)
    assert any("3 ×" in "".join(span.text for span in line) for line in draw_screen(seen, view, 100, 20))
    for key in ("end", "up", "down", "pagedown"):
        view = press_key(view, key, grouped, 10).view
        assert view.chosen in [row.key for row in grouped if row.key is not None]


@pytest.mark.parametrize(("key", "wish"), [("+", "slower"), ("=", "slower"), ("-", "faster")])
def test_plus_and_minus_change_the_interval(key: str, wish: str) -> None:
    assert press_key(View(), key, (), 10).wish == wish
