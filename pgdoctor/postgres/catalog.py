"""What is read from the catalogs about the relations that locks are about: names, sizes, indexes.

Raw columns only. Whatever fails is left out and said, never fatal: a session may hold a lock on a catalog.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from pgdoctor.errors import StatementFailed
from pgdoctor.model.snapshot import (
    ColumnStats,
    ForeignKey,
    IndexInfo,
    Lock,
    Relation,
    ScanCounts,
    ServerInfo,
    Session,
    SimpleView,
    UniqueKey,
)
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.fixed_catalogs import name_fixed_catalogs
from pgdoctor.postgres.read_batch import BatchFailed, Rows, reading_together
from pgdoctor.postgres.rows import read_row

#: Relations whose names are looked up in one poll, contested ones first.
MOST_RELATIONS = 2_000

#: Tables that running blockers work on of which more is read than name and size.
MOST_DETAILED = 200

#: Statements of a poll that may run into a locked catalog, half a second each, before no more are tried.
MOST_TIMEOUTS = 4

#: What a statement fails with behind a lock: lock_not_available, query_canceled.
_TIMEOUTS = frozenset({"55P03", "57014"})

#: Statements with values of clients among their parameters: an error might quote one.
_TAKES_VALUES = frozenset({"value_frequencies", "value_frequencies_by_functions"})

_TABLE_KINDS = ("r", "p", "m")

#: By table: the foreign keys that reference it; the tables below it, None where that could not be read.
References = dict[int, tuple[ForeignKey, ...]]
Parts = dict[int, tuple[int, ...] | None]

#: Rows of statistics by table and column.
Statistics = dict[tuple[int, str], Any]

_decode_keys = msgspec.json.Decoder(tuple[UniqueKey, ...]).decode


class CatalogReader:
    """Reads of catalogs that may fail without taking the snapshot with them: a session may hold a lock on one."""

    def __init__(self, connection: Connection, most_timeouts: int = MOST_TIMEOUTS) -> None:
        self._connection = connection
        self._most_timeouts = most_timeouts
        #: What could not be read, in plain words.
        self.unread: list[str] = []
        self._timeouts = 0

    async def fetch_rows(self, name: str, **parameters: object) -> Sequence[Any]:
        """The rows of a statement, none where the server refuses it."""
        return await self.answer(name, **parameters) or ()

    async def answer(self, name: str, **parameters: object) -> Rows | None:
        """The rows of a statement, None where the server refuses it. Concurrent answers share a round trip."""
        while not self._is_exhausted(name):
            try:
                return await self._connection.reads.fetch(name, **parameters)
            except StatementFailed as error:
                self._note_failure(name, error)
                break
            except BatchFailed:
                continue
        return None

    def _is_exhausted(self, name: str) -> bool:
        if self._timeouts < self._most_timeouts:
            return False
        self.unread.append(f"{_format_name(name)} were skipped: catalogs are locked")
        return True

    def _note_failure(self, name: str, error: StatementFailed) -> None:
        self._timeouts += error.sqlstate in _TIMEOUTS
        why = f"SQLSTATE {error.sqlstate}" if name in _TAKES_VALUES else str(error)
        self.unread.append(f"{_format_name(name)} could not be read: {why}")


def _format_name(name: str) -> str:
    return name.replace("_", " ")


#: What an incident needs besides the waits, with the parameters by which it is asked about nothing.
_NOTHING: Mapping[str, Mapping[str, object]] = {
    "role_names": {},
    "prepared_transactions": {},
    "memberships": {"role_oids": []},
    "signal_rights": {"role_oids": []},
    "wrapper": {},
    "relations": {"oids": []},
    "relations_alone": {"oids": []},
    "locked_objects": {"classids": [], "objids": [], "most_characters": 0},
    "foreign_keys": {"oids": []},
    "descendants": {"oids": []},
    "views": {"oids": []},
    "read_tables": {"pids": [], "names": []},
    "indexes": {"oids": []},
    "columns": {"oids": []},
    "statistics": {"tables": [], "schemas": []},
    "statistics_functions": {},
    "value_frequencies": {"relations": [], "columns": [], "literals": [], "tables": [], "schemas": []},
    "migration_tool_hints": {"pids": [], "database_oid": 0, "tables": [], "schemas": []},
    "ancestors": {"oids": []},
    "protected_names": {"roles": [], "databases": [], "schemas": [], "relations": []},
    "row_lockers": {"databases": [], "relations": [], "most": 0, "statement_bytes": 0},
    "catching_functions": {"names": []},
    "other_databases": {"oids": []},
    "replay": {},
    "replay_holders": {"startup_pid": 0, "conflict": "", "statement_bytes": 0, "most": 0},
    "changed_definitions": {"pids": [], "relations": [], "database_oid": 0},
}


async def warm_up_catalog(connection: Connection, *, statement_bytes: int) -> None:
    """Run, about nothing, what an incident will need.

    Planning reads pg_class, pg_index, pg_statistic and others about the catalogs themselves, once for a connection.
    While a session holds a lock on one of them it would be too late for that.
    """
    evidence = CatalogReader(connection)
    async with reading_together() as group:
        group.create_task(evidence.answer("lock_waits", statement_bytes=statement_bytes))
        for name, nothing in _NOTHING.items():
            group.create_task(evidence.answer(name, **nothing))


async def fetch_relations(
    server: ServerInfo,
    sessions: Mapping[int, Session],
    orphans: Sequence[Lock] | None,
    evidence: CatalogReader,
) -> dict[int, Relation]:
    """The relations that the locks are about, and the indexes of tables that a running blocker works on.

    `orphans`: the locks of prepared transactions.
    """

    def list_local_relations(locks: Iterable[Lock]) -> list[int]:
        return [
            lock.relation for lock in locks if lock.relation is not None and lock.database in (server.database_oid, 0)
        ]

    asked = {oid for session in sessions.values() for oid in list_local_relations(session.requests)}
    evident = [*(session.locks for session in sessions.values()), orphans or ()]
    held = {oid for locks in evident for oid in list_local_relations(locks)} - asked
    oids = list(islice((*asked, *sorted(held)), MOST_RELATIONS))
    if not oids:
        return {}
    # What a running blocker works on, tables or not: that is known with the names, and not before.
    worked_on = set(oids) & {
        oid
        for session in sessions.values()
        if session.state == "active" and not session.blockers
        for oid in list_local_relations(session.held)
    }
    rows, references, parts = await _fetch_related(oids, sorted(worked_on), evidence)
    tables = {oid for oid in worked_on & rows.keys() if rows[oid].kind in _TABLE_KINDS and not rows[oid].is_system}
    chosen = sorted(tables)[:MOST_DETAILED]
    details = await _fetch_details(chosen, rows, references, parts, evidence) if chosen else Details()
    views = await _fetch_simple_views(
        [oid for oid in sorted(worked_on & rows.keys()) if rows[oid].kind == "v"], evidence
    )
    read = {
        oid: read_row(
            Relation,
            row,
            table=row.table_oid,
            indexes=details.indexes.get(oid),
            columns=details.columns.get(oid),
            parts=details.parts.get(oid, ()),
            referenced_by=details.references.get(oid),
            scans=ScanCounts(row.scan_count, row.scan_rows) if row.kind in _TABLE_KINDS else None,
            view=views.get(oid),
        )
        for oid, row in rows.items()
    }
    return name_fixed_catalogs(oids) | read


async def _fetch_simple_views(oids: Sequence[int], evidence: CatalogReader) -> dict[int, SimpleView]:
    """Those of the views that show nothing but columns of one table."""
    found = await evidence.fetch_rows("views", oids=oids[:MOST_DETAILED]) if oids else ()
    return {
        row.view_oid: SimpleView(
            row.table_oid, dict(zip(row.names, row.columns, strict=False)), tuple(row.restricted_by)
        )
        for row in found
        if len(row.names) == len(row.columns)
    }


async def _fetch_relation_rows(oids: Sequence[int], evidence: CatalogReader) -> dict[int, Any]:
    """Name, kind and size of relations by OID; the tables of asked indexes too, unless pg_index is locked."""
    rows = await evidence.answer("relations", oids=oids)
    if rows is None:
        rows = await evidence.fetch_rows("relations_alone", oids=oids)
    return {row.oid: row for row in rows}


class Details(msgspec.Struct):
    """What is known of tables beyond name and size, by OID."""

    indexes: Mapping[int, tuple[IndexInfo, ...]] = {}
    columns: Mapping[int, Mapping[str, ColumnStats]] = {}
    parts: Mapping[int, tuple[int, ...] | None] = {}
    references: Mapping[int, tuple[ForeignKey, ...]] = {}


async def _fetch_related(
    oids: Sequence[int], worked_on: Sequence[int], evidence: CatalogReader
) -> tuple[dict[int, Any], References, Parts]:
    """The rows of relations, and of some of them the foreign keys to them and the tables below them."""
    async with reading_together() as group:
        rows = group.create_task(_fetch_relation_rows(oids, evidence))
        references = group.create_task(_fetch_references(worked_on, evidence))
        parts = group.create_task(_fetch_parts(worked_on, evidence))
    return rows.result(), references.result(), parts.result()


async def _fetch_details(
    tables: Sequence[int], rows: dict[int, Any], references: References, parts: Parts, evidence: CatalogReader
) -> Details:
    """Indexes and columns of tables, of their partitions, and of the tables that reference them.

    Relations without a known name are added to `rows`.
    """
    references = {oid: keys for oid, keys in references.items() if oid in tables}
    parts = {oid: below for oid, below in parts.items() if oid in tables and rows[oid].has_descendants}
    referencing = {key.table for keys in references.values() for key in keys} - {*tables}
    leaves = _collect_leaves(parts)
    async with reading_together() as group:
        group.create_task(_add_rows(referencing | leaves, rows, evidence))
        more_parts = group.create_task(_fetch_parts(sorted(referencing), evidence))
        indexes = group.create_task(_fetch_indexes(sorted({*tables, *referencing, *leaves}), evidence))
        columns = group.create_task(_fetch_columns(sorted({*tables, *referencing}), evidence))
        known = group.create_task(_fetch_statistics({oid: rows[oid] for oid in tables}, evidence))
    parts |= {oid: below for oid, below in more_parts.result().items() if oid in rows and rows[oid].has_descendants}
    more_leaves = _collect_leaves(parts) - leaves
    async with reading_together() as group:
        group.create_task(_add_rows(more_leaves, rows, evidence))
        more_indexes = group.create_task(_fetch_indexes(sorted(more_leaves), evidence))
        learnt = group.create_task(_fetch_statistics({oid: rows[oid] for oid in referencing & rows.keys()}, evidence))
        told = group.create_task(_statistics_by_functions(columns.result(), evidence))
    return Details(
        indexes={**indexes.result(), **more_indexes.result()},
        columns=_with_statistics(columns.result(), known.result() | learnt.result(), told.result()),
        parts=parts,
        references=references,
    )


def _collect_leaves(parts: Parts) -> set[int]:
    return {leaf for each in parts.values() for leaf in each or ()}


async def _add_rows(oids: Iterable[int], rows: dict[int, Any], evidence: CatalogReader) -> None:
    missing = sorted(set(oids) - rows.keys())
    if missing:
        rows |= await _fetch_relation_rows(missing, evidence)


async def _fetch_references(tables: Sequence[int], evidence: CatalogReader) -> References:
    """The foreign keys that reference each table; a table is left out where they could not be read."""
    rows = await evidence.answer("foreign_keys", oids=tables) if tables else None
    if rows is None:
        return {}
    found: dict[int, tuple[ForeignKey, ...]] = dict.fromkeys(tables, ())
    for row in rows:
        found[row.referenced_oid] += (
            read_row(
                ForeignKey,
                row,
                table=row.table_oid,
                columns=tuple(row.columns),
                referenced_columns=tuple(row.referenced_columns),
            ),
        )
    return found


async def _fetch_parts(tables: Sequence[int], evidence: CatalogReader) -> Parts:
    """The tables below each table; None where that could not be read."""
    if not tables:
        return {}
    rows = await evidence.answer("descendants", oids=tables)
    if rows is None:
        return dict.fromkeys(tables)
    return {table: tuple(row.oid for row in rows if row.root_oid == table) for table in tables}


async def _fetch_statistics(tables: Mapping[int, Any], evidence: CatalogReader) -> Statistics:
    """The statistics of columns by table and name; those of a partitioned table are of its partitions together."""
    oids = {(row.schema_name, row.bare_name): oid for oid, row in tables.items()}
    schemas, names = {schema for schema, _ in oids}, {name for _, name in oids}
    if not tables:
        return {}
    found = await evidence.fetch_rows("statistics", tables=sorted(names), schemas=sorted(schemas))
    return {
        (oid, row.name): row
        for row in found
        if (oid := oids.get((row.schema_name, row.table_name))) is not None
        and row.is_inherited == (tables[oid].kind == "p")
    }


async def _fetch_indexes(tables: Sequence[int], evidence: CatalogReader) -> dict[int, tuple[IndexInfo, ...]]:
    """The indexes of each table; a table is left out, not given none, where they could not be read."""
    rows = await evidence.answer("indexes", oids=tables) if tables else None
    if rows is None:
        return {}
    found: dict[int, tuple[IndexInfo, ...]] = dict.fromkeys(tables, ())
    for row in rows:
        found[row.table_oid] += (
            read_row(
                IndexInfo,
                row,
                keys=_decode_keys(row.keys),
                expression_columns=tuple(row.expression_columns),
                predicate_columns=None if row.predicate_columns is None else tuple(row.predicate_columns),
            ),
        )
    return found


async def _fetch_columns(tables: Sequence[int], evidence: CatalogReader) -> Rows:
    """A row for each column of the tables."""
    return await evidence.fetch_rows("columns", oids=tables)


async def _statistics_by_functions(columns: Rows, evidence: CatalogReader) -> Statistics | None:
    """Of columns whose statistics our role may not read; None where the functions for that are not there."""
    hidden = sorted({row.table_oid for row in columns if not row.is_readable})
    if not hidden or not await has_statistics_functions(evidence):
        return None
    found = await evidence.fetch_rows("statistics_by_functions", oids=hidden)
    return {(row.table_oid, row.name): row for row in found}


def _with_statistics(rows: Rows, readable: Statistics, told: Statistics | None) -> dict[int, dict[str, ColumnStats]]:
    """The columns of each table by name, with what is known of their statistics; `told`: by the functions."""
    statistics, by_functions = (told or {}) | readable, told is not None
    found: dict[int, dict[str, ColumnStats]] = {}
    for row in rows:
        analysed = statistics.get((row.table_oid, row.name))
        found.setdefault(row.table_oid, {})[row.name] = read_row(
            ColumnStats,
            row,
            null_share=analysed.null_share if analysed else None,
            distinct_values=analysed.distinct_values if analysed else None,
            top_share=(analysed.top_share or 0.0) if analysed else None,
            statistics_by="role" if row.is_readable else "functions" if by_functions else "nobody",
        )
    return found


async def fetch_read_tables(
    asked: Sequence[tuple[int, str]], evidence: CatalogReader
) -> tuple[dict[int, tuple[int, ...]], dict[int, Relation]]:
    """The tables of these names that sessions have locked, by PID; and what is known of them."""
    pids, names = [pid for pid, _ in asked], [name for _, name in asked]
    found = await evidence.fetch_rows("read_tables", pids=pids, names=names)
    oids = sorted({row.oid for row in found})
    if not oids:
        return {}, {}
    rows = await _fetch_relation_rows(oids, evidence)
    async with reading_together() as group:
        fetched = group.create_task(_fetch_columns(oids, evidence))
        known = group.create_task(_fetch_statistics(rows, evidence))
    told = await _statistics_by_functions(fetched.result(), evidence)
    columns = _with_statistics(fetched.result(), known.result(), told)
    relations = {
        oid: read_row(Relation, row, table=None, columns=columns.get(oid), parts=()) for oid, row in rows.items()
    }
    return {pid: tuple(row.oid for row in found if row.pid == pid) for pid in pids}, relations


async def has_statistics_functions(evidence: CatalogReader) -> bool:
    """Our role may use the functions of `pgdoctor setup --stats`."""
    found = await evidence.answer("statistics_functions")
    return bool(found and found[0].is_usable)


async def invalid_indexes(connection: Connection, relation: str | None) -> tuple[str, ...]:
    """The indexes of a relation, by its name with schema, that are not valid; none where that cannot be read."""
    if relation is None:
        return ()
    return tuple(row.name for row in await CatalogReader(connection).fetch_rows("invalid_indexes", relation=relation))
