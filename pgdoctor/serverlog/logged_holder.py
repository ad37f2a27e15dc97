"""What the log shows of a blocker at a moment: what it ran, or that it idled in its transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from pgdoctor.serverlog.events import AUTOVACUUM_CANCELED, LoggedActivity

#: Seconds: where a statement as short as this is logged, a pause in the log is a pause of the session.
_SHORT = 0.1

_BEGINS = ("begin", "start transaction")
_ENDS = ("commit", "rollback", "end", "abort", "prepare transaction")

#: Words by which a session that ended was idle.
_IDLE_ENDS = ("idle_in_transaction_session_timeout",)


class LoggedHolder(msgspec.Struct, frozen=True):
    """A blocker at a moment. `state` is one of `pg_stat_activity`; None: the log does not show it."""

    state: str | None = None
    #: The one that ran, or the last one; with its values.
    statement: str | None = None
    #: All that its transaction had run until then, as far as the log shows it.
    transaction: tuple[str, ...] = ()
    statement_start: datetime | None = None
    state_change: datetime | None = None
    xact_start: datetime | None = None
    #: What shows the state, in a sentence.
    reason: str = ""
    user: str | None = None
    database: str | None = None
    application: str | None = None
    client: str | None = None
    backend_type: str | None = None


class _Run(msgspec.Struct, frozen=True):
    """A statement, from when until when; None: not known."""

    begin: datetime
    end: datetime | None
    text: str


def judge_holder(notes: Sequence[LoggedActivity], at: datetime, *, needs_transaction: bool = True) -> LoggedHolder:
    """What a blocker did at a moment, by what it wrote before and after.

    `needs_transaction`: what it holds lasts no longer than its transaction; an advisory lock may.
    """
    if not notes:
        return LoggedHolder()
    named = next((each.origin for each in reversed(notes) if each.origin.user), notes[-1].origin)
    runs = _collect_runs(notes)
    transaction, opened = _find_transaction(runs, at)
    found = (
        _describe_running(runs, at) or _describe_idle(notes, runs, at, needs_transaction) or _describe_last(runs, at)
    )
    return msgspec.structs.replace(
        found,
        transaction=transaction,
        xact_start=opened,
        user=named.user,
        database=named.database,
        application=next((each.origin.application for each in reversed(notes) if each.origin.application), None),
        client=named.client,
        backend_type=named.backend_type or _find_worker(notes),
    )


def _collect_runs(notes: Sequence[LoggedActivity]) -> list[_Run]:
    """Its statements: those with a duration, and those that only began."""
    found: list[_Run] = []
    for note in notes:
        at = note.origin.at
        if note.seconds is not None and note.statement is not None and note.end is None:
            found.append(_Run(at - timedelta(seconds=note.seconds), at, note.statement))
        elif note.seconds is not None and note.statement is None and note.end is None and found and not found[-1].end:
            found[-1] = msgspec.structs.replace(found[-1], end=at)
        elif note.statement is not None and note.end is None:
            found.append(_Run(at, None, note.statement))
    return found


def _describe_running(runs: Sequence[_Run], at: datetime) -> LoggedHolder | None:
    for run in runs:
        if run.end is not None and run.begin <= at < run.end and _read_verb(run.text) not in _BEGINS:
            return LoggedHolder("active", run.text, statement_start=run.begin, state_change=run.begin,
                               reason="the log has this statement with its duration")  # fmt: skip
    return None


def _describe_idle(
    notes: Sequence[LoggedActivity], runs: Sequence[_Run], at: datetime, needs_transaction: bool
) -> LoggedHolder | None:
    """Between the end of one statement and the beginning of the next, or the end of the session, it was idle."""
    before = next((run for run in reversed(runs) if run.end is not None and run.end <= at), None)
    after = next((run for run in runs if run.begin > at), None)
    is_open = not any(run.end is None and run.begin <= at and (not before or run.begin > before.begin) for run in runs)
    end = next((each for each in notes if each.end is not None and each.origin.at >= at), None)
    if end is not None and end.end in _IDLE_ENDS:
        return LoggedHolder(
            "idle in transaction",
            before.text if before else None,
            state_change=before.end if before else None,
            reason=f"{end.end} ended its session",
        )
    if before is None or before.end is None or not is_open:
        return None
    if after is None and end is None:
        return None
    short = [run for run in (before, after) if run is not None and run.end is not None]
    if not any((run.end or at) - run.begin <= timedelta(seconds=_SHORT) for run in short):
        return None
    until = after.begin if after is not None else end.origin.at if end is not None else at
    return LoggedHolder(
        "idle in transaction" if needs_transaction or _has_begun(runs, at) else "idle",
        before.text,
        state_change=before.end,
        reason=f"the log has no statement of it for {(until - before.end) / timedelta(seconds=1):.1f} s",
    )


def _describe_last(runs: Sequence[_Run], at: datetime) -> LoggedHolder:
    last = next((run for run in reversed(runs) if run.begin <= at), None)
    if last is None:
        return LoggedHolder()
    return LoggedHolder(None, last.text, reason="the log does not show whether this statement still ran")


def _has_begun(runs: Sequence[_Run], at: datetime) -> bool:
    """Whether its last statement that opens or ends a transaction opened one."""
    for run in reversed([run for run in runs if run.begin <= at]):
        if _read_verb(run.text) in _BEGINS:
            return True
        if _read_verb(run.text) in _ENDS:
            return False
    return False


def _find_transaction(runs: Sequence[_Run], at: datetime) -> tuple[tuple[str, ...], datetime | None]:
    """The statements of the transaction that was open then, and when it was opened."""
    texts: list[str] = []
    opened: datetime | None = None
    for run in runs:
        if run.begin > at:
            break
        verb = _read_verb(run.text)
        if verb in _BEGINS or verb in _ENDS:
            texts, opened = [], run.begin if verb in _BEGINS else None
        else:
            texts.append(run.text)
    return tuple(texts[-10:]), opened


def _find_worker(notes: Sequence[LoggedActivity]) -> str | None:
    """The server cancels only a worker of autovacuum with these words."""
    return "autovacuum worker" if any(each.end == AUTOVACUUM_CANCELED for each in notes) else None


def _read_verb(text: str) -> str:
    words = text[:60].casefold().replace(";", " ").split()
    first = " ".join(words[:2])
    return first if first in (*_BEGINS, *_ENDS) else (words[0] if words else "")
