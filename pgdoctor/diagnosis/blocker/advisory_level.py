"""Whether an advisory lock belongs to a session or to a transaction, as far as that shows.

`pg_locks` does not say. A lock that is held outside of a transaction is the session's; within one, the statement may
say which function took it.
"""

from collections.abc import Iterator
from itertools import islice

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.lock_names import advisory_key, parse_advisory_key
from pgdoctor.diagnosis.blocker.migration_tools import detect_lock_owner
from pgdoctor.model.snapshot import Session
from pgdoctor.sqltext.lexer import scan_tokens

_SESSION_FUNCTIONS = frozenset(f"pg_{mode}advisory_lock{shared}" for mode in ("", "try_") for shared in ("", "_shared"))
_TRANSACTION_FUNCTIONS = frozenset(
    f"pg_{mode}advisory_xact_lock{shared}" for mode in ("", "try_") for shared in ("", "_shared")
)

#: Sessions behind it that are examined: of a thousand similar ones a few are enough.
_MOST_BEHIND = 100


def describe_advisory_lock(facts: BlockerFacts) -> Iterator[str]:
    """The first advisory lock that others want, in sentences: its key, whose it is, and what gives it back."""
    lock = next((lock for lock in facts.blocking_locks if lock.locktype == "advisory"), None)
    if lock is None:
        return
    tool = find_tool(facts)
    shared = " in shared mode, as others may, too" if lock.mode == "ShareLock" else ""
    yield f"holds the advisory lock {advisory_key(lock)}{shared}{f', the key of {tool}' if tool else ''}"
    yield from describe_level(facts)
    yield from describe_same_client(facts)


def find_tool(facts: BlockerFacts) -> str | None:
    """The migration tool whose advisory lock others want; None where the key is no tool's."""
    database = facts.session.datname if facts.session else None
    found = (
        detect_lock_owner(parse_advisory_key(lock), database or "")
        for lock in facts.blocking_locks
        if lock.locktype == "advisory"
    )
    return next(filter(None, found), None)


def describe_level(facts: BlockerFacts) -> Iterator[str]:
    """What gives the lock back, in a sentence; nothing for a session that is hidden from our role."""
    session = facts.session
    if session is None or not session.is_visible:
        return
    level = find_level(facts)
    if level == "session" and session.state == "idle":
        yield (
            "it is a session-level lock, held outside of a transaction: only pg_advisory_unlock() in that session "
            f"or its end (terminate {session.pid}) gives it back"
        )
    elif level == "session":
        yield "it is a session-level lock: the end of the transaction does not give it back"
    elif level == "transaction":
        yield "it is a transaction-level lock: the end of the transaction gives it back"
    elif is_of_a_transaction(facts):
        yield "its waiters ask for a transaction-level lock: most likely the end of the transaction gives it back"
    else:
        yield "the server does not show whether it is a session-level or a transaction-level lock"


def find_level(facts: BlockerFacts) -> str | None:
    """`session` or `transaction`; None where that does not show."""
    session = facts.session
    if session is None:
        return None
    return "session" if session.state == "idle" else _named_level(session.statement)


def is_of_a_transaction(facts: BlockerFacts) -> bool:
    """The end of its transaction gives the lock back, as far as its text shows, or else those of all who wait for it.

    An application takes a lock by one key in one way.
    """
    level = find_level(facts)
    waiters = [each for each in facts.sampled_waiters if any(lock.locktype == "advisory" for lock in each.requests)]
    return level == "transaction" or (
        level is None and bool(waiters) and all(_named_level(each.statement) == "transaction" for each in waiters)
    )


def describe_same_client(facts: BlockerFacts) -> Iterator[str]:
    """Says that a session of the same client stands behind the lock, while that client is the one to act.

    A migration tool holds its lock on one connection, and builds an index on another. A request holds it on one
    connection, and asks for it on another.
    """
    session = facts.session
    if session is None or facts.is_running or not session.application_name:
        return
    direct = {each.pid for each in facts.sampled_waiters}
    behind = (facts.snapshot.sessions[pid] for pid in islice(facts.graph.iterate_behind(facts.node), _MOST_BEHIND))
    alike = [each.pid for each in behind if _client_key(each) == _client_key(session)]
    for pid in [pid for pid in alike if pid not in direct][:1]:
        yield f"{pid} behind it comes from the same client: if that client waits for {pid} first, this never ends"
    for pid in [pid for pid in alike if pid in direct and session.in_transaction_idle][:1]:
        yield f"{pid} comes from the same client: it may wait for itself, on another connection"


def _client_key(session: Session) -> tuple[str | None, ...]:
    return session.application_name, session.client_addr, session.usename


def _named_level(statement: str | None) -> str | None:
    """By the one function that a text calls; None where it calls none, or both kinds."""
    words = {token.value for token in scan_tokens(statement or "") if token.is_name}
    called = [
        level
        for level, functions in (("session", _SESSION_FUNCTIONS), ("transaction", _TRANSACTION_FUNCTIONS))
        if not functions.isdisjoint(words)
    ]
    return called[0] if len(called) == 1 else None
