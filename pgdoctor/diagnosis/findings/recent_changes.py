"""Changes of the last 15 minutes: most incidents follow a change.

Recognised by: a start, restart or failover of the server, a reload of its configuration, a new application, and DDL.
The first of them is DDL on a relation that sessions are blocked on. This finding appears only while sessions are
blocked or connections are used up; `pgdoctor triage` always lists changes.
Do: ask the owner of the change, and revert it if that is quick and safe.
Do not: take an earlier change for the cause; do not take this list as complete. DDL is visible while it runs and
as the last statement of a session. Between two polls pgdoctor sees relations of its own database that were created,
altered or rewritten. It does not see dropped relations, nor DDL on functions, roles and grants.
Source: PostgreSQL documentation, "System Information Functions" (`pg_postmaster_start_time`, `pg_conf_load_time`).
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.change_ranking import LASTING, describe_change, rank_changes
from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.waits import oldest_wait

#: Seconds of the longest wait. Under write load there are always short waits.
_HURT_SECONDS = 5.0

_MOST_NAMED = 10

#: The advice where nothing can be taken back.
_LASTS = "it cannot be reverted: check what clients and jobs have done since"


class RecentChanges(FindingCheck):
    name = "recent_changes"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        snapshot, around = seen.snapshot, seen.snapshot.surroundings
        if around is None or not around.changes or not _is_hurt(seen):
            return
        changes = rank_changes(around.changes, seen.blockers)
        yield Finding(
            self.name,
            "info",
            f"{format_count(len(changes), 'change')} within the last 15 min, the most suspicious "
            f"{describe_change(changes[0], snapshot.captured_at)}",
            _LASTS if changes[0].kind in LASTING else "ask its owner whether it can be reverted",
            {"changes": len(changes)},
            tuple(describe_change(change, snapshot.captured_at) for change in changes[:_MOST_NAMED]),
        )


def _is_hurt(seen: CheckInput) -> bool:
    snapshot = seen.snapshot
    waited = oldest_wait(snapshot, (snapshot.sessions[pid] for pid in seen.graph.waiters))
    return (waited or 0.0) >= _HURT_SECONDS or snapshot.server.connections >= snapshot.server.max_connections
