"""The tree and the tables, from built snapshots: what a person sees, and what no client may show them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Connections, Session
from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import Report, make_report, to_json
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import render_tree
from tests import building
from tests.building import advisory, ago, snapshot

LOCAL = {"version_num": 150018, "connections": 42, "connections_by_state": Connections(active=42)}


def session(pid: int, *blockers: int, **facts: Any) -> Session:
    """A holder of an advisory lock, or one who has waited 12 seconds for it."""
    usual = {
        "blockers": blockers,
        "locks": (advisory(pid, granted=not blockers, seconds=12.0),),
        "state": "active" if blockers else "idle",
        "statement": "select pg_advisory_lock(1)",
        "state_change": ago(30),
    }
    return building.session(pid, **{**usual, **facts})


def seen(*sessions: Session) -> Report:
    return make_report(diagnose(snapshot(sessions, **LOCAL)))


def test_no_blocked_session_is_one_line_with_the_server() -> None:
    assert render_tree(seen()).splitlines()[0] == "No session is blocked."
    assert render_tree(seen()).endswith("PostgreSQL 15.18, primary, 42/100 connections\n")
    assert render_table(seen()).startswith("No session is blocked")


def test_tree_puts_a_waiter_below_its_blocker() -> None:
    drawn = render_tree(seen(session(1), session(2, 1), session(3, 2)), 200)
    assert drawn.splitlines()[0] == "2 sessions blocked by 1 root blocker, the longest for 12 s."
    assert "\n└─ 2 has waited 12 s for ExclusiveLock on advisory key 1" in drawn
    assert "\n   └─ 3 has waited 12 s" in drawn


def test_a_circle_is_drawn_once_though_it_has_no_root() -> None:
    drawn = render_tree(seen(session(1, 2), session(2, 1)), 200)
    assert drawn.startswith("2 sessions blocked by 1 deadlock")
    assert drawn.count("└─ 2 has waited") == 1
    assert "wait for each other" in drawn


def test_equal_waiters_are_one_line() -> None:
    drawn = render_tree(seen(session(1), *(session(pid, 1) for pid in range(2, 500))), 200)
    assert (
        '└─ 498 × app "checkout" wait for ExclusiveLock on advisory key 1, the longest for 12 s '
        "(2, 3, 4, 5, 6 and 493 more): select pg_advisory_lock(?)\n"
    ) in drawn


def test_a_crowd_of_different_sessions_is_counted_not_drawn() -> None:
    crowd = (session(pid, 1, application_name=f"job {pid}") for pid in range(2, 500))
    drawn = render_tree(seen(session(1), *crowd), 200)
    assert "and 478 sessions more" in drawn
    assert len(drawn.splitlines()) < 60


def test_a_chain_longer_than_a_screen_is_deep_does_not_exhaust_the_stack() -> None:
    assert render_tree(seen(session(1), *(session(pid, pid - 1) for pid in range(2, 2000))))


@pytest.mark.parametrize("width", [1, 40, 80, 300])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    drawn = render_tree(seen(session(1, statement="select " + "x" * 5000), session(2, 1)), width)
    assert max(map(len, drawn.splitlines())) <= max(width, 40)


# With the control character first it is not the name of a tool, such as PG_DUMP, of which the tree says other things.
@given(st.text().map("\x1b{}".format))
def test_hostile_text_stays_on_its_line(text: str) -> None:
    facts = seen(
        session(1, usename=text, application_name=text, statement=text, datname=text), session(2, 1, usename=text)
    )
    plain = seen(session(1), session(2, 1))
    drawn = render_tree(facts, 500)
    assert all(character == "\n" or character.isprintable() for character in drawn)
    assert abs(len(drawn.splitlines()) - len(render_tree(plain, 500).splitlines())) <= 1
    for draw in (render_table, render_markdown):
        assert "\x1b" not in draw(facts)


@given(st.text())
def test_one_line_is_one_harmless_line(text: str) -> None:
    assert len(format_one_line(text, 20)) <= 20
    assert format_one_line(text, 20).isprintable()


def test_markup_is_escaped_in_markdown() -> None:
    drawn = render_markdown(seen(session(1, usename="<script>|x|"), session(2, 1)))
    assert drawn.count("<script>") == drawn.count('`<script>\\|x\\|@shop "checkout"`') == 1


def test_json_has_the_fields_of_the_interface() -> None:
    facts = msgspec.json.decode(to_json(seen(session(1), session(2, 1))))
    assert facts["schema_version"] == 1
    assert facts["captured_at"] == "2026-05-22T23:10:00.000000+00:00"
    assert facts["server"]["max_connections"] == 100
    assert facts["waits"] == [
        {
            "blocked_pid": 2,
            "blocked_user": "app",
            "blocked_statement": "select pg_advisory_lock(?)",
            "blocked_application": "checkout",
            "blocking_pid": 1,
            "blocking_user": "app",
            "blocking_statement": "select pg_advisory_lock(?)",
            "lock_type": "advisory",
            "lock_mode": "ExclusiveLock",
            "relation": None,
            "wait_seconds": 12.0,
            "queued": False,
            "wait_seconds_at_most": None,
            "prepared_gid": None,
            "waits_for": "ExclusiveLock on advisory key 1",
            "database": "shop",
            "in_other_database": False,
        }
    ]
    [blocker] = facts["blockers"]
    assert (blocker["class"], blocker["also"], blocker["root"]) == ("advisory_lock", [], True)
    assert (blocker["directly_blocked"], blocker["blocked_sessions"]) == (1, 1)
    assert blocker["transaction_seconds"] == 60.0
    assert set(blocker["recommendation"]) == {"action", "pid", "reason", "sql", "not_permitted"}


def test_a_convoy_lists_as_many_waits_as_the_interface_says_and_counts_all() -> None:
    row = {"locktype": "tuple", "relation": 16384, "page": 0, "tuple": 1}
    sessions = [session(1)]
    for pid in range(2, 302):
        queued = advisory(pid, granted=False, **row)
        sessions.append(session(pid, *range(1, pid), locks=(queued,)))
    facts = seen(*sessions)
    assert facts.waits_total == 300 * 301 // 2
    assert len(facts.waits) == 10_000
    assert facts.blockers[0].blocked_sessions == 300
