"""Deadlocks: the waits of a cycle, and recent deadlocks that are over.

A deadlock lasts for `deadlock_timeout`, one second as a rule. A snapshot shows it if it is read in that second; the
server's counter (`pg_stat_database.deadlocks`) has those that no snapshot has shown, without saying who it was.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.diagnosis.blocker.lock_names import describe_wait
from pgdoctor.formatting import format_client
from pgdoctor.model.server_context import ServerContext
from pgdoctor.model.snapshot import DeadlockMember, PastDeadlock, Session, Snapshot
from pgdoctor.model.wait_graph import Node, WaitGraph
from pgdoctor.model.waits import awaited_table
from pgdoctor.sqltext.redact import redact

#: Older ones are no longer news; how many are remembered, and how many sessions of each.
RECENT = timedelta(minutes=15)
_MOST_DEADLOCKS = 20
_MOST_MEMBERS = 5

_STATEMENT_WIDTH = 100

#: A session reports to the counters a while later. A cycle that is not counted by then ended in another way.
_COUNTED_WITHIN = timedelta(minutes=1)


class DeadlockHistory(NamedTuple):
    """What is remembered of a server; the times are the server's."""

    #: Seen in snapshots, by the PIDs and transactions of their members.
    seen: Mapping[frozenset[tuple[int, datetime | None]], PastDeadlock] = {}
    #: Counted by the server, and not seen.
    counted: tuple[PastDeadlock, ...] = ()
    #: Databases and moments of seen ones that the counters do not have yet.
    uncounted: tuple[tuple[str | None, datetime], ...] = ()
    #: By database, its counter when it was last read, and when that was.
    counters: Mapping[str, int] = {}
    read_at: datetime | None = None


def describe_members(snapshot: Snapshot, cycle: tuple[Node, ...]) -> Iterator[DeadlockMember]:
    """Some of the members of a cycle, each with what it waits for."""
    for session in (snapshot.sessions[node] for node in cycle[:_MOST_MEMBERS] if node in snapshot.sessions):
        request = next(iter(session.requests), None)
        ahead = next((node for node in session.blockers if node in cycle), None)
        blocker = snapshot.sessions.get(ahead) if ahead is not None else None
        table = awaited_table(snapshot, session, request, blocker.locks if blocker else ()) if request else None
        text = (blocker.statement if blocker else None) or ""
        yield DeadlockMember(
            pid=session.pid,
            application=session.application_name,
            user=session.usename,
            statement=_shorten_statement(session),
            waits_for=describe_wait(snapshot, session, request, table, text) if request else "a lock",
            relation=table.name if table else None,
        )


def describe_member(member: DeadlockMember) -> str:
    """`4711, "checkout" (app), waits for a row of public.orders: update orders set v = ? where id = ?`."""
    statement = f": {member.statement}" if member.statement else ""
    return f"{member.pid}, {format_client(member.application, member.user)}, waits for {member.waits_for}{statement}"


def advise_order(members: tuple[DeadlockMember, ...]) -> str:
    """What prevents it."""
    relations = sorted({member.relation for member in members if member.relation})
    if len(relations) == 1:
        return f"have each transaction take its rows of {relations[0]} in one order: sort them by key before the change"
    if relations:
        return f"have each transaction take its locks in one order, for example {', then '.join(relations)}"
    return "have each transaction take its locks in one order"


def record_cycles(history: DeadlockHistory, snapshot: Snapshot, graph: WaitGraph) -> DeadlockHistory:
    """With the cycles of one more snapshot."""
    found, uncounted = dict(history.seen), list(history.uncounted)
    for cycle in graph.cycles:
        sessions = [snapshot.sessions[node] for node in cycle if node in snapshot.sessions]
        key = frozenset((session.pid, session.xact_start) for session in sessions)
        if key not in found:
            database = next((session.datname for session in sessions), None)
            members = tuple(describe_members(snapshot, cycle))
            found[key] = PastDeadlock(snapshot.captured_at, members, database=database)
            uncounted.append((database, snapshot.captured_at))
    recent = [(key, each) for key, each in found.items() if snapshot.captured_at - each.at <= RECENT]
    return history._replace(seen=dict(recent[-_MOST_DEADLOCKS:]), uncounted=tuple(uncounted[-_MOST_DEADLOCKS:]))


def record_counters(history: DeadlockHistory, now: ServerContext) -> DeadlockHistory:
    """With the server's counters, where they were read again."""
    if not now.work or now.read_at == history.read_at:
        return history
    counters = {name: work.deadlocks for name, work in now.work.items()}
    uncounted = [each for each in history.uncounted if now.read_at - each[1] <= _COUNTED_WITHIN]
    found = []
    for name, value in counters.items():
        more = max(value - history.counters.get(name, value), 0)
        seen = [each for each in uncounted if each[0] == name][:more]
        uncounted = [each for each in uncounted if each not in seen]
        if more > len(seen):
            found.append(PastDeadlock(now.read_at, number=more - len(seen), database=name))
    recent = [each for each in (*history.counted, *found) if now.read_at - each.at <= RECENT]
    return DeadlockHistory(
        history.seen, tuple(recent[-_MOST_DEADLOCKS:]), tuple(uncounted), {**history.counters, **counters}, now.read_at
    )


def with_deadlocks(snapshot: Snapshot, history: DeadlockHistory) -> Snapshot:
    """The snapshot with the recent deadlocks, the latest last."""
    known = (*history.seen.values(), *history.counted)
    recent = [each for each in known if snapshot.captured_at - each.at <= RECENT]
    found = sorted(recent, key=lambda each: each.at)
    return replace(snapshot, past_deadlocks=tuple(found)) if found else snapshot


def _shorten_statement(session: Session) -> str | None:
    if not session.statement:
        return None
    text = redact(session.statement)
    return text if len(text) <= _STATEMENT_WIDTH else text[: _STATEMENT_WIDTH - 1] + "…"
