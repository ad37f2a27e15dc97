"""What a person runs where pgdoctor's role may not: a signal that is bound to the session that was judged.

The text is for a superuser's psql, in a database whose owner may have put operators of his own into the search path:
every operator and function is named with its schema.
"""

from datetime import datetime

from pgdoctor.model.remedy import Action
from pgdoctor.model.snapshot import Session

_SAME = "OPERATOR(pg_catalog.=)"


def write_signal_sql(action: Action, session: Session) -> str | None:
    """The statement that signals this session and no later one; None: there is no signal, or no identity."""
    if action == "none" or session.backend_start is None:
        return None
    parts = [f"a.pid {_SAME} {session.pid}", _is("backend_start", session.backend_start)]
    parts.append(_is("xact_start", session.xact_start))
    if action == "cancel":
        parts.append(_is("query_start", session.query_start))
    signal = f"SELECT pg_catalog.pg_{action}_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a"  # noqa: S608
    return f"{signal} WHERE {' AND '.join(parts)};"


def explain_refusal(session: Session) -> str | None:
    """Why the server would refuse our role a signal to this session, and who may; None where it would not."""
    if session.may_signal is not False:
        return None
    if session.is_superuser:
        return "our role may not signal this superuser's session; run as a superuser"
    why = "our role has neither pg_signal_backend nor the privileges of that user"
    return f"our role may not signal it: {why}; run as that user or a superuser"


def write_remedy(action: Action, session: Session) -> str | None:
    """The same with the statement to run."""
    said, text = explain_refusal(session), write_signal_sql(action, session)
    return f"{said}: {text}" if said and text else said


def _is(column: str, moment: datetime | None) -> str:
    if moment is None:
        return f"a.{column} IS NULL"
    return f"a.{column} {_SAME} '{moment.isoformat(timespec='microseconds')}'"
