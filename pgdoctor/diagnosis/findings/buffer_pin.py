"""A session waits until no other session has a buffer pinned.

Recognised by: the wait event type `BufferPin`.
Do: look for an open cursor on the same table, usually in an idle transaction. Usually `VACUUM` is the waiter.
Do not: look for a lock: none is involved, and `pg_blocking_pids()` returns no blocker.
Source: PostgreSQL documentation, "The Cumulative Statistics System".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.words import agree, count


class BufferPin(Finding):
    name = "buffer_pin"

    def notes(self, seen: Seen) -> Iterator[Note]:
        waiters = seen.snapshot.server.pin_waiters
        if waiters:
            yield Note(
                self.name,
                "info",
                f"{count(waiters, 'session')} {agree(waiters, 'wait')} for a buffer that another session has pinned",
                "often VACUUM behind an open cursor; no lock is involved",
                {"sessions": waiters},
            )
