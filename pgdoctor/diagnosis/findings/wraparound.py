"""Transaction ids run out: when 2^31 of them are in use, less a safety margin, the server takes no more writes.

Recognised by: the oldest row version that is not frozen is older than twice the age at which autovacuum is forced to
freeze (`autovacuum_freeze_max_age`, `autovacuum_multixact_freeze_max_age`): then it does not keep up, or something
holds it back. Critical from three quarters of 2^31 on, where vacuum drops all of its brakes by itself.
Do: find what holds vacuum back (the finding `vacuum_held_back`), end it, and run `VACUUM (FREEZE)` on the oldest
tables of the database that is named, without cost limits.
Do not: cancel an autovacuum "to prevent wraparound", and do not stop the server for single-user mode: since 14 it
is not needed. `VACUUM FULL` takes longer, locks, and needs transaction ids itself.
Prevent: alert on the age, and let autovacuum work: more workers, a higher `autovacuum_vacuum_cost_limit`.
Source: PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.words import name

#: Ids are compared modulo 2^32, so half of them are in the past.
LIMIT = 2**31
#: The last of them are kept for a superuser's way out (since 14; in the server's varsup.c and multixact.c).
_KEPT = 3_000_000

#: As vacuum_failsafe_age, 1.6 billion by default: there vacuum leaves out everything but freezing.
_CRITICAL = 0.75 * LIMIT
#: Of the age at which freezing is forced: whoever is that far beyond it does not keep up.
_TIMES_FORCED = 2


class Wraparound(Finding):
    name = "wraparound"

    def notes(self, seen: Seen) -> Iterator[Note]:
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
            end = f"the server takes no more writes in {left:,}" if left else "none is given out, so writes are refused"
            yield Note(
                self.name,
                "critical" if used >= _CRITICAL else "warning",
                f"database {name(oldest.database)} is {used:,} {what} ids behind, {used / LIMIT:.1%} of what there "
                f"are: {end}; freezing is forced from {forced:,} on and does not keep up",
                "end what holds vacuum back, then VACUUM (FREEZE) the oldest tables of that database; let autovacuum "
                "finish",
                {f"oldest_{what}_age": used, "forced_at": forced, "limit": LIMIT, "left": left},
            )
