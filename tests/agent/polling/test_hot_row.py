"""A hot row as the agent shows it: no wait for its lock lasts, but each statement is blocked for a long time."""

import time
from itertools import pairwise

import pytest

from tests.hammer import hammering, idling, running

#: Seconds, and a multiple of the time for which a holder keeps the row.
THRESHOLD = 'wait_threshold = "100ms"'

pytestmark = [pytest.mark.long, pytest.mark.deadline(120)]


@pytest.fixture(autouse=True)
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")


@pytest.mark.parametrize("pause", [running, idling])
def test_hot_row_is_one_steady_incident(scene, agent, pause):
    watching = agent(scene.dsn, more=THRESHOLD)
    watching.wait_for("up", 1)
    with hammering(scene.dsn, 12, pause):
        scene.wait_until(lambda: watching.metric("blocked_sessions") >= 6)
        seen = [watching.wait_for_polls(1) for _ in range(15)]
    # A poll may fall into the moment in which the whole queue wakes up.
    assert least_but_one(seen, "pgdoctor_blocked_sessions") >= 4
    assert least_but_one(seen, 'pgdoctor_blocked_sessions_by_class{class="hot_row"}') >= 4
    totals = [each["pgdoctor_blocked_session_seconds_total"] for each in seen]
    assert sum(later > earlier for earlier, later in pairwise(totals)) >= len(totals) - 2
    # More than a single holder keeps it.
    assert max(each["pgdoctor_oldest_wait_seconds"] for each in seen) > 0.2
    watching.wait_for("blocked_sessions", 0)
    watching.wait_for_lines("incident ended")
    assert len([each for each in watching.lines if each["event"] == "incident started"]) == 1
    [ended] = [each for each in watching.lines if each["event"] == "incident ended"]
    assert "hot_row" in ended["classes"]


def test_polls_without_a_snapshot_count_and_see_the_end(scene, agent):
    with hammering(scene.dsn, 12, running):
        # It starts with a snapshot, and most polls cannot pay for another one.
        time.sleep(1)
        watching = agent(scene.dsn, more=THRESHOLD, share=0.01)
        scene.wait_until(lambda: watching.metric("blocked_sessions") >= 4, timeout=30)
        seen = [watching.wait_for_polls(1) for _ in range(6)]
        assert least_but_one(seen, "pgdoctor_blocked_sessions") >= 4
    watching.polls_until("blocked_sessions", 0)


def least_but_one(seen, name):
    """The least value of a series in these polls, one of them left out."""
    return sorted(each[name] for each in seen)[1]
