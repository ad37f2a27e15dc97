"""The one thing to do and what each cut frees, as each rendering shows them."""

import msgspec

from pgdoctor.model.snapshot import Session
from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.page import render_page
from pgdoctor.render.report import Report, make_report, to_json
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import render_tree
from pgdoctor.render.web.monitoring_status import Arming, MonitoringStatus
from tests.mitigation.build import DDL, ddl, diagnosis, idle, reader

WATCH = MonitoringStatus(
    error=None, connection="connected", age=1.0, hidden_sessions=0, arming=Arming("off"), version="1"
)


def shown(*sessions: Session) -> tuple[str, str, str, str]:
    """Tree, table, Markdown and page."""
    facts = seen(*sessions)
    return render_tree(facts, 200), render_table(facts), render_markdown(facts), render_page(WATCH, facts)


def seen(*sessions: Session) -> Report:
    return make_report(diagnosis(*sessions))


def test_without_a_blocked_session_nothing_is_recommended() -> None:
    facts = seen(idle())
    assert facts.recommendation is None
    assert "→" not in render_tree(facts)
    assert "Recommendation" not in render_table(facts)


def test_the_cut_to_make_stands_above_all_else_and_is_marked() -> None:
    drawn, *others = shown()
    assert drawn.splitlines()[2] == "→ cancel 20 frees 3 sessions at once; costs nothing but a retry"
    assert "  cancel 20: 3 sessions at once  ← best\n      frees 31, 32, 33; costs nothing but a retry" in drawn
    assert "terminate 10: 1 session at once, 3 more in turn\n      frees 20; costs a transaction" in drawn
    for text in others:
        assert "cancel 20" in text
        assert "31, 32, 33" in text


def test_a_set_is_shown_as_one() -> None:
    drawn, *others = shown(*map(idle, (1, 2, 3)), ddl(blockers=(1, 2, 3)))
    assert drawn.splitlines()[2].startswith("→ terminate 1 and 2 and 3 frees 1 session at once; costs each at most a")
    assert "terminate 1 and 2 and 3 together: 1 session at once  ← best\n      frees 20; costs each" in drawn
    for text in others:
        assert "terminate 1 and 2 and 3" in text


def test_a_set_of_both_signals_is_not_best_where_only_a_request_waits() -> None:
    drawn, *others = shown(idle(1), idle(2), idle(3, state="active"), ddl(blockers=(1, 2, 3)))
    assert drawn.splitlines()[2] == "→ do not signal"
    for text in (drawn, *others):
        assert "terminate 1 and 2, cancel 3" in text


def test_untouchable_session_is_shown_with_its_waiters() -> None:
    drawn, plain, markdown, web = shown(idle(application_name="pg_dump"), ddl())
    assert drawn.splitlines()[2] == "→ do not signal 10"
    assert "do not signal 10; its end would free 1 session at once: 20" in drawn
    assert "do not signal 10" in plain
    assert "do not signal 10" in markdown
    assert "leave 10 alone" in web
    assert "let the backup finish" in web


def test_a_crowd_is_named_up_to_a_bound_and_counted() -> None:
    crowd = [reader(pid, blockers=(10,)) for pid in range(100, 200)]
    assert "100, 101, 102, 103, 104 and 95 more" in render_tree(seen(idle(), *crowd), 200)


def test_the_object_has_the_new_fields_beside_the_old_ones() -> None:
    facts = msgspec.json.decode(to_json(seen()))
    [sql] = facts["recommendation"].pop("sql")
    assert sql == facts["cuts"][0]["sql"]
    assert facts["recommendation"] == {
        "action": "cancel",
        "pid": DDL,
        "prepared_gid": None,
        "signals": [{"action": "cancel", "pid": DDL}],
        "frees_at_once": 3,
        "frees_in_turn": 3,
        "exact": True,
        "loses": "nothing but a retry",
        "reason": "it has only queued: a cancel loses nothing; try it again with lock_timeout set",
        "not_permitted": None,
        "may_hold_too": [],
    }
    assert facts["cuts"][0]["released"] == [31, 32, 33]
    assert facts["cut_sets"] == facts["left_alone"] == []
