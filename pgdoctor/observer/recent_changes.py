"""What has changed recently on a server: what an on-call engineer asks first, once sessions are blocked.

Some of it the server says (its start, the last reload). Some is remembered: applications that were not seen before,
the server's role and timeline, and DDL. A statement of DDL shows while it runs, and after it while its session says
nothing else. Its changes to relations of the connected database show at the next reading, but without the role.
No time is said that is not certain: where the server does not keep the time of a commit, there are bounds. Nothing is
called new before there was time to see what is usual.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.formatting import format_client, format_duration, format_name
from pgdoctor.model.lock_modes import STRONG
from pgdoctor.model.server_context import AlteredRelation, RecentChange, ServerContext
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.redact import redact

#: Older changes are no longer news.
RECENT = timedelta(minutes=15)

#: How long a server has to have been watched before an application that comes is one that was not there before.
_BASELINE = RECENT

#: Applications and changes that are remembered; clients may change their names each time.
_MOST_APPLICATIONS = 1_000
_MOST_CHANGES = 50

#: The server reads its configuration at its start, a moment before or after it notes the time.
_AT_ONCE = timedelta(seconds=1)

#: Ourselves: who looks at the server has changed nothing.
_OURS = "pgdoctor"

#: Connections of one application that speak of a pool, and not of a person at a terminal.
_A_POOL = 3

_STATEMENT_WIDTH = 100

#: What people call a relation, by its kind in pg_class.
_KINDS = {
    "r": "table",
    "p": "table",
    "f": "foreign table",
    "v": "view",
    "m": "materialized view",
    "i": "index",
    "I": "index",
}

#: Made and dropped within one session; no other session ever sees it.
_TEMPORARY = ("create temp", "create local temp", "create global temp")


class KnownRelations(NamedTuple):
    """What was there before; the times are the server's."""

    #: By name, when it was seen last; None: not read yet.
    applications: Mapping[str, datetime] | None = None
    changes: tuple[RecentChange, ...] = ()
    #: Relations that were found to be altered at the last poll, each with the transaction that did it.
    altered: frozenset[tuple[int, int]] = frozenset()
    read_at: datetime | None = None
    #: Since when applications have been remembered.
    since: datetime | None = None
    #: The last poll has read all relations that were altered before it, and the next transaction id at that time.
    is_altered_read: bool = False
    next_xid: int | None = None
    #: The server as of the last poll.
    server: "ServerRole | None" = None


class ServerRole(NamedTuple):
    """Which server it is, and what it is: what a restart or a failover changes."""

    system_identifier: str
    in_recovery: bool
    timeline: int | None
    started: datetime


def extend_known(seen: KnownRelations, now: ServerContext) -> KnownRelations:
    """What is to be remembered with one more poll."""
    here = {each.application for each in now.clients if each.application and each.application != _OURS}
    found = [*_find_new_applications(now, seen, here), *_role_changes(now, seen), *_find_ddl(now)]
    found += _find_altered(now, seen, found)
    names = {**(seen.applications or {}), **dict.fromkeys(here, now.read_at)}
    latest = sorted(names, key=names.__getitem__)[-_MOST_APPLICATIONS:]
    altered = frozenset((each.oid, each.written_by) for each in now.altered) or seen.altered
    return KnownRelations(
        {each: names[each] for each in latest},
        _merge_changes(seen.changes, found, now.read_at),
        altered,
        now.read_at,
        seen.since or now.read_at,
        now.is_altered_read,
        now.next_xid,
        _read_role(now) or seen.server,
    )


def carry_over(seen: KnownRelations) -> KnownRelations:
    """What still holds on another connection, behind which may be another server, where OIDs mean other relations."""
    return seen._replace(altered=frozenset(), is_altered_read=False, next_xid=None)


def with_migrations(seen: KnownRelations, snapshot: Snapshot) -> KnownRelations:
    """What is to be remembered with the DDL among those who wait or block."""
    found = [
        RecentChange(
            session.query_start,
            "ddl",
            _describe_statement(session.statement, session.application_name, session.usename),
        )
        for session in snapshot.sessions.values()
        if session.query_start is not None
        and session.statement
        and any(lock.locktype == "relation" and lock.mode in STRONG for lock in session.locks)
        and statement.read_statement(session.statement, truncated=session.truncated).is_ddl
    ]
    return seen._replace(changes=_merge_changes(seen.changes, found, snapshot.captured_at)) if found else seen


def with_changes(now: ServerContext, seen: KnownRelations) -> ServerContext:
    """The server context with its recent changes, the latest first."""
    known = _group_repeats(seen.changes)
    is_told = {change.at for change in known if change.kind == "restart"}
    told = (change for change in _find_server_changes(now) if change.kind != "start" or change.at not in is_told)
    news = sorted((*known, *told), key=lambda change: change.at, reverse=True)
    return replace(now, changes=tuple(change for change in news if now.read_at - change.at <= RECENT))


def _group_repeats(changes: Sequence[RecentChange]) -> list[RecentChange]:
    """The same statement, sent again and again, as one change: of the last time, with how often and since when."""
    groups: dict[tuple[str, str], list[RecentChange]] = {}
    for change in changes:
        groups.setdefault((change.kind, change.what), []).append(change)
    return [
        each[0] if len(each) == 1 else replace(each[-1], times=len(each), first=each[0].at)
        for each in (sorted(group, key=lambda change: change.at) for group in groups.values())
    ]


def _find_server_changes(now: ServerContext) -> Iterator[RecentChange]:
    if now.standing is None:
        return
    yield RecentChange(now.standing.started, "start", "the server started")
    if now.standing.configured - now.standing.started > _AT_ONCE:
        yield RecentChange(now.standing.configured, "reload", "the configuration was reloaded")


def _read_role(now: ServerContext) -> ServerRole | None:
    if now.standing is None:
        return None
    return ServerRole(now.system_identifier, now.in_recovery, now.standing.timeline, now.standing.started)


def _role_changes(now: ServerContext, seen: KnownRelations) -> Iterator[RecentChange]:
    """A restart or a failover between the last poll and this one."""
    before, after, role = seen.server, seen.read_at, _read_role(now)
    if before is None or role is None or after is None:
        return
    for what in _describe_failover(before, role):
        yield RecentChange(now.read_at, "failover", what, is_exact=False, after=after)
        return
    if before.started < role.started:
        yield RecentChange(role.started, "restart", "the server restarted")


def _describe_failover(before: ServerRole, now: ServerRole) -> Iterator[str]:
    if before.system_identifier and now.system_identifier and before.system_identifier != now.system_identifier:
        yield "another server answers at this address: its system identifier differs"
    elif before.in_recovery and not now.in_recovery:
        yield "the server was promoted: a standby before, it is a primary now"
    elif now.in_recovery and not before.in_recovery:
        yield "a standby answers where a primary was before"
    elif before.timeline and now.timeline and before.timeline != now.timeline:
        yield f"failover: the timeline is {now.timeline}, and was {before.timeline} before"


def _find_new_applications(now: ServerContext, seen: KnownRelations, here: set[str]) -> Iterator[RecentChange]:
    if seen.applications is None:
        yield from _all_new(now)
    elif seen.since is not None and now.read_at - seen.since >= _BASELINE:
        for each in sorted(here - seen.applications.keys()):
            watched = format_duration((now.read_at - seen.since) / timedelta(seconds=1))
            what = f"{format_client(each)} connected, for the first time in {watched}"
            yield RecentChange(now.read_at, "application", what, is_exact=False, after=seen.read_at)


def _all_new(now: ServerContext) -> Iterator[RecentChange]:
    """Applications whose connections are all young, at the first poll: they may have been deployed, or reconnected."""
    if now.standing is None or now.read_at - now.standing.started <= RECENT:
        # All connections are younger than the server.
        return
    first: dict[str, datetime] = {}
    number: dict[str, int] = {}
    for each in now.clients:
        if each.application and each.application != _OURS and each.oldest is not None:
            first[each.application] = min(each.oldest, first.get(each.application, each.oldest))
            number[each.application] = number.get(each.application, 0) + each.connections
    for application, oldest in first.items():
        if (many := number[application]) >= _A_POOL:
            what = f"{format_client(application)} connected: none of its {many} connections is older"
            yield RecentChange(oldest, "application", what)


def _find_ddl(now: ServerContext) -> Iterator[RecentChange]:
    for each in now.latest:
        if now.read_at - each.began > RECENT or each.statement.lower().startswith(_TEMPORARY):
            continue
        if statement.read_statement(each.statement, truncated=True).is_ddl:
            yield RecentChange(each.began, "ddl", _describe_statement(each.statement, each.application, each.user))


def _find_altered(now: ServerContext, seen: KnownRelations, found: Sequence[RecentChange]) -> Iterator[RecentChange]:
    """Relations with new entries in the catalog, unless a statement names them that began since the last poll."""
    said = [each.what.lower() for each in found if seen.read_at and each.at >= seen.read_at]
    tables = {each.oid for each in now.altered}
    for each in now.altered:
        is_new = (each.oid, each.written_by) not in seen.altered and each.table_oid not in tables
        if is_new and not any(each.bare_name.lower() in what for what in said):
            yield _build_change(each, now, seen)


def _build_change(relation: AlteredRelation, now: ServerContext, seen: KnownRelations) -> RecentChange:
    what = f"{_KINDS[relation.kind]} {format_name(relation.name)} was created, altered or rewritten"
    if relation.committed is not None:
        return RecentChange(relation.committed, "ddl", what)
    if seen.is_altered_read or _is_after(relation.written_by, seen.next_xid):
        return RecentChange(now.read_at, "ddl", what, is_exact=False, after=seen.read_at)
    # An open transaction is older than the change, and so the server tells of it, whenever it was.
    return RecentChange(seen.read_at or now.read_at, "ddl", what, is_exact=False)


def _is_after(written_by: int, next_xid: int | None) -> bool:
    """Whether a transaction id was given out once another was the next; ids go round after 2³²."""
    return next_xid is not None and (written_by - next_xid) % (1 << 32) < 1 << 31


def _describe_statement(text: str, application: str | None, user: str | None) -> str:
    statement = redact(text)
    shown = statement if len(statement) <= _STATEMENT_WIDTH else statement[: _STATEMENT_WIDTH - 1] + "…"
    return f"{shown} by {format_client(application, user)}"


def _merge_changes(old: tuple[RecentChange, ...], new: list[RecentChange], now: datetime) -> tuple[RecentChange, ...]:
    both = {(change.at, change.what): change for change in (*old, *new)}
    news = [change for change in both.values() if now - change.at <= RECENT]
    return tuple(sorted(news, key=lambda change: change.at)[-_MOST_CHANGES:])
