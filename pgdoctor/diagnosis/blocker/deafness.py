"""Whether a session reacts to a cancel, or may catch it: diagnosis and mitigation both ask here and cannot disagree.

Source: PostgreSQL source, `ProcessInterrupts` and `ProcessClientReadInterrupt` in postgres.c; measured on 14 and 18.
"""

import re

from pgdoctor.model.snapshot import Session

#: Waits in the middle of a message from or to the client: a cancel is not looked at before it ends.
_CLIENT_WAITS = frozenset({"ClientRead", "ClientWrite"})

#: The names by which an exception handler catches a cancel. `WHEN OTHERS` does not.
_HANDLER = re.compile(r"\bquery_canceled\b|\b57014\b", re.IGNORECASE)


def may_catch_cancel(session: Session) -> bool:
    """Whether a handler in its text, or in a function that it calls, may catch a cancel and go on."""
    return session.may_catch_cancel or names_cancel(session.statement or "")


def names_cancel(text: str) -> bool:
    """Whether a handler in this text, that of a DO for one, may catch a cancel."""
    return _HANDLER.search(text) is not None


def explain_deafness(session: Session) -> str | None:
    """Why a cancel would have no effect on the session in its present state; None where it would have one."""
    if session.state != "active":
        return f"it is {session.state or 'in an unknown state'}, and does not react to a cancel"
    if session.wait_event in _CLIENT_WAITS:
        return f"it waits for its client ({session.wait_event}), and does not react to a cancel before that is over"
    return None
