"""A request for a strong table lock that waits: others queue behind it, and one that gives up is often tried again."""

from itertools import chain

import msgspec

from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.lock_modes import STRONG
from pgdoctor.model.snapshot import Lock
from pgdoctor.sqltext.redact import redact

#: Characters of its statement.
_MOST_TEXT = 200


class WaitingRequest(msgspec.Struct, frozen=True, rename={"classification": "class"}):
    """A request for a strong table lock, behind which others queue: who asks, by which statement, without values."""

    application: str | None
    user: str | None
    statement: str
    relation: str | None
    #: None: no session waits behind it.
    classification: str | None = None
    #: Seconds that one attempt has waited, the longest that was seen.
    waited: float = 0.0

    def is_same(self, other: "WaitingRequest | None") -> bool:
        """Whether the other is another attempt at the same."""
        return other is not None and (self.application, self.user, self.statement, self.relation) == (
            other.application,
            other.user,
            other.statement,
            other.relation,
        )


def find_request(diagnosis: Diagnosis) -> WaitingRequest | None:
    """The waiting request for a strong table lock with the most sessions behind it, or else with none."""
    sessions = diagnosis.snapshot.sessions
    middle = ((each.session, each.classification) for each in diagnosis.blockers if not each.root)
    alone = ((sessions[pid], None) for pid in diagnosis.graph.waiters if pid in sessions)
    for session, classification in chain(middle, alone):
        asked = None if session is None else next(filter(_is_strong, session.requests), None)
        if session is not None and asked is not None and session.statement:
            table = diagnosis.snapshot.table_of(asked)
            return WaitingRequest(
                application=session.application_name,
                user=session.usename,
                statement=_shorten_statement(redact(session.statement)),
                relation=table.name if table is not None else None,
                classification=classification,
                waited=diagnosis.snapshot.present_wait(session) or 0.0,
            )
    return None


def _is_strong(lock: Lock) -> bool:
    return lock.locktype == "relation" and lock.mode in STRONG


def _shorten_statement(statement: str) -> str:
    return statement if len(statement) <= _MOST_TEXT else f"{statement[: _MOST_TEXT - 1]}…"
