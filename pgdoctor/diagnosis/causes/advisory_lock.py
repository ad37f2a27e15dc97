"""A session that holds an advisory lock others want.

Recognised by: the contested lock's type; some migration tools by the key they are known to use. The holder may well
be idle and outside of any transaction: a session lock lasts until it is given back or the session ends.
Do: ask the application; it is a mutex of its own (a migration tool, a job runner, an election).
Do not: end the holder by default, for the work it guards may still go on elsewhere.
Source: PostgreSQL documentation, "Advisory Locks".
"""

from pgdoctor.diagnosis.advisory_level import describe_level
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.lock_names import advisory_key, parse_advisory_key
from pgdoctor.diagnosis.makers import owner
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.waits import oldest_wait
from pgdoctor.diagnosis.words import duration


class AdvisoryLock(Cause):
    name = "advisory_lock"
    precedence = 200
    is_signallable = True

    def judge(self, suspect: Suspect) -> Verdict | None:
        contested = [lock for lock in suspect.contested if lock.locktype == "advisory"]
        session = suspect.session
        if not contested or session is None:
            return None
        state = session.state or "in an unknown state"
        tool = owner(parse_advisory_key(contested[0]), session.datname or "")
        named = f", the key of {tool}" if tool else ""
        others = max(map(suspect.waiters_for, suspect.contested_types - {"advisory"}), default=0)
        return Verdict(
            decides=not session.in_transaction_idle and others < suspect.waiters_for("advisory"),
            evidence=(
                f"holds the advisory lock {advisory_key(contested[0])}{named}",
                *describe_level(suspect),
                f"others have waited for it for {duration(oldest_wait(suspect.snapshot, suspect.witnesses))}",
                f"has been {state} for {duration(suspect.state_seconds)}",
            ),
            remedy=Remedy("none", "an advisory lock is the application's own mutex: find out what it guards"),
        )
