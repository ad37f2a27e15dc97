"""Names of locked objects other than relations, of those that a session waits for."""

from collections.abc import Mapping

from pgdoctor.diagnosis.blocker.lock_names import OBJECT_TYPES
from pgdoctor.model.snapshot import LockedObject, ServerInfo, Session
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.rows import read_row

#: Objects that are looked up in one poll, and characters of a name: a function's has the types of its arguments.
MOST_OBJECTS = 100
MOST_CHARACTERS = 200


async def fetch_locked_objects(
    server: ServerInfo, sessions: Mapping[int, Session], evidence: CatalogReader
) -> tuple[LockedObject, ...]:
    """Type and name of each object that a session waits for, in the connected database or shared by all."""
    asked = {
        (lock.classid, lock.objid)
        for session in sessions.values()
        for lock in session.requests
        if lock.locktype == "object" and lock.database in (0, server.database_oid) and lock.classid in OBJECT_TYPES
    }
    chosen = sorted(each for each in asked if each[1])[:MOST_OBJECTS]
    if not chosen:
        return ()
    classids, objids = (list(each) for each in zip(*chosen, strict=True))
    rows = await evidence.fetch_rows(
        "locked_objects", classids=classids, objids=objids, most_characters=MOST_CHARACTERS
    )
    return tuple(read_row(LockedObject, row) for row in rows)
