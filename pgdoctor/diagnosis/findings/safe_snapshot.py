"""A session waits for a safe snapshot, as SERIALIZABLE READ ONLY DEFERRABLE does.

Recognised by: the wait event `SafeSnapshot`. The server says which transactions it waits for
(`pg_safe_snapshot_blocking_pids()`).
Do: wait, or end open serializable transactions that write.
Do not: look for a lock: none is involved, and `pg_blocking_pids()` returns no blocker.
Source: PostgreSQL documentation, "SET TRANSACTION"; "Session Information Functions".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_verb
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import describe_transaction


class SafeSnapshot(FindingCheck):
    name = "safe_snapshot"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        waiters, around = seen.snapshot.server.snapshot_waiters, seen.snapshot.surroundings
        blockers = around.snapshot_blockers if around else ()
        if waiters:
            advice = "they wait for concurrent serializable transactions to end; no lock is involved"
            yield Finding(
                self.name,
                "info",
                f"{format_count(waiters, 'session')} {format_verb(waiters, 'wait')} for a safe snapshot "
                "(SERIALIZABLE READ ONLY DEFERRABLE)",
                f"{advice}: end the transaction of {blockers[0].pid}, or wait for it" if blockers else advice,
                {"sessions": waiters},
                tuple(f"waits for {describe_transaction(each, seen.snapshot.captured_at)}" for each in blockers),
            )
