"""A session that holds an advisory lock that others wait for.

Recognised by: the type of the blocking lock. The keys of some migration tools are known. The holder may be idle and
outside a transaction: a session-level lock lasts until it is released or the session ends. An idle transaction with the
lock is `idle_in_transaction`. A session whose other locks block as many sessions has the class of those locks.
Do: ask the application what the lock protects. It may be a migration tool, a job runner or a leader election.
Do not: end the holder by default. The work that the lock protects may continue on another connection.
Source: PostgreSQL documentation, "Advisory Locks".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker.advisory_level import describe_advisory_lock
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.idle_share import is_between_pauses
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy
from pgdoctor.model.snapshot import Session
from pgdoctor.model.waits import oldest_wait


class AdvisoryLock(Cause):
    name = "advisory_lock"
    precedence = 200
    is_signallable = True

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        if "advisory" not in facts.contested_types or not facts.blocking_locks or facts.session is None:
            return None
        is_idle = facts.session.in_transaction_idle or is_between_pauses(facts)
        others = max(map(facts.waiters_for, facts.contested_types - {"advisory"}), default=0)
        return Classification(
            evidence=tuple(_describe_session(facts, facts.session)),
            remedy=Remedy("none", "an advisory lock is the application's own mutex: find out what it guards"),
            decides=not is_idle and others < facts.waiters_for("advisory"),
        )


def _describe_session(facts: BlockerFacts, session: Session) -> Iterator[str]:
    yield from describe_advisory_lock(facts)
    yield f"others have waited for it for {format_duration(oldest_wait(facts.snapshot, facts.sampled_waiters))}"
    yield f"has been {session.state or 'in an unknown state'} for {format_duration(facts.state_seconds)}"
