"""A session that is not a pgdoctor holds an advisory lock of the leader election.

Recognised by: an advisory lock with the key of the leader lock (`classid` 1885824111 in `pg_locks`). Its holder is a
prepared transaction, or a session that is not a pgdoctor of the agent's role. Any role may take any advisory lock. No
program takes this key by chance.
Do: identify the holder; it may be an attempt to switch mitigation off. Terminate the session by hand, or roll the
prepared transaction back. Agents keep their leadership: they count only sessions named pgdoctor, of their own role or
of a role that may signal.
Do not: grant the agent's role to other users, or `pg_signal_backend` to roles that are not trusted: agents accept such
a session as another pgdoctor if it uses that name (then this is a warning).
Source: PostgreSQL documentation, "Advisory Locks"; `pgdoctor explain leader`.
"""

from collections.abc import Iterator, Sequence

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_count, format_name
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.server_context import LockStranger


class LeaderLock(FindingCheck):
    name = "leader_lock"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        around = seen.snapshot.surroundings
        if around is not None:
            yield from leader_lock_notes(around.lock_strangers)


def leader_lock_notes(strangers: Sequence[LockStranger]) -> Iterator[Finding]:
    """The findings about strangers that hold locks of the leader election."""
    unknown = [each for each in strangers if not each.may_signal]
    if unknown:
        yield Finding(
            LeaderLock.name,
            "critical",
            f"{_say_holders(unknown)} an advisory lock of pgdoctor's leader election. This may be an attempt to switch "
            "mitigation off; mitigation continues",
            "identify the holder, and terminate it by hand",
            {"strangers": len(unknown), "locks": sum(each.locks for each in unknown)},
            tuple(map(describe_stranger, unknown)),
        )
    others = [each for each in strangers if each.may_signal]
    if others:
        yield Finding(
            LeaderLock.name,
            "warning",
            f"{_say_holders(others)} a lock of pgdoctor's leader election under another role: as leader, it "
            "keeps agents of our role from sending signals",
            "run every pgdoctor at this server as the same role; terminate sessions that are not pgdoctor",
            {"others": len(others)},
            tuple(map(describe_stranger, others)),
        )


def describe_stranger(stranger: LockStranger) -> str:
    """One stranger in words: `PID 4711, "psql" (mallory from 10.0.0.9), database shop`."""
    who = (
        f"PID {stranger.pid}"
        if stranger.pid is not None
        else f"prepared transaction {format_name(stranger.gid or '?')}"
    )
    said = format_client(stranger.application, stranger.user, stranger.address or "a local or hidden address")
    where = f", database {format_name(stranger.database)}" if stranger.database else ""
    return f"{who}, {said}{where}"


def _say_holders(strangers: Sequence[LockStranger]) -> str:
    more = len(strangers) - 1
    first = describe_stranger(strangers[0])
    return f"{first} and {format_count(more, 'more session')} hold" if more else f"{first} holds"
