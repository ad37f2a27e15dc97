"""Tables on a screen: a table that is too wide has a line for each value, and nothing but statements is cut."""

import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.render.live.cells import text_width
from pgdoctor.render.report import Report, make_report
from pgdoctor.render.table import render_table
from tests.building import advisory, ago, session, snapshot

APPLICATION = "a service of the 商店 with a long name"


@pytest.fixture
def report() -> Report:
    held, asked = advisory(1, granted=True), advisory(2, granted=False)
    holder = session(1, locks=(held,), state="idle", state_change=ago(30), application_name=APPLICATION)
    waiter = session(2, blockers=(1,), locks=(asked,), statement=f"select {', '.join('abcdefghij' * 20)}")
    return make_report(diagnose(snapshot([holder, waiter])))


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_line_is_wider_than_the_screen(report: Report, width: int) -> None:
    assert max(map(text_width, render_table(report, width).splitlines())) <= width


def test_wide_table_has_a_line_for_each_value(report: Report) -> None:
    drawn = render_table(report, 80)
    assert "\n-[ 1 ]---" in drawn
    assert "\nclass        advisory_lock\n" in drawn
    assert APPLICATION in drawn
    unwrapped = " ".join(drawn.split())
    for each in report.blockers[0].evidence:
        assert each in unwrapped


def test_table_that_fits_stays_a_table(report: Report) -> None:
    drawn = render_table(report, 1_000)
    assert "-[ 1 ]" not in drawn
    assert "\npid  class" in drawn


def test_pipe_has_tables_and_whole_statements(report: Report) -> None:
    drawn = render_table(report)
    assert "-[ 1 ]" not in drawn
    assert report.waits[0].blocked_statement is not None
    assert report.waits[0].blocked_statement in drawn
