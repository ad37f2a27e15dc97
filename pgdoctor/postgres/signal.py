"""The only place that signals: a session's identity is checked and the signal sent in one statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from pgdoctor.errors import ServerError, StatementFailed
from pgdoctor.model.identity import Identity
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.dsn import APPLICATION_NAME

Signal = Literal["cancel", "terminate"]
Answer = Literal["sent", "gone", "not_permitted", "error"]

#: The advisory lock whose holder may signal, of all sessions at a server: "pgdoctor" in ASCII.
LEADER_KEY = 0x7067646F63746F72

#: Seconds that a terminate waits on the server for the session's end; it occupies our connection.
_TERMINATE_WAIT = 1.0
_NOT_PERMITTED = "42501"


class SignalReply(msgspec.Struct, frozen=True):
    """What became of a signal. `gone`: it was not any more the session that was judged; no session was signalled."""

    answer: Answer
    #: The server's clock; None where nothing was sent, or where that is not known.
    at: datetime | None = None
    sqlstate: str | None = None
    message: str | None = None


class OwnSignalRight(msgspec.Struct, frozen=True):
    """What the server lets our role do, now."""

    #: Signal others, by itself or by the functions.
    may_signal: bool
    #: There are the functions of `pgdoctor setup --wrapper`, which check again whom they signal, and it may use them.
    has_wrapper: bool
    is_superuser: bool


async def fetch_signal_right(connection: Connection) -> OwnSignalRight:
    """Ask the server. Raises ServerError."""
    [found], [wrapper] = await connection.fetch("may_signal"), await connection.fetch("wrapper")
    return OwnSignalRight(found.may_signal or wrapper.is_usable, wrapper.is_usable, found.is_superuser)


async def send_signal(
    connection: Connection,
    signal: Signal,
    victim: Identity,
    *,
    min_wait: float,
    wrapped: bool = False,
    waiting_pids: Sequence[int] | None = None,
    record: str | None = None,
    unchanged: bool = False,
) -> SignalReply:
    """Signal the session if it is still `victim`, and if a session waits `min_wait` seconds for it.

    For a cancel it has to be that in every part. For a terminate it has to be in the same transaction and state, and,
    where it runs another statement by now, in none that may end the transaction; `unchanged`: in every part, too. The
    server sends no signal if our session does not hold the leader lock, or if the record that all
    pgdoctors share is no longer `record`. That, too, is answered by `gone`. `waiting_pids`: one of them has to wait;
    None: any session. The functions look themselves whose waits count. `wrapped`: by the functions of `pgdoctor
    setup --wrapper`, which check the same, and more. Never raises ServerError. After `error` it is not known whether
    the session was signalled.
    """
    # NULL: any moment of the transaction is as good for a terminate.
    is_exact = signal == "cancel" or unchanged or victim.transaction is None
    parameters: dict[str, object] = {
        "signal": signal,
        "pid": victim.pid,
        "backend_start": victim.backend_start,
        "xact_start": victim.xact_start,
        "query_start": victim.query_start,
        "state": victim.state,
        "state_change": victim.state_change if is_exact else None,
        "min_wait": float(min_wait),
        "own_application": APPLICATION_NAME,
        "leader_key": LEADER_KEY,
        "waiting_pids": None if waiting_pids is None else list(waiting_pids),
        "record": record,
        "timeout_ms": round(min(_TERMINATE_WAIT, connection.deadline / 4) * 1000),
    }
    return await _send_signal(connection, f"{signal}_wrapped" if wrapped else "signal_session", signal, parameters)


async def has_wrapper_for_people(connection: Connection) -> bool:
    """Whether our role may use those functions of `pgdoctor setup --wrapper` by which a person signals."""
    [found] = await connection.fetch("wrapper")
    return bool(found.is_usable_by_person)


async def send_signal_by_person(
    connection: Connection, signal: Signal, victim: Identity, *, wrapped: bool = False
) -> SignalReply:
    """Signal the session that a person was shown and agreed to, if it is still that one.

    No one has to wait for it, and this session need not lead. A cancel is about the statement, which has to run still;
    a terminate about the transaction, which must not be ending; outside of one, about the present state. Never raises
    ServerError. After `error` it is not known whether the session was signalled.
    `wrapped`: by the functions of `pgdoctor setup --wrapper`, which ask for a waiter, and refuse protected sessions.
    """
    is_exact = signal == "cancel" or victim.transaction is None or not wrapped
    parameters: dict[str, object] = {
        "pid": victim.pid,
        "backend_start": victim.backend_start,
        "xact_start": victim.xact_start,
        "query_start": victim.query_start,
        "state": victim.state,
        "state_change": victim.state_change if is_exact else None,
        "signal": signal,
        "own_application": APPLICATION_NAME,
        "timeout_ms": round(min(_TERMINATE_WAIT, connection.deadline / 4) * 1000),
    }
    statement = f"{signal}_by_person_wrapped" if wrapped else "signal_by_person"
    return await _send_signal(connection, statement, signal, parameters)


async def _send_signal(
    connection: Connection, statement: str, signal: Signal, parameters: dict[str, object]
) -> SignalReply:
    try:
        rows = await connection.fetch(statement, **parameters)
    except StatementFailed as error:
        answer: Answer = "not_permitted" if error.sqlstate == _NOT_PERMITTED else "error"
        return SignalReply(answer, sqlstate=error.sqlstate, message=str(error))
    except ServerError as error:
        return SignalReply("error", message=str(error))
    # NULL: it moved on between the two checks. A refused cancel means that the process has just gone. A terminate
    # answers false also for one that takes longer than the timeout, so its answer says nothing: look at who waits.
    if not rows or rows[0].accepted is None or (signal == "cancel" and not rows[0].accepted):
        return SignalReply("gone")
    return SignalReply("sent", at=rows[0].signalled_at)
