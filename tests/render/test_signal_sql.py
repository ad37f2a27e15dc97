"""Where the SQL to paste stands in each rendering, and that no width of a screen changes what it means."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.manual_signal import MOVED_ON, ROLLBACK_WARNING, write_rollback_sql, write_signal_sql
from pgdoctor.model.snapshot import PreparedTransaction, Session
from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.page import render_page
from pgdoctor.render.report import Report, make_report
from pgdoctor.render.tree import render_tree, tree_lines
from pgdoctor.render.wrapped_sql import wrap_sql
from tests.building import lock, snapshot
from tests.mitigation.build import DDL, IDLE, ddl, diagnosis, idle, reader
from tests.render.test_recommendation import WATCH


def seen(*sessions: Session) -> Report:
    return make_report(diagnosis(*sessions))


def sql_of(session: Session, action: str = "terminate") -> str:
    text = write_signal_sql(action, session)  # type: ignore[arg-type]
    assert text is not None
    return text


# Where there is none


@pytest.mark.parametrize(
    "facts", [{"backend_start": None}, {"application_name": "pg_dump"}, {"backend_type": "walsender"}]
)
def test_sessions_without_a_signal_have_no_sql(facts: dict[str, str | None]) -> None:
    report = seen(idle(**facts), ddl(blockers=(IDLE,)))
    assert not [cut for cut in report.cuts if cut.pid == IDLE and cut.sql]
    for drawn in (render_tree(report, None), render_markdown(report), render_page(WATCH, report)):
        assert f"terminate {IDLE}'" not in drawn


def test_nothing_is_offered_where_no_session_is_blocked() -> None:
    report = make_report(diagnose(snapshot([idle()])))
    for drawn in (render_tree(report, None), render_markdown(report), render_page(WATCH, report)):
        assert "pg_terminate" not in drawn
        assert 'class="copy"' not in drawn


# Where it stands


def test_each_cut_has_its_sql_once_in_every_rendering() -> None:
    report = seen()
    for drawn in (render_tree(report, None), render_markdown(report)):
        for text in (sql_of(ddl(), "cancel"), sql_of(idle())):
            assert drawn.count(text) == 1
    web = render_page(WATCH, report)
    assert web.count("pg_catalog.pg_cancel_backend(a.pid)") == 1
    assert web.count("pg_catalog.pg_terminate_backend(a.pid)") == 1


def test_a_set_has_one_statement_for_each_signal() -> None:
    members = [idle(pid) for pid in (1, 2, 3)]
    report = seen(*members, ddl(blockers=(1, 2, 3)))
    wanted = tuple(map(sql_of, members))
    assert report.cut_sets[0].sql == wanted
    assert report.recommendation is not None
    assert report.recommendation.sql == wanted
    for drawn in (render_tree(report, None), render_markdown(report)):
        assert all(drawn.count(text) == 1 for text in wanted)


def test_a_root_in_no_cut_has_its_sql_below_its_own_signal() -> None:
    """Four sessions hold the lock together: no set of that size is proposed."""
    report = seen(*map(idle, (1, 2, 3, 4)), ddl(blockers=(1, 2, 3, 4)))
    assert (report.cuts, report.cut_sets) == ((), ())
    drawn = render_tree(report, None)
    assert drawn.count(sql_of(idle(1))) == render_markdown(report).count(sql_of(idle(1))) == 1
    assert all("│" not in line for line in drawn.splitlines() if "pg_terminate" in line)


def test_cuts_that_are_alike_show_one_and_say_where_the_others_are() -> None:
    roots = [idle(pid) for pid in (1, 2, 3, 4)]
    report = seen(*roots, *(ddl(pid + 100, blockers=(pid,)) for pid in (1, 2, 3, 4)))
    drawn = render_tree(report, None)
    assert "--format json and markdown have the SQL for the others" in drawn
    assert sum(drawn.count(text) for text in map(sql_of, roots)) == 2
    assert all(render_markdown(report).count(text) == 1 for text in map(sql_of, roots))


def test_a_prepared_transaction_has_its_rollback_with_a_warning() -> None:
    gid = "it's one"
    held = (lock(None, "AccessExclusiveLock", granted=True),)
    prepared = PreparedTransaction(node=-1, gid=gid, transactionid=7, datname="shop", locks=held)
    report = make_report(diagnose(snapshot([reader(31, blockers=(-1,))], prepared=(prepared,))))
    assert [each.sql for each in report.left_alone] == ["ROLLBACK PREPARED 'it''s one';"]
    for drawn in (render_tree(report, None), render_markdown(report), render_page(WATCH, report)):
        assert ROLLBACK_WARNING in drawn
        assert "ROLLBACK PREPARED 'it''s one';" in drawn


def test_a_recorded_snapshot_shows_no_sql() -> None:
    lines = [line.text for line in tree_lines(seen(), None, has_sql=False)]
    assert not any("pg_catalog" in line for line in lines)


# What a screen does to it


@given(st.integers(20, 200), st.text(max_size=300), st.sampled_from(["cancel", "terminate", "gid"]))
def test_wrapped_sql_means_the_same(width: int, gid: str, kind: str) -> None:
    text = write_rollback_sql(gid) if kind == "gid" else sql_of(ddl(), kind)
    lines = wrap_sql(text, width)
    assert _joined(lines) == _flat(text)
    if width >= 38:
        assert max(map(len, lines)) <= width


def _joined(lines: list[str]) -> str:
    """As the server reads it: parts of one constant in two lines are one."""
    return _flat(re.sub(r"'\n'", "", "\n".join(lines)))


def _flat(text: str) -> str:
    return re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", text)


@given(st.text(max_size=80))
def test_a_gid_is_one_harmless_constant(gid: str) -> None:
    text = write_rollback_sql(gid)
    assert text.isascii()
    assert text.isprintable()
    constant = text.removeprefix("ROLLBACK PREPARED ").removesuffix(";")
    inner = constant.removeprefix("E")[1:-1]
    assert "'" not in inner.replace("''", "")
    if not constant.startswith("E"):
        assert "\\" not in inner


@pytest.mark.parametrize("width", [40, 80, 100])
def test_lines_of_the_tree_can_be_pasted_at_any_width(width: int) -> None:
    lines = render_tree(seen(), width).splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip().startswith("SELECT COALESCE"))
    end = next(number for number, line in enumerate(lines) if line.endswith("pgdoctor;") and number >= begin)
    assert _joined([line.strip() for line in lines[begin : end + 1]]) == _flat(sql_of(ddl(), "cancel"))
    assert MOVED_ON in re.sub(r"'\n +'", "", "\n".join(lines))
    assert max(map(len, lines)) <= width


def test_the_words_fit_the_session() -> None:
    assert f"'signalled: cancel {DDL}'" in sql_of(ddl(), "cancel")
    assert "query_start" not in sql_of(idle())
    assert "query_start" in sql_of(idle(xact_start=None))
    assert "a.xact_start IS NULL" in sql_of(idle(xact_start=None))
