"""A session that holds an advisory lock that others wait for.

Recognised by: the type of the blocking lock. The keys of some migration tools are known. The holder may be idle and
outside a transaction: a session-level lock lasts until it is released or the session ends. An idle transaction with the
lock is `idle_in_transaction`. A session whose other locks block as many sessions has the class of those locks.
Do: ask the application what the lock protects. It may be a migration tool, a job runner or a leader election.
Do not: end the holder by default. The work that the lock protects may continue on another connection.
Source: PostgreSQL documentation, "Advisory Locks".
"""

from collections.abc import Iterator
from itertools import islice

from pgdoctor.diagnosis.advisory_level import describe_advisory_lock
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.idle_share import is_between_pauses
from pgdoctor.diagnosis.snapshot import Session
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.waits import oldest_wait
from pgdoctor.diagnosis.words import duration

#: Sessions behind it that are looked at. A crowd may have a thousand; some tell as much.
_MOST_BEHIND = 100


class AdvisoryLock(Cause):
    name = "advisory_lock"
    precedence = 200
    is_signallable = True

    def judge(self, suspect: Suspect) -> Verdict | None:
        if "advisory" not in suspect.contested_types or not suspect.contested or suspect.session is None:
            return None
        is_idle = suspect.session.in_transaction_idle or is_between_pauses(suspect)
        others = max(map(suspect.waiters_for, suspect.contested_types - {"advisory"}), default=0)
        return Verdict(
            evidence=tuple(_story(suspect, suspect.session)),
            remedy=Remedy("none", "an advisory lock is the application's own mutex: find out what it guards"),
            decides=not is_idle and others < suspect.waiters_for("advisory"),
        )


def _story(suspect: Suspect, session: Session) -> Iterator[str]:
    yield from describe_advisory_lock(suspect)
    yield f"others have waited for it for {duration(oldest_wait(suspect.snapshot, suspect.witnesses))}"
    yield f"has been {session.state or 'in an unknown state'} for {duration(suspect.state_seconds)}"
    alike = _find_same_client(suspect, session)
    if alike is not None:
        yield f"{alike} behind it comes from the same client: if that client waits for {alike} first, this never ends"


def _find_same_client(suspect: Suspect, session: Session) -> int | None:
    """A session of the same client that waits behind the lock for something else, while the client is the one to act.

    A migration tool holds its lock on one connection and builds an index on another one.
    """
    if suspect.is_running or not session.application_name:
        return None
    direct = {each.pid for each in suspect.witnesses}
    behind = (suspect.snapshot.sessions[pid] for pid in islice(suspect.graph.behind(suspect.node), _MOST_BEHIND))
    return next((each.pid for each in behind if each.pid not in direct and _client(each) == _client(session)), None)


def _client(session: Session) -> tuple[str | None, ...]:
    return session.application_name, session.client_addr, session.usename
