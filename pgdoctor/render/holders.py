"""Who holds or awaits a lock: as a table for people, and as one JSON object for programs."""

from collections.abc import Iterator, Sequence

import msgspec
from tabulate import tabulate

from pgdoctor.diagnosis.blocker.lock_names import describe_object
from pgdoctor.diagnosis.lock_holders import bound_hold, find_prepared
from pgdoctor.escape import encode_json
from pgdoctor.formatting import format_client, format_count, format_duration, format_name
from pgdoctor.model.lock_holders import ListedLock, LockHolders
from pgdoctor.model.snapshot import Session, Snapshot
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import ServerFacts, server_facts, show_statement
from pgdoctor.render.server_name import describe_server

#: Rows of the table; all locks are in the JSON.
MOST_ROWS = 200

_STATEMENT_WIDTH = 60
_HEADINGS = ("PID", "lock", "on", "for", "client", "state", "statement")


class LockFacts(msgspec.Struct, frozen=True):
    """A lock. `fast_path`: it is kept with its session, and not in the shared lock table."""

    pid: int | None
    prepared_gid: str | None
    object: str
    relation: str | None
    lock_type: str
    mode: str
    granted: bool
    fast_path: bool
    #: Of one that is held: since nothing says when it was granted. Null: not known.
    held_seconds_at_least: float | None
    held_seconds_at_most: float | None
    #: Of one that is waited for.
    wait_seconds: float | None


class HolderFacts(msgspec.Struct, frozen=True):
    """A session or prepared transaction. `listed` false: named only because others wait for it."""

    pid: int | None
    prepared_gid: str | None
    listed: bool
    blocked_by: tuple[int, ...]
    user: str | None
    database: str | None
    application: str | None
    client: str | None
    backend_type: str | None
    state: str | None
    state_seconds: float | None
    transaction_seconds: float | None
    wait_event_type: str | None
    wait_event: str | None
    statement: str | None


class TargetFacts(msgspec.Struct, frozen=True):
    """What was asked about; `includes`: its partitions, indexes and toast tables."""

    kind: str
    name: str
    includes: tuple[str, ...]


class HolderReport(msgspec.Struct, frozen=True):
    """The object of `holders --format json`."""

    schema_version: int
    captured_at: str
    server: ServerFacts
    target: TargetFacts
    locks: tuple[LockFacts, ...]
    locks_total: int
    sessions: tuple[HolderFacts, ...]
    unread: tuple[str, ...]


def make_holder_report(found: LockHolders, *, show_literals: bool = False) -> HolderReport:
    """The answer as it may be shown: no statement with its values."""
    listed = {each.pid for each in found.locks}
    names = [each.name for each in found.target.relations.values()]
    return HolderReport(
        schema_version=1,
        captured_at=found.captured_at.isoformat(timespec="microseconds"),
        server=server_facts(found.server),
        target=TargetFacts(found.target.kind, found.target.name, tuple(names[1:])),
        locks=tuple(build_lock_facts(each, found) for each in found.locks),
        locks_total=found.locks_total,
        sessions=(
            *(build_session_facts(each, found, each.pid in listed, show_literals) for each in found.sessions.values()),
            *build_prepared_facts(found),
        ),
        unread=found.unread,
    )


def holders_to_json(report: HolderReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def render_holders(report: HolderReport, *, width: int | None = _STATEMENT_WIDTH) -> str:
    """The report as a table, with the sessions that the listed ones wait for below it. `width` None: cut nothing."""
    return "\n".join(_format_lines(report, width)) + "\n"


def _format_lines(report: HolderReport, width: int | None) -> Iterator[str]:
    yield describe_server(report.server)
    family = f" (with {_describe_count(report)})" if report.target.includes else ""
    if not report.locks:
        yield _tell_nothing(report, family)
        return
    yield f"{report.target.name}{family}:"
    rows = _build_rows(report, width)
    yield tabulate(rows[:MOST_ROWS], headers=_HEADINGS)
    if len(rows) > MOST_ROWS or report.locks_total > len(report.locks):
        yield f"({format_count(report.locks_total, 'lock')} in all; --format json has {len(report.locks):,} of them)"
    yield from _describe_waits(report)
    yield from report.unread


def _tell_nothing(report: HolderReport, family: str) -> str:
    if report.target.kind == "session":
        return f"{report.target.name} neither holds nor awaits a lock."
    return f"No session and no prepared transaction holds or awaits a lock on {report.target.name}{family}."


def _describe_count(report: HolderReport) -> str:
    number = len(report.target.includes)
    return f"{number:,} {'index, partition or toast table' if number == 1 else 'indexes, partitions and toast tables'}"


def _build_rows(report: HolderReport, width: int | None) -> list[tuple[str, ...]]:
    """One row for the locks of one session in one mode: on the relation, and how many more."""
    groups: dict[tuple[int | None, str | None, str, bool], list[LockFacts]] = {}
    for each in report.locks:
        groups.setdefault((each.pid, each.prepared_gid, each.mode, each.granted), []).append(each)
    sessions = {(each.pid, each.prepared_gid): each for each in report.sessions}
    return [
        (
            str(pid) if pid is not None else "",
            mode if granted else f"waits for {mode}",
            _format_objects(locks, report.target.name),
            format_hold(locks[0]),
            *_describe_holder(sessions.get((pid, gid)), gid, width),
        )
        for (pid, gid, mode, granted), locks in groups.items()
    ]


def _format_objects(locks: Sequence[LockFacts], name: str) -> str:
    first = next((each.object for each in locks if each.object == name), locks[0].object)
    more = f" and {len(locks) - 1:,} more" if len(locks) > 1 else ""
    return format_one_line(first, 200) + more


def format_hold(lock: LockFacts) -> str:
    """For how long a lock is held or waited for."""
    if not lock.granted:
        return f"has waited {format_duration(lock.wait_seconds)}"
    least, most = lock.held_seconds_at_least, lock.held_seconds_at_most
    if least is not None and most is not None and format_duration(least) == format_duration(most):
        return format_duration(most)
    bounds = [f"{format_duration(least)} at least"] if least is not None else []
    bounds += [f"{format_duration(most)} at most"] if most is not None else []
    return ", ".join(bounds) or "not known"


def _describe_holder(session: HolderFacts | None, gid: str | None, width: int | None) -> tuple[str, str, str]:
    if session is None:
        return (f"prepared transaction {format_name(gid)}" if gid else "?", "ended, or hidden from our role", "")
    if session.pid is None:
        return (f"prepared transaction {format_name(gid)} ({format_name(session.user)})", "prepared", "")
    statement = session.statement or ""
    return (
        format_origin(session),
        format_state(session),
        format_one_line(statement, width if width is not None else len(statement) + 1) if statement else "",
    )


def format_origin(session: HolderFacts) -> str:
    """Who a session is: its application, user and address."""
    if session.backend_type not in (None, "client backend"):
        return str(session.backend_type)
    return format_client(session.application, session.user, session.client)


def format_state(session: HolderFacts) -> str:
    """What a session does, and for how long."""
    wait = f", {session.wait_event_type}:{session.wait_event}" if session.wait_event_type == "Lock" else ""
    lasting = f" {format_duration(session.state_seconds)}" if session.state_seconds is not None else ""
    return f"{session.state or 'unknown'}{lasting}{wait}"


def _describe_waits(report: HolderReport) -> Iterator[str]:
    """For whom the listed sessions wait, and what those do that hold none of the locks themselves."""
    by_pid = {each.pid: each for each in report.sessions}
    for session in report.sessions:
        if session.listed and session.blocked_by:
            ahead = ", ".join(_name_blocker(pid, by_pid.get(pid)) for pid in session.blocked_by)
            yield f"{session.pid} waits for {ahead}"


def _name_blocker(pid: int, session: HolderFacts | None) -> str:
    if pid <= 0:
        return "a prepared transaction"
    if session is None or session.listed:
        return str(pid)
    seconds = session.transaction_seconds
    opened = f", transaction open for {format_duration(seconds)}" if seconds is not None else ""
    return f"{pid} ({format_origin(session)}, {format_state(session)}{opened})"


def build_lock_facts(listed: ListedLock, found: LockHolders) -> LockFacts:
    """A lock as it may be shown."""
    lock = listed.lock
    least, most = bound_hold(listed, found) if lock.granted else (None, None)
    names = Snapshot(found.captured_at, found.server, relations=found.relations, objects=found.objects)
    relation = found.relations.get(lock.relation) if lock.relation is not None else None
    is_here = lock.database in (0, found.server.database_oid)
    where = f" of database {format_name(listed.database)}" if lock.locktype == "advisory" and not is_here else ""
    return LockFacts(
        pid=listed.pid,
        prepared_gid=listed.gid,
        object=describe_object(names, lock, listed.database) + where,
        relation=relation.name if relation is not None and is_here else None,
        lock_type=lock.locktype,
        mode=lock.mode,
        granted=lock.granted,
        fast_path=listed.is_fast_path,
        held_seconds_at_least=least,
        held_seconds_at_most=most,
        wait_seconds=None if lock.granted else names.seconds_since(lock.waitstart),
    )


def build_session_facts(session: Session, found: LockHolders, listed: bool, show_literals: bool) -> HolderFacts:
    """A session as it may be shown; `listed`: it has one of the locks."""
    at = Snapshot(found.captured_at, found.server)
    return HolderFacts(
        pid=session.pid,
        prepared_gid=None,
        listed=listed,
        blocked_by=session.blockers,
        user=session.usename,
        database=session.datname,
        application=session.application_name,
        client=session.client_addr,
        backend_type=session.backend_type,
        state=session.state,
        state_seconds=at.seconds_since(session.state_change),
        transaction_seconds=at.seconds_since(session.xact_start),
        wait_event_type=session.wait_event_type,
        wait_event=session.wait_event,
        statement=show_statement(session.statement, show_literals),
    )


def build_prepared_facts(found: LockHolders) -> Iterator[HolderFacts]:
    """The prepared transactions that have one of the locks."""
    for gid in dict.fromkeys(each.gid for each in found.locks if each.gid is not None):
        prepared = find_prepared(gid, found)
        yield HolderFacts(
            pid=None,
            prepared_gid=gid,
            listed=True,
            blocked_by=(),
            user=prepared.owner if prepared else None,
            database=prepared.datname if prepared else None,
            application=None,
            client=None,
            backend_type=None,
            state=None,
            state_seconds=None,
            transaction_seconds=Snapshot(found.captured_at, found.server).seconds_since(
                prepared.prepared if prepared else None
            ),
            wait_event_type=None,
            wait_event=None,
            statement=None,
        )
