"""A session that took a table lock by name, with LOCK TABLE.

Recognised by: the statement; ExclusiveLock on a table, which no DDL takes; or a strong table lock held by a transaction
without an id: DDL writes to the catalogs and so has one. With an id (of other changes; in the strongest mode LOCK TABLE
has one itself, for the standbys' sake) it leaves the same locks as ALTER TABLE. Then the catalogs tell, where DDL has
replaced rows that others still see; a trigger besides others, a rule or a policy leaves no trace, and only the
statement tells (measured, 14 and 18).
Do: cancel what it runs, and ask for the lock with `lock_timeout` set, or for a weaker mode, or for rows only.
Do not: expect a cancel to help where it merely idles (see idle_in_transaction).
Source: PostgreSQL documentation, "LOCK" and "Explicit Locking".
"""

from pgdoctor.diagnosis import lock_origin, underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.suspect import Suspect


class ExplicitLock(Cause):
    name = "explicit_lock"
    precedence = 500
    is_signallable = True
    has_maker = True

    def judge(self, suspect: Suspect) -> Verdict | None:
        # What is hidden from us would look like a transaction that has changed nothing.
        if suspect.session is None or suspect.session.backend_type != "client backend":
            return None
        if not lock_origin.blocks_by(suspect, "lock_table"):
            return None
        remedy = Remedy("cancel", "ends the statement, and with it the transaction")
        evidence = (*underway.locking(suspect), *lock_origin.explain_doubt(suspect))
        return Verdict(evidence, remedy, advice=underway.advice(suspect))
