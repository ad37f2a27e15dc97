"""Patterns: the blocked time of incidents by what caused it, over many incidents."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.blocking_patterns import BlockingPattern, IncidentHistory, add_up_shares, share_out
from pgdoctor.incidents.incident_log import IncidentRecord
from pgdoctor.incidents.snapshot_archive import StoredSnapshot, pack_diagnosis, unpack_snapshot
from pgdoctor.model.snapshot import Session, Snapshot
from tests.building import NOW, ago, lock, row, session, snapshot, transaction
from tests.diagnosis.test_labelled import ALL


def record(
    number: int = 0, seconds: float = 60.0, *, days: float = 0.0, server: str | None = "shop", attempts: int = 1
) -> IncidentRecord:
    """The end of an incident in which sessions waited for so many seconds, so many days ago."""
    began = NOW - timedelta(days=days)
    return IncidentRecord(
        event="ended",
        id=f"{number:018}",
        started=began,
        at=began + timedelta(seconds=60),
        classes=("idle_in_transaction",),
        peak=1,
        longest_wait=seconds,
        blocked_seconds=seconds,
        relation="public.orders",
        server=server,
        attempts=attempts,
    )


def idle(pid: int, application: str = "reporting", statement: str = "update orders set v = 1") -> Session:
    """A session that holds a row and does nothing."""
    return session(
        pid,
        state="idle in transaction",
        statement=statement,
        application_name=application,
        has_xid=True,
        locks=(transaction(pid, pid, granted=True), lock(pid, "RowExclusiveLock", granted=True)),
        state_change=ago(60),
    )


def waits(
    pid: int, *blockers: int, application: str = "checkout", statement: str = "update orders set v = 2"
) -> Session:
    """A session that waits for the row of the first, and for the others."""
    return session(
        pid, blockers=blockers, locks=row(pid, blockers[0]), application_name=application, statement=statement
    )


def stored(*sessions: Session) -> StoredSnapshot:
    return unpack_snapshot(pack_diagnosis(diagnose(snapshot(list(sessions)))))


def patterns(*histories: IncidentHistory) -> list[BlockingPattern]:
    return add_up_shares((history.last, share) for history in histories for share in share_out(history))


def test_incidents_with_the_same_blocker_are_one_pattern():
    first = IncidentHistory(record(1, 60.0, days=3), (stored(idle(1), waits(2, 1)),))
    second = IncidentHistory(record(2, 90.0, days=1, attempts=4), (stored(idle(7), waits(9, 7), waits(8, 7)),))
    (found,) = patterns(first, second)
    assert (found.blocker.server, found.blocker.classification) == ("shop", "idle_in_transaction")
    assert (found.blocker.relation, found.blocker.application) == ("public.orders", "reporting")
    assert found.blocker.statement == "update orders set v = ?"
    assert (found.incidents, found.attempts, found.blocked_seconds) == (2, 5, 150.0)
    assert (found.peak_blocked, found.longest_wait_seconds) == (2, 90.0)
    assert (found.first_seen, found.last_seen) == (first.last.started, second.last.at)
    assert found.last_incident == second.last.id
    (waiting,) = found.waiting
    assert (waiting.application, waiting.statement) == ("checkout", "update orders set v = ?")
    assert waiting.blocked_seconds == 150.0


@pytest.mark.parametrize(
    "other",
    [
        idle(1, application="batch"),
        idle(1, statement="delete from orders where id = 7"),
        replace(idle(1), state="active", wait_event_type="IO", wait_event="DataFileRead"),
    ],
    ids=("application", "statement", "class"),
)
def test_another_blocker_is_another_pattern(other: Session):
    found = patterns(
        IncidentHistory(record(1, 60.0), (stored(idle(1), waits(2, 1)),)),
        IncidentHistory(record(2, 90.0), (stored(other, waits(2, 1)),)),
    )
    assert [(each.blocked_seconds, each.last_incident) for each in found] == [(90.0, f"{2:018}"), (60.0, f"{1:018}")]


def test_another_server_is_another_pattern():
    kept = (stored(idle(1), waits(2, 1)),)
    found = patterns(*(IncidentHistory(record(0, 5.0, server=name), kept) for name in ("shop", "billing")))
    assert sorted(each.blocker.server or "" for each in found) == ["billing", "shop"]


def test_length_of_lists_and_numbers_of_workers_do_not_matter():
    few, many = (
        "select from orders where id in (1, 2) for update",
        "select from orders where id in (1,2,3,4,5) for update",
    )
    found = patterns(
        IncidentHistory(record(1), (stored(idle(1, "worker-1", few), waits(2, 1)),)),
        IncidentHistory(record(2), (stored(idle(1, "worker-22", many), waits(2, 1)),)),
    )
    assert [(each.incidents, each.blocker.application) for each in found] == [(2, "worker-N")]


def test_blocked_time_is_shared_out_among_roots():
    seen = stored(idle(1), idle(2, "batch"), waits(11, 1), waits(12, 1), waits(13, 1), waits(14, 2))
    found = patterns(IncidentHistory(record(1, 100.0), (seen,)))
    assert [(each.blocker.application, each.blocked_seconds) for each in found] == [
        ("reporting", 75.0),
        ("batch", 25.0),
    ]


def test_sessions_behind_a_waiting_session_count_for_the_root():
    seen = stored(idle(1), waits(2, 1), waits(3, 2, statement="select 5 from orders for update"))
    (found,) = patterns(IncidentHistory(record(1, 100.0), (seen,)))
    assert [(each.statement, each.blocked_seconds) for each in found.waiting] == [
        ("update orders set v = ?", 50.0),
        ("select ? from orders for update", 50.0),
    ]


def test_a_root_with_a_tiny_share_is_no_incident_of_its_pattern():
    crowd = [waits(number, 1) for number in range(100, 140)]
    found = patterns(IncidentHistory(record(1, 100.0), (stored(idle(1), idle(2, "batch"), waits(3, 2), *crowd),)))
    assert [each.blocker.application for each in found] == ["reporting"]


def test_an_incident_without_snapshots_counts_by_its_record():
    (found,) = patterns(IncidentHistory(record(1, 7.0)), IncidentHistory(record(2, 8.0)))
    assert (found.blocker.relation, found.blocker.statement, found.blocked_seconds) == ("public.orders", None, 15.0)
    assert (found.incidents, found.waiting) == (2, ())


def test_advice_is_that_of_the_last_incident():
    kept = stored(idle(1), waits(2, 1))
    old = replace(kept, judged=tuple(replace(each, advice="old") for each in kept.judged))
    new = replace(kept, judged=tuple(replace(each, advice="new") for each in kept.judged))
    (found,) = patterns(IncidentHistory(record(1, days=2), (old,)), IncidentHistory(record(2, days=1), (new,)))
    assert found.advice == "new"


@given(st.lists(st.tuples(st.sampled_from(ALL), st.floats(0.1, 1e6)), max_size=4))
def test_no_blocked_second_is_counted_twice(cases: Iterable[tuple[object, float]]) -> None:
    histories = [
        IncidentHistory(record(number, seconds), (_keep(case.snapshot),))  # type: ignore[attr-defined]
        for number, (case, seconds) in enumerate(cases)
    ]
    total = sum(each.last.blocked_seconds for each in histories)
    found = patterns(*histories)
    assert sum(each.blocked_seconds for each in found) <= total * 1.0001 + 0.01
    assert all(sum(side.blocked_seconds for side in each.waiting) <= each.blocked_seconds + 0.01 for each in found)


def _keep(seen: Snapshot) -> StoredSnapshot:
    return unpack_snapshot(pack_diagnosis(diagnose(seen)))
