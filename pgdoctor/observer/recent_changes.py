"""What has changed of late on a server: what an on-call engineer asks first, once somebody is hurt.

Some of it the server says (its start, the last reload), some is remembered: applications that were never seen before,
and DDL. A statement of DDL shows while it runs, and after it while its session says nothing else; what it has done to
relations of the connected database shows by the next look, but not who did it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.formatting import format_client, format_name
from pgdoctor.model.lock_modes import STRONG
from pgdoctor.model.server_context import RecentChange, ServerContext
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.redact import redact

#: What is older is no longer news.
RECENT = timedelta(minutes=15)

#: Applications and changes that are remembered; clients may name themselves anew each time.
_MOST_APPLICATIONS = 1_000
_MOST_CHANGES = 50

#: The server reads its configuration at its start, a moment before or after it notes the time.
_AT_ONCE = timedelta(seconds=1)

#: Ourselves: who looks at the server has changed nothing.
_OURS = "pgdoctor"

#: Connections of one application that speak of a pool, and not of somebody at a terminal.
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

#: Made and dropped within one session; nobody else ever sees it.
_TEMPORARY = ("create temp", "create local temp", "create global temp")


class KnownRelations(NamedTuple):
    """What was there before; the times are the server's."""

    #: By name, when it was seen last; None: nobody has looked yet.
    applications: Mapping[str, datetime] | None = None
    changes: tuple[RecentChange, ...] = ()
    #: Relations that were found to be altered at the last look, each with the transaction that did it.
    altered: frozenset[tuple[int, int]] = frozenset()
    read_at: datetime | None = None


def extend_known(seen: KnownRelations, now: ServerContext) -> KnownRelations:
    """What is to be remembered with one more look."""
    known = seen.applications
    here = {each.application for each in now.clients if each.application and each.application != _OURS}
    if known is None:
        found = list(_all_new(now))
    else:
        fresh = sorted(here - known.keys())
        found = [
            RecentChange(now.read_at, "application", f"{format_client(each)} connected for the first time")
            for each in fresh
        ]
    found += _ddl(now)
    found += _altered(now, seen, found)
    names = {**(known or {}), **dict.fromkeys(here, now.read_at)}
    latest = sorted(names, key=names.__getitem__)[-_MOST_APPLICATIONS:]
    altered = frozenset((each.oid, each.written_by) for each in now.altered) or seen.altered
    return KnownRelations(
        {each: names[each] for each in latest}, _merged(seen.changes, found, now.read_at), altered, now.read_at
    )


def with_migrations(seen: KnownRelations, snapshot: Snapshot) -> KnownRelations:
    """What is to be remembered with the DDL among those who wait or block."""
    found = [
        RecentChange(session.query_start, "ddl", _said(session.statement, session.application_name, session.usename))
        for session in snapshot.sessions.values()
        if session.query_start is not None
        and session.statement
        and any(lock.locktype == "relation" and lock.mode in STRONG for lock in session.locks)
        and statement.read_statement(session.statement, truncated=session.truncated).is_ddl
    ]
    return seen._replace(changes=_merged(seen.changes, found, snapshot.captured_at)) if found else seen


def with_changes(now: ServerContext, seen: KnownRelations) -> ServerContext:
    """The surroundings with all that is news in them, the latest first."""
    news = sorted((*seen.changes, *_told(now)), key=lambda change: change.at, reverse=True)
    return replace(now, changes=tuple(change for change in news if now.read_at - change.at <= RECENT))


def _told(now: ServerContext) -> Iterator[RecentChange]:
    if now.standing is None:
        return
    yield RecentChange(now.standing.started, "start", "the server started")
    if now.standing.configured - now.standing.started > _AT_ONCE:
        yield RecentChange(now.standing.configured, "reload", "the configuration was reloaded")


def _all_new(now: ServerContext) -> Iterator[RecentChange]:
    """Applications whose connections are all new, where nobody has looked before: they may have been deployed."""
    first: dict[str, datetime] = {}
    number: dict[str, int] = {}
    for each in now.clients:
        if each.application and each.application != _OURS and each.oldest is not None:
            first[each.application] = min(each.oldest, first.get(each.application, each.oldest))
            number[each.application] = number.get(each.application, 0) + each.connections
    for application, oldest in first.items():
        if (many := number[application]) >= _A_POOL:
            yield RecentChange(
                oldest, "application", f"{format_client(application)} is new: all of its {many} connections are new"
            )


def _ddl(now: ServerContext) -> Iterator[RecentChange]:
    for each in now.latest:
        if now.read_at - each.began > RECENT or each.statement.lower().startswith(_TEMPORARY):
            continue
        if statement.read_statement(each.statement, truncated=True).is_ddl:
            yield RecentChange(each.began, "ddl", _said(each.statement, each.application, each.user))


def _altered(now: ServerContext, seen: KnownRelations, found: Sequence[RecentChange]) -> Iterator[RecentChange]:
    """Relations with new entries in the catalog, unless a statement names them that began since the last look."""
    said = [each.what.lower() for each in found if seen.read_at and each.at >= seen.read_at]
    tables = {each.oid for each in now.altered}
    for each in now.altered:
        is_new = (each.oid, each.written_by) not in seen.altered and each.table_oid not in tables
        if is_new and not any(each.bare_name.lower() in what for what in said):
            yield RecentChange(
                now.read_at, "ddl", f"{_KINDS[each.kind]} {format_name(each.name)} was created, altered or rewritten"
            )


def _said(text: str, application: str | None, user: str | None) -> str:
    statement = redact(text)
    shown = statement if len(statement) <= _STATEMENT_WIDTH else statement[: _STATEMENT_WIDTH - 1] + "…"
    return f"{shown} by {format_client(application, user)}"


def _merged(old: tuple[RecentChange, ...], new: list[RecentChange], now: datetime) -> tuple[RecentChange, ...]:
    both = {(change.at, change.what): change for change in (*old, *new)}
    news = [change for change in both.values() if now - change.at <= RECENT]
    return tuple(sorted(news, key=lambda change: change.at)[-_MOST_CHANGES:])
