"""What the commands ask of mitigation: a plan, its pending decisions, one session, the execution."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
from msgspec.structs import replace

from pgdoctor.cli._options import DEADLINE
from pgdoctor.config.config import Config
from pgdoctor.diagnosis.cuts import find_cuts
from pgdoctor.diagnosis.findings.leader_lock import leader_lock_notes
from pgdoctor.enforcement.kill_switch import KillSwitchFile
from pgdoctor.enforcement.mitigator import Mitigator
from pgdoctor.enforcement.run_loop import carry_out
from pgdoctor.errors import ServerError
from pgdoctor.journal.keeper import Keeper
from pgdoctor.mitigation.decision import Decision
from pgdoctor.mitigation.history import Action
from pgdoctor.mitigation.plan import OnlySession, Plan
from pgdoctor.mitigation.shared_record import MARK, UnreadableRecord, decode_record, explain_unreadable
from pgdoctor.model.diagnosis import Diagnosis, Finding
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.dsn import APPLICATION_NAME
from pgdoctor.postgres.server_context import lock_strangers
from pgdoctor.postgres.server_watch import ServerWatch
from pgdoctor.postgres.shared_record import read_records
from pgdoctor.render.plan import PlanFacts, plan_facts
from pgdoctor.render.session_facts import SessionFacts, session_facts

#: Seconds between two polls; a session is judged after `min_samples` polls with the same transaction or statement.
_PAUSE = 0.2


class PlannedSnapshot(msgspec.Struct, frozen=True):
    """A plan that is not executed, with its input."""

    plan: Plan
    diagnosis: Diagnosis
    #: Reasons that stop all signals, a line each.
    stops: tuple[str, ...] = ()


async def fetch_plan(dsn: str, config: Config, *, only_reads: bool = False) -> PlanFacts:
    """The plan, for people. `only_reads`: nothing is written to the journal."""
    async with _open_both(dsn, config) as (connection, keeper):
        seen = await observe_and_plan(connection, config, keeper, only_reads=only_reads)
        notes = await _election_notes(connection)
        stops = (*seen.stops, *await stops_of_others(connection))
    choices = find_cuts(seen.diagnosis.blockers, seen.diagnosis.graph)
    facts = plan_facts(seen.plan, config.mitigation.mode, (), choices, notes)
    return replace(facts, stops=stops)


async def fetch_pending_decisions(dsn: str, config: Config) -> list[Decision]:
    """The decisions that wait for approval."""
    async with _open_both(dsn, config) as (connection, keeper):
        seen = await observe_and_plan(connection, config, keeper)
    return [each for each in seen.plan.decisions if each.state == "pending_approval"]


async def judge_session(dsn: str, config: Config, pid: int) -> SessionFacts:
    """May one session be signalled, and what would it do?"""
    async with _open_both(dsn, config) as (connection, keeper):
        return await judge_session_over(connection, config, keeper, pid)


async def execute_plan(
    dsn: str, config: Config, most: int, *, only: OnlySession | None = None
) -> tuple[list[Action], Plan, tuple[Finding, ...]]:
    """What was carried out, the plan that is left, and what is wrong with the leader election."""
    async with _open_both(dsn, config) as (connection, keeper):
        actions, plan = await execute_plan_over(connection, config, keeper, most=most, only=only)
        return actions, plan, await _election_notes(connection)


async def observe_and_plan(
    connection: Connection,
    config: Config,
    keeper: Keeper,
    only: OnlySession | None = None,
    *,
    only_reads: bool = False,
) -> PlannedSnapshot:
    """The plan after `min_samples` polls. No session is signalled. `only_reads`: nothing is written to the journal."""
    settings = config.mitigation
    mitigator = _make_mitigator(config, keeper, only=only, mode="observe", only_reads=only_reads)
    watch = ServerWatch(Collector(connection))
    for place in range(settings.min_samples if settings.rules else 1):
        await asyncio.sleep(_PAUSE if place else 0)
        diagnosis = await watch.diagnose_server()
        await mitigator.consider(diagnosis, connection)
    brakes = await mitigator.read_brakes()
    until = brakes.maintenance_until
    held = until is not None and until > diagnosis.captured_at
    said = (
        brakes.kill_switch,
        f"maintenance until {until.isoformat(timespec='seconds')}" if until is not None and held else None,
        mitigator.sharing_error,
    )
    return PlannedSnapshot(mitigator.plan, diagnosis, tuple(each for each in said if each))


async def stops_of_others(connection: Connection) -> list[str]:
    """What pgdoctors that connect as other roles share at this server, as far as it stops them."""
    said: list[str] = []
    for role, text, is_own in await read_records(connection):
        if is_own or not (text or "").startswith(MARK):
            continue
        try:
            brakes = decode_record(text).brakes
        except UnreadableRecord as error:
            said.append(explain_unreadable(role, error))
        else:
            until = brakes.maintenance_until
            marked = f"maintenance until {until.isoformat(timespec='seconds')}" if until else None
            said += [f"{each} (pgdoctors that connect as {role})" for each in (brakes.kill_switch, marked) if each]
    return said


async def judge_session_over(connection: Connection, config: Config, keeper: Keeper, pid: int) -> SessionFacts:
    """The same as `about`, over a connection that is there already."""
    seen = await observe_and_plan(connection, config, keeper, OnlySession(pid))
    diagnosis = seen.diagnosis
    decision = next((each for each in seen.plan.decisions if each.pid == pid), None)
    said = None if decision else await _without_a_decision(connection, diagnosis, pid)
    return session_facts(pid, said, decision, find_cuts(diagnosis.blockers, diagnosis.graph))


async def execute_plan_over(
    connection: Connection, config: Config, keeper: Keeper, *, most: int = 1, only: OnlySession | None = None
) -> tuple[list[Action], Plan]:
    """Carry out what may be done, of one session `only` if one is meant; what was done, and the plan that is left.

    For interactive use: `only = Only(pid, "cancel")` is one key pressed.
    """
    mitigator = _make_mitigator(config, keeper, only=only)
    try:
        return [action async for action in carry_out(mitigator, connection, most=most)], mitigator.plan
    finally:
        # The connection may live on, as that of `watch` does; the leader lock that it holds would keep all others from
        # leading.
        with suppress(ServerError):
            await mitigator.resign_leadership()


def _make_mitigator(
    config: Config, keeper: Keeper, *, only: OnlySession | None, mode: str | None = None, only_reads: bool = False
) -> Mitigator:
    settings = replace(config.mitigation, mode=mode) if mode else config.mitigation
    # An empty journal is not made only to be read.
    known = keeper if not only_reads or keeper.path.exists() else None
    brake = KillSwitchFile(lambda: settings.kill_switch_file).read_reason
    return Mitigator(settings, known, brake=brake, only=only, only_reads=only_reads)


async def _election_notes(connection: Connection) -> tuple[Finding, ...]:
    """Who takes part in the leader election and should not."""
    return tuple(leader_lock_notes(await lock_strangers(connection)))


@asynccontextmanager
async def _open_both(dsn: str, config: Config) -> AsyncIterator[tuple[Connection, Keeper]]:
    keeper = Keeper(config.journal.file, config.journal.max_size)
    try:
        async with await Connection.open(dsn, DEADLINE) as connection:
            connection.looks_into_databases = config.agent.look_into_databases
            yield connection, keeper
    finally:
        keeper.close()


async def _without_a_decision(connection: Connection, diagnosis: Diagnosis, pid: int) -> str:
    """Why there is nothing to decide about a session, in one line."""
    if pid == diagnosis.snapshot.server.own_pid:
        return "it is this pgdoctor's own session"
    rows = await connection.fetch("backend_by_pid", pid=pid)
    if not rows:
        return "there is no such session at this server"
    [found] = rows
    if found.leader_pid is not None and found.leader_pid != pid:
        return f"it is a parallel worker of {found.leader_pid}; use --pid {found.leader_pid}"
    if found.application_name == APPLICATION_NAME:
        return "it is another pgdoctor's session; such sessions are never signalled"
    if found.backend_type != "client backend":
        return f"it is {found.backend_type or 'hidden from our role'}: pgdoctor signals only client sessions"
    blockers = diagnosis.graph.blockers_of.get(pid)
    if blockers:
        return f"no session waits for it; it waits itself, for {', '.join(map(str, sorted(blockers)))}"
    return "no session waits for it, so a signal would free no session"
