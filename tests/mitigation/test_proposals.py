"""Proposals as values: where they stand, whom they are about, and the rule that guards are asked with."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import Brakes
from pgdoctor.mitigation.history import History
from pgdoctor.mitigation.proposals import (
    LASTS,
    KnownProposal,
    Proposal,
    ProposalClosed,
    ProposalRefused,
    allow_proposal,
    fold_proposals,
    list_open,
)
from pgdoctor.mitigation.rules import Mitigation, Rule
from pgdoctor.model.identity import Identity

NOW = datetime(2026, 5, 22, 23, 10, tzinfo=UTC)
VICTIM = Identity(4711, NOW - timedelta(hours=1), NOW - timedelta(minutes=2), NOW, "active", NOW)
PROPOSAL = Proposal(
    NOW,
    "p-1",
    "cancel",
    VICTIM,
    "an assistant",
    "why",
    "migration",
    "public.orders",
    "app",
    "shop",
    "x",
    3,
    4,
    "a retry",
)


def test_state_goes_by_the_answer_then_by_the_clock() -> None:
    known = KnownProposal(PROPOSAL)
    assert known.find_state(NOW + LASTS - timedelta(microseconds=1)) == "open"
    assert known.find_state(NOW + LASTS) == "expired"
    answered = replace(known, closed=ProposalClosed(NOW, "p-1", "approved", "ada"))
    assert answered.find_state(NOW + 2 * LASTS) == "approved"


def test_events_are_folded_by_id() -> None:
    other = replace(PROPOSAL, id="p-2")
    events = [
        *(PROPOSAL, other),
        ProposalRefused(NOW, "p-1", "ada", ("protected: x",)),
        ProposalClosed(NOW, "p-2", "rejected", "ada"),
        ProposalClosed(NOW, "p-unknown", "approved", "mallory"),
    ]
    assert [each.find_state(NOW) for each in fold_proposals(events)] == ["open", "rejected"]
    assert [each.id for each in list_open(fold_proposals(events), NOW)] == ["p-1"]


def test_cancel_is_about_the_statement_and_terminate_about_the_transaction() -> None:
    next_statement = replace(VICTIM, query_start=NOW + timedelta(seconds=1))
    next_transaction = replace(next_statement, xact_start=NOW)
    reused_pid = replace(VICTIM, backend_start=NOW)
    terminate = replace(PROPOSAL, signal="terminate")
    assert PROPOSAL.is_about(VICTIM)
    assert not PROPOSAL.is_about(next_statement)
    assert terminate.is_about(next_statement)
    for each in (next_transaction, reused_pid, None):
        assert not PROPOSAL.is_about(each)
        assert not terminate.is_about(each)


def test_rule_of_a_proposal_comes_first_and_keeps_the_others() -> None:
    own = Rule("own", "migration", "terminate", protected_usename=("app",))
    settings = allow_proposal(Mitigation(rules=(own,), require_approval=True), ("migration", "hot_row"), "cancel")
    first, second = settings.rules
    assert (first.classes, first.action, first.require_approval) == (("migration", "hot_row"), "cancel", False)
    assert second == own
    assert settings.cooldown == Mitigation().cooldown


def test_records_are_read_back_and_change_neither_history_nor_brakes() -> None:
    events = [PROPOSAL, ProposalRefused(NOW, "p-1", "ada", ("x",)), ProposalClosed(NOW, "p-1", "approved", "ada")]
    encoded = [audit_records.encode_event(each) for each in events]
    assert [kind for kind, *_ in encoded] == ["proposal", "proposal_refused", "proposal_closed"]
    assert {subject for _, subject, *_ in encoded} == {"p-1"}
    records = [_Record(place, kind, body) for place, (kind, _, body, _) in enumerate(encoded)]
    assert list(audit_records.read_events(records)) == events
    assert audit_records.replay_history(events) == History()
    assert audit_records.replay_brakes(events) == Brakes()


class _Record:
    def __init__(self, place: int, kind: str, body: bytes) -> None:
        self.id, self.kind, self.body = place, kind, body
