"""A backup: pg_dump reads every table in one long transaction.

Recognised by: the `application_name` that backup tools set (`pg_dump`, `pg_dumpall`, `pg_restore`, `pg_basebackup`,
pgBackRest, Barman, WAL-G), or the progress of a base backup. A `pg_restore` that changes the schema is a `migration`.
Do: cancel the statement that waits for the stronger lock, and run it after the backup.
Do not: end the backup. It would start over, and a night without a backup is worse than a late migration.
Source: PostgreSQL documentation, "pg_dump" and "Base Backup Progress Reporting".
"""

import re

from pgdoctor.diagnosis.blocker import command_status, held_locks, lock_origin
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy

#: Those of others go on with what they do: `pgBackRest [backup]`, `barman_streaming_backup`.
_TOOLS = re.compile(
    r"pg_dump|pg_dumpall|pg_restore|pg_basebackup|(pgbackrest|barman|wal-g)(?![a-z0-9]).*", re.IGNORECASE
)


class Backup(Cause):
    name = "backup"
    precedence = 110
    why_untouchable = "a night without a backup is worse than a late migration"

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        session = facts.session
        if session is None or not (_TOOLS.fullmatch(session.application_name or "") or _is_streaming(facts)):
            return None
        if session.application_name == "pg_restore" and lock_origin.blocks_by(facts, "ddl"):
            return None
        name = session.application_name or "a base backup"
        return Classification(
            evidence=(
                f"{name} has had its transaction open for {format_duration(facts.transaction_seconds)}",
                *held_locks.describe_contested_locks(facts),
                *command_status.describe_command_wait(facts),
                *command_status.progress_evidence(facts),
            ),
            remedy=Remedy("none", "let the backup finish; cancel the requests that queue behind it"),
        )


def _is_streaming(facts: BlockerFacts) -> bool:
    """It sends a base backup, whatever it calls itself."""
    progress = command_status.progress_of(facts)
    return progress is not None and progress.command == "base backup"
