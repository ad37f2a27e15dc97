"""Who exactly was judged: a PID says little, for a second later it may run, or be, something else."""

from datetime import datetime
from typing import Self

import msgspec

from pgdoctor.model.snapshot import Session


class Transaction(msgspec.Struct, frozen=True):
    """One transaction of one session, whatever it runs in it."""

    pid: int
    backend_start: datetime
    xact_start: datetime


class Identity(msgspec.Struct, frozen=True):
    """One state of one session, to the microsecond of the server's clock."""

    pid: int
    backend_start: datetime
    #: None: outside of a transaction, as who holds a session's advisory lock may be.
    xact_start: datetime | None
    query_start: datetime | None
    state: str
    state_change: datetime

    @classmethod
    def of(cls, session: Session) -> Self | None:
        """The session's identity; None where a part of it is hidden from our role."""
        if session.backend_start is None or session.state is None or session.state_change is None:
            return None
        return cls(
            pid=session.pid,
            backend_start=session.backend_start,
            xact_start=session.xact_start,
            query_start=session.query_start,
            state=session.state,
            state_change=session.state_change,
        )

    @property
    def transaction(self) -> Transaction | None:
        """The transaction it is in; None outside of one, where nothing lasts but its present state."""
        if self.xact_start is None:
            return None
        return Transaction(self.pid, self.backend_start, self.xact_start)

    def same_session(self, other: "Identity | None") -> bool:
        """Whether the other is this session, whatever it does."""
        return other is not None and (self.pid, self.backend_start) == (other.pid, other.backend_start)

    def same_transaction(self, other: "Identity | None") -> bool:
        """Whether the other is this session in this transaction."""
        return other is not None and (self.pid, self.backend_start, self.xact_start) == (
            other.pid,
            other.backend_start,
            other.xact_start,
        )

    def same_lasting_transaction(self, other: "Identity | None") -> bool:
        """Whether the other is this session in this transaction; outside of one, in this very statement."""
        return self.same_statement(other) if self.xact_start is None else self.same_transaction(other)

    def same_statement(self, other: "Identity | None") -> bool:
        """Whether the other is this session in this transaction and with this statement as its last."""
        return other is not None and self.same_transaction(other) and self.query_start == other.query_start


def transaction_of(session: Session) -> Transaction | None:
    """Its transaction: outside of one a lock may be given back and taken again from one statement to the next."""
    identity = Identity.of(session)
    return identity.transaction if identity else None
