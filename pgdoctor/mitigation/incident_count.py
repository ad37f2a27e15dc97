"""How many independent incidents go on, counted so that no user can make many of them alone."""

from typing import NamedTuple

from pgdoctor.formatting import format_count, format_name
from pgdoctor.mitigation.candidate import Case


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
    involved = next((users for incident, users in diagnosis.incident_users if node in incident), frozenset())
    alone = diagnosis.incidents_of_one_user
    total = len(diagnosis.incident_users) - sum(number - 1 for user, number in alone.items() if user not in involved)
    largest, number = max(alone.items(), key=lambda each: each[1], default=("", 0))
    return IncidentCount(
        total, f"; {format_count(number, 'incident')} of user {format_name(largest)}" if number > 1 else ""
    )
