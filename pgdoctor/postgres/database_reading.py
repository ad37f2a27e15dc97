"""Reads another database for a snapshot: what the first connection reads in its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from pgdoctor.model.snapshot import Lock, OtherDatabase, ServerInfo, Session, Snapshot
from pgdoctor.postgres.cancel_handlers import fetch_catching
from pgdoctor.postgres.catalog import CatalogReader, fetch_relations
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.explain_statements import explain_searches
from pgdoctor.postgres.locked_objects import fetch_locked_objects
from pgdoctor.postgres.other_databases import DatabaseAnswer, DatabaseReading
from pgdoctor.postgres.progress import TraceTracker, fetch_redefinitions
from pgdoctor.postgres.read_batch import reading_together
from pgdoctor.postgres.value_shares import fetch_value_shares

#: Statements that may run into a locked catalog, before no more are tried.
_MOST_TIMEOUTS = 2


class SessionsSeen(NamedTuple):
    """The sessions of an incident as they are known before anything else is read."""

    captured_at: datetime
    server: ServerInfo
    sessions: Mapping[int, Session]
    #: The locks of prepared transactions.
    orphans: Sequence[Lock] | None
    #: By PID, the OID of the database.
    databases: Mapping[int, int | None]

    def count_elsewhere(self) -> Counter[int]:
        """How many of the sessions each database has, by OID, without the connected one."""
        return Counter(oid for oid in self.databases.values() if oid and oid != self.server.database_oid)

    def list_sessions(self, oid: int, name: str) -> dict[int, Session]:
        """The sessions of one database, with its name."""
        return {
            pid: replace(session, datname=name)
            for pid, session in self.sessions.items()
            if self.databases.get(pid) == oid
        }


class DatabaseReader:
    """Reads databases, and remembers of each which tools were found in it."""

    def __init__(self) -> None:
        self._trackers: dict[int, TraceTracker] = {}

    async def read(
        self, seen: SessionsSeen, oid: int, name: str, connection: Connection, *, explains: bool
    ) -> DatabaseReading:
        """What is to be known of a database about these sessions. Raises ServerError where the connection is lost."""
        evidence = CatalogReader(connection, _MOST_TIMEOUTS)
        server = replace(seen.server, database=name, database_oid=oid)
        own = seen.list_sessions(oid, name)
        tracker = self._trackers.setdefault(oid, TraceTracker())
        async with reading_together() as group:
            relations = group.create_task(fetch_relations(server, seen.sessions, seen.orphans, evidence))
            objects = group.create_task(fetch_locked_objects(server, seen.sessions, evidence))
            traces = group.create_task(tracker.find_traces(own, oid, evidence))
            redefines = group.create_task(fetch_redefinitions(own, oid, evidence))
            catching = group.create_task(fetch_catching(own, evidence))
        view = Snapshot(
            captured_at=seen.captured_at,
            server=server,
            sessions={**seen.sessions, **own},
            relations=relations.result(),
            objects=objects.result(),
        )
        async with reading_together() as group:
            ancestors = group.create_task(_fetch_ancestors(sorted(view.relations), evidence))
            shares = group.create_task(fetch_value_shares(view, evidence))
        view = replace(view, value_shares=shares.result())
        return DatabaseReading(
            relations=view.relations,
            objects=view.objects,
            ancestors=ancestors.result(),
            traces=traces.result(),
            redefines=redefines.result().changed,
            clustering=redefines.result().clustering,
            catching=catching.result(),
            value_shares=view.value_shares,
            plans=await explain_searches(view, connection) if explains else {},
            unread=tuple(evidence.unread),
        )


def with_databases(
    snapshot: Snapshot, answers: Mapping[int, DatabaseAnswer], names: Mapping[int, str | None]
) -> Snapshot:
    """The snapshot with what was read in other databases, and why not in those that were not.

    `names`: as they were learnt earlier.
    """
    found, unread = {}, list(snapshot.unread)
    for oid, answer in answers.items():
        reading = answer.reading
        if reading is None:
            found[oid] = OtherDatabase(answer.name or names.get(oid), unread=answer.unread)
            continue
        if reading.unread and not reading.relations:
            found[oid] = OtherDatabase(answer.name, unread=reading.unread[0])
            continue
        found[oid] = OtherDatabase(answer.name, reading.relations, reading.objects, reading.ancestors)
        unread += [f"in database {answer.name}: {each}" for each in reading.unread]
        snapshot = _with_sessions(snapshot, reading)
    return replace(snapshot, databases=found, unread=tuple(unread))


def _with_sessions(snapshot: Snapshot, reading: DatabaseReading) -> Snapshot:
    """The snapshot with what was read of single sessions."""
    caught = (pid for pid in reading.catching if pid in snapshot.sessions)
    return replace(
        snapshot,
        sessions={
            **snapshot.sessions,
            **{pid: replace(snapshot.sessions[pid], may_catch_cancel=True) for pid in caught},
        },
        traces={**snapshot.traces, **reading.traces},
        redefines={**snapshot.redefines, **reading.redefines},
        clustering=snapshot.clustering | reading.clustering,
        plans={**snapshot.plans, **reading.plans},
        value_shares={**snapshot.value_shares, **reading.value_shares},
    )


async def _fetch_ancestors(oids: list[int], evidence: CatalogReader) -> Mapping[int, frozenset[str]] | None:
    """The names of all tables above each relation; None where they could not be read."""
    rows = await evidence.answer("ancestors", oids=oids) if oids else ()
    if rows is None:
        return None
    found: dict[int, frozenset[str]] = dict.fromkeys(oids, frozenset())
    for row in rows:
        found[row.oid] |= {row.name}
    return found
