"""The text that all pgdoctors of a role at a server share: the role's own setting of `application_name`.

A role may change its own settings without any right, all roles may read them, from any database, and only the role
itself, a superuser or (by `CREATEROLE`) its administrator may write them. Measured on 14 and 18: a setting of our own
name (`pgdoctor.record`) needs a superuser, on 15 and later a grant by one. `application_name` takes any ASCII text of
any length; a session of pgdoctor's names itself when it connects, so the role's setting reaches none of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.rows import namedtuple_row

from pgdoctor.errors import StatementFailed
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.queries import load_sql

#: What a transaction fails with where another session has changed the same row meanwhile ("tuple concurrently updated",
#: or two first rows at once): the next attempt sees it.
_MEANWHILE = ("XX000", "23505")
_ATTEMPTS = 5

_STANDBY = "this server is a standby, which cannot be written to: run the command at the primary"


class StoredRecord(NamedTuple):
    """The text of one role; None: there is none."""

    role: str
    text: str | None
    is_own: bool = True


async def read_record(connection: Connection) -> StoredRecord:
    """The record of our own role. Raises ServerError."""
    [found] = await connection.fetch("shared_record")
    return StoredRecord(found.role, found.record)


async def read_records(connection: Connection) -> list[StoredRecord]:
    """The texts of all roles that have one, of any author. Raises ServerError."""
    return [StoredRecord(each.role, each.record, each.is_own) for each in await connection.fetch("shared_records")]


async def rewrite_record(
    connection: Connection, change: Callable[[str | None], str | None], role: str | None = None
) -> StoredRecord:
    """Read the record and write what `change` makes of it, and let no other session write in between; what is there
    now.

    Nothing is written where `change` returns None, or what was there. `role`: another one than ours, whose settings we
    may change. Raises ServerError, and what `change` raises; then nothing is written.
    """
    if (await connection.fetch("shared_record"))[0].in_recovery:
        raise StatementFailed(_STANDBY, "25006")
    for attempt in range(_ATTEMPTS):
        try:
            return await connection.within_deadline(_rewrite_text(connection, change, role))
        except StatementFailed as error:
            if attempt + 1 == _ATTEMPTS or error.sqlstate not in _MEANWHILE:
                raise
    raise AssertionError


async def _rewrite_text(
    connection: Connection, change: Callable[[str | None], str | None], role: str | None
) -> StoredRecord:
    named = sql.SQL("SESSION_USER") if role is None else sql.Identifier(role)

    async with connection.connection.transaction(), connection.connection.cursor(row_factory=namedtuple_row) as cursor:
        await cursor.execute(load_sql("allow_writing"), prepare=False)
        if settings := connection.transaction_settings:
            # Behind a pooler, where the session is not ours to pin.
            await cursor.execute(settings.encode(), prepare=False)
        await cursor.execute(sql.SQL(load_sql("hold_record")).format(role=named), prepare=False)
        await cursor.execute(load_sql("shared_record" if role is None else "shared_records"), prepare=False)
        rows: list[Any] = await cursor.fetchall()
        found = next((each for each in rows if role in (None, each.role)), None)
        before = found.record if found else None
        after = change(before)
        if after is not None and after != before:
            written = sql.SQL(load_sql("write_record")).format(role=named, record=sql.Literal(after))
            await cursor.execute(written, prepare=False)
        return StoredRecord(role or (found.role if found else ""), before if after is None else after, role is None)
