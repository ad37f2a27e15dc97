"""A stranger holds an advisory lock of pgdoctor's leader election.

Recognised by: advisory locks whose key begins as the leader lock's does (`classid` 1885824111 in `pg_locks`), held by a
session that is no pgdoctor of our role, or by a prepared transaction. Any role may take any advisory lock. No program
takes this key by chance.
Do: find out who it is and why; it may be an attempt to switch mitigation off. End the session by hand, or roll the
prepared transaction back. Agents go on leading: they count only sessions named pgdoctor, of their own role or of one
that may signal.
Do not: give the role of the agent to anybody else, or `pg_signal_backend` to a role that is not trusted: such a
session is taken for another pgdoctor when it says so (then this is a warning).
Source: PostgreSQL documentation, "Advisory Locks"; `pgdoctor explain leader`.
"""

from collections.abc import Iterator, Sequence

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen
from pgdoctor.diagnosis.surroundings import LockStranger
from pgdoctor.diagnosis.words import client, count, name


class LeaderLock(Finding):
    name = "leader_lock"

    def notes(self, seen: Seen) -> Iterator[Note]:
        around = seen.snapshot.surroundings
        if around is not None:
            yield from leader_lock_notes(around.lock_strangers)


def leader_lock_notes(strangers: Sequence[LockStranger]) -> Iterator[Note]:
    """What is to be said of those who hold locks of the leader election."""
    unknown = [each for each in strangers if not each.may_signal]
    if unknown:
        yield Note(
            LeaderLock.name,
            "critical",
            f"{_summary(unknown)} an advisory lock of pgdoctor's leader election: somebody may be trying to switch "
            "mitigation off, which this does not do",
            "find out who that is, and end it by hand",
            {"strangers": len(unknown), "locks": sum(each.locks for each in unknown)},
            tuple(map(describe_stranger, unknown)),
        )
    others = [each for each in strangers if each.may_signal]
    if others:
        yield Note(
            LeaderLock.name,
            "warning",
            f"{_summary(others)} a lock of pgdoctor's leader election under another role: while it leads, agents of "
            "our role signal nobody",
            "run every pgdoctor at this server as the same role; end what is no pgdoctor",
            {"others": len(others)},
            tuple(map(describe_stranger, others)),
        )


def describe_stranger(stranger: LockStranger) -> str:
    """Who that is: `PID 4711, "psql" (mallory from 10.0.0.9), database shop`."""
    who = f"PID {stranger.pid}" if stranger.pid is not None else f"prepared transaction {name(stranger.gid or '?')}"
    said = client(stranger.application, stranger.user, stranger.address or "a local or hidden address")
    where = f", database {name(stranger.database)}" if stranger.database else ""
    return f"{who}, {said}{where}"


def _summary(strangers: Sequence[LockStranger]) -> str:
    more = len(strangers) - 1
    first = describe_stranger(strangers[0])
    return f"{first} and {count(more, 'more session')} hold" if more else f"{first} holds"
