"""Proposals of assistants: judged by every guard, filed and read. Nothing here sends a signal."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
from msgspec.structs import replace

from pgdoctor.cli._mitigate_operations import PlannedSnapshot, observe_and_plan, stops_of_others
from pgdoctor.cli._options import DEADLINE
from pgdoctor.config.config import Config
from pgdoctor.errors import JournalError, UsageError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import NAMELESS, PROPOSALS
from pgdoctor.mitigation.history import KEPT, Signal
from pgdoctor.mitigation.manual_action import ManualAction, judge_manual_action
from pgdoctor.mitigation.plan import OnlySession
from pgdoctor.mitigation.proposals import (
    MOST_OPEN,
    PREFIX,
    KnownProposal,
    Proposal,
    ProposalClosed,
    ProposalRefused,
    allow_proposal,
    fold_proposals,
    list_open,
)
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import ServerInfo
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from pgdoctor.postgres.session_by_pid import fetch_session
from pgdoctor.postgres.signal import has_wrapper_for_people


class JudgedSignal(msgspec.Struct, frozen=True):
    """A signal to one session, with all objections to it now."""

    #: None: there is no such session.
    action: ManualAction | None
    server: ServerInfo
    #: Of hard limits, brakes and guards; empty: none objects.
    objections: tuple[str, ...]


class ProposalOperations:
    """Over one connection. Raises ServerError and JournalError."""

    def __init__(self, connection: Connection, config: Config, keeper: Keeper) -> None:
        self.connection = connection
        self.config = config
        self.keeper = keeper
        self._server = ""

    async def read_clock(self) -> datetime:
        """The server's clock."""
        now: datetime = (await self.connection.fetch("server_clock"))[0].now
        return now

    async def list_proposals(self) -> tuple[KnownProposal, ...]:
        """The proposals of the last day for this server, oldest first."""
        server, since = await self._identify(), await self.read_clock() - KEPT
        found = await self.keeper.run_work(lambda journal: journal.fetch_records(server, kinds=PROPOSALS, since=since))
        return fold_proposals(audit_records.read_events(found))

    async def file(self, signal: Signal, pid: int, reason: str, by: str) -> tuple[Proposal, ManualAction]:
        """File a proposal, or find the open one that is the same. Raises UsageError where any guard objects."""
        judged = await self.judge(signal, pid)
        action = judged.action
        if judged.objections or action is None or action.victim is None:
            raise UsageError(f"not proposed: {'; '.join(judged.objections)}")
        now = await self.read_clock()
        open_ones = list(list_open(await self.list_proposals(), now))
        same = next((each for each in open_ones if each.signal == signal and each.is_about(action.victim)), None)
        if same is not None:
            return same, action
        if len(open_ones) >= MOST_OPEN:
            raise UsageError(f"not proposed: {MOST_OPEN} proposals are open; a person has to answer them first")
        proposal = _make_proposal(action, action.victim, reason, by, now)
        await self.write(proposal)
        return proposal, action

    async def judge(self, signal: Signal, pid: int) -> JudgedSignal:
        """Ask every guard about a signal to a session as it is now."""
        seen = await self._plan(signal, pid)
        diagnosis = seen.diagnosis
        server = diagnosis.snapshot.server
        found = await fetch_session(self.connection, pid)
        if found is None:
            return JudgedSignal(None, server, ("there is no such session at this server",))
        may_not_signal = found.session.may_signal is False
        action = judge_manual_action(
            signal,
            found.session,
            diagnosis,
            self.config.mitigation,
            leader_pid=found.leader_pid,
            has_wrapper=may_not_signal and await has_wrapper_for_people(self.connection),
        )
        stops = (*seen.stops, *await stops_of_others(self.connection))
        return JudgedSignal(action, server, tuple(_list_objections(action, seen, signal, stops)))

    async def write(self, event: Proposal | ProposalRefused) -> None:
        """Record it in the journal."""
        server = await self._identify()
        kind, subject, body, at = audit_records.encode_event(event)
        await self.keeper.run_work(lambda journal: journal.append(server, kind, subject, body, at))

    async def close(self, closed: ProposalClosed) -> bool:
        """Record the answer of a person; False where the proposal has one."""
        server = await self._identify()
        kind, subject, body, at = audit_records.encode_event(closed)

        def claim(journal: Journal) -> bool:
            return journal.claim(server, kind, subject, body, at)

        return await self.keeper.run_work(claim)

    async def _plan(self, signal: Signal, pid: int) -> PlannedSnapshot:
        """The plan of the guards, as if a rule allowed this signal to this session."""
        first = await ServerWatch(Collector(self.connection)).diagnose_server()
        blocker = next((each for each in first.blockers if each.pid == pid), None)
        settings = self.config.mitigation
        if blocker is not None:
            settings = allow_proposal(settings, (blocker.classification, *blocker.also), signal)
        config = replace(self.config, mitigation=settings)
        return await observe_and_plan(self.connection, config, self.keeper, OnlySession(pid, signal), only_reads=True)

    async def _identify(self) -> str:
        self._server = self._server or await self.connection.system_identifier()
        if not self._server:
            raise JournalError(NAMELESS)
        return self._server


@asynccontextmanager
async def open_proposals(dsn: str, config: Config) -> AsyncIterator[ProposalOperations]:
    """Connect. Raises ServerError."""
    keeper = Keeper(config.journal.file, config.journal.max_size)
    try:
        async with await Connection.open(dsn, DEADLINE) as connection:
            connection.looks_into_databases = config.agent.look_into_databases
            yield ProposalOperations(connection, config, keeper)
    finally:
        keeper.close()


def _list_objections(
    action: ManualAction, seen: PlannedSnapshot, signal: Signal, stops: tuple[str, ...]
) -> Iterator[str]:
    if action.refusal is not None:
        yield action.refusal
    yield from stops
    decision = next((each for each in seen.plan.decisions if each.pid == action.session.pid), None)
    if decision is None:
        yield "no session waits for it, so a signal would free none"
        return
    if decision.objections:
        yield from (f"{each.guard}: {each.objection}" for each in decision.objections)
    elif decision.signal != signal or not decision.approved:
        yield f"the guards were not asked about a {signal}"
    if decision.victim is None or not decision.victim.same_lasting_transaction(Identity.of(action.session)):
        yield "the session has moved on while it was judged"


def _make_proposal(action: ManualAction, victim: Identity, reason: str, by: str, now: datetime) -> Proposal:
    session, blocker, cut = action.session, action.blocker, action.cut
    return Proposal(
        at=now,
        id=f"{PREFIX}{secrets.token_hex(4)}",
        signal=action.signal,
        victim=victim,
        by=by,
        reason=reason,
        classification=blocker.classification if blocker else None,
        relation=blocker.relation if blocker else None,
        usename=session.usename,
        datname=session.datname,
        application_name=session.application_name,
        frees_at_once=cut.frees_at_once,
        frees_in_turn=cut.frees_in_turn,
        loses=cut.loses,
    )
