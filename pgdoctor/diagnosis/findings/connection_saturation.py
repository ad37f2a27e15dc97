"""Nearly all connections are in use: the server will soon refuse new clients.

Recognised by: client connections are nine tenths or more of the connections for ordinary users (`max_connections`
minus the reserved ones). The evidence lists connections by application, user and client, with the number of idle ones.
Do: release idle connections, and put a pooler in transaction mode in front. If most sessions are idle in transaction,
terminate the oldest: a pooler cannot share these connections. If most sessions are active, find out first what they
wait for: a blocker fills a pool as surely as too many clients do.
Do not: raise `max_connections` in a hurry: it needs a restart, and more backends slow down a busy server.
Prevent: limits for each role (`ALTER ROLE … CONNECTION LIMIT`); maximum pool sizes that together stay below the limit.
Source: PostgreSQL documentation, "Connections and Authentication".
"""

from collections.abc import Iterator, Sequence

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import ClientApplication, describe_origin

#: Share from which on the server will soon refuse clients: one restart of an application takes the rest.
SATURATION = 0.9

#: Share of idle connections; with fewer, working sessions fill the server.
_MOSTLY = 0.5

_MOST_NAMED = 5


class ConnectionSaturation(FindingCheck):
    name = "connection_saturation"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        server, around = seen.snapshot.server, seen.snapshot.surroundings
        reserved = around.standing.reserved_connections if around and around.standing else 0
        ordinary = max(server.max_connections - reserved, 1)
        if server.connections < SATURATION * ordinary:
            return
        states = server.connections_by_state
        idle = states.idle
        in_transaction = states.idle_in_transaction + states.idle_in_transaction_aborted
        are_refused = server.connections >= ordinary
        yield Finding(
            self.name,
            "critical" if are_refused else "warning",
            f"{server.connections} of {server.max_connections} connections are in use ({reserved} are reserved), "
            f"{idle} of them idle{f', {in_transaction} idle in transaction' if in_transaction else ''}"
            f"{': ordinary users are refused' if are_refused else ''}",
            _write_advice(idle, in_transaction, server.connections),
            {
                "connections": server.connections,
                "max_connections": server.max_connections,
                "reserved": reserved,
                "idle": idle,
                "idle_in_transaction": in_transaction,
            },
            tuple(_describe_clients(around.clients)) if around else (),
        )


def _write_advice(idle: int, in_transaction: int, connections: int) -> str:
    if idle + in_transaction < _MOSTLY * connections:
        return (
            "most of them work or wait: first find what they wait for, then put a pooler in transaction mode in front"
        )
    if in_transaction > idle:
        return "terminate the oldest session that is idle in transaction; set idle_in_transaction_session_timeout"
    return "release idle connections, put a pooler in transaction mode in front"


def _describe_clients(clients: Sequence[ClientApplication]) -> Iterator[str]:
    for each in clients[:_MOST_NAMED]:
        idle = f", {each.idle} idle" if each.idle else ""
        waiting = f", {each.idle_in_transaction} idle in transaction" if each.idle_in_transaction else ""
        yield f"{describe_origin(each)}: {format_count(each.connections, 'connection')}{idle}{waiting}"
