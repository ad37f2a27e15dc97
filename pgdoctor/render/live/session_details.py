"""One session: what it is, what it does, whom it waits for and who waits for it, and what a signal would do."""

from collections.abc import Iterator
from datetime import datetime

from pgdoctor.diagnosis.blocker.lock_names import describe_object
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Session
from pgdoctor.render.live.cells import wrap_text
from pgdoctor.render.report import BlockerReport, Report, show_statement
from pgdoctor.render.tree import format_awaited, format_freed, format_released, format_wait
from pgdoctor.render.wait_trees import Name, name_blocker

#: Locks, and other sessions, that are listed; the rest is counted.
_MOST_LOCKS = 30
_MOST_OTHERS = 20


def render_session_details(diagnosis: Diagnosis, report: Report, key: Name, columns: int) -> list[str]:
    """The page, in lines of at most so many cells."""
    return [line for text in _list_texts(diagnosis, report, key) for line in wrap_text(text, columns)]


def _list_texts(diagnosis: Diagnosis, report: Report, key: Name) -> Iterator[str]:
    session = diagnosis.snapshot.sessions.get(key) if isinstance(key, int) else None
    blocker = next((each for each in report.blockers if name_blocker(each) == key), None)
    if session is None and blocker is None:
        yield f"{key} neither waits nor blocks any more."
        return
    yield f"{key}  {blocker.classification}" if blocker else f"{key}"
    if session is not None:
        yield from _describe_session(session, diagnosis)
    yield from _describe_waits(report, key)
    if blocker is not None:
        yield from _describe_blocks(report, blocker)
    if session is not None:
        yield from _describe_locks(session, diagnosis)


def _describe_session(session: Session, diagnosis: Diagnosis) -> Iterator[str]:
    def format_time_since(moment: datetime | None) -> str:
        return format_duration(diagnosis.snapshot.seconds_since(moment))

    who = f"{session.usename or '?'}@{session.datname or '?'}"
    application = f' "{session.application_name}"' if session.application_name else ""
    place = session.client_addr or "this machine"
    yield f"{who}{application} from {place}, connected for {format_time_since(session.backend_start)}"
    transaction = f", its transaction open for {format_time_since(session.xact_start)}" if session.xact_start else ""
    yield f"{session.state or 'its state is hidden'} for {format_time_since(session.state_change)}{transaction}"
    if session.wait_event:
        yield f"wait event {session.wait_event_type}: {session.wait_event}"
    statement = show_statement(session.statement, show_literals=False)
    if statement:
        yield f"{'runs' if session.state == 'active' else 'last ran'}: {statement}"


def _describe_waits(report: Report, key: Name) -> Iterator[str]:
    waits = [wait for wait in report.waits if wait.blocked_pid == key]
    if not waits:
        return
    yield ""
    for wait in waits[:_MOST_OTHERS]:
        blocking = wait.blocking_pid if wait.blocking_pid is not None else f"'{wait.prepared_gid}'"
        queued = ", which queues ahead of it" if wait.queued else ""
        yield f"has waited {format_wait(wait, 'an unknown time')} for {format_awaited(wait)}, for {blocking}{queued}"
    if len(waits) > _MOST_OTHERS:
        yield f"and for {format_count(len(waits) - _MOST_OTHERS, 'session')} more"


def _describe_blocks(report: Report, blocker: BlockerReport) -> Iterator[str]:
    yield ""
    yield f"blocks {format_count(blocker.blocked_sessions, 'session')}, {blocker.directly_blocked:,} directly"
    yield from (f"· {each}" for each in blocker.evidence)
    advice = blocker.recommendation
    yield f"→ {'do not signal' if advice.action == 'none' else advice.action}: {advice.reason}"
    if blocker.advice:
        yield f"next time: {blocker.advice}"
    for cut in report.cuts:
        if cut.pid == blocker.pid:
            yield f"a {cut.action} frees {format_released(cut)}: {format_freed(cut)}; costs {cut.loses}"


def _describe_locks(session: Session, diagnosis: Diagnosis) -> Iterator[str]:
    locks = sorted(session.locks, key=lambda lock: lock.granted)
    if not locks:
        return
    yield ""
    for lock in locks[:_MOST_LOCKS]:
        what = describe_object(diagnosis.snapshot, lock, session.datname)
        yield f"{'holds' if lock.granted else 'wants'} {lock.mode} on {what}"
    if len(locks) > _MOST_LOCKS:
        yield f"and {format_count(len(locks) - _MOST_LOCKS, 'lock')} more"
