"""The cut in the middle of a chain whose root must not be signalled: where it must not be proposed first."""

from typing import Any

from pgdoctor.diagnosis.recommendation import recommend
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.snapshot import Lock, Session
from tests.building import advisory, ago, lock, session, transaction
from tests.looking import look
from tests.mitigation.build import diagnosis
from tests.scenes import Scene

LEADER, WORKER, WAITERS = 1, 2, (3, 4)


def leader(**facts: Any) -> Session:
    held = (advisory(LEADER, granted=True),)
    return session(LEADER, **{"state": "idle", "xact_start": None, "locks": held, **facts})


def worker(*more: Lock, **facts: Any) -> Session:
    """It has changed a row, and waits for the leader's lock."""
    held = (lock(WORKER, "RowExclusiveLock", granted=True), transaction(WORKER, WORKER, granted=True))
    asked = advisory(WORKER, granted=False)
    return session(WORKER, **{"blockers": (LEADER,), "locks": (*held, asked, *more), "has_xid": True, **facts})


def waiter(pid: int, behind: int = WORKER) -> Session:
    return session(pid, blockers=(behind,), locks=(transaction(pid, behind, granted=False),))


def advised(*sessions: Session) -> tuple[str, int | None]:
    found = recommend(diagnosis(*sessions)).advice
    assert found is not None
    return found.action, found.pid


def of_worker(*sessions: Session) -> Blocker:
    [found] = [each for each in diagnosis(*sessions).blockers if each.node == WORKER]
    return found


def test_worker_behind_an_idle_transaction_is_not_cut() -> None:
    row = (lock(LEADER, "RowExclusiveLock", granted=True), transaction(LEADER, LEADER, granted=True))
    root = leader(state="idle in transaction", xact_start=ago(60), locks=row, has_xid=True)
    behind = worker(locks=(transaction(WORKER, WORKER, granted=True), transaction(WORKER, LEADER, granted=False)))
    assert advised(root, behind, waiter(3)) == ("terminate", LEADER)
    assert of_worker(root, behind, waiter(3)).recommendation.action == "none"


def behind_a_commit(seconds: float) -> str:
    """What is advised for a worker that waits for a COMMIT of this age."""
    held = (transaction(LEADER, LEADER, granted=True),)
    root = leader(state="active", xact_start=ago(60), query_start=ago(seconds), statement="commit", locks=held)
    behind = worker(locks=(transaction(WORKER, WORKER, granted=True), transaction(WORKER, LEADER, granted=False)))
    return of_worker(root, behind, waiter(3)).recommendation.action


def test_worker_behind_a_commit_is_cut_only_if_the_commit_lasts() -> None:
    assert behind_a_commit(0.5) == "none"
    assert behind_a_commit(60) == "cancel"


def test_worker_behind_which_no_session_is_freed_is_not_cut() -> None:
    other = session(9, state="idle", xact_start=None, locks=(advisory(9, granted=True, key=2),))
    both = session(
        3, blockers=(WORKER, 9), locks=(transaction(3, WORKER, granted=False), advisory(3, granted=False, key=2))
    )
    assert of_worker(leader(), other, worker(), both).recommendation.action == "none"


def test_member_of_a_cycle_is_not_cut() -> None:
    circle = worker(blockers=(LEADER, 3))
    other = session(3, blockers=(WORKER,), locks=(transaction(3, WORKER, granted=False),))
    assert of_worker(leader(), circle, other).recommendation.action == "none"


def test_worker_behind_a_leader_is_the_best_cut() -> None:
    assert advised(leader(), worker(), *map(waiter, WAITERS)) == ("cancel", WORKER)
    found = of_worker(leader(), worker(), *map(waiter, WAITERS))
    assert found.classification == "unknown"
    assert "earlier changes of its transaction roll back" in found.recommendation.reason


def test_worker_that_another_cut_frees_is_not_cut_itself() -> None:
    second = session(
        3, blockers=(WORKER,), locks=(transaction(3, 3, granted=True), transaction(3, WORKER, granted=False))
    )
    found = diagnosis(leader(), worker(), second, waiter(4, behind=3)).blockers
    assert {each.node for each in found if each.recommendation.action == "cancel"} == {WORKER}


def test_cut_in_the_middle_frees_the_promised_sessions(shop: Scene) -> None:
    shop.client("select pg_advisory_lock(42)", autocommit=True)
    middle = shop.client("update orders set v = 1 where id = 7").block("select pg_advisory_lock(42)")
    behind = shop.client().block("update orders set v = 2 where id = 7")
    advice = look(shop.dsn).recommendation
    assert advice is not None
    assert (advice.action, advice.pid, advice.frees_at_once) == ("cancel", middle.pid, 1)
    shop.admin.execute("select pg_cancel_backend(%s)", [middle.pid])
    behind.finish()
