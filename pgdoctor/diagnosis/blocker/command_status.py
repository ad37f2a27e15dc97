"""What a change of the schema, or maintenance, is doing: working or queued, on what, how far, and for whom it waits."""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker import command_progress, held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.formatting import format_duration
from pgdoctor.model.lock_modes import STRONG, mode_strength
from pgdoctor.model.remedy import Remedy
from pgdoctor.model.snapshot import CommandProgress, Session
from pgdoctor.sqltext import ddl
from pgdoctor.sqltext.ddl import DdlEffect

#: Sessions named in a sentence; the others are counted.
_MOST_NAMED = 3

#: What to do about a command that is nearly done.
LET_FINISH = Remedy("none", "let it finish: it is nearly done, and would have to do all of it again", is_over_soon=True)


def statement_effect(facts: BlockerFacts) -> DdlEffect:
    """The lock and the safer form of its running statement; nothing where it runs none, or which one is not known."""
    session = facts.session
    if session is None or not facts.is_running:
        return DdlEffect()
    found = ddl.split_parts(session.statement or "", truncated=session.truncated)
    return found[0].effect if len(found) == 1 else DdlEffect()


def describe_locking(facts: BlockerFacts) -> Iterator[str]:
    """What a transaction with strong table locks holds, does, and how long it is open, in sentences."""
    yield from held_locks.describe_contested_locks(facts)
    yield from describe_activity(facts)
    yield f"its transaction has been open for {format_duration(facts.transaction_seconds)}"


def describe_activity(facts: BlockerFacts) -> Iterator[str]:
    """What it does now, in sentences."""
    if not facts.is_running:
        return
    asked = next((lock for lock in facts.queued_locks if lock.locktype == "relation"), None)
    if asked is not None:
        yield f"is queued: has waited {format_duration(facts.waiting_seconds)} for {facts.name_lock(asked)}"
        if whom := ddl.keeps_out(asked.mode):
            yield f"{statement_name(facts)} asks for {asked.mode}, which excludes {whom}"
    elif facts.is_waiting:
        yield from describe_command_wait(facts)
    else:
        yield f"is working: {_describe_work(facts)}{_describe_excluded(facts)}"
    yield from progress_evidence(facts)


def describe_command_wait(facts: BlockerFacts) -> Iterator[str]:
    """How long the blocker itself has waited, and for which sessions; nothing if it does not wait."""
    if facts.is_waiting:
        yield f"has waited {format_duration(facts.waiting_seconds)} for {_describe_awaited(facts)}"


def progress_evidence(facts: BlockerFacts) -> Iterator[str]:
    """How far its command has come, and roughly how long it will still take, where it says so."""
    progress = progress_of(facts)
    if progress is not None:
        yield command_progress.describe_progress(progress, facts.statement_seconds)


def progress_of(facts: BlockerFacts) -> CommandProgress | None:
    """How far its command has come; None where it does not say."""
    return facts.snapshot.progress.get(facts.node)


def is_command_nearly_done(facts: BlockerFacts) -> bool:
    """Its one statement will be over in no time. Behind the first of several others may follow."""
    progress = progress_of(facts)
    if progress is None or facts.is_waiting or not facts.statement.is_one:
        return False
    return command_progress.is_nearly_done(progress, facts.statement_seconds)


def keeps_out_readers_or_writers(facts: BlockerFacts) -> bool:
    """One of its table locks that blocks another session, or its request, is stronger than that of a CONCURRENTLY
    command."""
    least = mode_strength("ShareLock")
    return any(lock.locktype == "relation" and mode_strength(lock.mode) >= least for lock in facts.obstacles)


def advise_on_command(facts: BlockerFacts) -> str:
    """What would have held up fewer people; empty where there is nothing to say."""
    safer = "" if _is_for_another_lock(facts) else statement_effect(facts).safer
    if not facts.queued_locks or ddl.RETRY in safer:
        return safer
    return f"{safer}; {ddl.RETRY}" if safer else ddl.RETRY


def _is_for_another_lock(facts: BlockerFacts) -> bool:
    """Its running DDL takes another mode than the table lock that blocks another session: a statement before took that
    one."""
    mode = statement_effect(facts).mode
    modes = {lock.mode for lock in facts.obstacles if lock.locktype == "relation" and lock.mode in STRONG}
    return facts.statement.is_ddl and mode is not None and bool(modes) and mode not in modes


def statement_name(facts: BlockerFacts) -> str:
    """Its statement's kind as people write it: `ALTER TABLE`."""
    if not facts.statement.is_one:
        return f"one of its {len(facts.statement.work)} statements"
    if facts.statement.kind == "unknown":
        return "its statement"
    return _format_kind(facts.statement.kind)


def _describe_work(facts: BlockerFacts) -> str:
    """What it runs and for how long. Of several statements in one text the server does not show which one runs."""
    ran = format_duration(facts.statement_seconds)
    if facts.statement.is_one:
        return f"{statement_name(facts)} has run for {ran}"
    work = facts.statement.work
    kinds = _format_kinds(work)
    return f"a text of {len(work)} statements has run for {ran}; which of them runs now is not known ({kinds})"


def _format_kinds(kinds: tuple[str, ...]) -> str:
    """Kinds as people write them, the first of them: `ALTER TABLE, UPDATE, ...`."""
    more = ["..."] if len(kinds) > _MOST_NAMED else []
    return ", ".join([*map(_format_kind, kinds[:_MOST_NAMED]), *more])


def _format_kind(kind: str) -> str:
    return kind.replace("_other", "").replace("_", " ").upper()


def _describe_excluded(facts: BlockerFacts) -> str:
    """Whom its strongest table lock that blocks another session excludes. The statement that took it may be another
    one."""
    modes = [lock.mode for lock in facts.blocking_locks if lock.locktype == "relation" and lock.mode in STRONG]
    whom = ddl.keeps_out(modes[0]) if modes else ""
    return f" under {modes[0]}, which excludes {whom}" if whom else ""


def _describe_awaited(facts: BlockerFacts) -> str:
    nodes = facts.session.blockers if facts.session else ()
    named = [_describe_node(facts, node) for node in nodes[:_MOST_NAMED]]
    more = [f"{len(nodes) - _MOST_NAMED:,} more"] if len(nodes) > _MOST_NAMED else []
    return ", ".join(named + more)


def _describe_node(facts: BlockerFacts, node: int) -> str:
    session = facts.snapshot.sessions.get(node, Session(pid=node))
    if node < 0:
        return "a prepared transaction"
    if session.state is None:
        return str(node)
    is_idle = session.in_transaction_idle or session.state == "idle"
    since = session.state_change if is_idle else session.xact_start
    doing = session.state if is_idle else "its transaction open"
    return f"{node} ({doing} for {format_duration(facts.snapshot.seconds_since(since))})"
