"""An autovacuum worker that processes the table.

Recognised by: its `backend_type`.
Do: nothing for an ordinary worker. The server cancels it after `deadlock_timeout` (1 s by default). A worker that
prevents wraparound does not yield: let it finish, and cancel the statement that waits for it.
Do not: cancel a worker that prevents wraparound. It starts again, and each delay brings a forced outage closer.
Source: PostgreSQL documentation, "Routine Vacuuming"; measured on 15 to 18.
"""

from pgdoctor.diagnosis.blocker import command_status, held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy

_WRAPAROUND = "(to prevent wraparound)"


class Autovacuum(Cause):
    name = "autovacuum"
    precedence = 100
    why_untouchable = "the server cancels an ordinary one by itself, and the other kind prevents wraparound"

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        session = facts.session
        if session is None or session.backend_type != "autovacuum worker":
            return None
        running = (
            f"autovacuum has worked for {format_duration(facts.transaction_seconds)}",
            *held_locks.describe_contested_locks(facts),
            *command_status.progress_evidence(facts),
        )
        if _WRAPAROUND in (session.statement or ""):
            return Classification(
                evidence=(*running, "it prevents transaction-id wraparound, so it does not yield"),
                remedy=Remedy("none", "let it finish; cancel the requests that queue behind it"),
            )
        return Classification(
            evidence=running,
            remedy=Remedy("none", "the server cancels it by itself after deadlock_timeout", is_over_soon=True),
        )
