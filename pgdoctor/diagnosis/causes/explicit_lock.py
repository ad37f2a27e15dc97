"""A session that took a table lock by name, with LOCK TABLE.

Recognised by: the statement, or a strong table lock held by a transaction without an id: DDL writes to the catalogs
and so has one. In the strongest mode LOCK TABLE has one too, for the standbys' sake, and leaves the same locks as
ALTER TABLE; then only the statement tells (measured, 14 and 18).
Do: cancel what it runs, and ask for the lock with `lock_timeout` set, or for a weaker mode, or for rows only.
Do not: expect a cancel to help where it merely idles (see idle_in_transaction).
Source: PostgreSQL documentation, "LOCK" and "Explicit Locking".
"""

from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.locks import strength
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration

#: VACUUM and ANALYZE, which may have no transaction id either, take a weaker one.
_AT_LEAST = strength("ShareLock")


class ExplicitLock(Cause):
    name = "explicit_lock"
    strength = Strength.HELD_LOCK
    has_maker = True

    def judge(self, suspect: Suspect) -> Verdict | None:
        # What is hidden from us would look like a transaction that has changed nothing.
        if suspect.session is None or suspect.session.backend_type != "client backend":
            return None
        asks = suspect.is_running and suspect.statement.is_lock_table
        holds = [lock for lock in suspect.strong if strength(lock.mode) >= _AT_LEAST]
        if not asks and not (holds and _only_locked(suspect)):
            return None
        evidence = [f"holds {suspect.name(lock)}" for lock in holds[:1]]
        evidence += [
            f"waits for {suspect.name(lock)} since {duration(suspect.waiting_seconds)}" for lock in suspect.queued[:1]
        ]
        evidence.append(f"its transaction is open for {duration(suspect.transaction_seconds)}")
        return Verdict(tuple(evidence), Remedy("cancel", "ends the statement, and with it the transaction"))


def _only_locked(suspect: Suspect) -> bool:
    """It holds a strong lock that no DDL took."""
    text = suspect.statement
    if text.is_ddl or text.is_maintenance:
        return False
    return text.is_lock_table or (suspect.session is not None and not suspect.session.has_xid)
