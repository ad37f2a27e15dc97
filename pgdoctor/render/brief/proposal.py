"""A proposed signal, as the assistant is answered."""

import msgspec

from pgdoctor.mitigation.manual_action import ManualAction
from pgdoctor.mitigation.proposals import Proposal
from pgdoctor.render.brief.text import NOTICE, ClientText, client_text


class BriefProposal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the tool `propose_signal`. No signal was sent."""

    notice: str
    id: str
    signal: str
    pid: int
    expires: str
    #: What a person types to send the signal.
    approve_with: str
    frees_at_once: int
    frees_in_turn: int
    costs: str
    client_text: ClientText = ClientText()


def make_brief_proposal(proposal: Proposal, action: ManualAction) -> BriefProposal:
    """The proposal as it was filed."""
    return BriefProposal(
        notice=f"No signal was sent: a person has to approve it. {NOTICE}",
        id=proposal.id,
        signal=proposal.signal,
        pid=proposal.victim.pid,
        expires=proposal.expires.isoformat(timespec="seconds"),
        approve_with=f"pgdoctor mitigate approve {proposal.id}",
        frees_at_once=proposal.frees_at_once,
        frees_in_turn=proposal.frees_in_turn,
        costs=proposal.loses,
        client_text=client_text(
            user=proposal.usename,
            database=proposal.datname,
            application=proposal.application_name,
            relation=proposal.relation,
            sentences=action.warnings,
        ),
    )
