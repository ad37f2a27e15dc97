"""Whether an action helped is shown by those who waited, and by no other session."""

from datetime import timedelta

from msgspec.structs import replace

from pgdoctor.mitigation.history import (
    Action,
    History,
    Outcome,
    WaiterKey,
    verify_outcome,
    with_action,
    with_outcome,
    with_poll,
)
from pgdoctor.model.identity import Identity
from tests.building import NOW, ago, session
from tests.mitigation.build import DDL, IDLE, READERS, ddl, diagnosis, idle, reader, usual

VICTIM = Identity.of(ddl())
assert VICTIM is not None
ACTION = Action(
    victim=VICTIM,
    signal="cancel",
    rule="ddl",
    classification="migration",
    relation="public.orders",
    waiters=tuple(WaiterKey(pid, ago(60)) for pid in READERS),
    at=ago(1),
    patience=5.0,
)
LATE = NOW + timedelta(seconds=5)


def outcome(*sessions: object, late: bool = False) -> Outcome | None:
    return verify_outcome(ACTION, diagnosis(*sessions, at=LATE if late else NOW)).outcome  # type: ignore[arg-type]


def test_nothing_is_known_while_they_still_wait() -> None:
    assert outcome() is None


def test_it_was_ineffective_when_they_still_wait_after_the_grace() -> None:
    assert outcome(late=True) == "ineffective"


def test_h46_a_session_that_was_signalled_and_is_still_there_is_stuck() -> None:
    ended = replace(ACTION, signal="terminate")
    assert verify_outcome(ended, diagnosis()).outcome is None
    assert verify_outcome(ended, diagnosis(at=LATE)).outcome == "stuck"
    another = diagnosis(idle(), ddl(backend_start=ago(1)), *(reader(pid) for pid in READERS), at=LATE)
    assert verify_outcome(ended, another).outcome != "stuck"


def test_one_remaining_waiter_keeps_the_verification_going() -> None:
    assert outcome(idle(), ddl(), reader(31)) is None


def test_it_helped_when_no_session_waits_any_more() -> None:
    settled = verify_outcome(ACTION, diagnosis(session(1)))
    assert (settled.outcome, settled.seconds) == ("released", 1.0)


def test_it_helped_when_the_waiters_run_though_the_victim_lives() -> None:
    """A cancelled statement frees its locks; its session and connection stay."""
    aborted = session(DDL, state="idle in transaction (aborted)", xact_start=ago(60))
    assert outcome(idle(), aborted) == "released"


def test_it_did_not_help_when_they_only_wait_for_the_next_one_now() -> None:
    """Two hold the same row shared, and only the first was to be seen (measured)."""
    instead = [reader(pid, blockers=(IDLE,)) for pid in READERS]
    assert outcome(idle(), *instead) is None
    assert outcome(idle(), *instead, late=True) == "ineffective"


def test_it_helped_when_they_got_on_and_wait_for_something_else_now() -> None:
    later = [reader(pid, blockers=(IDLE,), query_start=ago(0.5)) for pid in READERS]
    assert outcome(idle(), *later) == "released"


def test_a_new_transaction_of_the_victim_is_not_the_victim() -> None:
    again = ddl(xact_start=ago(0.5), query_start=ago(0.5))
    assert outcome(idle(), again, *(reader(pid, query_start=ago(0.2)) for pid in READERS)) == "released"


def test_another_session_with_the_victims_pid_is_not_the_victim() -> None:
    other = ddl(backend_start=ago(0.5))
    assert outcome(idle(), other, *(reader(pid, query_start=ago(0.2)) for pid in READERS)) == "released"


def test_a_hidden_session_with_the_victims_pid_may_be_the_victim() -> None:
    assert outcome(idle(), ddl(backend_start=None), *(reader(pid) for pid in READERS)) is None


def test_a_clock_that_was_set_back_does_not_make_it_ineffective() -> None:
    settled = verify_outcome(replace(ACTION, at=NOW + timedelta(hours=1)), diagnosis(*usual()))
    assert settled.outcome is None


def test_polls_in_a_row_are_counted_and_a_poll_without_starts_again() -> None:
    other = Identity.of(idle())
    assert other is not None
    history = with_poll(History(), [VICTIM, other], NOW)
    history = with_poll(history, [VICTIM], NOW)
    assert history.samples == {VICTIM: 2}
    assert with_poll(history, [other], NOW).samples == {other: 1}


def test_actions_older_than_a_day_are_forgotten_unless_running() -> None:
    day = 24 * 3600
    old, recent = replace(ACTION, outcome="released", at=ago(day)), replace(ACTION, outcome="released", at=ago(day - 1))
    history = History(actions=(old, recent, replace(ACTION, at=ago(9 * day))))
    assert with_poll(history, [], NOW).actions == history.actions[1:]


def test_one_action_is_in_progress_until_it_is_concluded() -> None:
    history = with_action(History(), ACTION)
    assert history.under_way is ACTION
    history = with_outcome(history, ACTION, replace(ACTION, outcome="released"))
    assert history.under_way is None
    assert [action.outcome for action in history.spent] == ["released"]


def test_a_signal_that_was_not_sent_is_not_spent() -> None:
    assert list(with_action(History(), replace(ACTION, outcome="gone")).spent) == []
