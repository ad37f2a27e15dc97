"""A row that changes hands: what one snapshot tells of it, and first where the row does not."""

import time
from collections import Counter

import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.diagnosis.recommendation import recommend
from pgdoctor.render.tree import describe_blocked
from tests.hammer import hammering, idling, running
from tests.looking import look, snapshot

#: A statement that works for a while before it asks for the row.
WORKS_FIRST = "do 'begin perform pg_sleep(0.3); update orders set v = 2 where id = 1; end'"


@pytest.fixture(autouse=True)
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int); insert into orders values (1, 0)")


def find_root(scene):
    [root] = [each for each in diagnose(snapshot(scene.dsn)).blockers if each.root]
    return root


def test_kept_row_is_no_hot_row(scene):
    holder = scene.client("update orders set v = 1")
    for _ in range(4):
        scene.client().block("update orders set v = 2 where id = 1")
    for _ in range(5):
        root = find_root(scene)
        assert (root.pid, root.classification) == (holder.pid, "idle_in_transaction")
        time.sleep(0.1)


def test_kept_row_is_no_hot_row_for_old_statements_after_a_second(scene):
    scene.client("update orders set v = 1").start("select pg_sleep(60)")
    for _ in range(4):
        scene.client().block(WORKS_FIRST)
    scene.wait_until(lambda: find_root(scene).classification == "long_query")
    # A snapshot later says the same: the waits grow older, and do not begin again.
    assert find_root(scene).classification == "long_query"


def test_single_old_statement_behind_a_holder_is_no_queue(scene):
    scene.client("update orders set v = 1").start("select pg_sleep(60)")
    scene.client().block(WORKS_FIRST)
    assert find_root(scene).classification == "long_query"


@pytest.mark.long
@pytest.mark.deadline(120)
@pytest.mark.parametrize("pause", [running, idling])
def test_hot_row_shows_in_one_snapshot_and_no_signal_is_advised(scene, pause):
    with hammering(scene.dsn, 16, pause):
        # Until the statements are older than the first waits.
        scene.wait_until(lambda: find_class(scene) == "hot_row")
        seen = []
        for _ in range(24):
            seen.append(diagnose(snapshot(scene.dsn)))
            time.sleep(0.03)
    classes = Counter(each.blockers[0].classification for each in seen if each.blockers)
    signals = [each for each in seen if (advice := recommend(each).advice) is not None and advice.action != "none"]
    assert classes["hot_row"] >= 22, classes
    assert len(signals) <= 1


def find_class(scene):
    found = diagnose(snapshot(scene.dsn)).blockers
    return found[0].classification if found else None


@pytest.mark.long
def test_tree_says_bounds_where_the_row_changes_hands(scene):
    with hammering(scene.dsn, 12, running):
        scene.wait_until(lambda: find_class(scene) == "hot_row")
        scene.wait_until(lambda: " s to " in describe_blocked(look(scene.dsn)))
    assert " s to " not in describe_blocked(look(scene.dsn))


def test_tree_says_one_wait_where_the_row_is_kept(scene):
    scene.client("update orders set v = 1").start("select pg_sleep(60)")
    scene.client().block(WORKS_FIRST)
    [wait] = look(scene.dsn).waits
    assert wait.wait_seconds_at_most is None
