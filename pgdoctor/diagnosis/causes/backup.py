"""A logical backup, which reads every table in one long transaction.

Recognised by: the `application_name` that the tools set (`pg_dump`, `pg_dumpall`, `pg_restore`, `pg_basebackup`).
Do: take back the statement that wants the stronger lock, and run it after the backup.
Do not: end the backup; it starts over, and a night without a backup is worse than a late migration.
Source: PostgreSQL documentation, "pg_dump".
"""

from pgdoctor.diagnosis import holding, underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration

_TOOLS = frozenset({"pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup"})


class Backup(Cause):
    name = "backup"
    strength = Strength.IDENTITY

    def judge(self, suspect: Suspect) -> Verdict | None:
        session = suspect.session
        if session is None or session.application_name not in _TOOLS:
            return None
        return Verdict(
            evidence=(
                f"{session.application_name} has had its transaction open for {duration(suspect.transaction_seconds)}",
                *holding.evidence(suspect),
                *underway.waiting(suspect),
                *underway.progress_evidence(suspect),
            ),
            remedy=Remedy("none", "let the backup finish; take back what queues behind it"),
        )
