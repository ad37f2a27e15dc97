"""What a person may run by hand: a signal that is bound to the session that was judged, and what ends a prepared
transaction.

The text is for any psql, in a database whose owner may have put operators of his own into the search path: every
operator and function is named with its schema, and what looks an operator up by itself (IN, IS DISTINCT FROM) is not
used. It is one line of ASCII that any psql of 14 to 18 takes.
"""

from datetime import datetime

from pgdoctor.model.remedy import Action
from pgdoctor.model.snapshot import Session

#: The only row that the text returns where it signals no session.
NOT_SIGNALLED = "not signalled"
MOVED_ON = f"{NOT_SIGNALLED}: the session has moved on, or is hidden from this role"

#: What has to be known before a prepared transaction is rolled back.
ROLLBACK_WARNING = (
    "only if its transaction manager has given it up: the rollback is final, and its other half may be committed "
    "elsewhere; to be run in its own database, by its owner or a superuser"
)

_SAME = "OPERATOR(pg_catalog.=)"
_OTHER = "OPERATOR(pg_catalog.<>)"


def write_signal_sql(action: Action, session: Session) -> str | None:
    """The statement that signals this session and no later one; None: there is no signal, or no identity.

    It returns one row, which says whether it has signalled.
    """
    if action == "none" or session.backend_start is None:
        return None
    parts = [
        _write_condition("backend_start", session.backend_start),
        _write_condition("xact_start", session.xact_start),
    ]
    if action == "cancel" or session.xact_start is None:
        # Outside of a transaction nothing lasts but the statement.
        parts.append(_write_condition("query_start", session.query_start))
    if action == "cancel":
        # A session that is idle after its statement would take no notice, and the answer would be wrong.
        parts.append(f"a.state {_SAME} 'active'")
    # By now it may commit and wait for its standby: a signal would break durability.
    parts.append(f"COALESCE(a.wait_event, '') {_OTHER} 'SyncRep'")
    # In a transaction block the activity is a copy of an earlier one, until that is cleared.
    now = f"CASE WHEN pg_catalog.pg_stat_clear_snapshot() IS NOT NULL THEN {session.pid} ELSE 0 END"
    return (
        f"SELECT COALESCE((SELECT CASE WHEN pg_catalog.pg_{action}_backend(a.pid) "  # noqa: S608
        f"THEN 'signalled: {action} {session.pid}' END FROM pg_catalog.pg_stat_get_activity({now}) AS a "
        f"WHERE {' AND '.join(parts)}), '{MOVED_ON}') AS pgdoctor;"
    )


def write_rollback_sql(gid: str) -> str:
    """The statement that rolls a prepared transaction back, whatever characters its gid has."""
    return f"ROLLBACK PREPARED {_quote_literal(gid)};"


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


def _write_condition(column: str, moment: datetime | None) -> str:
    if moment is None:
        return f"a.{column} IS NULL"
    return f"a.{column} {_SAME} '{moment.isoformat(timespec='microseconds')}'"


def _quote_literal(text: str) -> str:
    """A string constant that means the same whatever `standard_conforming_strings` is, and that any screen shows."""
    if "\\" not in text and text.isascii() and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return "E'" + "".join(map(_escape_character, text)) + "'"


def _escape_character(character: str) -> str:
    if character in ("'", "\\"):
        return character * 2
    if character.isascii() and character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
