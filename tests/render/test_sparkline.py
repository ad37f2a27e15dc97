"""Sparklines: small, in steps, with gaps, and nothing that a client chose."""

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.render.web.sparkline import RecentSeries, last_hour_markup, sparkline_markup

VALUES = st.lists(st.one_of(st.none(), st.integers(0, 100_000)), max_size=120)


def path(values: list[int | None], highest: int) -> str:
    return re.search(r'd="([^"]*)"', sparkline_markup("blocked", values, highest))[1]


def test_equal_neighbours_are_one_step() -> None:
    assert path([0] * 120, 10) == "M0 20V20H120V20Z"
    assert path([0, 0, 10, 10, 5], 10) == "M0 20V20H2V0H4V10H5V20Z"


def test_gap_ends_a_stretch() -> None:
    assert path([None, 10, None, None, 5], 10) == "M1 20V0H2V20ZM4 20V10H5V20Z"


def test_one_of_many_is_to_be_seen() -> None:
    assert path([1], 100_000) == "M0 20V19H1V20Z"


@given(VALUES, st.integers(0, 100_000))
def test_picture_is_sound_and_small(values: list[int | None], highest: int) -> None:
    markup = sparkline_markup("blocked", values, max(highest, *(value or 0 for value in values), 0))
    assert ElementTree.fromstring(markup).tag == "svg"
    assert len(markup) < 2_500
    heights = [float(found) for found in re.findall(r"V([\d.]+)", markup)]
    assert all(0 <= height <= 20 for height in heights)


def test_words_say_the_highest_value_and_when() -> None:
    recent = RecentSeries((0, 11, 0, 3), (80, None, 42, 80))
    shown = re.sub(r"<svg.*?</svg>|<[^>]*>", " ", last_hour_markup(recent, (42, 100)))
    assert "Blocked sessions: at most 11, 1 min 0 s ago" in shown
    assert "Connections: at most 80 of 100, less than 30 s ago" in shown
    calm = last_hour_markup(RecentSeries((None, 0), (None, 1)), None)
    assert "Blocked sessions: none in the last hour" in calm
    assert last_hour_markup(RecentSeries((None, None), (None, None)), (1, 100)) == ""
