"""What a change of the schema, or maintenance, is doing: working or queued, on what, how far, and for whom it waits."""

from collections.abc import Iterable, Iterator

from pgdoctor.diagnosis import ddl, holding, pace
from pgdoctor.diagnosis.ddl import Effect
from pgdoctor.diagnosis.locks import strength
from pgdoctor.diagnosis.snapshot import Lock, Progress, Session
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration

#: Sessions named in a sentence; the others are counted.
_MOST_NAMED = 3


def effect(suspect: Suspect) -> Effect:
    """The lock of its running statement and the safer form of it; nothing where it runs none."""
    session = suspect.session
    if session is None or not suspect.is_running:
        return Effect()
    return ddl.effect(session.statement or "", truncated=session.truncated)


def locking(suspect: Suspect, locks: Iterable[Lock]) -> Iterator[str]:
    """What a transaction with strong table locks holds, does, and how long it is open, in sentences."""
    yield from holding.evidence(suspect, locks)
    yield from evidence(suspect)
    yield f"its transaction has been open for {duration(suspect.transaction_seconds)}"


def evidence(suspect: Suspect) -> Iterator[str]:
    """What it does now, in sentences."""
    if not suspect.is_running:
        return
    what = called(suspect)
    if suspect.queued:
        lock = suspect.queued[0]
        yield f"is queued: has waited {duration(suspect.waiting_seconds)} for {suspect.name(lock)}"
        if lock.locktype == "relation" and (whom := ddl.keeps_out(lock.mode)):
            yield f"{what} asks for {lock.mode}, which excludes {whom}"
    elif suspect.is_waiting:
        yield from waiting(suspect)
    else:
        mode = effect(suspect).mode or _contested_mode(suspect)
        whom = ddl.keeps_out(mode) if mode else ""
        excluding = f" under {mode}, which excludes {whom}" if whom else ""
        yield f"is working: {what} has run for {duration(suspect.statement_seconds)}{excluding}"
    yield from progress_evidence(suspect)


def waiting(suspect: Suspect) -> Iterator[str]:
    """How long the blocker itself has waited, and for which sessions; nothing if it does not wait."""
    if suspect.is_waiting:
        yield f"has waited {duration(suspect.waiting_seconds)} for {_awaited(suspect)}"


def progress_evidence(suspect: Suspect) -> Iterator[str]:
    """How far its command has come, and roughly how long it will still take, where it says so."""
    progress = progress_of(suspect)
    if progress is not None:
        yield pace.sentence(progress, suspect.statement_seconds)


def progress_of(suspect: Suspect) -> Progress | None:
    """How far its command has come; None where it does not say."""
    return suspect.snapshot.progress.get(suspect.node)


def is_nearly_done(suspect: Suspect) -> bool:
    """Its one statement will be over in no time. Behind the first of several others may follow."""
    progress = progress_of(suspect)
    if progress is None or suspect.is_waiting or len(suspect.statement.kinds) != 1:
        return False
    return pace.is_nearly_done(progress, suspect.statement_seconds)


def advice(suspect: Suspect) -> str:
    """What would have held up fewer people; empty where there is nothing to say."""
    safer = effect(suspect).safer
    if not suspect.queued or ddl.RETRY in safer:
        return safer
    return f"{safer}; {ddl.RETRY}" if safer else ddl.RETRY


def called(suspect: Suspect) -> str:
    """Its statement's kind as people write it: `ALTER TABLE`."""
    if suspect.statement.kind == "unknown":
        return "its statement"
    return suspect.statement.kind.replace("_other", "").replace("_", " ").upper()


def _contested_mode(suspect: Suspect) -> str | None:
    """The strong table lock in somebody's way: what tells where the statement does not."""
    modes = [lock.mode for lock in suspect.contested if lock in suspect.strong]
    return max(modes, key=strength, default=None)


def _awaited(suspect: Suspect) -> str:
    nodes = suspect.session.blockers if suspect.session else ()
    named = [_said(suspect, node) for node in nodes[:_MOST_NAMED]]
    more = [f"{len(nodes) - _MOST_NAMED:,} more"] if len(nodes) > _MOST_NAMED else []
    return ", ".join(named + more)


def _said(suspect: Suspect, node: int) -> str:
    session = suspect.snapshot.sessions.get(node, Session(pid=node))
    if node < 0:
        return "a prepared transaction"
    if session.state is None:
        return str(node)
    is_idle = session.in_transaction_idle or session.state == "idle"
    since = session.state_change if is_idle else session.xact_start
    doing = session.state if is_idle else "its transaction open"
    return f"{node} ({doing} for {duration(suspect.snapshot.seconds_since(since))})"
