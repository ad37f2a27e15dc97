"""Whom we remember as holders of contested rows, and what is found on rows that really are hot."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pgdoctor.cli._options import fetch_diagnosis, run_coroutine
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Connections, ServerInfo, Session, Snapshot
from pgdoctor.observer.hot_row_history import (
    Sighting,
    needs_second_snapshot,
    recent_sightings,
    take_sighting,
    with_memory,
)
from tests.hammer import hammering, idling, running
from tests.looking import snapshot

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

NOW = datetime(2026, 5, 22, tzinfo=UTC)


def seen(seconds_ago: float, **holders: int) -> Sighting:
    found = {(None, int(table[1:])): frozenset({(pid, NOW)}) for table, pid in holders.items()}
    return Sighting(NOW - timedelta(seconds=seconds_ago), found)


def test_old_or_empty_entries_are_forgotten():
    young, old, empty = seen(3, t1=10), seen(11, t1=11), seen(1)
    assert recent_sightings((old, young, empty), NOW) == (young,)


def test_a_clock_that_was_set_back_keeps_nothing_for_ever():
    assert recent_sightings((seen(-3600, t1=10),), NOW) == ()


def test_holders_of_all_polls_by_table_whose_transactions_are_over():
    sightings = (seen(3, t1=10), seen(2, t1=11, t2=12), seen(1, t1=10))
    assert with_memory(looked(), sightings).former_holders == {1: {10, 11}, 2: {12}}


def test_former_holder_has_ended_its_transaction():
    sightings = (seen(1, t1=10, t2=11),)
    now = looked(Session(10, xact_start=NOW), Session(11, xact_start=NOW + timedelta(seconds=1)))
    assert with_memory(now, sightings).former_holders == {1: frozenset(), 2: {11}}


def looked(*sessions):
    server = ServerInfo(180000, False, 100, 1, Connections())
    return Snapshot(NOW, server, {each.pid: each for each in sessions})


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders values (1, 0)")
    return scene.admin.execute("select 'orders'::regclass::oid::int8").fetchone()[0]


def test_a_second_poll_is_taken_until_a_holder_of_the_row_is_known(scene, orders):
    scene.client("update orders set v = 1").start("select pg_sleep(60)")
    for _ in range(3):
        scene.client().block("update orders set v = 2 where id = 1")
    seen = snapshot(scene.dsn)
    assert needs_second_snapshot(diagnose(seen))
    assert needs_second_snapshot(diagnose(replace(seen, former_holders={orders + 1: frozenset({1})})))
    assert not needs_second_snapshot(diagnose(replace(seen, former_holders={orders: frozenset()})))


def sighted(scene):
    return take_sighting(diagnose(snapshot(scene.dsn))).holders


@pytest.mark.usefixtures("orders")
def test_a_holder_that_idles_is_not_remembered(scene):
    scene.client("update orders set v = 1")
    scene.client().block("update orders set v = 2 where id = 1")
    scene.wait_until(lambda: sighted(scene) == {})


@pytest.mark.usefixtures("orders")
def test_a_holder_of_the_whole_table_is_not_remembered(scene):
    scene.client("lock table orders").start("select pg_sleep(60)")
    scene.client().block("update orders set v = 2 where id = 1")
    assert sighted(scene) == {}


def test_running_holder_of_a_row_is_remembered_and_its_queue_is_not(scene, orders):
    holder = scene.client("update orders set v = 1").start("select pg_sleep(60)")
    for _ in range(2):
        scene.client().block("update orders set v = 2 where id = 1")
    assert {pid for pid, _ in sighted(scene)[None, orders]} == {holder.pid}


# What is found with memory: first where no row is hot.


def classes(scene, looks=4):
    """The class of the widest root in each of some looks, as the agent takes them; None without a blocker."""
    sightings, found = (), []
    for _ in range(looks):
        seen = diagnose(with_memory(snapshot(scene.dsn), sightings))
        sightings = (*recent_sightings(sightings, seen.captured_at), take_sighting(seen))
        found.append(seen.blockers[0].classification if seen.blockers else None)
        time.sleep(0.1)
    return found


@pytest.mark.usefixtures("orders")
def test_the_same_running_holder_throughout_is_a_long_query(scene):
    scene.client("update orders set v = 1").start("select pg_sleep(60)")
    for _ in range(4):
        scene.client().block("update orders set v = 2 where id = 1")
    assert needs_second_snapshot(diagnose(snapshot(scene.dsn)))
    assert set(classes(scene)) == {"long_query"}


@pytest.mark.usefixtures("orders")
def test_two_rows_with_a_holder_each_are_not_hot(scene):
    scene.admin.execute("insert into orders values (2, 0)")
    for row in (1, 2):
        scene.client(f"update orders set v = 1 where id = {row}").start("select pg_sleep(60)")
        for _ in range(3):
            scene.client().block(f"update orders set v = 2 where id = {row}")
    assert set(classes(scene)) == {"long_query"}


@pytest.mark.usefixtures("orders")
def test_many_rows_of_one_holder_with_a_waiter_each_are_no_queue(scene):
    scene.admin.execute("insert into orders select g, 0 from generate_series(2, 5) g")
    scene.client("update orders set v = 1").start("select pg_sleep(60)")
    for row in range(1, 6):
        scene.client().block(f"update orders set v = 2 where id = {row}")
    assert not needs_second_snapshot(diagnose(snapshot(scene.dsn)))


def test_a_holder_that_has_come_to_stay_is_the_offender_though_the_row_was_hot(scene, orders):
    holder = scene.client("update orders set v = 1")
    for _ in range(3):
        scene.client().block("update orders set v = 2 where id = 1")
    before = (Sighting(snapshot(scene.dsn).captured_at, {(None, orders): frozenset({(1, NOW)})}),)

    def judged():
        [found] = [each for each in diagnose(with_memory(snapshot(scene.dsn), before)).blockers if each.root]
        assert found.node == holder.pid
        return found.classification

    assert judged() == "hot_row"
    scene.wait_until(lambda: judged() == "idle_in_transaction")


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("pause", [running, idling])
def test_a_row_that_is_really_hot_is_known_from_the_second_poll_on(scene, pause):
    with hammering(scene.dsn, 8, pause):
        first, *others = classes(scene, looks=8)
    # Whether one snapshot tells depends on how long the statements have waited already.
    assert first in ("long_query", "idle_in_transaction", "hot_row")
    # A poll may fall between two holders.
    assert others.count("hot_row") >= 5


@pytest.mark.usefixtures("orders")
def test_a_single_diagnosis_reads_twice(scene):
    with hammering(scene.dsn, 8, running):
        seen = [run_coroutine(fetch_diagnosis(scene.dsn)) for _ in range(4)]
    found = [each.blockers[0] for each in seen if each.blockers]
    hot = [each for each in found if each.classification == "hot_row"]
    assert len(hot) >= 2
    assert {each.recommendation.action for each in hot} == {"none"}
