"""What each cut frees and costs, against a naive reference; and the one recommendation, on real servers too."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.diagnosis.cuts import MOST_MEMBERS, MOST_RELEASED, MOST_SETS, Signal
from pgdoctor.diagnosis.recommendation import Advice, Recommendations, recommend
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session
from tests.building import ago, lock, session
from tests.looking import look
from tests.mitigation.build import DDL, IDLE, ddl, diagnosis, idle, reader
from tests.scenes import Scene


def staged(waits: dict[int, list[int]]) -> Diagnosis:
    """The waiter is an ALTER, and the blocker has a transaction open and does nothing."""
    nodes = waits.keys() | {blocker for blockers in waits.values() for blocker in blockers}
    return diagnosis(
        *(ddl(pid, blockers=tuple(waits[pid])) if waits.get(pid) else idle(pid) for pid in sorted(nodes)),
        session(999, state="idle", locks=()),
    )


def naive(waits: dict[int, list[int]], cut: set[int]) -> set[int]:
    found = {waiter: set(blockers) - {waiter} for waiter, blockers in waits.items()}
    return {waiter for waiter, blockers in found.items() if blockers and blockers <= cut and waiter not in cut}


def advised(*sessions: Session, **server: Any) -> Advice:
    advice = recommend(diagnosis(*sessions, **server)).advice
    assert advice is not None
    return advice


def report_in_front(pid: int = IDLE, seconds: float = 60.0, **facts: Any) -> Session:
    return idle(pid, **{"state": "active", "xact_start": ago(seconds), **facts})


WAITS = st.dictionaries(st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=9)


# What must not be said


def test_no_blocked_session_needs_no_advice() -> None:
    assert recommend(diagnosis(session(1))) == Recommendations((), (), (), None)


def test_one_of_three_readers_frees_no_session_and_is_no_cut() -> None:
    found = recommend(diagnosis(idle(1), idle(2), idle(3), ddl(blockers=(1, 2, 3))))
    assert found.cuts == ()
    [together] = found.sets
    assert {signal.pid for signal in together.signals} == {1, 2, 3}


def test_a_set_of_four_is_not_proposed() -> None:
    found = recommend(diagnosis(*map(idle, (1, 2, 3, 4)), ddl(blockers=(1, 2, 3, 4))))
    assert (found.cuts, found.sets) == ((), ())
    assert found.advice
    assert (found.advice.action, found.advice.signals) == ("none", ())
    assert "too many" in found.advice.reason


def test_where_one_cut_frees_a_session_its_set_is_not_proposed() -> None:
    found = recommend(diagnosis(idle(1), idle(2), ddl(20, blockers=(1,)), ddl(21, blockers=(1, 2))))
    assert [cut.pid for cut in found.cuts] == [1]
    assert found.sets == ()


def test_a_set_with_one_to_be_left_alone_is_not_proposed() -> None:
    dump = idle(1, application_name="pg_dump")
    found = recommend(diagnosis(dump, idle(2), ddl(blockers=(1, 2))))
    assert (found.cuts, found.sets) == ((), ())
    assert found.advice
    assert (found.advice.action, found.advice.pid) == ("none", 1)


def test_an_idle_reader_in_front_is_spared_while_the_alter_can_be_taken_back() -> None:
    advice = advised()
    assert (advice.action, advice.pid, advice.frees_at_once, advice.loses) == ("cancel", DDL, 3, "nothing but a retry")


def test_a_report_is_not_ended_for_a_lone_alter() -> None:
    advice = advised(report_in_front(), ddl())
    assert (advice.action, advice.signals) == ("none", ())
    assert str(DDL) in advice.reason


def test_a_report_is_not_ended_where_two_alters_can_be_taken_back() -> None:
    first, second = ddl(20), ddl(21, blockers=(IDLE, 20))
    advice = advised(report_in_front(), first, second, *(reader(pid, blockers=(20, 21)) for pid in (31, 32)))
    assert advice.signals == (Signal("cancel", 20), Signal("cancel", 21))
    assert (advice.frees_at_once, advice.loses) == (2, "a retry each")


def test_a_report_is_not_ended_for_a_migration_with_changes_either() -> None:
    changed = (lock(DDL, "AccessExclusiveLock", granted=False), lock(DDL, "RowExclusiveLock", granted=True, relation=7))
    advice = advised(report_in_front(), ddl(has_xid=True, locks=changed), reader(31))
    assert advice.signals == (Signal("cancel", DDL),)


def test_queued_alter_that_frees_little_does_not_spare_the_root() -> None:
    rows = [session(pid, blockers=(IDLE,), locks=(lock(pid, "ShareLock", granted=False),)) for pid in range(50, 60)]
    advice = advised(idle(), ddl(), reader(31), *rows)
    assert (advice.action, advice.pid) == ("terminate", IDLE)


@pytest.mark.parametrize(
    "root",
    [
        idle(application_name="pg_dump"),
        idle(
            state="active", backend_type="autovacuum worker", statement="autovacuum: VACUUM t (to prevent wraparound)"
        ),
        idle(state="active", wait_event="SyncRep"),
        idle(state="active", statement="create index concurrently on orders (v)"),
        idle(state="active", backend_type="walsender"),
        idle(state=None, backend_type=None),
    ],
)
def test_untouchable_session_is_spared_but_its_queue_may_be_signalled(root: Session) -> None:
    alone = recommend(diagnosis(root, ddl()))
    assert (alone.cuts, alone.sets) == ((), ())
    assert alone.advice
    assert (alone.advice.action, alone.advice.pid, alone.advice.signals) == ("none", IDLE, ())
    assert [(each.pid, each.released) for each in alone.spared] == [(IDLE, (DDL,))]
    queued = advised(root, ddl(), reader(31))
    assert queued.signals == (Signal("cancel", DDL),)


def test_a_broken_off_concurrent_build_leaves_an_invalid_index() -> None:
    root = idle(state="active", statement="create index concurrently on orders (v)")
    [left] = recommend(diagnosis(root, ddl())).spared
    assert left.loses is not None
    assert "invalid index" in left.loses


def test_a_commit_that_waits_for_its_standby_does_not_roll_back() -> None:
    [left] = recommend(diagnosis(idle(state="active", wait_event="SyncRep"), ddl())).spared
    assert left.loses is not None
    assert "roll back" in left.loses
    assert "nothing" in left.loses


def test_the_wider_root_that_is_left_alone_is_mentioned() -> None:
    dump = idle(1, application_name="pg_dump")
    crowd = [reader(pid, blockers=(1,)) for pid in range(100, 110)]
    advice = advised(dump, *crowd, idle(2), reader(31, blockers=(2,)))
    assert (advice.action, advice.pid) == ("terminate", 2)
    assert "10 sessions behind 1 need another action" in advice.reason


def test_an_id_for_a_mere_request_or_a_row_lock_is_no_change() -> None:
    [cut] = recommend(diagnosis(idle(), ddl(has_xid=True), reader(31))).cuts[:1]
    assert cut.loses == "nothing but a retry"
    rows = (lock(IDLE, "RowShareLock", granted=True),)
    [cut] = recommend(diagnosis(idle(has_xid=True, locks=rows), reader(31, blockers=(IDLE,)))).cuts
    assert "shows no change" in cut.loses


# What must be said


def test_changes_of_a_transaction_are_lost() -> None:
    wrote = (lock(IDLE, "RowExclusiveLock", granted=True),)
    [cut] = recommend(diagnosis(idle(has_xid=True, locks=wrote), reader(31, blockers=(IDLE,)))).cuts
    assert cut.loses == "a transaction open for 1 min 0 s that may have changed rows: they roll back"
    [cut] = recommend(
        diagnosis(report_in_front(has_xid=True, locks=wrote), reader(31, blockers=(IDLE,)), reader(32, blockers=(31,)))
    ).cuts
    assert "the work of a running statement, and its transaction" in cut.loses


def test_the_released_are_listed_up_to_a_bound_and_all_counted() -> None:
    pids = range(100, 100 + 2 * MOST_RELEASED)
    [cut] = recommend(diagnosis(idle(), *(reader(pid, blockers=(IDLE,)) for pid in pids))).cuts
    assert cut.frees_at_once == 2 * MOST_RELEASED
    assert cut.released == tuple(pids)[:MOST_RELEASED]


@given(WAITS)
def test_released_sessions_are_those_without_another_blocker(waits: dict[int, list[int]]) -> None:
    found = recommend(staged(waits))
    for choice, pids in [(cut, {cut.pid}) for cut in found.cuts] + [
        (each, {signal.pid for signal in each.signals}) for each in found.sets
    ]:
        assert set(choice.released) == naive(waits, pids)
        assert choice.frees_at_once == len(choice.released) > 0
        assert choice.frees_in_turn >= choice.frees_at_once


@given(WAITS)
def test_no_set_has_a_member_too_many_or_one_that_would_do_alone(waits: dict[int, list[int]]) -> None:
    for each in recommend(staged(waits)).sets:
        pids = {signal.pid for signal in each.signals}
        assert 2 <= len(pids) == len(each.signals) <= MOST_MEMBERS
        for pid in pids:
            assert not naive(waits, {pid})
            assert len(naive(waits, pids - {pid})) < len(naive(waits, pids))


@given(WAITS)
def test_waiter_of_a_small_set_counts_as_freed(waits: dict[int, list[int]]) -> None:
    made = staged(waits)
    found = recommend(made)
    if len(found.sets) == MOST_SETS:
        return
    freed = {pid for each in found.sets for pid in each.released}
    for waiter, blockers in made.graph.blockers_of.items():
        group = set(blockers)
        if not 2 <= len(group) <= MOST_MEMBERS or group & made.graph.in_cycle:
            continue
        # A member that the others free is no member: it goes by itself when they go.
        if not any(naive(waits, {pid}) for pid in group) and not any(naive(waits, group - {pid}) for pid in group):
            assert waiter in freed


@given(WAITS)
def test_the_advice_is_one_of_the_choices_and_never_cancels_the_idle(waits: dict[int, list[int]]) -> None:
    made = staged(waits)
    found = recommend(made)
    assert (found.advice is None) == (not made.graph.waiters)
    if found.advice is None:
        return
    offered = [(Signal(cut.action, cut.pid),) for cut in found.cuts] + [each.signals for each in found.sets]
    assert found.advice.signals in offered or not offered or "can retry its request" in found.advice.reason
    for signal in (signal for signals in offered for signal in signals):
        idles = made.snapshot.sessions[signal.pid].in_transaction_idle
        assert signal.action == ("terminate" if idles else "cancel")
        assert signal.pid not in made.graph.in_cycle


# On a real server


def test_three_readers_in_front_of_a_truncate(shop: Scene) -> None:
    readers = [shop.client("select from orders") for _ in range(3)]
    truncate = shop.client().block("truncate orders")
    seen = look(shop.dsn)
    assert seen.cuts == ()
    [together] = seen.cut_sets
    assert {(signal.action, signal.pid) for signal in together.signals} == {("terminate", each.pid) for each in readers}
    assert (together.released, together.exact) == ((truncate.pid,), True)
    assert seen.recommendation
    assert seen.recommendation.signals == together.signals
    for each in readers[:2]:
        shop.admin.execute("select pg_terminate_backend(%s)", [each.pid])
    assert "Lock" in truncate.shown()
    shop.admin.execute("select pg_terminate_backend(%s)", [readers[2].pid])
    truncate.finish()


def test_three_readers_are_spared_where_the_truncate_can_be_taken_back(shop: Scene) -> None:
    for _ in range(3):
        shop.client("select from orders")
    truncate = shop.client().block("truncate orders")
    behind = [shop.client().block("select from orders") for _ in range(2)]
    seen = look(shop.dsn)
    assert seen.recommendation
    assert seen.recommendation.signals == (Signal("cancel", truncate.pid),)
    assert seen.cuts[0].released == tuple(sorted(each.pid for each in behind))
    assert len(seen.cut_sets) == 1
    shop.admin.execute("select pg_cancel_backend(%s)", [truncate.pid])
    for each in behind:
        each.finish()


def test_two_share_locks_are_a_set(shop: Scene) -> None:
    holders = [shop.client("lock table orders in share mode") for _ in range(2)]
    writer = shop.client().block("update orders set v = 1 where id = 1")
    [together] = look(shop.dsn).cut_sets
    assert {signal.pid for signal in together.signals} == {each.pid for each in holders}
    assert (together.released, together.exact) == ((writer.pid,), True)
    assert "changed nothing" in together.loses


def test_a_prepared_transaction_is_advised_about_with_its_gid(shop: Scene) -> None:
    shop.client("update orders set v = 1 where id = 1", "prepare transaction 'it''s one'")
    waiter = shop.client().block("update orders set v = 2 where id = 1")
    seen = look(shop.dsn)
    assert seen.recommendation
    assert (seen.recommendation.action, seen.recommendation.pid) == ("none", None)
    assert seen.recommendation.prepared_gid == "it's one"
    assert "ROLLBACK PREPARED 'it''s one'" in seen.recommendation.reason
    assert [(each.prepared_gid, each.released, each.loses) for each in seen.left_alone] == [
        ("it's one", (waiter.pid,), None)
    ]


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("select id from orders where id = 1 for update", "that shows no change"),
        ("update orders set v = 1 where id = 1", "that may have changed rows"),
        ("lock table orders in share mode", "that changed nothing"),
    ],
)
def test_signal_to_an_idle_transaction_names_its_loss(shop: Scene, statement: str, lost: str) -> None:
    shop.client(statement)
    shop.client().block("update orders set v = 2 where id = 1")
    [cut] = look(shop.dsn).cuts
    assert lost in cut.loses


def test_drop_that_queues_at_its_second_table_loses_nothing_but_a_retry(shop: Scene) -> None:
    """It has an id and locks of its own, and all of that is of the one statement that a retry repeats."""
    idle_reader = shop.client("select from orders")
    shop.admin.execute("create schema old; create table old.log (); create view old.v as select id from public.orders")
    shop.admin.execute("create function mig() returns void language sql as 'truncate old.log, other; truncate orders'")
    asking = shop.client(autocommit=True).block("select mig()")
    reader = shop.client().block("select from orders")
    report = look(shop.dsn)
    [cut] = [cut for cut in report.cuts if cut.pid == asking.pid]
    assert cut.loses == "nothing but a retry"
    assert report.recommendation is not None
    assert report.recommendation.pid == asking.pid, idle_reader
    shop.admin.execute("select pg_cancel_backend(%s)", [asking.pid])
    reader.finish()


def test_a_queued_alter_after_other_changes_loses_them(shop: Scene) -> None:
    shop.client("select from orders")
    alter = shop.client("update other set v = 1").block("alter table orders add column c int")
    shop.client().block("select from orders")
    [cut] = [cut for cut in look(shop.dsn).cuts if cut.pid == alter.pid]
    assert "may have changed rows: they roll back" in cut.loses
