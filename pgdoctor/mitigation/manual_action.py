"""What a person may do to one session, what it frees and costs, and the objections.

Rules and budgets are for machines: a person needs none. Forbidden signals are refused here, and once more by the
statement that signals. An objection that an operator may overrule is a warning, shown before the person agrees.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.deafness import explain_deafness
from pgdoctor.diagnosis.cuts import MOST_RELEASED, Cut, describe_loss
from pgdoctor.diagnosis.manual_signal import explain_refusal, write_signal_sql
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.history import Signal, WaiterKey
from pgdoctor.mitigation.match import Subject, find_default_protection, find_marker, refused_by_wrapper
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.model.diagnosis import Blocker, Diagnosis
from pgdoctor.model.identity import Identity
from pgdoctor.model.snapshot import Session
from pgdoctor.sqltext.statement import read_statement

#: The application_name of pgdoctor's sessions.
OWN_APPLICATION = "pgdoctor"

_NO_WAITER = "the functions of setup --wrapper signal only a session that another one waits for"

#: What may come of it. `released`: the sessions that waited for it go on. `ended`: no session waited, and the statement
#: or the session is over. `withheld`: a brake was pulled meanwhile.
ManualResult = Literal[
    "released", "ended", "ineffective", "stuck", "gone", "not_permitted", "error", "withheld", "unverified"
]


class ManualAction(msgspec.Struct, frozen=True):
    """One signal to one session, as a person is shown it before agreeing."""

    signal: Signal
    session: Session
    #: As of the snapshot that is shown: what the signal is bound to. None: it is refused.
    victim: Identity | None
    #: What it would free and cost.
    cut: Cut
    #: None: it blocks no session.
    blocker: Blocker | None
    #: The sessions that it frees at once, in the statements that wait.
    waiters: tuple[WaiterKey, ...]
    #: Why it is refused to any operator; None: it is not.
    refusal: str | None = None
    #: What another role may run instead.
    sql: str | None = None
    warnings: tuple[str, ...] = ()
    #: Only the functions of `pgdoctor setup --wrapper` let our role signal it.
    by_wrapper: bool = False
    #: Seconds, at the snapshot; None: not in a transaction, or in no statement.
    transaction_seconds: float | None = None
    statement_seconds: float | None = None
    session_seconds: float | None = None


class ManualOutcome(msgspec.Struct, frozen=True):
    """What came of it."""

    outcome: ManualResult
    #: Sessions that waited for it, and do no more; and those that still wait.
    released: int = 0
    waiting: int = 0
    seconds: float | None = None
    sqlstate: str | None = None
    message: str | None = None
    #: Why it is not in the journal; None: it is.
    unrecorded: str | None = None


def judge_manual_action(
    signal: Signal,
    session: Session,
    diagnosis: Diagnosis,
    settings: Mitigation,
    *,
    leader_pid: int | None = None,
    has_wrapper: bool = False,
) -> ManualAction:
    """What a person is to be shown. `session` is read right after the diagnosis; `leader_pid`: of a parallel worker.

    `has_wrapper`: our role may use the functions of `pgdoctor setup --wrapper`.
    """
    by_wrapper = has_wrapper and session.may_signal is False and not session.is_superuser
    if by_wrapper:
        session = replace(session, may_signal=True)
    blocker = _find_blocker(session, diagnosis)
    snapshot = diagnosis.snapshot
    graph = diagnosis.graph
    freed = graph.released_at_once(frozenset({session.pid})) if blocker else frozenset()
    in_turn = graph.released_in_turn(frozenset({session.pid})) if blocker else frozenset()
    seconds = snapshot.seconds_since(session.xact_start)
    known = blocker.session if blocker and blocker.session else session
    cut = Cut(
        action=signal,
        pid=session.pid,
        frees_at_once=len(freed),
        frees_in_turn=len(in_turn),
        exact=blocker is not None and blocker.is_exact and blocker.recommendation.action == signal,
        loses=describe_loss(known, seconds, root=session.pid not in graph.blockers_of),
        reason=blocker.recommendation.reason if blocker else "",
        released=tuple(sorted(freed)[:MOST_RELEASED]),
        release_uncertain=blocker.release_uncertain if blocker and blocker.may_free_nobody else None,
    )
    waiting = (snapshot.sessions[node] for node in sorted(freed) if node in snapshot.sessions)
    refusal = _find_refusal(signal, session, diagnosis, leader_pid)
    if refusal is None and by_wrapper:
        refusal = refused_by_wrapper(session) if blocker else _NO_WAITER
    return ManualAction(
        signal=signal,
        session=session,
        victim=Identity.of(session),
        cut=cut,
        blocker=blocker,
        waiters=tuple(WaiterKey(each.pid, each.query_start) for each in waiting),
        refusal=refusal,
        sql=write_signal_sql(signal, session) if session.may_signal is False else None,
        by_wrapper=by_wrapper,
        warnings=() if refusal else tuple(_list_warnings(signal, session, blocker, diagnosis, settings)),
        transaction_seconds=seconds,
        statement_seconds=snapshot.seconds_since(session.query_start),
        session_seconds=snapshot.seconds_since(session.backend_start),
    )


def _find_blocker(session: Session, diagnosis: Diagnosis) -> Blocker | None:
    """The session as a blocker of the diagnosis, if it is still in the same transaction."""
    found = next((each for each in diagnosis.blockers if each.pid == session.pid and each.session), None)
    if found is None or found.session is None:
        return None
    before, now = Identity.of(found.session), Identity.of(session)
    return found if before is not None and before.same_transaction(now) else None


def _find_refusal(signal: Signal, session: Session, diagnosis: Diagnosis, leader_pid: int | None) -> str | None:
    """The hard limits: in any configuration, for any person."""
    server = diagnosis.snapshot.server
    reads = read_statement(session.statement or "", truncated=session.truncated)
    if server.in_recovery:
        return "this server is a standby: its recovery conflicts have settings of their own"
    if session.pid == server.own_pid:
        return "it is this pgdoctor's own session"
    if leader_pid is not None:
        return f"it is a parallel worker of {leader_pid}: use that PID"
    if session.backend_type is None:
        return "it is hidden from our role: grant pg_monitor"
    if session.backend_type != "client backend":
        return f"it is {session.backend_type}: only sessions of clients are signalled"
    if session.application_name == OWN_APPLICATION:
        return "it is another pgdoctor's session"
    if Identity.of(session) is None or session.query_start is None:
        return "a part of its identity is hidden from our role, or it has run nothing yet"
    if session.wait_event == "SyncRep":
        return "it commits and waits for a synchronous standby: a signal would break durability"
    if session.state == "active" and reads.ends_transaction:
        return "its transaction is just ending"
    if signal == "cancel" and session.state != "active":
        return f"{explain_deafness(session)}; terminate ends the session"
    return explain_refusal(session)


def _list_warnings(
    signal: Signal, session: Session, blocker: Blocker | None, diagnosis: Diagnosis, settings: Mitigation
) -> Iterator[str]:
    """The objections that an operator may overrule."""
    if signal == "cancel" and (deaf := explain_deafness(session)):
        yield deaf
    if blocker is None:
        yield "no session waits for it: the signal would free none"
    elif blocker.in_cycle:
        yield "it is part of a deadlock, which the server resolves by itself"
    elif blocker.recommendation.action == "none":
        yield f"the diagnosis recommends no signal: {blocker.recommendation.reason}"
    elif blocker.recommendation.action != signal:
        yield f"the diagnosis recommends to {blocker.recommendation.action} it: {blocker.recommendation.reason}"
    if session.is_superuser:
        yield "its user is a superuser"
    subject = Subject(blocker.session if blocker and blocker.session else session, diagnosis.snapshot)
    protections = [*(each.find_objection(subject) for each in settings.protect)]
    protections += [find_default_protection(session) if settings.protect_defaults else None, find_marker(session)]
    yield from (f"protected: {said}" for said in protections if said)
    hidden = diagnosis.snapshot.server.hidden_sessions
    if hidden:
        yield f"{format_count(hidden, 'session')} cannot be seen by our role: it may block others"
    if session.may_signal is None:
        yield "it is unknown whether our role may signal it"
