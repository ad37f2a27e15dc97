"""A transaction of many short statements has one class, whatever it does at the moment of a poll."""

import pytest

from pgdoctor.incidents.snapshot_archive import diagnose_again, pack_diagnosis, unpack_snapshot
from pgdoctor.mitigation.history import History, with_poll
from pgdoctor.mitigation.plan import Plan, make_plan
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.observer.observer import Observer
from tests.building import ago, lock, row, session, snapshot, transaction
from tests.mitigation.build import END_IDLE, about, reasons, rule, settings

HOLDER, WAITER = 10, 31
SHORT = "select v from items where id = 1"


def seen(state: str, at: float, *, ran: float = 0.2, **facts) -> Snapshot:
    """The holder of a row is idle (i), or has run a statement for `ran` seconds (a), `at` seconds ago."""
    doing = {"state": "idle in transaction" if state == "i" else "active", "statement": SHORT}
    moments = {"query_start": ago(at + ran), "state_change": ago(at + ran), "xact_start": ago(100)}
    locks = (transaction(HOLDER, HOLDER, granted=True),)
    holder = session(HOLDER, **{**doing, **moments, "locks": locks, **facts})
    return snapshot([holder, session(WAITER, blockers=(HOLDER,), locks=row(WAITER, HOLDER))], ago(at))


def judged(states: str, *, memory: Observer | None = None, **last) -> Blocker:
    """The holder by the last of some polls, a second apart."""
    memory = memory or Observer()
    for place, state in enumerate(states, start=1):
        is_last = place == len(states)
        found = memory.diagnose_snapshot(seen(state, len(states) - place, **(last if is_last else {})))
    return found.blockers[0]


@pytest.mark.parametrize("states", ["a", "ia", "iiia", "aaiia", "aaaaia", "iiaaaaaaa"])
def test_running_transaction_is_no_idle_one_unless_it_idled_in_most_polls(states: str):
    assert judged(states).classification == "long_query"


@pytest.mark.parametrize("states", ["iiiia", "iaiaia", "aaiiia", "iiiiiiiiia", "aaaaa" * 4 + "i" * 10 + "a"])
def test_transaction_that_idled_in_most_polls_keeps_its_class_while_it_runs(states: str):
    found = judged(states)
    assert (found.classification, found.recommendation.action) == ("idle_in_transaction", "terminate")


def test_class_changes_only_when_the_share_is_clearly_smaller():
    """Half of the polls make it idle; then it is until less than a third of the last 20 are."""
    assert judged("iiiaaa" + "a" * 3).classification == "idle_in_transaction"
    assert judged("iiiaaa" + "a" * 4).classification == "long_query"


def test_evidence_names_the_polls_and_the_age_of_the_transaction():
    said = judged("iiiaia").evidence[0]
    assert said == (
        "idle in transaction in 4 of the last 6 polls, at this moment a statement of it has run for 0.2 s, "
        "its transaction open for 1 min 40 s"
    )


@pytest.mark.parametrize(
    ("last", "classification"),
    [
        ({"ran": 5.0}, "long_query"),
        ({"statement": "commit"}, "long_query"),
        ({"statement": "alter table items add w int"}, "migration"),
        ({"statement": "lock table items"}, "explicit_lock"),
        ({"xact_start": ago(3)}, "long_query"),
    ],
)
def test_mostly_idle_transaction_is_judged_by_what_it_runs_if_that_is_not_short(last: dict, classification: str):
    assert judged("iiiiiia", **last).classification == classification


def test_polls_in_which_it_waits_itself_do_not_count():
    memory = Observer()
    asks = (transaction(HOLDER, HOLDER, granted=True), lock(HOLDER, "ShareLock", granted=False, relation=6000))
    waits = {"locks": asks, "blockers": (99,)}
    for at in range(40, 20, -1):
        memory.diagnose_snapshot(seen("a", at, **waits))
    assert judged("iiiia", memory=memory).classification == "idle_in_transaction"


# What rules make of it.


def plans(states: str, by) -> list[Plan]:
    memory, history, found = Observer(), History(), []
    for place, state in enumerate(states, start=1):
        diagnosis = memory.diagnose_snapshot(seen(state, len(states) - place))
        found.append(make_plan(diagnosis, by, history))
        history = with_poll(history, found[-1].fit, diagnosis.captured_at)
    return found


def test_terminate_needs_no_luck_with_the_moments_of_polls():
    made = plans("iiiiaiaia", settings(END_IDLE, min_samples=3))
    assert [about(each, HOLDER).approved for each in made[3:]] == [True] * 6


def test_busy_transaction_that_pauses_now_and_then_is_not_terminated_by_a_rule_for_idle_ones():
    made = plans("aaiaaaiaaaiaaaiaaai", settings(END_IDLE, min_samples=3))
    assert not any(about(each, HOLDER).approved for each in made)


@pytest.mark.parametrize("action", ["cancel", "cancel_then_terminate"])
def test_mostly_idle_transaction_is_never_cancelled(action: str):
    facts = {"grace": 5} if action == "cancel_then_terminate" else {}
    decision = about(plans("iiiiia", settings(rule("idle", "idle_in_transaction", action, **facts)))[-1], HOLDER)
    assert (decision.signal, reasons(decision)) == (
        ("cancel", {"futile"}) if action == "cancel" else ("terminate", set())
    )


# In one snapshot.


def test_statement_that_began_long_after_the_wait_is_not_advised_to_be_cancelled():
    waited = seen("a", 0)
    assert Observer().diagnose_snapshot(waited).blockers[0].recommendation.action == "terminate"
    assert judged("a", ran=2.0).recommendation.action == "cancel"


def test_recorded_snapshot_gives_the_same_class():
    memory = Observer()
    for place, state in enumerate("iiiia"):
        found = memory.diagnose_snapshot(seen(state, 4 - place))
    assert diagnose_again(unpack_snapshot(pack_diagnosis(found))).blockers[0].classification == "idle_in_transaction"
