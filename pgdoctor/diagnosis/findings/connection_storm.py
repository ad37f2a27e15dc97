"""Many clients connect at the same time: after a failover, a restart, or because their requests time out.

Recognised by: clients connect at five times the usual rate, ten a second or more. At least 20 of the connected
sessions, and a quarter of all, are younger than ten seconds. The usual rate is unknown in the first ten minutes of a
server, unless an agent has watched it for a minute; then ten a second are a storm. A single poll knows no rate; then
half of all possible connections must be younger than ten seconds.
Do: scale the clients down, put a pooler in transaction mode in front, and start the clients again slowly.
Do not: raise `max_connections`: each backend costs a process, its caches and memory, and slows down the rest. Do not
restart the server either: all clients would reconnect at once.
Prevent: pools that open connections one at a time; clients that retry with exponential backoff and jitter.
Source: PostgreSQL documentation, "The Cumulative Statistics System" (`pg_stat_database.sessions`, since 14).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import FRESH_SECONDS, ServerContext, describe_origin, sessions_per_second

#: Sessions per second. To start ten backends takes a tenth of a core (some milliseconds each, measured).
_FAST = 10.0
#: A storm is a change: clients that connect for each transaction all day are none.
_TIMES_USUAL = 5.0
#: Connections that are new: fewer are one pool that starts, or clients that come and go.
_MANY = 20
_SHARE_OF_CONNECTED = 0.25
_SHARE_OF_ALL = 0.5

_MOST_NAMED = 5


class ConnectionStorm(FindingCheck):
    name = "connection_storm"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is None:
            return
        fresh, connected = around.fresh, around.connections
        if fresh < max(_MANY, _SHARE_OF_CONNECTED * connected):
            return
        pace, usual = sessions_per_second(around.lately.values()), sessions_per_second(around.usual.values())
        if around.lately:
            if pace < max(_FAST, _TIMES_USUAL * usual):
                return
            how = f", {pace:.0f} a second" + (f" (usual: {usual:.1f})" if usual else "")
        else:
            if fresh < _SHARE_OF_ALL * seen.snapshot.server.max_connections:
                return
            how = ""
        yield Finding(
            self.name,
            "warning",
            f"{fresh} of {connected} clients connected within the last {FRESH_SECONDS} s{how}",
            "scale the clients down, put a pooler in transaction mode in front, start the clients again slowly",
            {"fresh": fresh, "connections": connected, "sessions_per_second": pace, "usual_per_second": usual},
            tuple(_describe_newcomers(around)),
        )


def _describe_newcomers(around: ServerContext) -> Iterator[str]:
    groups = sorted((each for each in around.clients if each.fresh), key=lambda each: -each.fresh)
    for each in groups[:_MOST_NAMED]:
        yield f"{describe_origin(each)}: {each.fresh} new of {each.connections}"
