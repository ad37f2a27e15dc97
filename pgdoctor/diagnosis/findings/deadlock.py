"""Sessions wait for each other in a cycle, or did so a short time ago.

Recognised by: a cycle of the wait graph; afterwards, for 15 minutes, what earlier snapshots have shown, and the
server's counter (`pg_stat_database.deadlocks`) for those that no snapshot has shown.
Do: nothing while it lasts: after `deadlock_timeout` (1 s by default) the server cancels one of them. Then change the
application so that it takes its locks in one order, and repeats a transaction that fails with SQLSTATE 40P01.
Do not: signal any of these sessions: the server cancels one itself, and a second one loses its work needlessly.
Prevent: `SELECT ... ORDER BY id FOR UPDATE` before changes of several rows; sort the rows of a batch by their key.
Source: PostgreSQL documentation, "Deadlocks".
"""

from collections.abc import Iterator
from itertools import islice

from pgdoctor.diagnosis.deadlocks import advise_order, describe_member, describe_members
from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_client, format_count, format_duration, format_name
from pgdoctor.model.diagnosis import Finding
from pgdoctor.model.snapshot import PastDeadlock
from pgdoctor.model.wait_graph import Node

#: Deadlocks of which the members are listed.
_MOST_TOLD = 3

_IN_THE_LOG = (
    'the server\'s log has both statements ("deadlock detected"); have transactions take their locks in one order'
)


class DeadlockCheck(FindingCheck):
    name = "deadlock"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        for cycle in seen.graph.cycles:
            yield _find_lasting(seen, cycle)
        lasting = {frozenset(cycle) for cycle in seen.graph.cycles}
        over = [each for each in seen.snapshot.past_deadlocks if _member_pids(each) not in lasting]
        if over:
            yield _find_past(seen, over)


def _find_lasting(seen: CheckInput, cycle: tuple[Node, ...]) -> Finding:
    members = tuple(describe_members(seen.snapshot, cycle))
    timeout = format_duration(seen.snapshot.server.deadlock_timeout)
    return Finding(
        DeadlockCheck.name,
        "warning",
        f"a deadlock: sessions {', '.join(map(str, cycle))} wait for each other",
        f"the server cancels one of them after deadlock_timeout ({timeout}); signal none; then {advise_order(members)}",
        {"sessions": len(cycle)},
        tuple(map(describe_member, members)),
    )


def _find_past(seen: CheckInput, over: list[PastDeadlock]) -> Finding:
    latest = next((each for each in reversed(over) if each.members), over[-1])
    number = sum(each.number for each in over)
    ago = format_duration(seen.snapshot.seconds_since(over[-1].at))
    return Finding(
        DeadlockCheck.name,
        "warning",
        f"{format_count(number, 'deadlock')} within the last 15 min, the latest {ago} ago{_describe_members(latest)}",
        advise_order(latest.members) if latest.members else _IN_THE_LOG,
        {"deadlocks": number},
        tuple(islice(_list_evidence(seen, over), _MOST_TOLD * 3)),
    )


def _describe_members(each: PastDeadlock) -> str:
    if not each.members:
        return f", in database {format_name(each.database)}" if each.database else ""
    who = " and ".join(dict.fromkeys(format_client(member.application, member.user) for member in each.members))
    where = sorted({member.relation for member in each.members if member.relation})
    return f", between sessions of {who}" + (f" on {', '.join(where)}" if where else "")


def _list_evidence(seen: CheckInput, over: list[PastDeadlock]) -> Iterator[str]:
    for each in reversed(over[-_MOST_TOLD:]):
        ago = format_duration(seen.snapshot.seconds_since(each.at))
        if each.members:
            yield f"{ago} ago a snapshot showed it:"
            yield from map(describe_member, each.members)
        else:
            yield (
                f"up to {ago} ago the server counted "
                f"{format_count(each.number, 'deadlock')} in {format_name(each.database)}"
            )


def _member_pids(each: PastDeadlock) -> frozenset[Node]:
    return frozenset(member.pid for member in each.members)
