"""Whether an advisory lock belongs to a session or to a transaction, as far as that shows.

`pg_locks` does not say. A lock that is held outside of a transaction is the session's; within one, the statement may
say which function took it.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.lock_names import advisory_key, parse_advisory_key
from pgdoctor.diagnosis.makers import owner
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.tokens import scan

_SESSION_FUNCTIONS = frozenset(f"pg_{mode}advisory_lock{shared}" for mode in ("", "try_") for shared in ("", "_shared"))
_TRANSACTION_FUNCTIONS = frozenset(
    f"pg_{mode}advisory_xact_lock{shared}" for mode in ("", "try_") for shared in ("", "_shared")
)


def describe_advisory_lock(suspect: Suspect) -> Iterator[str]:
    """The first advisory lock that others want, in sentences: its key, whose it is, and what gives it back."""
    lock = next((lock for lock in suspect.contested if lock.locktype == "advisory"), None)
    if lock is None:
        return
    tool = find_tool(suspect)
    yield f"holds the advisory lock {advisory_key(lock)}{f', the key of {tool}' if tool else ''}"
    yield from describe_level(suspect)


def find_tool(suspect: Suspect) -> str | None:
    """The migration tool whose advisory lock others want; None where the key is no tool's."""
    database = suspect.session.datname if suspect.session else None
    found = (
        owner(parse_advisory_key(lock), database or "") for lock in suspect.contested if lock.locktype == "advisory"
    )
    return next(filter(None, found), None)


def describe_level(suspect: Suspect) -> Iterator[str]:
    """What gives the lock back, in a sentence; nothing for a session that is hidden from our role."""
    session = suspect.session
    if session is None or not session.is_visible:
        return
    level = find_level(suspect)
    if level == "session" and session.state == "idle":
        yield (
            "it is a session-level lock, held outside of a transaction: only pg_advisory_unlock() in that session "
            f"or its end (terminate {session.pid}) gives it back"
        )
    elif level == "session":
        yield "it is a session-level lock: the end of the transaction does not give it back"
    elif level == "transaction":
        yield "it is a transaction-level lock: the end of the transaction gives it back"
    else:
        yield "whether it is a session-level or a transaction-level lock does not show"


def find_level(suspect: Suspect) -> str | None:
    """`session` or `transaction`; None where that does not show."""
    session = suspect.session
    if session is None:
        return None
    if session.state == "idle":
        return "session"
    words = {token.value for token in scan(session.statement or "") if token.is_name}
    called = [
        level
        for level, functions in (("session", _SESSION_FUNCTIONS), ("transaction", _TRANSACTION_FUNCTIONS))
        if not functions.isdisjoint(words)
    ]
    return called[0] if len(called) == 1 else None
