"""What an entry says of locks; the messages are those of PostgreSQL 14 to 18 in English.

Source: ProcSleep in proc.c, DeadLockReport in deadlock.c, ProcessInterrupts in postgres.c.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from pgdoctor.serverlog.entry import MOST_TEXT, Entry
from pgdoctor.serverlog.events import (
    AUTOVACUUM_CANCELED,
    CircleMember,
    Event,
    LockAcquired,
    LockWait,
    LoggedActivity,
    LoggedDeadlock,
    Origin,
    ServerStopped,
    StatementEnded,
)

#: Parts of the entries that matter; a block of a log without any of them is not read further.
NEEDLES = (
    b" still waiting for ",
    b" acquired ",
    b" detected deadlock while ",
    b" avoided deadlock for ",
    b" failed to acquire ",
    b"recovery still waiting after ",
    b"recovery finished waiting after ",
    b"deadlock detected",
    b"canceling ",
    b"terminating connection ",
    b"database system ",
)

#: How a wait ends, by the beginning of the message that says so.
ENDINGS = {
    "canceling statement due to lock timeout": "lock_timeout",
    "canceling statement due to statement timeout": "statement_timeout",
    "canceling statement due to user request": "canceled",
    "canceling statement due to conflict with recovery": "recovery_conflict",
    "canceling statement due to transaction timeout": "transaction_timeout",
    "canceling autovacuum task": AUTOVACUUM_CANCELED,
    "terminating connection due to administrator command": "terminated",
    "terminating connection due to idle-in-transaction timeout": "idle_in_transaction_session_timeout",
    "terminating connection due to idle-session timeout": "idle_session_timeout",
    "terminating connection due to transaction timeout": "transaction_timeout",
    "terminating connection because of crash": "crash",
    "terminating connection due to conflict with recovery": "recovery_conflict",
    "terminating connection due to unexpected postmaster exit": "crash",
}

#: Messages that leave no session behind; the first one is the last of a server, the others are the first of the next.
_STOPS = (
    "database system is shut down",
    "database system was interrupted",
    "database system was shut down",
    "database system was not properly shut down",
    "database system is ready to accept connections",
)

_WAIT = re.compile(
    r"process (\d{1,10}) (still waiting for|acquired|detected deadlock while waiting for|avoided deadlock for"
    r"|failed to acquire) (\w{1,40}) on (.{1,200}?)(?: by rearranging queue order)? after (\d{1,12})\.(\d{3}) ms"
    r"(?: at character \d+)?"
)
#: How the targets of waits of replay begin, other than locks on a table.
RECOVERY_CONFLICT = "recovery conflict on "

#: Of the process that replays, with `log_recovery_conflict_waits`; source: LogRecoveryConflict in standby.c.
_REPLAY = re.compile(
    r"recovery (still|finished) waiting after (\d{1,12})\.(\d{3}) ms: (" + RECOVERY_CONFLICT + r".{1,80})"
)
_IN_CONFLICT = re.compile(r"Conflicting process(?:es)?: ([\d, ]*)\.")
_REPLAYED_LOCK = re.compile(r"WAL redo at \S{1,40} for Standby/LOCK: .{0,4000}?\bdb (\d{1,10}) rel (\d{1,10})")
_QUEUE = re.compile(r"Process(?:es)? holding the lock: ([\d, ]*)\. Wait queue: ([\d, ]*)\.")
_CIRCLE = re.compile(r"Process (\d{1,10}) waits for (\w{1,40}) on (.{1,200}?); blocked by process (\d{1,10})\.")
_RAN = re.compile(r"Process (\d{1,10}): (.*)", re.DOTALL)
_ROW = re.compile(r'while \w+ (?:updated )?tuple \([\d,]+\) in relation "([^"]{1,130})"')
_WORKER = re.compile(r'(?:^|\n)automatic (?:vacuum|analyze) of table "(?:[^"]{0,260}\.)?([^".]{1,130})"')
_INNER, _INNER_ENDS = 'SQL statement "', re.compile(r'"(?:\n(?:PL/|SQL |while |COPY |unnamed|portal)|\Z)')
_FUNCTION = re.compile(r'(?:^|\n)(?:PL/\w+|SQL) function "?([^\s"(]{1,130})')
_DURATION = re.compile(
    r"duration: (\d{1,12}\.\d{3}) ms(?:  (?:statement|(?:execute|bind|parse)[^:]{0,130}): (.*))?", re.DOTALL
)
_BEGINS = re.compile(r"(?:statement|execute [^:]{0,130}): (.*)", re.DOTALL)

#: Characters of a statement of a holder: of each of its last ones the beginning tells its kind.
_MOST_SAID = 1_000

_TELLING = ("process ", "deadlock detected", "canceling ", "terminating ", "database system ", "recovery ")

#: PIDs that are read of one list, and a number that is none.
_MOST_PIDS = 10_000
_NO_PID = 10**10


def is_telling(message: str) -> bool:
    """The message may be an event of `read_event`."""
    return message.startswith(_TELLING)


def read_event(entry: Entry) -> Event | None:
    """What an entry says of locks; None where it says nothing of them."""
    message = entry.message
    if message.startswith("process "):
        return _read_wait(entry)
    if message == "deadlock detected":
        return _read_deadlock(entry)
    if message.startswith("recovery "):
        return _read_replay_wait(entry)
    if message.startswith(_STOPS):
        return ServerStopped(entry.at, is_exact=message == _STOPS[0])
    for beginning, how in ENDINGS.items():
        if message.startswith(beginning) and entry.pid is not None:
            return StatementEnded(_build_origin(entry, entry.pid), how, is_of_a_row=bool(_ROW.match(entry.context)))
    return None


def read_activity(entry: Entry) -> LoggedActivity | None:
    """What an entry says of the process that wrote it, whatever that is; None where its PID is not known."""
    if entry.pid is None:
        return None
    origin, message = _build_origin(entry, entry.pid), entry.message
    if found := _DURATION.fullmatch(message):
        return LoggedActivity(origin, found[2] and found[2][:_MOST_SAID], float(found[1]) / 1000)
    if found := _BEGINS.fullmatch(message):
        return LoggedActivity(origin, found[1][:_MOST_SAID])
    for beginning, how in ENDINGS.items():
        if message.startswith(beginning):
            is_end = message.startswith("terminating")
            is_telling = is_end or how == AUTOVACUUM_CANCELED
            return LoggedActivity(origin, entry.statement, 0.0 if is_end else None, how if is_telling else None)
    if message.startswith(("disconnection:", "could not receive data", "unexpected EOF", "connection to client lost")):
        return LoggedActivity(origin, end="its client disconnected")
    return LoggedActivity(origin)


def _read_wait(entry: Entry) -> Event | None:
    found = _WAIT.fullmatch(entry.message)
    if found is None:
        return None
    number, what, mode, target, milliseconds, fraction = found.groups()
    origin, seconds = _build_origin(entry, int(number)), int(milliseconds) / 1000 + int(fraction) / 1e6
    if what == "acquired":
        return LockAcquired(origin, mode, target, seconds)
    if what == "failed to acquire":
        return StatementEnded(origin, "deadlock")
    queue = _QUEUE.match(entry.detail)
    holders, waiting = (_parse_pids(queue[1]), _parse_pids(queue[2])) if queue else ((), ())
    is_deadlock = what.startswith("detected deadlock")
    return LockWait(origin, mode, target, seconds, is_deadlock, holders=holders, queue=waiting)


def _read_replay_wait(entry: Entry) -> Event | None:
    """Replay on a standby waits for sessions: for their lock on a table, or for what they may still read."""
    found = _REPLAY.fullmatch(entry.message)
    if found is None or entry.pid is None:
        return None
    what, milliseconds, fraction, target = found.groups()
    origin = msgspec.structs.replace(_build_origin(entry, entry.pid), backend_type="startup")
    seconds = int(milliseconds) / 1000 + int(fraction) / 1e6
    lock = _REPLAYED_LOCK.match(entry.context)
    if lock is not None:
        target = f"relation {lock[2]} of database {lock[1]}"
    # Only this mode is replayed: a weaker one conflicts with nothing that a standby allows.
    mode = "AccessExclusiveLock" if lock is not None else ""
    if what == "finished":
        return LockAcquired(origin, mode, target, seconds)
    sessions = _IN_CONFLICT.match(entry.detail)
    return LockWait(origin, mode, target, seconds, holders=_parse_pids(sessions[1]) if sessions else ())


def _read_deadlock(entry: Entry) -> Event | None:
    waits = list(_CIRCLE.finditer(entry.detail))
    if not waits:
        return StatementEnded(_build_origin(entry, entry.pid), "deadlock") if entry.pid is not None else None
    ran = dict(_read_statements(entry.detail[waits[-1].end() :], {int(each[1]) for each in waits}))
    members = tuple(CircleMember(int(each[1]), each[2], each[3], int(each[4]), ran.get(int(each[1]))) for each in waits)
    return LoggedDeadlock(_build_origin(entry, entry.pid if entry.pid is not None else members[0].pid), members)


def _read_statements(text: str, pids: set[int]) -> Iterator[tuple[int, str]]:
    """The statements below the circle, which may have several lines: only a member begins another one."""
    pid, lines = None, list[str]()
    for line in text.split("\n"):
        found = _RAN.match(line)
        if found is not None and int(found[1]) in pids:
            if pid is not None:
                yield pid, "\n".join(lines)
            pid, lines = int(found[1]), [found[2]]
        elif pid is not None:
            lines.append(line)
    if pid is not None:
        yield pid, "\n".join(lines)


def _find_inner_statement(context: str) -> str | None:
    """The statement inside of a function, the innermost one."""
    begin = 0 if context.startswith(_INNER) else context.find("\n" + _INNER) + 1
    if not context.startswith(_INNER, begin):
        return None
    end = _INNER_ENDS.search(context, begin + len(_INNER))
    return context[begin + len(_INNER) : end.start() if end else None]


def _parse_pids(text: str) -> tuple[int, ...]:
    if len(text) <= 10:
        return (int(text),) if text.isdecimal() else _parse_queue(text)
    return _parse_queue(text)


@lru_cache(maxsize=16)
def _parse_queue(text: str) -> tuple[int, ...]:
    """The same of more than one: of a crowd, each entry names all others in the same words."""
    words = text[: _MOST_PIDS * 12].split(", ")[:_MOST_PIDS]
    try:
        pids = list(map(int, words))
    except ValueError:
        pids = [_NO_PID]
    if max(pids) >= _NO_PID:
        pids = [int(word) for word in words if word.isdecimal() and len(word) <= 10]
    return tuple(dict.fromkeys(pids))


def _build_origin(entry: Entry, pid: int) -> Origin:
    return Origin(
        entry.at,
        pid,
        entry.user,
        entry.database,
        entry.application,
        entry.client,
        entry.backend_type,
        entry.statement,
        *(_read_context(entry.context[:MOST_TEXT]) if entry.context else (None, None, None)),
    )


@lru_cache(maxsize=256)
def _read_context(context: str) -> tuple[str | None, str | None, str | None]:
    """The statement inside of a function, the function, and the table that it is about."""
    if context.startswith("while ") and "\n" not in context:
        row = _ROW.match(context)
        return None, None, row[1] if row else None
    row, function = _ROW.match(context) or _WORKER.search(context), _FUNCTION.search(context)
    return _find_inner_statement(context), function[1] if function else None, row[1] if row else None
