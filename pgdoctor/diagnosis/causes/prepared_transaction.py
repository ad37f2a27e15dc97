"""A transaction that was prepared for two-phase commit and never finished.

Recognised by: `pg_blocking_pids()` reports PID 0, and the locks in `pg_locks` have no PID.
Do: ask the transaction manager for the outcome, then run `COMMIT PREPARED` or `ROLLBACK PREPARED`.
Do not: roll it back on a guess. Its other half may be committed on another server. There is no session to signal.
Source: PostgreSQL documentation, "PREPARE TRANSACTION".
"""

from pgdoctor.diagnosis.blocker import held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy


class PreparedTransactionCause(Cause):
    name = "prepared_transaction"
    precedence = 120
    why_untouchable = "it has no session to signal"

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        if facts.prepared is None:
            return None
        if facts.prepared.gid is None:
            evidence = "a prepared transaction, finished before it could be looked up"
            return Classification((evidence,), Remedy("none", "it is already finished", is_over_soon=True))
        gid = facts.prepared.gid.replace("'", "''")
        owner = facts.prepared.owner or "an unknown role"
        where = f", in database {facts.other_database}" if facts.other_database is not None else ""
        return Classification(
            evidence=(
                f"prepared {format_duration(facts.transaction_seconds)} ago by {owner} and never finished",
                *held_locks.describe_contested_locks(facts),
            ),
            remedy=Remedy(
                "none",
                f"it has no session to signal; COMMIT PREPARED '{gid}' or ROLLBACK PREPARED '{gid}', "
                f"as its transaction manager decides{where}",
            ),
        )
