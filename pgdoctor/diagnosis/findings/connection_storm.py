"""Many clients connect anew at the same time: after a failover, a restart, or because their requests time out.

Recognised by: sessions come at five times the usual pace, ten a second or more, and at least 20 of those that are
connected, a quarter of all, came within the last ten seconds. What is usual is not known in the first ten minutes of
a server, unless an agent has watched it for a minute: then any ten a second are a storm. Where nothing is known of
the pace, for there was one look only: half of all the connections that there can be came within ten seconds.
Do: scale the clients down, put a pooler in transaction mode in front, and bring them back slowly.
Do not: raise `max_connections`: each new backend costs a process, its caches and memory, and makes the rest slower.
Do not restart the server either: all clients would come back at once.
Prevent: pools that open connections one at a time, and clients that wait before they try again, longer each time
and by chance.
Source: PostgreSQL documentation, "The Cumulative Statistics System" (`pg_stat_database.sessions`, since 14).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.surroundings import FRESH_SECONDS, Surroundings, origin
from pgdoctor.diagnosis.usual import sessions_per_second

#: Sessions per second. To start ten backends takes a tenth of a core (some milliseconds each, measured).
_FAST = 10.0
#: A storm is a change: whoever connects anew for each transaction all day is no storm.
_TIMES_USUAL = 5.0
#: Connections that are new: fewer are one pool that starts, or clients that come and go.
_MANY = 20
_SHARE_OF_CONNECTED = 0.25
_SHARE_OF_ALL = 0.5

_MOST_NAMED = 5


class ConnectionStorm(Finding):
    name = "connection_storm"

    def notes(self, seen: Seen) -> Iterator[Note]:
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
            how = f", {pace:.0f} a second" + (f", where {usual:.1f} are usual" if usual else "")
        else:
            if fresh < _SHARE_OF_ALL * seen.snapshot.server.max_connections:
                return
            how = ""
        yield Note(
            self.name,
            "warning",
            f"{fresh} of {connected} clients connected within the last {FRESH_SECONDS} s{how}",
            "scale the clients down, put a pooler in transaction mode in front, bring them back slowly",
            {"fresh": fresh, "connections": connected, "sessions_per_second": pace, "usual_per_second": usual},
            tuple(_newcomers(around)),
        )


def _newcomers(around: Surroundings) -> Iterator[str]:
    groups = sorted((each for each in around.clients if each.fresh), key=lambda each: -each.fresh)
    for each in groups[:_MOST_NAMED]:
        yield f"{origin(each)}: {each.fresh} new of {each.connections}"
