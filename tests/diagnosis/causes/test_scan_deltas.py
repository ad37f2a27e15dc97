"""What the counters of tables are taken for between two polls, and what they are never taken for."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgdoctor.model.snapshot import Connections, Relation, ScanCounts, ServerInfo, Snapshot
from pgdoctor.observer.observer import Observer
from pgdoctor.observer.scan_deltas import ScanCounters, with_scans
from tests.looking import snapshot
from tests.scenes import Client, Scene

NOW = datetime(2026, 5, 22, tzinfo=UTC)


def seen(count: int, rows: int) -> Snapshot:
    table = Relation(1, "public.orders", "r", False, 10, 1000, scans=ScanCounts(count, rows))
    return Snapshot(NOW, ServerInfo(180000, False, 100, 1, Connections()), relations={1: table})


def before(seconds: float, count: int = 5, rows: int = 5000) -> ScanCounters:
    return ScanCounters(NOW - timedelta(seconds=seconds), {(None, 1): ScanCounts(count, rows)})


@pytest.mark.parametrize(
    "earlier",
    [None, before(0), before(-5), before(11), before(1, count=8, rows=8000), before(1, count=9, rows=9000)],
    ids=["first look", "same look", "clock set back", "long ago", "nothing gained", "statistics were reset"],
)
def test_nothing_is_said(earlier: ScanCounters | None) -> None:
    assert with_scans(seen(8, 8000), earlier).earlier_scans == {}


def test_a_table_that_was_not_looked_at_before_has_gained_nothing() -> None:
    assert (
        with_scans(seen(8, 8000), ScanCounters(NOW - timedelta(seconds=1), {(None, 2): ScanCounts(1, 1)})).earlier_scans
        == {}
    )


def test_progress_between_two_polls_is_known() -> None:
    assert with_scans(seen(8, 8000), before(2)).earlier_scans == {1: ScanCounts(3, 3000, 2.0)}


@pytest.fixture
def worker(shop: Scene) -> Client:
    """Reads all of `orders`, and holds up who wants row 7."""
    found = shop.client().start("update orders set v = slow(id) where customer_id = 7")

    def holds() -> bool:
        try:
            shop.admin.execute("select from orders where id = 7 for update nowait")
        except psycopg.errors.LockNotAvailable:
            return True
        return False

    shop.wait_until(holds)
    shop.client().block("update orders set v = 2 where id = 7")
    return found


def judged(shop: Scene, memory: Observer, worker: Client) -> str:
    """The evidence of the next poll, which finds the same cause each time."""
    [found] = [each for each in memory.diagnose_snapshot(snapshot(shop.dsn)).blockers if each.pid == worker.pid]
    assert found.classification == "unindexed_scan"
    return "; ".join(found.evidence)


def test_a_scan_that_runs_has_counted_nothing_and_is_found_all_the_same(shop: Scene, worker: Client) -> None:
    memory = Observer()
    for _ in range(3):
        assert "sequential scan" not in judged(shop, memory, worker)


def test_scans_of_others_are_said_to_be_those_of_all(shop: Scene, worker: Client) -> None:
    memory = Observer()
    judged(shop, memory, worker)
    with psycopg.connect(shop.dsn) as other:  # It reports them at its end.
        for _ in range(3):
            other.execute("select from orders where v = 5")
    said = shop.wait_until(lambda: "sequential scan" in (found := judged(shop, memory, worker)) and found)
    assert "by all sessions together: 3 sequential scans of public.orders, 60,000 rows read" in said
