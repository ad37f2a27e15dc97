"""Transaction ids run out: when nearly 2^31 of them are in use, the server refuses writes.

Recognised by: the oldest row version that is not frozen is twice as old as the age at which autovacuum is forced
(`autovacuum_freeze_max_age`, `autovacuum_multixact_freeze_max_age`). Then autovacuum does not keep up, or something
holds it back. It is critical from three quarters of 2^31 on, where vacuum ignores its cost limits.
Do: find the holder (the finding `vacuum_held_back`) and end it. Then run `VACUUM (FREEZE)` on the oldest tables of the
named database, without cost limits.
Do not: cancel an autovacuum "to prevent wraparound", and do not stop the server for single-user mode: since 14 it
is not needed. `VACUUM FULL` takes longer, locks, and needs transaction ids itself.
Prevent: an alert on the age; more autovacuum workers, a higher `autovacuum_vacuum_cost_limit`.
Source: PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_name
from pgdoctor.model.diagnosis import Finding

#: Ids are compared modulo 2^32, so half of them are in the past.
LIMIT = 2**31
#: Ids that the server keeps for superusers (since 14; in the server's varsup.c and multixact.c).
_KEPT = 3_000_000

#: Like vacuum_failsafe_age, 1.6 billion by default: above it vacuum only freezes.
_CRITICAL = 0.75 * LIMIT
#: Times the age at which autovacuum is forced: beyond it, autovacuum does not keep up.
_TIMES_FORCED = 2


class Wraparound(FindingCheck):
    name = "wraparound"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is None or around.standing is None or not around.ages:
            return
        for what, field, forced in (
            ("transaction", "xids", around.standing.freeze_max_age),
            ("multixact", "multixacts", around.standing.multixact_freeze_max_age),
        ):
            oldest = max(around.ages, key=lambda age: getattr(age, field))
            used: int = getattr(oldest, field)
            if used < min(_TIMES_FORCED * forced, _CRITICAL):
                continue
            left = max(LIMIT - _KEPT - used, 0)
            end = f"the server refuses writes after another {left:,}" if left else "the server refuses writes"
            yield Finding(
                self.name,
                "critical" if used >= _CRITICAL else "warning",
                f"database {format_name(oldest.database)} is {used:,} "
                f"{what} ids behind, {used / LIMIT:.1%} of the limit: "
                f"{end}; autovacuum is forced from {forced:,} on and does not keep up",
                "end the session or slot that holds vacuum back, then VACUUM (FREEZE) the oldest tables of that "
                "database; let autovacuum finish",
                {f"oldest_{what}_age": used, "forced_at": forced, "limit": LIMIT, "left": left},
            )
