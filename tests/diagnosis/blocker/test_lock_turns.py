"""A lock that changes hands is a hot row's sibling: which turns count, and when a holder is the offender after all."""

import pytest
from msgspec.structs import replace

from pgdoctor.incidents.snapshot_archive import diagnose_again, pack_diagnosis, unpack_snapshot
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.snapshot import Lock, Session, Snapshot
from pgdoctor.observer.observer import Observer
from tests.building import advisory, ago, lock, row, session, snapshot, transaction
from tests.mitigation.build import reader

WAITERS = (31, 32)


def table_lock(pid: int) -> Lock:
    return lock(pid, "AccessExclusiveLock", granted=True)


def held(pid: int, at: float, *, began: float = 100.0, waiters: tuple[Session, ...] | None = None) -> Snapshot:
    """A session that is idle with the table, `at` seconds ago; two want it and have waited since 60 seconds ago."""
    holder = session(
        pid, locks=(table_lock(pid),), state="idle in transaction", state_change=ago(at), xact_start=ago(began)
    )
    waiting = waiters if waiters is not None else tuple(reader(each, blockers=(pid,)) for each in WAITERS)
    return snapshot([holder, *waiting], ago(at))


def judged(*snapshots: Snapshot) -> Diagnosis:
    """The diagnosis of the last of them."""
    memory = Observer()
    for each in snapshots:
        found = memory.diagnose_snapshot(each)
    return found


def root(diagnosis: Diagnosis) -> Blocker:
    [found] = [each for each in diagnosis.blockers if each.root]
    return found


def test_a_lock_that_has_changed_hands_once_has_an_offender():
    assert root(judged(held(1, 50), held(2, 45), held(2, 40))).classification == "idle_in_transaction"


def test_a_lock_with_two_former_holders_changes_hands():
    blocker = root(judged(held(1, 50), held(2, 45), held(3, 40)))
    assert (blocker.classification, blocker.recommendation.action) == ("hot_row", "none")
    assert blocker.evidence[:2] == (
        "2 sessions queue for AccessExclusiveLock on public.orders, which changes hands",
        "2 turns of others before, of 15 s at most, while they waited",
    )


@pytest.mark.parametrize("seconds", [29, 31])
def test_a_holder_of_twice_the_longest_earlier_turn_is_the_offender(seconds: int):
    """The first turn took 15 s at most: from the beginning of the wait to the snapshot that shows the next holder."""
    stays = held(3, 40)
    later = replace(stays, captured_at=ago(40 - seconds))
    blocker = root(judged(held(1, 50), held(2, 45), stays, later))
    assert blocker.classification == ("hot_row" if seconds == 29 else "idle_in_transaction")


def test_turns_before_the_oldest_present_wait_do_not_count():
    new = tuple(reader(each, blockers=(3,), seconds=42) for each in WAITERS)
    old = held(3, 40), held(3, 40, waiters=new)
    assert [root(judged(held(1, 50), held(2, 45), each)).classification for each in old] == [
        "hot_row",
        "idle_in_transaction",
    ]


def test_one_session_in_one_transaction_has_one_turn():
    seen = [held(1, at) for at in (50, 45, 40, 35)]
    assert root(judged(*seen)).classification == "idle_in_transaction"


def test_one_session_in_several_transactions_has_several_turns():
    seen = [held(1, at, began=at) for at in (58, 54, 50)]
    assert root(judged(*seen)).classification == "hot_row"


def test_holders_of_different_tables_do_not_take_turns():
    def on(table: int, pid: int, at: float) -> Snapshot:
        locks = (lock(pid, "ShareRowExclusiveLock", granted=True, relation=table),)
        holder = session(pid, state="idle in transaction", locks=locks)
        asks = lock(31, "RowExclusiveLock", granted=False, relation=table)
        return snapshot([holder, session(31, blockers=(pid,), locks=(asks,))], ago(at))

    exclusive = [held(1, 50), on(6000, 2, 45), held(3, 40)]
    assert root(judged(*exclusive)).classification == "idle_in_transaction"


def test_holders_that_share_a_lock_do_not_take_turns():
    def shared(pid: int, at: float) -> Snapshot:
        holder = session(pid, state="idle in transaction", locks=(lock(pid, "ShareLock", granted=True),))
        asks = lock(31, "RowExclusiveLock", granted=False)
        return snapshot([holder, session(31, blockers=(pid,), locks=(asks,))], ago(at))

    assert root(judged(shared(1, 50), shared(2, 45), shared(3, 40))).classification == "idle_in_transaction"


def locked_by_application(pid: int, at: float, **facts) -> Snapshot:
    usual = {"state": "idle", "xact_start": None, "state_change": ago(at), "locks": (advisory(pid, granted=True),)}
    holder = session(pid, **{**usual, **facts})
    return snapshot([holder, session(31, blockers=(pid,), locks=(advisory(31, granted=False),))], ago(at))


def test_an_advisory_lock_changes_hands_too():
    blocker = root(judged(*(locked_by_application(pid, at) for pid, at in ((1, 50), (2, 45), (3, 40)))))
    assert (blocker.classification, blocker.also) == ("hot_row", ("advisory_lock",))
    assert blocker.evidence[0] == "1 session queue for the advisory lock 1, which changes hands"


def test_an_advisory_lock_kept_from_transaction_to_transaction_does_not_change_hands():
    facts = [(at, {"state": "active", "xact_start": ago(at), "query_start": ago(at)}) for at in (50, 45, 40)]
    seen = [locked_by_application(1, at, **each) for at, each in facts]
    assert root(judged(*seen)).classification == "advisory_lock"


def row_held(pid: int, at: float) -> Snapshot:
    """31 is first in line for a row, 32 behind it."""
    locks = (transaction(pid, pid, granted=True),)
    holder = session(pid, state="idle in transaction", state_change=ago(at), locks=locks)
    second = lock(32, "ExclusiveLock", granted=False, locktype="tuple", page=0, tuple=1)
    first = session(31, blockers=(pid,), locks=row(31, pid))
    return snapshot([holder, first, session(32, blockers=(31,), locks=(second,))], ago(at))


def test_a_row_that_several_kept_in_turn_changes_hands_however_long_they_keep_it():
    blocker = root(judged(row_held(1, 50), row_held(2, 40), row_held(3, 25)))
    assert blocker.classification == "hot_row"
    assert blocker.evidence[1].startswith("2 turns of others before")


def test_a_wait_older_than_the_holders_transaction_was_for_another_holder():
    """A single snapshot tells."""
    blocker = root(judged(held(1, 20, began=25)))
    assert blocker.classification == "hot_row"
    assert blocker.evidence[1] == "others held it for 35 s before this transaction began"
    assert root(judged(held(1, 20, began=60))).classification == "idle_in_transaction"


def test_a_wait_for_an_advisory_lock_may_be_older_than_the_transaction_of_its_only_holder():
    seen = locked_by_application(1, 20, state="idle in transaction", xact_start=ago(25))
    assert root(judged(seen)).classification == "idle_in_transaction"


def test_a_lock_that_is_free_for_a_moment_has_changed_hands():
    nobody = snapshot([reader(each, blockers=()) for each in WAITERS], ago(48))
    assert root(judged(held(1, 50), nobody, held(2, 45), nobody, held(3, 40))).classification == "hot_row"


def quick(pid: int, at: float, *, pause: float = 0.1) -> Snapshot:
    """As `held`, but those who wait have come just now."""
    waiters = tuple(reader(each, blockers=(pid,), seconds=at + 0.2, query_start=ago(at + 0.2)) for each in WAITERS)
    seen = held(pid, at, waiters=waiters)
    holder = replace(seen.sessions[pid], state_change=ago(at + pause))
    return replace(seen, sessions={**seen.sessions, pid: holder})


def test_a_lock_that_changes_hands_quickly_is_known_though_all_waits_are_new():
    assert root(judged(quick(1, 11))).classification == "idle_in_transaction"
    blocker = root(judged(quick(1, 11), quick(2, 10)))
    assert blocker.classification == "hot_row"
    assert blocker.evidence[1] == "1 turn of others before, of 1.2 s at most, while they waited"


def test_a_holder_that_pauses_or_holds_for_long_does_not_pass_the_lock_on_quickly():
    assert root(judged(quick(1, 11), quick(2, 10, pause=1.5))).classification == "idle_in_transaction"
    seen = quick(1, 20), quick(2, 19), quick(2, 13)
    assert root(judged(*seen)).classification == "idle_in_transaction"
    assert root(judged(quick(1, 30), quick(2, 10))).classification == "idle_in_transaction"


def test_a_clock_that_was_set_back_makes_no_turn_last_for_ever():
    blocker = root(judged(held(1, -3600), held(2, 50), held(3, 45), held(4, 40)))
    assert blocker.classification == "hot_row"


def test_several_former_turns_just_before_are_said_without_a_waiter_that_saw_them():
    later = quick(3, 9.5, pause=0.1)
    waiters = tuple(reader(each, blockers=(3,), seconds=9, query_start=ago(9)) for each in WAITERS)
    seen = replace(later, captured_at=ago(9), sessions={3: later.sessions[3], **{each.pid: each for each in waiters}})
    assert root(judged(quick(1, 11), quick(2, 10), later, seen)).evidence[1] == "2 turns of others just before"


def test_the_next_in_line_is_no_offender_at_the_moment_at_which_it_gets_the_row():
    place = lock(31, "ExclusiveLock", granted=True, locktype="tuple", page=0, tuple=1)
    asks = lock(32, "ExclusiveLock", granted=False, locktype="tuple", page=0, tuple=1)
    seen = snapshot([session(31, locks=(place,)), session(32, blockers=(31,), locks=(asks,))])
    assert root(judged(seen)).classification == "hot_row"


def test_recorded_snapshot_gives_the_same_class():
    kept = unpack_snapshot(pack_diagnosis(judged(held(1, 50), held(2, 45), held(3, 40))))
    assert root(diagnose_again(kept)).classification == "hot_row"
