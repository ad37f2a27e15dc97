"""Tools that ask the server: who blocks whom, the first five minutes, who holds a lock, what the guards say."""

from typing import Annotated

import msgspec

from pgdoctor.cli._mcp.tool import Most, ShortText, Tool
from pgdoctor.cli._mitigate_operations import fetch_plan
from pgdoctor.cli._options import DEADLINE, fetch_diagnosis
from pgdoctor.config.config import Config
from pgdoctor.diagnosis.lock_holders import read_advisory_key
from pgdoctor.diagnosis.triage import triage
from pgdoctor.errors import UsageError
from pgdoctor.model.lock_holders import LockHolders
from pgdoctor.postgres.activity_sampling import observe_briefly
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.lock_holders import advisory_target, fetch_lock_holders, fetch_lock_target, session_target
from pgdoctor.postgres.offload import offload
from pgdoctor.render.brief.diagnosis import BriefDiagnosis, make_brief_diagnosis
from pgdoctor.render.brief.holders import BriefHolders, make_brief_holders
from pgdoctor.render.brief.plan import BriefPlan, make_brief_plan
from pgdoctor.render.brief.triage import BriefTriage, make_brief_triage
from pgdoctor.render.holders import make_holder_report
from pgdoctor.render.report import make_report
from pgdoctor.render.triage import triage_facts

Pid = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to list."""

    limit: Most = 5


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There are none."""


class HolderQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of relation, advisory_key and pid."""

    relation: Annotated[ShortText, msgspec.Meta(description="A table or index, such as public.orders.")] | None = None
    advisory_key: Annotated[ShortText, msgspec.Meta(description="A bigint (42) or a pair (1,2).")] | None = None
    pid: Pid | None = None
    limit: Most = 10


class LiveTools:
    """Each call opens a connection of its own, which is read-only."""

    def __init__(self, dsn: str, config: Config) -> None:
        self._dsn = dsn
        self._config = config

    def list_tools(self) -> tuple[Tool[Listing] | Tool[NoArguments] | Tool[HolderQuestion], ...]:
        """The tools, in the order of their use."""
        return (
            Tool(
                "triage",
                "First five minutes of an incident",
                "Whether clients of the PostgreSQL server are affected, since when, which layer is at fault, what "
                "changed and what to do. Observes the server for two seconds. Start here if the cause is unknown.",
                NoArguments,
                BriefTriage,
                self._triage,
            ),
            Tool(
                "diagnose",
                "Who blocks whom",
                "Who blocks whom right now, why, and what each signal would free and cost. Start here for lock waits.",
                Listing,
                BriefDiagnosis,
                self._diagnose,
            ),
            Tool(
                "holders",
                "Who holds a lock",
                "Who holds or awaits the locks of a relation, an advisory key or a session, even if no session waits.",
                HolderQuestion,
                BriefHolders,
                self._show_holders,
            ),
            Tool(
                "plan",
                "What rules and guards say",
                "What the configured mitigation rules would do about each blocker, and which guards object. Judges "
                "only: it never sends a signal.",
                Listing,
                BriefPlan,
                self._plan,
            ),
        )

    async def _diagnose(self, listing: Listing) -> BriefDiagnosis:
        diagnosis = await fetch_diagnosis(self._dsn, into_databases=self._config.agent.look_into_databases)
        report = await offload(len(diagnosis.snapshot.sessions), make_report, diagnosis)
        return make_brief_diagnosis(report, listing.limit)

    async def _triage(self, _: NoArguments) -> BriefTriage:
        async with await Connection.open(self._dsn, DEADLINE) as connection:
            connection.looks_into_databases = self._config.agent.look_into_databases
            diagnosis, glimpses = await observe_briefly(connection)
        return make_brief_triage(triage_facts(triage(diagnosis, glimpses), diagnosis))

    async def _show_holders(self, question: HolderQuestion) -> BriefHolders:
        asked = [each for each in (question.relation, question.advisory_key, question.pid) if each is not None]
        if len(asked) != 1:
            raise UsageError("holders: give exactly one of relation, advisory_key and pid")
        async with await Connection.open(self._dsn, DEADLINE) as connection:
            found = await _fetch_holders(connection, question)
        return make_brief_holders(make_holder_report(found), question.limit)

    async def _plan(self, listing: Listing) -> BriefPlan:
        return make_brief_plan(await fetch_plan(self._dsn, self._config, only_reads=True), listing.limit)


async def _fetch_holders(connection: Connection, question: HolderQuestion) -> LockHolders:
    if question.pid is not None:
        return await fetch_lock_holders(connection, session_target(question.pid))
    if question.advisory_key is not None:
        key = read_advisory_key(question.advisory_key)
        if key is None:
            raise UsageError("holders: advisory_key is a bigint (42, -1, 0x2a), or two integers (1,2)")
        return await fetch_lock_holders(connection, advisory_target(key))
    return await fetch_lock_holders(connection, await fetch_lock_target(connection, question.relation or ""))
