"""A person's signal: recorded, sent by the one guarded path, and watched until its effect is known.

It is no part of mitigation: no rule, budget or leader is asked, and nothing that mitigation decides by is changed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from pgdoctor.enforcement.audit import Audit
from pgdoctor.errors import ServerError
from pgdoctor.mitigation.audit_records import PersonIntent, PersonOutcome
from pgdoctor.mitigation.history import Action, WaiterKey, verify_outcome
from pgdoctor.mitigation.manual_action import ManualAction, ManualOutcome, ManualResult
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.identity import Identity
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.server_watch import ServerWatch
from pgdoctor.postgres.session_by_pid import fetch_session
from pgdoctor.postgres.signal import SignalReply, send_signal_by_person

#: Seconds for which its effect is awaited, and between two checks.
_PATIENCE = 10.0
_PAUSE = 0.1

#: Says which brakes hold now.
ReadBrakes = Callable[[], Awaitable[Sequence[str]]]


async def signal_by_person(
    connection: Connection,
    watch: ServerWatch,
    audit: Audit,
    action: ManualAction,
    *,
    by: str,
    brakes: ReadBrakes,
    despite: Sequence[str] = (),
) -> ManualOutcome:
    """Send it, and say what came of it. `despite`: the brakes that the person was shown and overrides.

    It is on the disk before it is sent, where there is a journal that can be written. Raises ServerError where the
    server is lost before anything was sent.
    """
    victim = action.victim
    assert victim is not None
    assert action.refusal is None
    now: datetime = (await connection.fetch("server_clock"))[0].now
    intent = _build_intent(action, victim, now, by, despite)
    is_written = await audit.write_event(intent)
    new = [each for each in await brakes() if each not in despite]
    if new:
        outcome, reply = ManualOutcome("withheld", message="; ".join(new)), SignalReply("gone")
    else:
        reply = await send_signal_by_person(connection, action.signal, victim, wrapped=action.by_wrapper)
        outcome = await _watch_outcome(connection, watch, action, victim, reply)
    settled = PersonOutcome(
        at=intent.at + timedelta(seconds=outcome.seconds or 0.0),
        decision=intent.decision,
        outcome=outcome.outcome,
        signalled_at=reply.at,
        released=outcome.released,
        seconds=outcome.seconds,
        sqlstate=outcome.sqlstate,
        message=outcome.message,
    )
    is_written = await audit.write_event(settled) and is_written
    return outcome if is_written and audit.error is None else replace(outcome, unrecorded=audit.error or "not written")


def _build_intent(
    action: ManualAction, victim: Identity, at: datetime, by: str, despite: Sequence[str]
) -> PersonIntent:
    session, blocker = action.session, action.blocker
    return PersonIntent(
        at=at,
        signal=action.signal,
        victim=victim,
        by=by,
        classification=blocker.classification if blocker else None,
        relation=blocker.relation if blocker else None,
        usename=session.usename,
        datname=session.datname,
        application_name=session.application_name,
        frees_at_once=action.cut.frees_at_once,
        frees_in_turn=action.cut.frees_in_turn,
        loses=action.cut.loses,
        warnings=action.warnings,
        despite=tuple(despite),
    )


async def _watch_outcome(
    connection: Connection, watch: ServerWatch, action: ManualAction, victim: Identity, reply: SignalReply
) -> ManualOutcome:
    """What came of a signal. Where the server is lost meanwhile, that it was sent, and no more."""
    if reply.answer != "sent":
        return ManualOutcome(reply.answer, sqlstate=reply.sqlstate, message=reply.message)
    began = time.monotonic()
    try:
        while True:
            found = await _check_outcome(connection, watch, action, victim, reply)
            elapsed = time.monotonic() - began
            if found.outcome in ("released", "ended") or elapsed > _PATIENCE:
                return replace(found, seconds=elapsed)
            await asyncio.sleep(_PAUSE)
    except ServerError as error:
        return ManualOutcome("unverified", message=str(error))


async def _check_outcome(
    connection: Connection, watch: ServerWatch, action: ManualAction, victim: Identity, reply: SignalReply
) -> ManualOutcome:
    found = await fetch_session(connection, victim.pid)
    now = Identity.of(found.session) if found else None
    is_there = found is not None and victim.same_session(now)
    is_over = not is_there if action.signal == "terminate" else not _still_runs(victim, now)
    if not action.waiters:
        return ManualOutcome("ended" if is_over else "stuck" if action.signal == "terminate" else "ineffective")
    diagnosis = await watch.diagnose_server()
    waiting = sum(_still_waits(waiter, diagnosis) for waiter in action.waiters)
    sent = Action(victim, action.signal, "", "", None, action.waiters, reply.at or diagnosis.captured_at)
    failed: ManualResult = "stuck" if action.signal == "terminate" and is_there else "ineffective"
    is_released = verify_outcome(sent, diagnosis).outcome == "released"
    return ManualOutcome("released" if is_released else failed, released=len(action.waiters) - waiting, waiting=waiting)


def _still_runs(victim: Identity, now: Identity | None) -> bool:
    return now is not None and now.state == "active" and victim.same_statement(now)


def _still_waits(waiter: WaiterKey, diagnosis: Diagnosis) -> bool:
    """Whether one of those that it was to free waits, in the same statement, for whichever session."""
    session = diagnosis.snapshot.sessions.get(waiter.pid)
    return (
        session is not None and session.query_start == waiter.query_start and waiter.pid in diagnosis.graph.blockers_of
    )
