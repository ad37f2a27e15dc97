"""Clients open a new connection for each request: the server starts and ends more backends than it keeps.

Recognised by: a hundred sessions a second or more begin, and a session lasts less than a second on average. Few are
connected at any moment, so the number of connections shows nothing. A single poll knows no rate.
Do: put a pooler in front (PgBouncer in transaction mode), or let the application keep its connections.
Do not: raise `max_connections`: connections are not used up. The cost is the start of each backend.
Prevent: a pool in each application process; persistent connections where a process serves one request at a time.
Source: PostgreSQL documentation, "The Cumulative Statistics System" (`pg_stat_database.sessions`, since 14).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import describe_origin, sessions_per_second

#: Sessions per second: to start so many backends takes a whole core (some milliseconds each, measured).
_FAST = 100.0

#: Seconds that a session lasts on average, by Little's law: those that are connected, over those that come.
_SHORT = 1.0

_MOST_NAMED = 5


class ConnectionChurn(FindingCheck):
    name = "connection_churn"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        pace = sessions_per_second(around.lately.values()) if around is not None else 0.0
        if around is None or pace < _FAST or around.connections >= _SHORT * pace:
            return
        busiest = sorted(around.lately.items(), key=lambda each: -each[1].sessions)[:_MOST_NAMED]
        newcomers = sorted((each for each in around.clients if each.fresh), key=lambda each: -each.fresh)
        yield Finding(
            self.name,
            "warning",
            f"clients connect {pace:.0f} times a second and stay for less than a second; "
            f"{around.connections} are connected now",
            "put a pooler in front, or let the application keep its connections",
            {"sessions_per_second": pace, "connections": around.connections},
            (
                *(f"database {name}: {rates.sessions:.0f} a second" for name, rates in busiest if rates.sessions >= 1),
                *(f"{describe_origin(each)}: {each.fresh} new" for each in newcomers[:_MOST_NAMED]),
            ),
        )
