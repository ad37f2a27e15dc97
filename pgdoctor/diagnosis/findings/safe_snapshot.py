"""A session waits for a safe snapshot, as SERIALIZABLE READ ONLY DEFERRABLE does.

Recognised by: the wait event `SafeSnapshot`.
Do: wait, or end open serializable transactions that write.
Do not: look for a lock: none is involved, and `pg_blocking_pids()` returns no blocker.
Source: PostgreSQL documentation, "SET TRANSACTION".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_verb
from pgdoctor.model.diagnosis import Finding


class SafeSnapshot(FindingCheck):
    name = "safe_snapshot"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        waiters = seen.snapshot.server.snapshot_waiters
        if waiters:
            yield Finding(
                self.name,
                "info",
                f"{format_count(waiters, 'session')} {format_verb(waiters, 'wait')} for a safe snapshot "
                "(SERIALIZABLE READ ONLY DEFERRABLE)",
                "they wait for concurrent serializable transactions to end; no lock is involved",
                {"sessions": waiters},
            )
