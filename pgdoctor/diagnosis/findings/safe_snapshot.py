"""A session waits for a safe snapshot, as SERIALIZABLE READ ONLY DEFERRABLE does.

Recognised by: the wait event `SafeSnapshot`.
Do: wait, or end open serializable transactions that write.
Do not: look for a lock: none is involved, and `pg_blocking_pids()` returns no blocker.
Source: PostgreSQL documentation, "SET TRANSACTION".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.words import agree, count


class SafeSnapshot(Finding):
    name = "safe_snapshot"

    def notes(self, seen: Seen) -> Iterator[Note]:
        waiters = seen.snapshot.server.snapshot_waiters
        if waiters:
            yield Note(
                self.name,
                "info",
                f"{count(waiters, 'session')} {agree(waiters, 'wait')} for a safe snapshot "
                "(SERIALIZABLE READ ONLY DEFERRABLE)",
                "they wait for concurrent serializable transactions to end; no lock is involved",
                {"sessions": waiters},
            )
