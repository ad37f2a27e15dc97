"""What a person reads before a signal, and after it."""

from collections.abc import Iterator, Sequence

from pgdoctor.formatting import format_count, format_duration
from pgdoctor.mitigation.manual_action import ManualAction, ManualOutcome
from pgdoctor.model.snapshot import ServerInfo, Session
from pgdoctor.render.paragraph import Paragraph
from pgdoctor.render.plain import one_line
from pgdoctor.render.report import server_facts, show_statement
from pgdoctor.render.server_name import describe_server
from pgdoctor.render.tree import client, format_freed, format_released

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


def describe_action(action: ManualAction, server: ServerInfo, brakes: Sequence[str]) -> Iterator[Paragraph]:
    """The session, what the signal frees and costs, and what speaks against it."""
    session = action.session
    yield Paragraph(f"{action.signal} {session.pid} at {describe_server(server_facts(server))}", "bold", others="  ")
    yield _indented(describe_session(action))
    if statement := show_statement(session.statement, show_literals=False):
        runs = "runs" if session.state == "active" else "last ran"
        yield _indented(f"{runs}: {one_line(statement, _MOST_STATEMENT)}", "dim")
    if action.blocker is not None:
        where = f" on {action.blocker.relation}" if action.blocker.relation else ""
        yield _indented(f"it is {action.blocker.classification}{where}")
    yield _indented(describe_cut(action))
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
    parts = [f"{client(session.usename, session.datname, session.application_name)}{origin}"]
    parts.append(_state(session, action.statement_seconds))
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
    more = ", ".join(each for each in (outcome.sqlstate, outcome.message) if each)
    return f"{what}: {_SAID[outcome.outcome]}{f' ({more})' if more else ''}."


def _state(session: Session, seconds: float | None) -> str:
    """How long it has run its statement; of an idle one only what it is, for its statement began earlier."""
    if session.state == "active" and seconds is not None:
        return f"active for {format_duration(seconds)}"
    return session.state or "in an unknown state"


def _indented(words: str, style: str = "plain") -> Paragraph:
    return Paragraph(words, style, "  ", "    ")
