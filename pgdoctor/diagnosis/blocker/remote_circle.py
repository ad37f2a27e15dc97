"""A circle that no deadlock detector sees: a blocker waits for another session through dblink or postgres_fdw, and that
session waits, directly or in turn, for the blocker.

The server does not show which session is the other end of such a connection. Of dblink the text of the statement tells,
for it contains what the other end runs; of postgres_fdw the name that its connections have.
Source: PostgreSQL documentation, "dblink_exec" and "postgres_fdw"; measured on 14 and 18.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.model.snapshot import Session

_FDW = "postgres_fdw"

#: Sessions that are followed on the way round.
_MOST_FOLLOWED = 100


def describe_circle(facts: BlockerFacts) -> Iterator[str]:
    """Says that a blocker most likely waits for itself; nothing where it does not wait for another server."""
    session = facts.session
    if session is None or not facts.is_running or (end := _find_other_end(facts, session)) is None:
        return
    if _leads_to(facts, end):
        yield (
            f"most likely it waits for itself: {end.pid} looks like the other end of its connection, and waits for it; "
            "no deadlock detector sees such a circle, so it lasts until one of them is ended"
        )


def _leads_to(facts: BlockerFacts, end: Session) -> bool:
    """Whether what a session waits for, directly or in turn, is the blocker."""
    waiting, known = [end.pid], {end.pid}
    while waiting and len(known) <= _MOST_FOLLOWED:
        pid = waiting.pop()
        following = list(facts.graph.blockers_of.get(pid, ()))
        session = facts.snapshot.sessions.get(pid)
        if session is not None and (remote := _find_other_end(facts, session)) is not None:
            following.append(remote.pid)
        if facts.node in following:
            return True
        fresh = [each for each in following if each not in known]
        known.update(fresh)
        waiting += fresh
    return False


def _find_other_end(facts: BlockerFacts, session: Session) -> Session | None:
    """The session that one waits for through a connection of its own; None where that does not show."""
    if session.wait_event_type != "Extension" or session.state != "active":
        return None
    text, event = session.statement or "", session.wait_event or ""
    may_be_dblink = not event.startswith("PostgresFdw")
    may_be_fdw = not event.startswith("Dblink")
    for pid in facts.graph.waiters:
        other = facts.snapshot.sessions.get(pid)
        if other is None or pid == session.pid or not _began_after(other, session):
            continue
        sent = (other.statement or "").strip()
        if may_be_dblink and sent and sent in text.replace("''", "'"):
            return other
        if may_be_fdw and other.application_name == _FDW:
            return other
    return None


def _began_after(other: Session, session: Session) -> bool:
    return (
        other.query_start is not None and session.query_start is not None and other.query_start >= session.query_start
    )
