"""A short look into another database of the server, outside of the snapshots: one connection, closed afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pgdoctor.errors import ServerError
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.database_pool import DatabaseAddress, DatabasePool
from pgdoctor.postgres.other_databases import OFF, POOLED, find_objection

#: The state of a login that has not ended; the process of the server may go on waiting.
HANGS = "login_hangs"

T = TypeVar("T")


def find_reason_to_stay(connection: Connection) -> str:
    """Why no other database is looked into from this connection; empty without an objection."""
    if not connection.looks_into_databases:
        return OFF
    return POOLED if connection.is_pooled else ""


async def list_databases(connection: Connection, most: int, names: Sequence[str] | None = None) -> list[Any]:
    """The other databases by name, as `other_databases.sql` has them. Raises ServerError."""
    listed = await connection.fetch("connectable_databases", most=most, names=None if names is None else list(names))
    oids = [row.oid for row in listed]
    return sorted(await connection.fetch("other_databases", oids=oids), key=lambda row: str(row.name)) if oids else []


async def visit_database(
    connection: Connection, row: Any, work: Callable[[Connection], Awaitable[T]], patience: float
) -> T:
    """The result of work in a database of `list_databases`. Raises ServerError, also after `patience` seconds."""
    if objection := find_reason_to_stay(connection) or find_objection(row, 0):
        raise ServerError(objection)
    pool = DatabasePool(connection, DatabaseAddress(row.oid, row.name, row.started))
    try:
        async with asyncio.timeout(patience):
            return await pool.use_connection(work)
    except TimeoutError:
        raise ServerError(f"it did not answer within {patience:g} s", HANGS) from None
    finally:
        await pool.close()
