"""How many independent incidents go on, counted so that no user can make many of them alone."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pgdoctor.formatting import format_count, format_name
from pgdoctor.mitigation.candidate import Case
from pgdoctor.model.snapshot import Session


class IncidentCount(NamedTuple):
    """`total`: incidents that count. `origin`: the user with the largest part in them, in words; or nothing."""

    total: int
    origin: str = ""


def count_incidents(case: Case) -> IncidentCount:
    """Count the incidents beside and including the one that is judged.

    All incidents in which a user blocks only itself count as one. Those of a user with a part in the judged
    incident count one by one, and so do those with a session whose user is unknown.
    """
    diagnosis, node = case.candidate.diagnosis, case.candidate.blocker.node
    sessions = diagnosis.snapshot.sessions
    members = diagnosis.graph.incident_members
    judged = next((incident for incident in members if node in incident), frozenset())
    involved = _list_users(sessions.get(each) for each in judged)
    alone: Counter[str] = Counter()
    total = 0
    for incident in members:
        users = _list_users(sessions.get(each) for each in incident)
        user = next(iter(users)) if len(users) == 1 else None
        total += user is None or user in involved or not alone[user]
        if user is not None:
            alone[user] += 1
    [(largest, number)] = alone.most_common(1) or [("", 0)]
    return IncidentCount(
        total, f"; {format_count(number, 'incident')} of user {format_name(largest)}" if number > 1 else ""
    )


def _list_users(sessions: Iterable[Session | None]) -> frozenset[str | None]:
    return frozenset(None if session is None else session.usename for session in sessions)
