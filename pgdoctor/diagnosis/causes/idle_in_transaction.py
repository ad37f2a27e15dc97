"""A transaction that was opened, took locks, and now does nothing.

Recognised by: the state `idle in transaction`, or its aborted form. The last statement does not matter, nor does the
kind of the lock: DDL, LOCK TABLE and advisory locks are named in `also`. The table is the one that others wait for,
not the one that was read last. A transaction that was idle in most of the last polls keeps the class while it runs a
short statement.
Do: terminate the session, and fix the code that leaves the transaction open. If the client is a pool, look for code
that returns a connection without COMMIT or ROLLBACK.
Do not: cancel it. An idle session does not react to a cancel, though `pg_cancel_backend()` returns true. Do not end
the holder of a migration tool's lock, such as `databasechangeloglock`: the tool may work in another session.
Prevent: `idle_in_transaction_session_timeout`.
Source: PostgreSQL documentation, "Client Connection Defaults"; measured on 14 to 18.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker import held_locks, lock_origin
from pgdoctor.diagnosis.blocker.advisory_level import (
    describe_advisory_lock,
    describe_same_client,
    find_tool,
    is_of_a_transaction,
)
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.idle_share import is_between_pauses
from pgdoctor.diagnosis.blocker.migration_tools import detect_table_owner
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.lock_modes import mode_strength
from pgdoctor.model.remedy import Classification, Remedy
from pgdoctor.model.snapshot import Lock, Session

#: Sessions of one application at one address, besides this one, from which on they look like a pool's.
_POOL = 2

#: What poolers and proxies call themselves.
_POOLERS = ("pgbouncer", "pgpool", "pgcat", "odyssey", "supavisor", "rdsproxy", "pooler")

#: Seconds of silence from which on a client at another host may be gone, if it is this many times the silence of
#: every other idle transaction that is seen.
_SILENT = 300.0
_TIMES = 10

_LOOPBACK = ("127.", "::1")


class IdleInTransaction(Cause):
    name = "idle_in_transaction"
    precedence = 400
    is_signallable = True

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        session = facts.session
        if session is None or not (session.in_transaction_idle or is_between_pauses(facts)):
            return None
        evidence = tuple(_describe_session(facts, session))
        return Classification(evidence, _choose_remedy(facts, session), is_momentary=facts.is_going_on)


def _choose_remedy(facts: BlockerFacts, session: Session) -> Remedy:
    if facts.contested_types == {"advisory"} and (tool := find_tool(facts)):
        return Remedy("none", f"it holds the lock of {tool}, whose work may continue in another session: ask its owner")
    if facts.contested_types == {"advisory"} and not is_of_a_transaction(facts):
        return Remedy("none", "its advisory lock may be the application's own mutex: find out what it guards")
    if facts.blocking_table is not None and (tool := detect_table_owner(facts.blocking_table.name)):
        return Remedy("none", f"{tool} keeps its lock in this table, and may migrate in another session: ask its owner")
    if _is_of_repack(facts, session):
        return Remedy(
            "none", "pg_repack keeps this lock while its other session copies: cancel the requests that queue behind it"
        )
    if _is_aborted(session):
        return Remedy("terminate", "unless it goes back to a savepoint there is nothing left to lose but the session")
    if not session.in_transaction_idle:
        return Remedy("terminate", "its statements are too short for a cancel; its transaction rolls back")
    return Remedy("terminate", "an idle session does not react to a cancel; its transaction rolls back")


def _describe_session(facts: BlockerFacts, session: Session) -> Iterator[str]:
    yield f"{_describe_pauses(facts, session)}, its transaction open for {format_duration(facts.transaction_seconds)}"
    yield from describe_advisory_lock(facts)
    yield from held_locks.describe_contested_locks(facts, _list_held(facts))
    yield from lock_origin.explain_view(facts)
    yield from lock_origin.explain_doubt(facts)
    if _is_aborted(session):
        yield "a statement of it failed: it keeps what it locked before its savepoint, and can only roll back"
    else:
        yield _describe_changes(session)
    yield _describe_client(facts, session)
    if facts.contested_types == {"virtualxid"}:
        # A migration tool keeps its lock on one connection, and builds an index on another.
        yield from describe_same_client(facts)


def _describe_changes(session: Session) -> str:
    """What is known of its changes. Rows that it only locked, and rows that did not match, give an id too."""
    if session.has_changes:
        return "it has a transaction id: it may have changed rows, which would roll back with it"
    if session.has_xid:
        return "it has a transaction id, but its locks show no change"
    return "it has changed nothing"


def _describe_pauses(facts: BlockerFacts, session: Session) -> str:
    share = facts.snapshot.idle_shares.get(facts.node)
    if session.in_transaction_idle or share is None:
        return f"{session.state} for {format_duration(facts.state_seconds)}"
    return (
        f"idle in transaction in {share.idle} of the last {share.polls} polls, at this moment a statement of it "
        f"has run for {format_duration(facts.statement_seconds)}"
    )


def _is_aborted(session: Session) -> bool:
    return session.state == "idle in transaction (aborted)"


def _is_of_repack(facts: BlockerFacts, session: Session) -> bool:
    """It keeps DDL out for pg_repack, which does its work in another session."""
    modes = {lock.mode for lock in facts.blocking_locks}
    return session.application_name == "pg_repack" and modes == {"AccessShareLock"}


def _list_held(facts: BlockerFacts) -> list[Lock]:
    """Its locks on tables, the strongest first, of those the one of the table that matters; then by age of the table.

    A read lock is only named if it blocks another session.
    """
    table = facts.blocking_table.oid if facts.blocking_table else None
    locks = [
        lock
        for lock in facts.held_locks
        if lock.locktype == "relation" and lock.mode != "AccessShareLock" and facts.is_on_lasting_table(lock)
    ]
    return sorted(locks, key=lambda lock: (-mode_strength(lock.mode), lock.relation != table, lock.relation or 0))


def _describe_client(facts: BlockerFacts, session: Session) -> str:
    """Who its client is and whether it is still there, as far as that can be guessed."""
    who = f'its client is "{session.application_name}"' if session.application_name else "its client gives no name"
    where = f"at {session.client_addr}" if session.client_addr else "on a local socket"
    return f"{who} {where}{_describe_presence(facts, session)}"


def _describe_presence(facts: BlockerFacts, session: Session) -> str:
    name = (session.application_name or "").casefold().replace(" ", "").replace("-", "")
    if any(pooler in name for pooler in _POOLERS):
        return ", a pooler: the application behind it left the transaction open"
    alike = max(facts.snapshot.count_alike(session), _connected_alike(facts, session))
    if session.application_name and alike >= _POOL:
        return f", likely a pool: {format_count(alike, 'other session')} here come from it"
    if session.client_addr is None or session.client_addr.startswith(_LOOPBACK):
        return "; it is most likely alive: the socket of a local process closes with it"
    silence = facts.state_seconds or 0.0
    others = (each for each in facts.snapshot.sample_beside(session) if each.in_transaction_idle)
    longest = max((_seconds_silent(facts, each) for each in others), default=0.0)
    if silence >= _SILENT and silence >= _TIMES * longest:
        return "; it may be gone: without keepalives the server would not notice"
    return ""


def _connected_alike(facts: BlockerFacts, session: Session) -> int:
    """Other sessions of the same application, user and address, those that idle too; 0 where that was not read."""
    around = facts.snapshot.surroundings
    for client in around.clients if around else ():
        is_alike = (client.application, client.user) == (session.application_name, session.usename)
        if is_alike and client.addresses == 1 and client.address == session.client_addr:
            return client.connections - 1
    return 0


def _seconds_silent(facts: BlockerFacts, session: Session) -> float:
    return facts.snapshot.seconds_since(session.state_change) or 0.0
