"""All connections of a client are idle in a transaction: its pool has none left for the next request.

Recognised by: five or more connections of one application and user to a database, each of them idle in a transaction
for half a minute or longer. The server is nearly idle meanwhile; the application waits for its own pool.
Do: look in the application for code that does not give its connection back, or that keeps a transaction open while it
calls another service. The leak detection of the pool names it (HikariCP: `leakDetectionThreshold`).
Do not: raise the size of the pool: a leak uses up any size. Do not look for a lock: sessions may be blocked or not.
Prevent: `ALTER ROLE … SET idle_in_transaction_session_timeout`.
Source: https://github.com/brettwooldridge/HikariCP/issues/1376; PostgreSQL documentation, "Client Connection Defaults".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_duration
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import ClientApplication, describe_origin
from pgdoctor.model.snapshot import Snapshot

#: Connections from which on a client looks like a pool: the smallest size by default (Rails, SQLAlchemy).
_POOL = 5

#: Seconds for which no request leaves a transaction idle.
_LONG = 30.0


class PoolInTransaction(FindingCheck):
    name = "pool_in_transaction"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        for client in around.clients if around else ():
            seconds = _measure_silence(client, seen.snapshot)
            if seconds is not None and seconds >= _LONG:
                yield Finding(
                    self.name,
                    "warning",
                    f"all {client.connections} connections of {describe_origin(client)} have been idle in a "
                    f"transaction for {format_duration(seconds)} or longer",
                    "look in the application for code that does not give its connection back; until then "
                    "idle_in_transaction_session_timeout ends such transactions",
                    {"connections": client.connections, "seconds": seconds},
                )


def _measure_silence(client: ClientApplication, snapshot: Snapshot) -> float | None:
    """For how many seconds none of its connections has done anything; None where not all are in a transaction."""
    if client.connections < _POOL or client.idle_in_transaction < client.connections:
        return None
    return snapshot.seconds_since(client.idle_in_transaction_since)
