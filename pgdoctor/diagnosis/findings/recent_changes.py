"""What has changed within the last quarter of an hour: most incidents follow a change.

Recognised by: the server's start, a reload of its configuration, an application that was never seen before, and DDL;
said here only while somebody is hurt. `pgdoctor triage` says it in any case.
Do: ask whoever made the change, and take it back if that is quick and safe.
Do not: take what came before for what caused it; and what is not listed may have happened all the same: DDL shows
while it runs, as the last statement of a session, and by what was created, altered or rewritten between two looks in
the database that pgdoctor is connected to. What was dropped, and DDL about functions, roles and grants, does not.
Source: PostgreSQL documentation, "System Information Functions" (`pg_postmaster_start_time`, `pg_conf_load_time`).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.waits import oldest_wait
from pgdoctor.diagnosis.words import count, duration

#: Seconds that somebody has waited. Under write load there are always some who wait for a moment.
_HURT_SECONDS = 5.0

_MOST_NAMED = 10


class RecentChanges(Finding):
    name = "recent_changes"

    def notes(self, seen: Seen) -> Iterator[Note]:
        snapshot, around = seen.snapshot, seen.snapshot.surroundings
        if around is None or not around.changes or not _is_hurt(seen):
            return
        latest = around.changes[0]
        yield Note(
            self.name,
            "info",
            f"{count(len(around.changes), 'change')} within the last 15 min, the latest "
            f"{duration(snapshot.seconds_since(latest.at))} ago: {latest.what}",
            "ask whoever made it whether it can be taken back",
            {"changes": len(around.changes)},
            tuple(
                f"{duration(snapshot.seconds_since(change.at))} ago: {change.what}"
                for change in around.changes[:_MOST_NAMED]
            ),
        )


def _is_hurt(seen: Seen) -> bool:
    snapshot = seen.snapshot
    waited = oldest_wait(snapshot, (snapshot.sessions[pid] for pid in seen.graph.waiters))
    return (waited or 0.0) >= _HURT_SECONDS or snapshot.server.connections >= snapshot.server.max_connections
