"""The tool `propose_signal`: files a proposal that a person approves. It is there only with --allow-proposals."""

from typing import Annotated, Literal

import msgspec

from pgdoctor.cli._mcp.live_tools import Pid
from pgdoctor.cli._mcp.tool import Tool
from pgdoctor.cli._proposal_judgement import open_proposals
from pgdoctor.config.config import Config
from pgdoctor.errors import UsageError
from pgdoctor.render.brief.proposal import BriefProposal, make_brief_proposal


class ProposedSignal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to propose."""

    signal: Literal["cancel", "terminate"]
    pid: Pid
    reason: Annotated[
        str, msgspec.Meta(min_length=1, max_length=300, description="One line for the person who decides.")
    ]


class ProposalTool:
    """Files proposals for one server. `by`: the operator who runs the server of tools."""

    def __init__(self, dsn: str, config: Config, by: str) -> None:
        self._dsn = dsn
        self._config = config
        self._by = by

    def make_tool(self) -> Tool[ProposedSignal]:
        """The tool."""
        return Tool(
            "propose_signal",
            "Propose a signal to a person",
            "Propose to cancel or terminate the session that blocks others. All guards judge it first. Sends nothing: "
            "a person approves it within 10 minutes by `pgdoctor mitigate approve ID`. Give the person the ID.",
            ProposedSignal,
            BriefProposal,
            self._propose,
            only_reads=False,
        )

    async def _propose(self, proposed: ProposedSignal) -> BriefProposal:
        reason = " ".join(proposed.reason.split())
        if not reason or not reason.isprintable():
            raise UsageError("propose_signal: reason is one line of printable text")
        async with open_proposals(self._dsn, self._config) as operations:
            filed, action = await operations.file(proposed.signal, proposed.pid, reason, self._by)
        return make_brief_proposal(filed, action)
