"""Failures of connections and statements in one line each, with the state of the connection."""

import re

import psycopg

from pgdoctor.errors import StatementFailed, Unreachable
from pgdoctor.postgres.conninfo import ConnectionTarget, parse_failures
from pgdoctor.postgres.login_refusal import LoginRefusal

#: How a connection can be. There is no SQLSTATE before a connection, so the server's and libpq's words are read;
#: where they are not English, `login_refusal` finds the SQLSTATE.
STATES = ("connected", "refused", "auth_failed", "unknown_database", "too_many_connections",
          "too_many_connections_for_role", "too_many_connections_for_database", "starting_up", "not_permitted",
          "unsupported", "login_hangs", "timeout", "error")  # fmt: skip

# The first that fits. Each is English only: a translation may keep a single word.
_SAID = tuple(
    (re.compile(words), state)
    for words, state in (
        (r"connection refused", "refused"),
        (r"no such file or directory", "refused"),
        (r"failed to resolve host", "refused"),
        (r"too many connections for role", "too_many_connections_for_role"),
        (r"too many connections for database", "too_many_connections_for_database"),
        (r"too many clients", "too_many_connections"),
        (r"too many connections", "too_many_connections"),
        (r"remaining connection slots", "too_many_connections"),
        (r"starting up", "starting_up"),
        (r"shutting down", "starting_up"),
        (r"in recovery mode", "starting_up"),
        (r"not accepting connections", "starting_up"),
        (r"not yet accepting connections", "starting_up"),
        (r"not currently accepting connections", "not_permitted"),
        (r"not permitted to log in", "not_permitted"),
        (r"permission denied", "not_permitted"),
        (r"authentication failed", "auth_failed"),
        (r"no password supplied", "auth_failed"),
        (r"no pg_hba.conf entry", "auth_failed"),
        # Of our own session, which has these from its start on.
        (r"due to (?:lock|statement) timeout", "login_hangs"),
        (r"timeout expired|_timeout\b|connect(?:ion)? timeout|login timeout", "timeout"),
        (r"timed out", "timeout"),
        (r'role "[^"]*" does not exist|no such user', "auth_failed"),
        (r'(?:database "[^"]*" does not exist|(?:invalid|no such) database)', "unknown_database"),
    )
)

#: Characters of what a server says that are read: fifty hosts, each with its reason.
_MOST_SAID = 10_000

_BEFORE_REASON = re.compile(r"connection to server (?:at|on socket) .*? failed: ")

#: Our statements ask for no other locks.
_LOCKED = "another session holds a lock on a system catalog that this needs"

#: out_of_memory: of the process, or of the shared lock table.
_OUT_OF_MEMORY = "53200"

_LOCK_TABLE_FULL = (
    "out of shared memory: the lock table is full, so any session that needs one more lock fails, and logins do. "
    "End a transaction with many locks (`pgdoctor holders` names them, as does an agent that was connected before), "
    "then raise max_locks_per_transaction (needs a restart)"
)


def build_unresolved_error(target: ConnectionTarget) -> Unreachable:
    """The error of a host name that means nothing."""
    return Unreachable(f"{target} failed: the host name cannot be resolved", "refused")


def build_hanging_error(deadline: float, target: ConnectionTarget) -> Unreachable:
    """The error of a server that accepts connections but completes no login."""
    return Unreachable(
        f"{target} failed: the server accepts the connection, but the login does not end within {deadline:g} s: a "
        "session may hold a lock on a catalog that each login reads (pg_authid, pg_database), or a login trigger runs",
        "login_hangs",
    )


def silent_server_error(deadline: float, target: ConnectionTarget) -> Unreachable:
    """The error of a server that accepts but does not answer."""
    return Unreachable(f"{target} failed: the server did not answer within {deadline:g} s", "timeout")


def connection_error(
    error: psycopg.Error, target: ConnectionTarget, outcome: str = "failed", refusal: LoginRefusal | None = None
) -> Unreachable:
    """A connection that failed, or was lost, in one line, with its state and each server that was tried."""
    said = _decode_failure(error)
    text = shorten_reason(said[:_MOST_SAID]) or type(error).__name__
    state = refusal.state if refusal else _state_of(error)
    tried = {place: shorten_reason(reason) for place, reason in parse_failures(said[:_MOST_SAID]).items()}
    if len(tried) > 1:
        text = "; ".join(f"{place}: {reason}" for place, reason in tried.items())
    elif _is_about_locks(said):
        text = _LOCK_TABLE_FULL
    code = f"SQLSTATE {refusal.sqlstate}" if refusal else ""
    return Unreachable(f"{target} {outcome}: {'; '.join(filter(None, (text, code)))}", state)


def statement_error(error: psycopg.Error) -> StatementFailed:
    """A statement that the server refused, in one line."""
    text = first_line(error)
    if isinstance(error, psycopg.errors.LockNotAvailable):
        text = _LOCKED
    elif error.sqlstate == _OUT_OF_MEMORY and _is_about_locks(error.diag.message_hint or ""):
        text = _LOCK_TABLE_FULL
    return StatementFailed(text, error.sqlstate)


def _state_of(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return "timeout"
    said = str(error).lower()
    if state := next((state for words, state in _SAID if words.search(said)), None):
        return state
    if error.sqlstate is not None:
        # Of a connection that is lost: the answer to a statement has said why.
        return LoginRefusal(error.sqlstate).state
    return "auth_failed" if _asks_for_password(error) else "error"


def _asks_for_password(error: psycopg.Error) -> bool:
    """The server has asked for one, in whatever language, and there was none."""
    return error.pgconn is not None and error.pgconn.needs_password


def _decode_failure(error: psycopg.Error) -> str:
    """What is said of a failed login. The server's words come in its own encoding, of which it says nothing."""
    said = str(error)
    if said.isascii() or error.pgconn is None:
        return said
    raw = error.pgconn.error_message
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _is_about_locks(hint: str) -> bool:
    """The shared memory that has run out is the lock table. Its setting has one name in every language."""
    return "max_locks_per_transaction" in hint


def first_line(error: psycopg.Error) -> str:
    """What the server says, without its severity and without the hints that follow."""
    return shorten_reason(str(error)[:_MOST_SAID]) or type(error).__name__


def shorten_reason(said: str) -> str:
    """The reason in what libpq or the server says at length: the first line, less what stands before the reason."""
    line = said.strip().partition("\n")[0]
    before = _BEFORE_REASON.search(line)
    return re.sub(r"^(?:(?:FATAL|ERROR|PANIC):\s+|\w+:\s{2,})", "", line[before.end() if before else 0 :].strip())
