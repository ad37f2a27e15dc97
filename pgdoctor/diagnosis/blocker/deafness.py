"""Whether a session reacts to a cancel, or may catch it: diagnosis and mitigation both ask here and cannot disagree.

Source: PostgreSQL source, `ProcessInterrupts` and `ProcessClientReadInterrupt` in postgres.c; measured on 14 and 18.
"""

import re

from pgdoctor.model.snapshot import Session

#: Waits in the middle of a message from or to the client: a cancel is not looked at before it ends.
_CLIENT_WAITS = frozenset({"ClientRead", "ClientWrite"})

#: The names by which an exception handler catches a cancel. `WHEN OTHERS` does not (measured, 14 and 18).
_HANDLER = re.compile(r"\bquery_canceled\b|\b57014\b", re.IGNORECASE)


#: Functions of dblink that end at the first cancel. dblink() itself waits for the rest of the result before it does,
#: and so for the other server (measured, 14 and 18).
_PROMPT_DBLINK = re.compile(r"\bdblink_\w", re.IGNORECASE)
_DBLINK = re.compile(r"\bdblink\s*+\(", re.IGNORECASE)

_CATCHES = "its code names query_canceled and may catch it: if it continues, terminate the session"
_WAITS_FOR_DBLINK = "dblink() may end only when the other server answers: if it continues, cancel it again"


def explain_persistence(session: Session) -> str | None:
    """Why the session may go on after a cancel; None where nothing says so."""
    if session.may_catch_cancel or names_cancel(session.statement or ""):
        return _CATCHES
    return _WAITS_FOR_DBLINK if _waits_in_dblink(session) else None


def _waits_in_dblink(session: Session) -> bool:
    text = session.statement or ""
    if session.wait_event_type != "Extension":
        return False
    if _DBLINK.search(text):
        return True
    # Since 17 the event has its name, also where a function calls it.
    return session.wait_event == "DblinkGetResult" and not _PROMPT_DBLINK.search(text)


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
