"""Whose waits count: before an action the server is asked whether those who wait may have what they wait for."""

from collections.abc import Set

from pgdoctor.errors import StatementFailed
from pgdoctor.mitigation.plan import Plan
from pgdoctor.postgres.connection import Connection

#: Sessions that are asked about; beyond that waits do not count.
_MOST_ASKED = 1_000


def list_unchecked_waiters(plan: Plan, checked: Set[int]) -> set[int]:
    """The sessions for whose sake somebody might be signalled by this plan, and whose privileges nobody has looked at.

    Of a rule that names its waiters nobody: whoever wrote it has decided.
    """
    return {
        waiter.pid
        for decision in plan.decisions
        if decision.rule is not None and decision.sound and not decision.rule.names_waiters
        for waiter in decision.waiters
        if waiter.pid not in checked
    }


async def find_uncounted(door: Connection, pids: Set[int]) -> dict[int, str]:
    """By PID, why the waits of these sessions do not count; whoever is left out counts. Doubt means that it does not.

    Raises ServerError where the server does not answer.
    """
    asked = sorted(pids)[:_MOST_ASKED]
    try:
        rows = await door.fetch("waiter_rights", pids=asked)
    except StatementFailed as error:
        return dict.fromkeys(pids, f"its privilege on the object of its wait could not be read: {error}")
    found: dict[int, str | None] = {row.pid: row.objection for row in rows}
    missing = f"it does not wait any more, or is not among the first {_MOST_ASKED:,} waiters"
    return {pid: said for pid in pids if (said := found.get(pid, missing)) is not None}
