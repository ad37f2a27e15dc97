"""What a person answers to a proposal: approve it, which sends its signal by the one guarded path, or reject it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from pgdoctor.cli._manual_operations import ManualOperations, ShownAction
from pgdoctor.cli._proposal_judgement import ProposalOperations, open_proposals
from pgdoctor.config.config import Config
from pgdoctor.errors import UsageError
from pgdoctor.mitigation.manual_action import ManualAction, ManualOutcome
from pgdoctor.mitigation.proposals import Proposal, ProposalClosed, ProposalRefused, list_open
from pgdoctor.model.snapshot import ServerInfo


class AnsweredProposal(msgspec.Struct, frozen=True):
    """What came of an approval. `outcome` None: guards objected, and nothing was sent."""

    #: As it was judged now; None: there is no such session.
    action: ManualAction | None
    server: ServerInfo
    objections: tuple[str, ...] = ()
    outcome: ManualOutcome | None = None


class ProposalAnswers:
    """Over one connection. `by`: who answers. Raises ServerError, JournalError and UsageError."""

    def __init__(self, operations: ProposalOperations, by: str) -> None:
        self._operations = operations
        self._by = by

    async def find_open(self, proposal_id: str) -> Proposal:
        """The proposal, which can still be answered. Raises UsageError where it cannot."""
        known, now = await self._operations.list_proposals(), await self._operations.read_clock()
        found = next((each for each in known if each.proposal.id == proposal_id), None)
        if found is not None and (state := found.find_state(now)) != "open":
            by = f" by {found.closed.by}" if found.closed else ""
            raise UsageError(f"proposal {proposal_id} is {state}{by}")
        if found is None:
            others = ", ".join(each.id for each in list_open(known, now)) or "none"
            raise UsageError(f"no proposal {proposal_id[:50]!r} at this server; open proposals: {others}")
        return found.proposal

    async def reject(self, proposal_id: str, reason: str) -> None:
        """Close it. Raises UsageError where another person was faster."""
        now = await self._operations.read_clock()
        await self._close(ProposalClosed(now, proposal_id, "rejected", self._by, reason))

    async def approve(self, proposal_id: str) -> AnsweredProposal:
        """Judge it by every guard, close it, and send its signal."""
        proposal = await self.find_open(proposal_id)
        judged = await self._operations.judge(proposal.signal, proposal.victim.pid)
        action, objections = judged.action, judged.objections
        if action is not None and not proposal.is_about(action.victim):
            objections = ("the session has moved on since the proposal", *objections)
        now = await self._operations.read_clock()
        if objections or action is None:
            await self._operations.write(ProposalRefused(now, proposal_id, self._by, objections))
            return AnsweredProposal(action, judged.server, objections)
        if now >= proposal.expires:
            raise UsageError(f"proposal {proposal_id} is expired")
        await self._close(ProposalClosed(now, proposal_id, "approved", self._by))
        return AnsweredProposal(action, judged.server, outcome=await self._act(action, judged.server))

    async def _act(self, action: ManualAction, server: ServerInfo) -> ManualOutcome:
        known = self._operations
        manual = ManualOperations(known.connection, known.config, known.keeper, self._by)
        # It has to know the journal before it writes to it; the brakes are read once more before the signal.
        await manual.list_brakes()
        return await manual.act(ShownAction(action, server))

    async def _close(self, closed: ProposalClosed) -> None:
        if not await self._operations.close(closed):
            raise UsageError(f"proposal {closed.decision} has just been answered by another person")


@asynccontextmanager
async def open_answers(dsn: str, config: Config, by: str) -> AsyncIterator[ProposalAnswers]:
    """Connect. Raises ServerError."""
    async with open_proposals(dsn, config) as operations:
        yield ProposalAnswers(operations, by)
