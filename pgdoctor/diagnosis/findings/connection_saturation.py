"""Nearly all of the connections are in use: soon new clients are refused, and then all of them.

Recognised by: client connections are nine tenths of `max_connections`, or more.
Do: release idle connections, and put a pooler in transaction mode in front. Where most are active, look for what
they wait for first: a blocker fills a pool as surely as too many clients do.
Do not: raise `max_connections` in a hurry: it needs a restart, and more backends make a busy server slower.
Source: PostgreSQL documentation, "Connections and Authentication".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen

#: Share of `max_connections` from which on new clients will soon be refused.
SATURATION = 0.9


class ConnectionSaturation(Finding):
    name = "connection_saturation"

    def notes(self, seen: Seen) -> Iterator[Note]:
        server = seen.snapshot.server
        if server.connections < SATURATION * server.max_connections:
            return
        idle = server.connections_by_state.idle
        yield Note(
            self.name,
            "critical" if server.connections >= server.max_connections else "warning",
            f"{server.connections} of {server.max_connections} connections are in use, {idle} of them idle",
            "release idle connections, put a pooler in transaction mode in front",
            {"connections": server.connections, "max_connections": server.max_connections, "idle": idle},
        )
