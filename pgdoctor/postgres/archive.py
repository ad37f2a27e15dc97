"""The archive: a PostgreSQL database into which agents copy their incidents. Each write may be repeated.

Raises ServerError: Unreachable where the archive does not answer, StatementFailed where it refuses.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from pgdoctor.errors import StatementFailed
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.queries import load_sql

#: Of the tables that `create_archive.sql` creates; a newer one is left alone.
ARCHIVE_VERSION = 1

_VERSION = re.compile(r"pgdoctor archive, version (\d{1,6})")

#: Deadlines that one batch may take.
_BATCH_DEADLINES = 6

#: insufficient_privilege; duplicate_schema, unique_violation: another agent creates the same at the same time.
_DENIED = "42501"
_MEANWHILE = ("42P06", "23505", "42P07")


class Write(NamedTuple):
    """A statement of `sql/archive/` with its parameters."""

    name: str
    parameters: Mapping[str, object]


async def prepare_archive(connection: Connection) -> None:
    """Create the archive's tables where there are none; afterwards the database is an archive of our version."""
    version = await _fetch_version(connection)
    if version is None:
        try:
            await connection.within_deadline(_run_all(connection, [Write("create_archive", {})]), _BATCH_DEADLINES)
        except StatementFailed as error:
            if error.sqlstate == _DENIED:
                hint = "the role needs CREATE on the database: use a database that it owns"
                raise StatementFailed(f"the archive cannot be created: {hint}", error.sqlstate) from None
            if error.sqlstate not in _MEANWHILE:
                raise
        version = await _fetch_version(connection)
    _refuse_other_version(version)
    await _refuse_code_of_others(connection)


async def _refuse_code_of_others(connection: Connection) -> None:
    [state] = await connection.fetch("archive_state")
    if not state.is_ours:
        raise StatementFailed(
            "the schema pgdoctor_archive, a part of it, a trigger or a foreign key belongs to another role, whose code "
            "would run as ours: use a database that the role owns",
            sqlstate=None,
        )


async def check_archive(connection: Connection) -> None:
    """Raise StatementFailed where the database is no archive of our version."""
    version = await _fetch_version(connection)
    if version is None:
        raise StatementFailed("the database has no archive: an agent with [archive] dsn creates it", sqlstate=None)
    _refuse_other_version(version)


def _refuse_other_version(version: int | None) -> None:
    if version != ARCHIVE_VERSION:
        raise StatementFailed(
            f"the archive has version {version}; this pgdoctor knows version {ARCHIVE_VERSION}", sqlstate=None
        )


async def write_archive(connection: Connection, writes: Sequence[Write], months: Iterable[datetime] = ()) -> None:
    """Write all in one transaction and one round trip. `months`: moments whose partitions have to exist first."""
    # Again for each batch: a trigger may have been made since.
    await _refuse_code_of_others(connection)
    added = [Write("add_archive_month", {"moment": moment}) for moment in months]
    await connection.within_deadline(_run_all(connection, [*added, *writes]), _BATCH_DEADLINES)


async def drop_archive_months(connection: Connection, before: datetime) -> None:
    """Drop the months of the archive that ended before a moment."""
    drop = Write("drop_archive_months", {"before": before})
    await connection.within_deadline(_run_all(connection, [drop]), _BATCH_DEADLINES)


async def fetch_archived_records(
    connection: Connection,
    kinds: Sequence[str],
    since: datetime,
    until: datetime,
    *,
    subject: str | None = None,
    server: str | None = None,
    most: int,
) -> Sequence[Any]:
    """Rows of `server`, `kind`, `subject`, `at`, `body`, in the order of time."""
    return await _read_archive(
        connection,
        "archived_records",
        kinds=list(kinds),
        since=since,
        until=until,
        subject=subject,
        server=server,
        most=most,
    )


async def fetch_archived_snapshots(connection: Connection, incident: str) -> Sequence[Any]:
    """Rows of `server`, `at`, `body` of the snapshots of an incident, in the order of time."""
    return await _read_archive(connection, "archived_snapshots", incident=incident)


async def fetch_archived_blockers(connection: Connection, since: datetime) -> Sequence[Any]:
    """The blockers of incidents that began since a moment."""
    return await _read_archive(connection, "archived_blockers", since=since)


async def _read_archive(connection: Connection, name: str, **parameters: object) -> Sequence[Any]:
    """The rows of a statement, after the archive was checked. Its owner may change it, so just before each read."""
    await check_archive(connection)
    return await connection.fetch(name, **parameters)


async def _fetch_version(connection: Connection) -> int | None:
    """The version of the archive's tables; None: there are none. Raises StatementFailed where there can be none."""
    [state] = await connection.fetch("archive_state")
    if state.encoding != "UTF8":
        raise StatementFailed(f"the archive needs a database in UTF8; this one is in {state.encoding}", sqlstate=None)
    found = _VERSION.fullmatch(state.description or "")
    if state.in_recovery and found is None:
        raise StatementFailed("the archive is a standby, which cannot be written to", sqlstate=None)
    if state.description is not None and found is None:
        raise StatementFailed("its schema pgdoctor_archive is not an archive of pgdoctor", sqlstate=None)
    if not state.is_plain:
        raise StatementFailed(
            "the schema pgdoctor_archive has a view, or uses a function, an operator or a type of a user, whose code "
            "would run as this role: drop it",
            sqlstate=None,
        )
    return int(found[1]) if found else None


async def _run_all(connection: Connection, writes: Sequence[Write]) -> None:
    """Raises the first error of the driver; nothing is written then."""
    first: psycopg.Error | None = None
    async with connection.connection.transaction(), connection.connection.cursor() as cursor:
        await cursor.execute(load_sql("allow_writing"), prepare=False)
        if len(writes) == 1:
            await cursor.execute(load_sql(writes[0].name), writes[0].parameters or None, prepare=False)
            return
        try:
            async with connection.connection.pipeline():
                try:
                    for write in writes:
                        await cursor.execute(load_sql(write.name), write.parameters, prepare=not connection.is_pooled)
                except psycopg.Error as error:
                    first = error
        except psycopg.Error as error:
            first = first or error
        if first is not None:
            raise first
