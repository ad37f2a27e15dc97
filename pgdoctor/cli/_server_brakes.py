"""Brakes set by an operator, written where all pgdoctors read them: at the server, and in the journal."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from pgdoctor.cli._options import DEADLINE
from pgdoctor.config.config import Config
from pgdoctor.errors import JournalError, StatementFailed, UsageError
from pgdoctor.mitigation import audit_records
from pgdoctor.mitigation.audit_records import BY_AGENT, NAMELESS, Brakes, Event
from pgdoctor.mitigation.history import Approval, History
from pgdoctor.mitigation.shared_record import (
    MARK,
    SharedRecord,
    UnreadableRecord,
    decode_record,
    encode_record,
    explain_unreadable,
    joined_brakes,
    joined_history,
    with_shared_event,
)
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.shared_record import StoredRecord, read_records, rewrite_record

#: Bytes above the journal's limit: what a person says, to stop above all, is written where an agent's journal is full.
_RESERVE = 4 * 1024 * 1024


class BrakeChange(msgspec.Struct, frozen=True):
    """What was recorded, and what holds now at that server."""

    event: Event
    #: Before and after.
    was: Brakes
    brakes: Brakes
    #: Why the breaker was open; None: it was not.
    opening: str | None
    #: The roles whose pgdoctors see it; and others with a record, which we may not write.
    roles: tuple[str, ...]
    others: tuple[str, ...]
    journal: Path
    #: Why it is not in the journal; None: it is.
    unrecorded: str | None
    #: An agent that may act has used this journal, or one of these roles, for this server.
    is_heard: bool


async def tell_server(config: Config, dsn: str, event: Callable[[datetime], Event]) -> BrakeChange:
    """Record a brake or an approval of an operator, with the server's time. Raises ServerError, UsageError or
    JournalError.

    A brake has to be written at the server; the journal, which only pgdoctors of this machine read, comes second. An
    approval goes to the journal alone: it stops no signals.
    """
    async with await Connection.open(dsn, DEADLINE) as connection:
        server, now = await connection.system_identifier(), (await connection.fetch("server_clock"))[0].now
        said = event(now)
        if isinstance(said, Approval):
            return _make_change(config, server, said, None, (), (), is_used=False)
        before, after, others = await _tell_roles(connection, said)
    shared = [decode_record(each.text) for each in before]
    roles = tuple(each.role for each in after)
    first = shared[0] if shared else SharedRecord()
    return _make_change(config, server, said, first, roles, others, is_used=any(each.is_used for each in shared))


async def _tell_roles(
    connection: Connection, said: Event
) -> tuple[list[StoredRecord], list[StoredRecord], tuple[str, ...]]:
    """The records before and after, our own first; and the roles whose record we may not write."""
    known = await read_records(connection)
    marked = [each for each in known if (each.text or "").startswith(MARK) and not each.is_own]
    before: dict[str | None, StoredRecord] = {}
    after: list[StoredRecord] = []
    refused: list[str] = []
    # A superuser who acts for a role of pgdoctor's leaves no trace on its own.
    has_own = any(each.is_own for each in known)
    is_proxy = bool(marked) and not has_own and (await connection.fetch("may_signal"))[0].is_superuser
    for role in (*([] if is_proxy else [None]), *(each.role for each in marked)):

        def change(text: str | None, role: str | None = role) -> str:
            before[role] = StoredRecord(role or "", text, role is None)
            return encode_record(with_shared_event(decode_record(text), said))  # type: ignore[arg-type]

        try:
            after.append(await rewrite_record(connection, change, role))
        except UnreadableRecord as error:
            why = explain_unreadable(role or "our role", error)
            raise UsageError(f"no session is signalled at this server: {why}") from None
        except StatementFailed:
            if role is None:
                raise
            refused.append(role)
    return list(before.values()), after, tuple(refused)


def _make_change(
    config: Config,
    server: str,
    said: Event,
    shared: SharedRecord | None,
    roles: tuple[str, ...],
    others: tuple[str, ...],
    *,
    is_used: bool,
) -> BrakeChange:
    path = config.journal.file
    earlier, is_heard, unrecorded = list[Event](), False, None if server else NAMELESS
    try:
        if server:
            path, earlier, is_heard = _record_event(path, config.journal.max_size + _RESERVE, server, said)
    except JournalError as error:
        unrecorded = str(error)
    if shared is None and unrecorded is not None:
        raise JournalError(unrecorded)
    known = shared or SharedRecord()
    history = joined_history(known, audit_records.replay_history(earlier))
    was = joined_brakes(known, audit_records.replay_brakes(earlier))
    return BrakeChange(
        event=said,
        was=was,
        brakes=audit_records.replay_brakes([said], was),
        opening=_explain_breaker(history),
        roles=roles,
        others=others,
        journal=path,
        unrecorded=unrecorded,
        is_heard=is_heard or is_used,
    )


def _record_event(path: Path, most: int, server: str, said: Event) -> tuple[Path, list[Event], bool]:
    """Where it was recorded, what had been before, and whether an agent that may act uses this journal."""
    from pgdoctor.journal.store import Journal

    journal = Journal.open(path, most)
    try:
        earlier = list(audit_records.read_events(journal.fetch_records(server, kinds=audit_records.LASTING)))
        kind, subject, body, at = audit_records.encode_event(said)
        journal.append(server, kind, subject, body, at)
        return journal.path, earlier, journal.recall(server, BY_AGENT) is not None
    finally:
        journal.close()


def _explain_breaker(history: History) -> str | None:
    """Why the breaker is open, all of it or for a single fingerprint."""
    found = [*filter(None, (history.opening,)), *history.stops]
    reset = history.reset
    reasons = [each.reason for each in found if not each.rehearsed and (reset is None or reset.at < each.at)]
    return "; ".join(reasons) or None
