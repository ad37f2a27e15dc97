"""Whom the agent remembers as holders of contested rows."""

from datetime import UTC, datetime, timedelta

import pytest

from pgdoctor.agent.former_holders import Sighting, former_holders, remembered, sighting
from pgdoctor.diagnosis.diagnose import diagnose
from tests.looking import snapshot

NOW = datetime(2026, 5, 22, tzinfo=UTC)


def seen(seconds_ago: float, **holders: int) -> Sighting:
    found = {int(table[1:]): frozenset({pid}) for table, pid in holders.items()}
    return Sighting(NOW - timedelta(seconds=seconds_ago), found)


def test_what_is_old_or_empty_is_forgotten():
    young, old, empty = seen(3, t1=10), seen(11, t1=11), seen(1)
    assert remembered((old, young, empty), NOW) == (young,)


def test_a_clock_that_was_set_back_keeps_nothing_for_ever():
    assert remembered((seen(-3600, t1=10),), NOW) == ()


def test_holders_of_all_polls_by_table():
    found = former_holders((seen(3, t1=10), seen(2, t1=11, t2=12), seen(1, t1=10)))
    assert found == {1: {10, 11}, 2: {12}}


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders values (1, 0)")
    return scene.admin.execute("select 'orders'::regclass::oid::int8").fetchone()[0]


def sighted(scene):
    return sighting(diagnose(snapshot(scene.dsn))).holders


@pytest.mark.usefixtures("orders")
def test_an_idle_holder_is_not_remembered(scene):
    scene.client("update orders set v = 1")
    scene.client().block("update orders set v = 2 where id = 1")
    assert sighted(scene) == {}


@pytest.mark.usefixtures("orders")
def test_a_holder_of_the_whole_table_is_not_remembered(scene):
    scene.client("lock table orders").start("select pg_sleep(60)")
    scene.client().block("update orders set v = 2 where id = 1")
    assert sighted(scene) == {}


def test_a_running_holder_of_a_row_is_remembered_and_those_who_queue_are_not(scene, orders):
    holder = scene.client("update orders set v = 1").start("select pg_sleep(60)")
    for _ in range(2):
        scene.client().block("update orders set v = 2 where id = 1")
    assert sighted(scene) == {orders: {holder.pid}}
