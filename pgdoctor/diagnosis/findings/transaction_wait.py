"""A tool waits for open transactions to end, without a lock: pg_repack, for example.

Recognised by: a session whose latest statement asks in `pg_locks` whether a list of virtual transactions is still open,
while older transactions are open in its database. The oldest of them is one that it waits for.
Do: end the oldest transaction, or wait for it. CREATE INDEX CONCURRENTLY, REINDEX CONCURRENTLY and DETACH PARTITION
CONCURRENTLY wait by a lock on the virtual transaction: those are waits of the diagnosis.
Do not: cancel the tool in the middle of its work only because it seems to do nothing.
Prevent: `idle_in_transaction_session_timeout`; run the tool while no long report or backup runs.
Source: pg_repack, `SQL_XID_ALIVE` in pg_repack.c.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_count
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import OpenTransaction, TransactionWait, describe_transaction
from pgdoctor.model.snapshot import Snapshot

#: Seconds that the oldest transaction has to be open: short ones end by themselves.
_LONG_SECONDS = 5.0


class TransactionWaits(FindingCheck):
    name = "transaction_wait"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        for wait in around.transaction_waits if around else ():
            oldest = wait.transactions[0] if wait.transactions else None
            if oldest and (seen.snapshot.seconds_since(oldest.since) or 0.0) >= _LONG_SECONDS:
                yield _build_finding(self.name, wait, oldest, seen.snapshot)


def _build_finding(kind: str, wait: TransactionWait, oldest: OpenTransaction, snapshot: Snapshot) -> Finding:
    waiter = f"session {wait.waiter.pid} of {format_client(wait.waiter.application, wait.waiter.user)}"
    described = describe_transaction(oldest, snapshot.captured_at)
    return Finding(
        kind,
        "warning",
        f"{waiter} waits, without a lock, for transactions to end; the oldest is {described}",
        f"end the transaction of {oldest.pid}, or wait for it; the tool then continues by itself",
        {
            "transactions": len(wait.transactions),
            "seconds": snapshot.seconds_since(oldest.since) or 0.0,
        },
        (
            *(describe_transaction(each, snapshot.captured_at) for each in wait.transactions),
            f"{format_count(len(wait.transactions), 'transaction')} of its database may be waited for",
        ),
    )
