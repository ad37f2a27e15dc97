"""What a person reads before a signal, and after it."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.mitigation.history import Signal
from pgdoctor.mitigation.manual_action import ManualAction, ManualOutcome, ManualResult
from pgdoctor.model.snapshot import ServerInfo, Session
from pgdoctor.render.paragraph import Paragraph
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import ServerFacts, server_facts, show_statement
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.tree import format_freed, format_released, format_session_client

#: Characters of the statement: the question below it has to stay on the screen.
_MOST_STATEMENT = 300

#: Said of each outcome but `released` and `ended`.
_SAID = {
    "stuck": "sent, but the session has not ended yet: check it on the server, and never use SIGKILL",
    "gone": "not sent: the session has moved on since it was shown",
    "not_permitted": "not sent: the server does not permit it",
    "error": "the server answered with an error, or not at all: it is unknown whether it was sent",
    "withheld": "not sent: signals were stopped in the meantime",
    "unverified": "sent; its effect was not observed",
}

#: The functions do not say which of their conditions was not met.
_OR_REFUSED = (
    "or the functions of setup --wrapper count no session that waits for it: its wait must be longer than "
    "deadlock_timeout, and its user another one, with a right on the table"
)

#: What is known where no signal was tried: why not.
NotTried = Literal["no_such_session", "refused", "stopped", "not_confirmed"]


class ManualReport(msgspec.Struct, frozen=True, kw_only=True):
    """A person's signal as one JSON object. Seconds; null: not known, or there is none."""

    schema_version: int = 1
    signal: Signal
    pid: int
    #: As of a signal that was tried; or why none was.
    outcome: ManualResult | NotTried
    server: ServerFacts | None = None
    user: str | None = None
    database: str | None = None
    application: str | None = None
    client: str | None = None
    state: str | None = None
    #: Without literals.
    statement: str | None = None
    transaction_seconds: float | None = None
    statement_seconds: float | None = None
    session_seconds: float | None = None
    #: Its class as a blocker, and the relation that is blocked.
    class_: str | None = msgspec.field(default=None, name="class")
    relation: str | None = None
    frees_at_once: int = 0
    frees_in_turn: int = 0
    exact: bool = False
    loses: str | None = None
    warnings: tuple[str, ...] = ()
    #: The operators' brakes.
    stopped_by: tuple[str, ...] = ()
    refusal: str | None = None
    #: What another role may run instead.
    sql: str | None = None
    released: int = 0
    still_waiting: int = 0
    seconds: float | None = None
    sqlstate: str | None = None
    message: str | None = None
    #: Whether it is in the journal; null: nothing was tried.
    recorded: bool | None = None


def report_action(
    action: ManualAction, server: ServerInfo, brakes: Sequence[str], result: ManualOutcome | NotTried
) -> ManualReport:
    """The session, what the signal would do, and what came of it."""
    session, cut, blocker = action.session, action.cut, action.blocker
    tried = result if isinstance(result, ManualOutcome) else ManualOutcome("gone")
    return ManualReport(
        signal=action.signal,
        pid=session.pid,
        outcome=tried.outcome if isinstance(result, ManualOutcome) else result,
        server=server_facts(server),
        user=session.usename,
        database=session.datname,
        application=session.application_name,
        client=session.client_addr,
        state=session.state,
        statement=show_statement(session.statement, show_literals=False),
        transaction_seconds=action.transaction_seconds,
        statement_seconds=action.statement_seconds,
        session_seconds=action.session_seconds,
        class_=blocker.classification if blocker else None,
        relation=blocker.relation if blocker else None,
        frees_at_once=cut.frees_at_once,
        frees_in_turn=cut.frees_in_turn,
        exact=cut.exact,
        loses=cut.loses,
        warnings=action.warnings,
        stopped_by=tuple(brakes),
        refusal=action.refusal,
        sql=action.sql,
        released=tried.released,
        still_waiting=tried.waiting,
        seconds=tried.seconds,
        sqlstate=tried.sqlstate,
        message=describe_refused(action, tried),
        recorded=tried.unrecorded is None if isinstance(result, ManualOutcome) else None,
    )


def describe_refused(action: ManualAction, outcome: ManualOutcome) -> str | None:
    """What the server said, or what else may be the reason where it says nothing."""
    return _OR_REFUSED if action.by_wrapper and outcome.outcome == "gone" else outcome.message


def describe_action(action: ManualAction, server: ServerInfo, brakes: Sequence[str]) -> Iterator[Paragraph]:
    """The session, what the signal frees and costs, and the objections."""
    session = action.session
    yield Paragraph(f"{action.signal} {session.pid} at {describe_server(server_facts(server))}", "bold", others="  ")
    yield _indent_paragraph(describe_session(action))
    if statement := show_statement(session.statement, show_literals=False):
        runs = "runs" if session.state == "active" else "last ran"
        yield _indent_paragraph(f"{runs}: {format_one_line(statement, _MOST_STATEMENT)}", "dim")
    if action.blocker is not None:
        where = f" on {action.blocker.relation}" if action.blocker.relation else ""
        yield _indent_paragraph(f"it is {action.blocker.classification}{where}")
    yield _indent_paragraph(describe_cut(action))
    yield from (Paragraph(f"warning: {each}", "warn", others="  ") for each in action.warnings)
    yield from (Paragraph(f"STOPPED: {each}", "bad", others="  ") for each in brakes)


def describe_refusal(action: ManualAction) -> Iterator[Paragraph]:
    """Why it may not be done, and what to run instead."""
    yield Paragraph(f"{action.signal} {action.session.pid}: no, {action.refusal}.", "bad", others="  ")
    if action.sql is not None:
        yield Paragraph(action.sql, "plain", "  ", "  ", is_sql=True)


def describe_session(action: ManualAction) -> str:
    """`app@shop "checkout" from 10.0.0.7, active for 12 s, its transaction open for 1 min 2 s, connected for 3 h`."""
    session = action.session
    origin = f" from {session.client_addr}" if session.client_addr else ""
    parts = [f"{format_session_client(session.usename, session.datname, session.application_name)}{origin}"]
    parts.append(_format_state(session, action.statement_seconds))
    if action.transaction_seconds is not None:
        parts.append(f"its transaction open for {format_duration(action.transaction_seconds)}")
    if action.session_seconds is not None:
        parts.append(f"connected for {format_duration(action.session_seconds)}")
    return ", ".join(parts)


def describe_cut(action: ManualAction) -> str:
    """`frees 3 sessions at once: 31, 32, 33; costs nothing but a retry`."""
    cut = action.cut
    if not cut.frees_at_once:
        return f"frees no session; costs {cut.loses}"
    return f"frees {format_released(cut)}: {format_freed(cut)}; costs {cut.loses}"


def describe_outcome(action: ManualAction, outcome: ManualOutcome) -> str:
    """What came of it, in one line."""
    what = f"{action.signal} {action.session.pid}"
    after = f" in {format_duration(outcome.seconds)}" if outcome.seconds is not None else ""
    still = f"; {format_count(outcome.waiting, 'session')} still waiting" if outcome.waiting else ""
    match outcome.outcome:
        case "released":
            return f"{what}: released {format_count(outcome.released, 'session')}{after}{still}."
        case "ended":
            over = "the session has ended" if action.signal == "terminate" else "the statement has ended"
            return f"{what}: {over}{after}; no session waited for it."
        case "ineffective":
            waited = "the sessions still wait" if action.waiters else "the statement still runs"
            hint = f"; next: pgdoctor terminate {action.session.pid}" if action.signal == "cancel" else ""
            return f"{what}: sent, but {waited} after {format_duration(outcome.seconds)}{hint}."
    more = ", ".join(each for each in (outcome.sqlstate, describe_refused(action, outcome)) if each)
    return f"{what}: {_SAID[outcome.outcome]}{f' ({more})' if more else ''}."


def _format_state(session: Session, seconds: float | None) -> str:
    """How long it has run its statement; of an idle one only what it is, for its statement began earlier."""
    if session.state == "active" and seconds is not None:
        return f"active for {format_duration(seconds)}"
    return session.state or "in an unknown state"


def _indent_paragraph(words: str, style: str = "plain") -> Paragraph:
    return Paragraph(words, style, "  ", "    ")
