"""A session that locked a table with LOCK TABLE, or waits to do so.

Recognised by: a strong blocking table lock that LOCK TABLE took. Locks on other tables do not count. On a table, only
LOCK TABLE takes ExclusiveLock. For other modes the statement decides. If the text is that of another statement, the
transaction decides: DDL changes the catalogs, so a transaction without an id ran no DDL. With an id, the catalogs show
whether it replaced rows that define the table. An added rule, policy or second trigger leaves no such row; then only
the text of the statement decides (measured, 14 and 18).
Do: cancel its statement. Next time, set `lock_timeout` before LOCK TABLE, use a weaker mode, or lock rows only.
Do not: cancel a session that is idle in transaction. It does not react (see `idle_in_transaction`).
Source: PostgreSQL documentation, "LOCK" and "Explicit Locking".
"""

from pgdoctor.diagnosis.blocker import command_status, lock_origin
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.model.remedy import Classification, Remedy


class ExplicitLock(Cause):
    name = "explicit_lock"
    precedence = 500
    is_signallable = True
    has_maker = True

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        # A hidden session would look like a transaction that has changed nothing.
        if facts.session is None or facts.session.backend_type != "client backend":
            return None
        if not lock_origin.blocks_by(facts, "lock_table"):
            return None
        remedy = Remedy("cancel", "ends the statement, and with it the transaction")
        evidence = (
            *command_status.describe_locking(facts),
            *lock_origin.explain_view(facts),
            *lock_origin.explain_doubt(facts),
        )
        return Classification(evidence, remedy, advice=command_status.advise_on_command(facts))
