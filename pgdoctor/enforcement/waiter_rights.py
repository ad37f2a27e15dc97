"""Whose waits count: before an action the server is asked whether those who wait may have what they wait for."""

from collections.abc import Iterable, Set
from contextlib import suppress

from pgdoctor.errors import ServerError, StatementFailed
from pgdoctor.mitigation.plan import Plan
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.other_databases import OtherDatabases

#: Sessions that are asked about; beyond that waits do not count.
_MOST_ASKED = 1_000


def list_unchecked_waiters(plan: Plan, checked: Set[int]) -> set[int]:
    """The waiters for which this plan might signal, and whose privileges were not checked yet.

    None of a rule that names its waiters: its author has decided. Those that are released in turn come last: any user
    can queue behind a session that waits itself, and only a signal for which all else speaks is about their number.
    """
    asking = [each for each in plan.decisions if each.rule is not None and each.sound and not each.rule.names_waiters]
    at_once = {waiter.pid for decision in asking for waiter in decision.waiters} - checked
    return at_once or {pid for decision in asking for pid in decision.counted_in_turn} - checked


async def find_uncounted(connection: Connection, pids: Set[int], snapshot: Snapshot | None = None) -> dict[int, str]:
    """By PID, why the waits of these sessions do not count; the others count. Doubt means that it does not.

    `snapshot`: says which of them wait in other databases, where they are asked about, too. Raises ServerError where
    the server does not answer.
    """
    asked = sorted(pids)[:_MOST_ASKED]
    try:
        rows = await connection.fetch("waiter_rights", pids=asked)
    except StatementFailed as error:
        return dict.fromkeys(pids, f"its privilege on the object of its wait could not be read: {error}")
    found: dict[int, str | None] = {row.pid: row.objection for row in rows}
    for oid, waiting in _by_other_database(asked, snapshot).items():
        with suppress(ServerError):
            # The first connection does not know them, unless it needs not to.
            there = await OtherDatabases.share_readers(connection).waiter_rights(oid, waiting)
            found |= {row.pid: row.objection for row in there if found.get(row.pid) is not None}
    missing = f"it does not wait any more, or is not among the first {_MOST_ASKED:,} waiters"
    return {pid: said for pid in pids if (said := found.get(pid, missing)) is not None}


def _by_other_database(pids: Iterable[int], snapshot: Snapshot | None) -> dict[int, list[int]]:
    """The sessions that wait for relations of other databases, by the OID of the database, as far as it was read."""
    if snapshot is None:
        return {}
    read = {oid for oid, each in snapshot.databases.items() if each.unread is None}
    found: dict[int, list[int]] = {}
    for session in (snapshot.sessions[pid] for pid in pids if pid in snapshot.sessions):
        for oid in read & {lock.database for lock in session.requests if lock.locktype == "relation"}:
            found.setdefault(oid, []).append(session.pid)
    return found
