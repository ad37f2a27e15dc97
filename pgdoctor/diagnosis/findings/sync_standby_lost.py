"""Commits wait for a synchronous standby that does not answer.

Recognised by: sessions wait for `SyncRep` while no synchronous standby is connected, or for more than ten seconds. Then
every commit hangs; the data is safe on the primary, but is not acknowledged.
Do: restart the standby or its connection. If that takes too long, remove it from `synchronous_standby_names` and
reload: all waiting commits proceed at once.
Do not: cancel or terminate the waiting sessions: the server would acknowledge commits that no standby has. Do not
restart the primary: it would not help.
Prevent: two candidates, `synchronous_standby_names = 'ANY 1 (a, b)'`.
Source: PostgreSQL documentation, "Synchronous Replication".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count, format_duration, format_name, format_verb
from pgdoctor.model.diagnosis import Finding

#: Seconds. A standby acknowledges within milliseconds; a long statement with its commit at the end is rare.
_LONG_SECONDS = 10.0

_SYNCHRONOUS = ("sync", "quorum")


class SyncStandbyLost(FindingCheck):
    name = "sync_standby_lost"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is None or around.standing is None or not around.standing.sync_waiters:
            return
        waiters, names = around.standing.sync_waiters, around.standing.synchronous_standby_names
        here = sum(each.sync_state in _SYNCHRONOUS for each in around.standbys)
        oldest = seen.snapshot.seconds_since(around.standing.oldest_sync_wait) or 0.0
        if here and oldest < _LONG_SECONDS:
            return
        connected = "a synchronous standby is connected" if here else "no synchronous standby is connected"
        yield Finding(
            self.name,
            "critical",
            f"{format_count(waiters, 'commit')} {format_verb(waiters, 'wait')} for a synchronous standby, "
            f"the longest for {format_duration(oldest)}; {connected}",
            "restart it, or remove it from synchronous_standby_names "
            f"({format_name(names)}) and reload; signal no session",
            {"sessions": waiters, "seconds": oldest, "synchronous_standbys": here},
        )
