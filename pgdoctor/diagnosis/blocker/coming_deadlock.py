"""A deadlock that is certain to come: a session waits for CREATE INDEX CONCURRENTLY, which will wait for that session.

The command waits, near its end, for every transaction that has a snapshot from before. A statement that waits for the
lock of the command has one. Then the deadlock detector ends one of them, which may leave an invalid index.
Source: PostgreSQL documentation, "CREATE INDEX", "Building Indexes Concurrently"; measured on 14 and 18.
"""

from collections.abc import Iterator
from itertools import islice

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.model.snapshot import Session
from pgdoctor.sqltext import ddl, statement
from pgdoctor.sqltext.statement_kinds import DDL

#: Commands that wait for old snapshots.
_WAITING = frozenset({"CREATE INDEX CONCURRENTLY", "REINDEX CONCURRENTLY"})

#: Statements that have a snapshot while they wait for a table lock. LOCK TABLE has none, and VACUUM's does not count.
_WITH_SNAPSHOT = DDL | {"analyze", "reindex", "reindex_concurrently"}

#: Waiters that are looked at, and named.
_MOST_WAITERS = 100
_MOST_NAMED = 3


def describe_coming_deadlock(facts: BlockerFacts) -> Iterator[str]:
    """Says it of the blocker itself, or of the command that waits for its end."""
    own = [facts.session] if facts.session is not None and facts.is_running else []
    waiting = (each for each in facts.sampled_waiters if any(lock.locktype == "virtualxid" for lock in each.requests))
    for session in (*own, *waiting):
        command = ddl.name_concurrent_command(session.statement or "", session.truncated)
        if command in _WAITING and (found := _list_waiters(facts, session)):
            others = ", ".join(map(str, found[:_MOST_NAMED]))
            yield (
                f"a deadlock is ahead: {command} ({session.pid}) will wait for the snapshot of each session that waits "
                f"for its lock ({others}); cancel those first, for the deadlock may leave an invalid index"
            )
            return


def _list_waiters(facts: BlockerFacts, session: Session) -> list[int]:
    """The sessions that wait for a table lock of a command, with a statement that has a snapshot."""
    sessions = facts.snapshot.sessions
    behind = (sessions[pid] for pid in islice(facts.graph.direct_waiters(session.pid), _MOST_WAITERS))
    return [each.pid for each in behind if _has_snapshot(each)]


def _has_snapshot(waiter: Session) -> bool:
    kind = statement.read_statement(waiter.statement or "", truncated=waiter.truncated).kind
    return kind in _WITH_SNAPSHOT and any(lock.locktype == "relation" for lock in waiter.requests)
