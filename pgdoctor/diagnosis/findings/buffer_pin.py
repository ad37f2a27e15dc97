"""A session waits until no other session has a buffer pinned.

Recognised by: the wait event type `BufferPin`. The server does not say which session has the page pinned. That session
has a lock on the same table, so the evidence lists the transactions that have one, the oldest first.
Do: close the cursor, or end the transaction, of one of them. Usually `VACUUM` waits for an open cursor in an idle
transaction.
Do not: look for a lock wait: there is none, and `pg_blocking_pids()` returns no blocker.
Source: PostgreSQL documentation, "The Cumulative Statistics System".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_verb
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import describe_transaction


class BufferPin(FindingCheck):
    name = "buffer_pin"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        waiters, around = seen.snapshot.server.pin_waiters, seen.snapshot.surroundings
        holders = around.pin_holders if around else ()
        if waiters:
            advice = "often VACUUM behind an open cursor; no lock is involved"
            yield Finding(
                self.name,
                "info",
                f"{format_count(waiters, 'session')} {format_verb(waiters, 'wait')} "
                "for a buffer that another session has pinned",
                f"{advice}: close the cursor of {holders[0].pid}, or end its transaction" if holders else advice,
                {"sessions": waiters},
                tuple(f"may wait for {describe_transaction(each, seen.snapshot.captured_at)}" for each in holders),
            )
