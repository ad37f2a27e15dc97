"""A session waits until no other session has a buffer pinned.

Recognised by: the wait event type `BufferPin`.
Do: look for an open cursor on the same table, usually in an idle transaction. Usually `VACUUM` is the waiter.
Do not: look for a lock: none is involved, and `pg_blocking_pids()` returns no blocker.
Source: PostgreSQL documentation, "The Cumulative Statistics System".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_verb
from pgdoctor.model.diagnosis import Finding


class BufferPin(FindingCheck):
    name = "buffer_pin"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        waiters = seen.snapshot.server.pin_waiters
        if waiters:
            yield Finding(
                self.name,
                "info",
                f"{format_count(waiters, 'session')} {format_verb(waiters, 'wait')} "
                "for a buffer that another session has pinned",
                "often VACUUM behind an open cursor; no lock is involved",
                {"sessions": waiters},
            )
