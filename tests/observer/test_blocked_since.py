"""Since when a statement has been blocked: over several snapshots and gate polls, and by a single snapshot."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Bounds, Connections, Lock, ServerInfo, Session, Snapshot
from pgdoctor.model.waits import oldest_lock_wait, oldest_wait
from pgdoctor.observer.blocked_since import add_snapshot, add_waiting_statements, with_blocked_since
from pgdoctor.observer.observer import Observer

approx = pytest.approx

START = datetime(2026, 5, 22, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def waiting(pid, *, statement, wait):
    """A session whose statement began at one second, and its present wait at another; None: not written yet."""
    asked = [pid, "tuple", 1, 2, 0, 1, None, None, None, None, None, "3/4", "ExclusiveLock", False]
    request = Lock(*asked, None if wait is None else at(wait))
    return Session(pid, blockers=(1,), locks=(request,), query_start=at(statement))


def taken(seconds, *sessions):
    server = ServerInfo(180000, False, 100, 1, Connections())
    holder = Session(1, state="active", xact_start=at(-60), query_start=at(-60), state_change=at(-60))
    return Snapshot(at(seconds), server, {each.pid: each for each in (holder, *sessions)})


def remembered(*snapshots):
    """The last of the snapshots, with what the others tell."""
    known = {}
    for each in snapshots:
        known = add_snapshot(known, each)
    return with_blocked_since(snapshots[-1], known)


def test_another_statement_of_the_session_has_not_been_blocked_before():
    seen = remembered(
        taken(5, waiting(10, statement=1, wait=4.9)),
        taken(6, waiting(10, statement=5.5, wait=5.9)),
    )
    assert seen.blocked_since == {10: at(5.9)}


def test_statement_that_did_not_wait_in_between_is_blocked_again():
    seen = remembered(
        taken(5, waiting(10, statement=1, wait=4.9)),
        taken(6, waiting(11, statement=1, wait=4.9)),
        taken(7, waiting(10, statement=1, wait=6.9)),
    )
    assert seen.blocked_since == {10: at(6.9)}


def test_session_whose_statement_is_hidden_is_not_remembered():
    hidden = replace(waiting(10, statement=1, wait=4.9), query_start=None)
    seen = remembered(taken(5, hidden), taken(6, hidden))
    assert seen.blocked_since == {}
    assert seen.blocked_bounds[hidden.pid] == Bounds(approx(1.1), None)


def test_clock_that_was_set_back_makes_no_wait_begin_in_the_future():
    seen = remembered(taken(5, waiting(10, statement=1, wait=4.9)), taken(3, waiting(10, statement=1, wait=4.9)))
    assert seen.blocked_since == {10: at(3)}


def test_wait_that_begins_again_in_each_snapshot_is_one_wait():
    waits = [waiting(10, statement=1, wait=seconds - 0.05) for seconds in (5, 6, 7)]
    seen = remembered(*(taken(seconds, each) for seconds, each in zip((5, 6, 7), waits, strict=True)))
    assert seen.blocked_since == {10: at(4.95)}
    assert seen.blocked_bounds[waits[-1].pid] == Bounds(approx(2.05), 6.0)
    assert oldest_wait(seen, waits[-1:]) == approx(2.05)


def test_rules_count_the_present_wait_only():
    waits = [waiting(10, statement=1, wait=seconds - 0.05) for seconds in (5, 6)]
    seen = remembered(*(taken(seconds, each) for seconds, each in zip((5, 6), waits, strict=True)))
    assert oldest_lock_wait(seen, waits[-1:]) == approx(0.05)


def test_single_snapshot_knows_bounds():
    waiter = waiting(10, statement=1, wait=4.9)
    [blocker] = diagnose(taken(5, waiter)).blockers
    assert (blocker.blocked_since, blocker.blocked_since_earliest) == (at(4.9), at(1))


def test_gate_poll_ends_waits_and_keeps_the_others():
    known = add_waiting_statements({(10, at(1)): at(2), (11, at(1)): at(2)}, [(10, at(1)), (12, at(3))], at(4))
    assert known == {(10, at(1)): at(2), (12, at(3)): at(4)}


def test_gate_polls_between_two_snapshots_count():
    memory = Observer()
    memory.diagnose_snapshot(taken(5, waiting(10, statement=1, wait=4.9), waiting(11, statement=1, wait=4.9)))
    assert memory.add_gate([(10, at(1)), (12, at(5.5))], at(6)) == (approx(1.1), 0.0)
    again = [waiting(pid, statement=began, wait=6.9) for pid, began in ((10, 1), (11, 1), (12, 5.5))]
    seen = memory.diagnose_snapshot(taken(7, *again)).snapshot
    # 11 did not wait at the poll.
    assert seen.blocked_since == {10: at(4.9), 11: at(6.9), 12: at(6)}


def test_snapshot_that_only_the_gate_has_read_ends_no_wait():
    memory = Observer()
    memory.add_gate([(10, at(4.95))], at(5))
    memory.diagnose_snapshot(replace(taken(5), sessions={}))
    assert memory.add_gate([(10, at(4.95))], at(6)) == (1.0,)
