"""Maintenance that somebody started by hand: VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH.

Recognised by: the running statement. (Autovacuum is told apart by its backend type.)
Do: let VACUUM and ANALYZE finish, they block only DDL; cancel VACUUM FULL, CLUSTER, REINDEX and REFRESH where
people wait, and run them in a quiet hour or in their CONCURRENTLY form.
Do not: cancel a CONCURRENTLY form: it blocks no reader and no writer, and leaves an invalid index behind.
Source: PostgreSQL documentation, "Routine Database Maintenance Tasks".
"""

from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration


class Maintenance(Cause):
    name = "maintenance"
    strength = Strength.HELD_LOCK

    def judge(self, suspect: Suspect) -> Verdict | None:
        if not (suspect.is_running and suspect.statement.is_maintenance):
            return None
        what = suspect.statement.kind.replace("_", " ").upper()
        evidence = [f"{what} has run for {duration(suspect.transaction_seconds)}"]
        evidence += [f"holds {suspect.name(lock)}" for lock in suspect.strong[:1]]
        evidence += [
            f"waits for {suspect.name(lock)} since {duration(suspect.waiting_seconds)}" for lock in suspect.queued[:1]
        ]
        return Verdict(tuple(evidence), _remedy(suspect.statement.kind))


def _remedy(kind: str) -> Remedy:
    if kind.endswith("_concurrently"):
        return Remedy("none", "it blocks no reader or writer, and a cancel leaves an invalid index behind")
    return Remedy("cancel", "the work so far is lost; nothing else is")
