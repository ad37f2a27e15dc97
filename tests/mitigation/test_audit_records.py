"""What is recorded, and what a later process knows by it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgdoctor.errors import JournalError
from pgdoctor.fields import Duration, Network, Qualified
from pgdoctor.journal.store import JournalRecord
from pgdoctor.mitigation import audit_records, breaker
from pgdoctor.mitigation.audit_records import (
    Arm,
    Brakes,
    Disarm,
    Event,
    Intent,
    MaintenanceWindow,
    PersonIntent,
    PersonOutcome,
    Settled,
    Trace,
)
from pgdoctor.mitigation.budgets import BUDGETS, budgets_left, compute_budgets
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.history import Action, Approval, History, Opening, Outcome, Reset, in_mode
from pgdoctor.mitigation.plan import intend_action, make_plan
from pgdoctor.mitigation.proposals import Proposal, ProposalClosed, ProposalRefused
from pgdoctor.mitigation.rules import Breaker, Mode
from tests.building import NOW, ago
from tests.mitigation.build import BOTH, CANCEL_DDL, DDL, decide, diagnosis, settings


def approved() -> Decision:
    """What the usual incident asks for."""
    decision = decide().approved
    assert decision is not None
    return decision


def action(pid: int = DDL, *, seconds: float = 60) -> Action:
    """The action that it asks for, decided upon so many seconds ago."""
    done = intend_action(approved(), diagnosis())
    return replace(done, victim=replace(done.victim, pid=pid), at=ago(seconds))


def intent(done: Action, mode: Mode = "enforce") -> Intent:
    return audit_records.record_intent(done, approved(), mode, done.at, {"actions_per_5m": 3})


def settled(done: Action, outcome: Outcome = "released") -> Settled:
    return audit_records.record_settled(replace(done, outcome=outcome, seconds=0.4), ago(50), {"actions_per_5m": 2})


def as_records(*told: Event) -> list[JournalRecord]:
    """As they come back from the journal."""
    found = []
    for place, event in enumerate(told, 1):
        kind, subject, body, at = audit_records.encode_event(event)
        found.append(JournalRecord(place, "7", at, kind, subject, body))
    return found


ONE_OF_EACH: tuple[Event, ...] = (
    intent(action()),
    settled(action()),
    Opening(ago(40), "why", rehearsed=True),
    Reset(ago(30), "seen to", "ann"),
    Approval("10-1-terminate", ago(20), "ann"),
    Disarm(ago(10), "a release", "ann"),
    Arm(ago(9), "it is over", "ann"),
    MaintenanceWindow(ago(8), NOW, "a move", "ann"),
    Trace(ago(7), "10-1-terminate", "invalid_index", "public.i"),
    PersonIntent(
        ago(6), "cancel", action().victim, "ann", "migration", "public.orders", "app", "shop", "job", 2, 3, "a retry"
    ),
    PersonOutcome(ago(5), "10-1-cancel", "released", ago(6), 2, 0.1),
    Proposal(
        *(ago(4), "p-1", "cancel", action().victim, "assistant", "it blocks", "migration", "public.orders", "app"),
        *("shop", "job", 2, 3, "a retry"),
    ),
    ProposalClosed(ago(3), "p-1", "rejected", "ann", "not now"),
    ProposalRefused(ago(2), "p-1", "ann", ("protected",)),
)


def test_every_kind_comes_back_as_it_was_written() -> None:
    assert tuple(audit_records.read_events(as_records(*ONE_OF_EACH))) == ONE_OF_EACH
    assert [record.kind for record in as_records(*ONE_OF_EACH)] == list(audit_records.KINDS)
    assert set(audit_records.LASTING) < set(audit_records.KINDS)


def test_signals_of_people_change_nothing_that_mitigation_decides_by() -> None:
    told = [each for each in ONE_OF_EACH if isinstance(each, PersonIntent | PersonOutcome)]
    assert len(told) == 2
    assert audit_records.replay_history(told) == History()
    assert audit_records.replay_brakes(told) == Brakes()


def test_a_rule_with_every_condition_leads_to_an_action_that_can_be_written_down() -> None:
    ladder = replace(
        CANCEL_DDL,
        action="cancel_then_terminate",
        grace=Duration(7),
        min_state_age=Duration(1),
        usename=("app",),
        relation=(Qualified("public.orders"),),
        client_addr=(Network("local"),),
    )
    decision = decide(by=settings(ladder)).approved
    assert decision is not None
    done = intend_action(decision, diagnosis())
    [read] = audit_records.read_events(as_records(audit_records.record_intent(done, decision, "enforce", NOW, {})))
    assert isinstance(read, Intent)
    assert (read.action.patience, read.action.victim) == (7.0, done.victim)


def test_intent_and_outcome_and_approval_are_about_the_same_decision() -> None:
    first, second, *_ = as_records(*ONE_OF_EACH)
    assert first.subject == second.subject == approved().id


def test_records_of_other_servers_are_not_ours() -> None:
    [record] = as_records(Arm(NOW, "", ""))
    assert list(audit_records.read_events([replace(record, kind="incident_started", body=b"{}")])) == []


@pytest.mark.parametrize("body", [b"", b"{}", b'{"kind":"disarm"}', b'{"kind":"nonsense","at":"x"}'])
def test_a_record_that_cannot_be_read_is_an_error_for_it_may_be_a_brake(body: bytes) -> None:
    [record] = as_records(Disarm(NOW, "", ""))
    with pytest.raises(JournalError, match=r"record 1 \(disarm\) of the journal cannot be read"):
        list(audit_records.read_events([replace(record, body=body)]))


def test_older_version_ignores_fields_of_a_newer_one() -> None:
    [record] = as_records(Disarm(NOW, "a release", "ann"))
    [read] = audit_records.read_events([replace(record, body=record.body.replace(b"{", b'{"new":1,', 1))])
    assert read == Disarm(NOW, "a release", "ann")


def test_an_intent_and_its_outcome_are_one_action() -> None:
    done = action()
    [read] = audit_records.replay_history([intent(done), settled(done)]).actions
    assert (read.outcome, read.seconds, read.victim) == ("released", 0.4, done.victim)


def test_h37_an_intent_without_an_outcome_is_spent_and_its_outcome_unknown() -> None:
    known = audit_records.replay_history([intent(action())])
    [read] = known.actions
    assert (read.outcome, read.message) == ("error", audit_records.UNKNOWN)
    assert read.may_have_been_sent
    spent = {each.name: each.spent for each in compute_budgets(known, BOTH, NOW)}
    assert spent["actions_per_5m"] == spent["actions_per_hour"] == 1


def test_the_outcome_is_of_the_latest_action_of_that_decision() -> None:
    first, second = action(seconds=60), action(seconds=55)
    known = audit_records.replay_history([intent(first), settled(first, "withheld"), intent(second), settled(second)])
    assert [each.outcome for each in known.actions] == ["withheld", "released"]


def test_an_outcome_whose_intent_is_forgotten_says_nothing() -> None:
    assert audit_records.replay_history([settled(action())]) == History()


def test_a_dry_run_leaves_the_budgets_of_enforce_alone_and_not_the_other_way_round() -> None:
    announced, done = action(1), action(2)
    known = audit_records.replay_history(
        [intent(announced, "dry_run"), settled(announced, "would_act"), intent(done), settled(done)]
    )

    def spent(mode: Mode) -> int:
        return {each.name: each.spent for each in compute_budgets(in_mode(known, mode), BOTH, NOW)}["actions_per_5m"]

    assert (spent("enforce"), spent("dry_run")) == (1, 2)
    assert spent("observe") == 1, "it judges what would be done"


def test_a_dry_run_that_was_broken_off_has_still_sent_nothing() -> None:
    [read] = audit_records.replay_history([intent(action(), "dry_run")]).actions
    assert read.outcome == "would_act"


def test_a_breaker_that_opened_in_a_dry_run_is_open_in_dry_runs_only() -> None:
    known = audit_records.replay_history([Opening(ago(40), "rehearsed", rehearsed=True)])

    def why(mode: Mode) -> str | None:
        found = breaker.find_opening(in_mode(known, mode), Breaker(), NOW)
        return found.reason if found else None

    assert (why("enforce"), why("dry_run")) == (None, "rehearsed")
    known = audit_records.replay_history([Opening(ago(30), "in earnest")], known)
    assert (why("enforce"), why("dry_run")) == ("in earnest", "in earnest")
    known = audit_records.replay_history([Reset(ago(20), "seen to", "ann")], known)
    assert (why("enforce"), why("dry_run")) == (None, None)


def test_the_last_word_on_a_brake_holds() -> None:
    disarm, arm = Disarm(ago(10), "a release", "ann"), Arm(ago(9), "over", "ann")
    assert audit_records.replay_brakes([]).kill_switch is None
    assert audit_records.replay_brakes([disarm]).kill_switch == "disarmed by ann: a release"
    assert audit_records.replay_brakes([disarm, arm]).kill_switch is None
    assert audit_records.replay_brakes([arm, disarm]).kill_switch


def test_maintenance_holds_until_then_or_until_an_operator_ends_it() -> None:
    mark, end = MaintenanceWindow(ago(10), NOW, "a move", "ann"), MaintenanceWindow(ago(5), ago(5), "done", "ann")
    assert audit_records.replay_brakes([mark]).maintenance_until == NOW
    assert audit_records.replay_brakes([mark, end]).maintenance_until is None


def test_a_shorter_maintenance_does_not_end_another_operators_longer_one() -> None:
    long, short = (
        MaintenanceWindow(ago(10), NOW, "a move", "ann"),
        MaintenanceWindow(ago(9), ago(5), "a restart", "bob"),
    )
    assert audit_records.replay_brakes([long, short]).maintenance_until == NOW
    assert audit_records.replay_brakes([short, long]).maintenance_until == NOW


def test_of_a_thousand_waiters_a_few_are_named_and_all_counted() -> None:
    done = action()
    many = replace(done, waiters=done.waiters * 400)
    told = intent(many)
    assert len(told.action.waiters) == 20
    assert told.frees_at_once == 1200


TOLD = st.sampled_from([*ONE_OF_EACH, intent(action(2)), settled(action(2))])


@given(st.lists(TOLD, max_size=12), st.integers(0, 12))
def test_it_does_not_matter_in_how_many_pieces_it_is_read(told: list[Event], cut: int) -> None:
    first, rest = told[:cut], told[cut:]
    assert audit_records.replay_history(told) == audit_records.replay_history(rest, audit_records.replay_history(first))
    assert audit_records.replay_brakes(told) == audit_records.replay_brakes(rest, audit_records.replay_brakes(first))


def test_a_dry_run_beside_it_says_nothing_of_an_action_that_was_sent() -> None:
    done = action()
    known = audit_records.replay_history([intent(done, "dry_run"), intent(done), settled(done, "would_act")])
    assert [each.outcome for each in in_mode(known, "enforce").actions] == ["error"]


SENT = (*ONE_OF_EACH[:2], Opening(ago(40), "why"), *ONE_OF_EACH[3:], intent(action(2)), settled(action(2), "stuck"))
REHEARSED = (
    *(Opening(ago(40), "why", rehearsed=True), intent(action(), "dry_run"), settled(action(), "would_act")),
    *(intent(action(3), "dry_run"), settled(action(3), "would_act")),
)


@given(st.lists(st.sampled_from([*SENT, *REHEARSED]), max_size=12))
def test_h49_records_of_dry_runs_change_nothing_for_an_acting_agent(told: list[Event]) -> None:
    without = [event for event in told if event not in REHEARSED]
    assert in_mode(audit_records.replay_history(told), "enforce") == in_mode(
        audit_records.replay_history(without), "enforce"
    )


@given(st.lists(st.sampled_from(SENT), max_size=12))
def test_h49_of_what_was_done_every_mode_knows_the_same(told: list[Event]) -> None:
    known = audit_records.replay_history(told)
    assert in_mode(known, "enforce") == in_mode(known, "dry_run") == in_mode(known, "observe")
    for by in (BOTH, replace(BOTH, max_actions_per_hour=1)):
        dry, armed = (
            make_plan(diagnosis(), replace(by, mode=mode), in_mode(known, mode)) for mode in ("dry_run", "enforce")
        )
        assert dry == armed


@given(st.lists(TOLD, max_size=12), st.sampled_from(["enforce", "dry_run"]))
def test_one_more_intent_never_leaves_more_of_a_budget(told: list[Event], mode: Mode) -> None:
    before, after = audit_records.replay_history(told), audit_records.replay_history([*told, intent(action(9), mode)])
    left, then = (budgets_left(in_mode(each, mode), BOTH, NOW) for each in (before, after))
    assert all(then[name] <= left[name] for name in BUDGETS)
    approved, afterwards = (make_plan(diagnosis(), BOTH, in_mode(each, mode)).approved for each in (before, after))
    assert afterwards is None or afterwards.victim == (approved.victim if approved else None)


def test_moments_keep_their_microseconds() -> None:
    exact = NOW + timedelta(microseconds=1)
    [read] = audit_records.read_events(as_records(Disarm(exact, "", "")))
    assert read.at == exact
