"""Reads what a script is judged by: catalogs of the relations that it names, and what holds locks on them now.

Nothing of the script is sent but names, as parameters. The session is read-only, as each of pgdoctor's is.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from pgdoctor.errors import StatementFailed
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.lock_holders import LockHolders, LockTarget
from pgdoctor.model.preflight import (
    Catalog,
    ChangedRow,
    ColumnFacts,
    ConstraintFacts,
    FunctionFacts,
    LiveState,
    ObjectFacts,
    Rate,
    RelationFacts,
    RelationTie,
    TypeFacts,
)
from pgdoctor.model.snapshot import LockedObject, Relation
from pgdoctor.postgres.catalog import CatalogReader
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.lock_holders import fetch_lock_holders, fetch_sessions
from pgdoctor.postgres.role_names import RoleNames

S = TypeVar("S", bound=msgspec.Struct)

#: Names that are looked up, relations that are read, ties between them.
MOST_NAMES = 20_000
MOST_RELATIONS = 5_000
_MOST_TIES = 20_000
_MOST_ROWS = 50_000

#: Which way a tie is followed from a relation of the script, or of what depends on it; and from all others.
_FROM_SOURCE = frozenset({"child", "index", "toast", "view", "sequence"})
_FROM_TARGET = frozenset({"child", "foreign_key", "index", "sequence", "view"})
_FROM_OTHERS = frozenset({"child", "index", "toast"})

#: Relations of which columns and constraints are read.
_WITH_COLUMNS = ("r", "p", "f", "m", "v")

#: The OID of `pg_authid`, the same on every server.
ROLE_CATALOG = 1260

_DEFAULT_PATH = ("$user", "public")


async def fetch_catalog(
    connection: Connection,
    names: Collection[str],
    functions: Collection[str],
    *,
    path: Sequence[str] | None = None,
    with_checks: bool = False,
    schemas: Collection[str] = (),
) -> Catalog:
    """What the server knows of the relations, types and functions that a script may name. Raises ServerError.

    `names`: as written, parts joined by dots. `path`: the search path that the script sets itself.
    `schemas`: those of which all relations are read.
    """
    searched = [connection.user if each == "$user" else each for each in path or await _fetch_path(connection)]
    named = await _resolve_names(connection, sorted(names)[:MOST_NAMES], searched)
    objects = await _fetch_objects(connection, {*names, *functions, *searched, *schemas})
    types = _read_rows(
        TypeFacts,
        await connection.fetch(
            "preflight_types", names=sorted({name.rpartition(".")[2] for name in names})[:MOST_NAMES], most=_MOST_ROWS
        ),
    )
    first = {oid for oids in named.values() for oid in oids}
    first |= {each.relation for each in objects if each.relation}
    first |= {oid for each in types for oid in (each.relation, *each.tables) if oid}
    if schemas:
        members = await connection.fetch("preflight_members", schemas=sorted(schemas), most=_MOST_ROWS)
        first |= {row.oid for row in members}
    oids, ties, is_cut = await _follow_ties(connection, first)
    relations = _read_rows(RelationFacts, await connection.fetch("preflight_relations", oids=sorted(oids)))
    tables = sorted(each.oid for each in relations if each.kind in _WITH_COLUMNS)
    return Catalog(
        named=named,
        relations={each.oid: each for each in relations},
        ties=ties,
        columns=_read_rows(ColumnFacts, await connection.fetch("preflight_columns", oids=tables, most=_MOST_ROWS)),
        constraints=_read_rows(
            ConstraintFacts, await connection.fetch("preflight_constraints", oids=tables, most=_MOST_ROWS)
        ),
        types=types,
        functions=_read_rows(
            FunctionFacts, await connection.fetch("preflight_functions", names=sorted(functions)[:MOST_NAMES])
        ),
        objects=objects,
        path=tuple(each for each in searched if any((found.kind, found.name) == ("schema", each) for found in objects)),
        checks=await _fetch_checks(connection, tables) if with_checks else {},
        is_cut=is_cut,
    )


async def fetch_live_state(
    connection: Connection,
    catalog: Catalog,
    oids: Collection[int],
    rates: Mapping[int, Rate],
    keys: Collection[AdvisoryKey] = (),
    rows: Collection[tuple[int, int]] = (),
) -> LiveState:
    """Who holds or awaits locks on these relations now, and the transactions with a snapshot. Raises ServerError.

    `keys`: objects and advisory locks that are asked for, too; `rows`: (classid, OID), rows of catalogs.
    """
    changed, unread = await _fetch_changed_rows(connection, sorted(rows))
    target = LockTarget(
        "relation",
        "the script",
        {oid: _as_relation(catalog.relations[oid]) for oid in oids},
        keys=tuple(sorted(keys)),
        transactions=tuple({each.transaction for each in changed}),
    )
    holders: LockHolders = await fetch_lock_holders(connection, target)
    snapshots = await connection.fetch(
        "preflight_transactions", database_oid=holders.server.database_oid, most=MOST_RELATIONS
    )
    missing = {row.pid for row in snapshots} - holders.sessions.keys()
    more = await fetch_sessions(connection, missing, RoleNames(), CatalogReader(connection))
    holders = replace(
        holders,
        sessions={**holders.sessions, **more},
        objects=tuple(_as_object(each) for each in catalog.objects),
        unread=(*holders.unread, *unread),
    )
    return LiveState(holders, tuple(row.pid for row in snapshots), changed, rates)


async def _fetch_changed_rows(
    connection: Connection, rows: Sequence[tuple[int, int]]
) -> tuple[tuple[ChangedRow, ...], tuple[str, ...]]:
    """The rows of catalogs that a transaction has changed, and what could not be read."""
    if not rows:
        return (), ()
    found = _read_rows(
        ChangedRow,
        await connection.fetch(
            "preflight_changed_rows",
            classids=[classid for classid, _ in rows],
            oids=[oid for _, oid in rows],
            most=_MOST_ROWS,
        ),
    )
    roles = [oid for classid, oid in rows if classid == ROLE_CATALOG]
    if not roles:
        return found, ()
    try:
        changed = await connection.fetch("preflight_changed_roles", oids=roles)
    except StatementFailed:
        return found, ("not known: transactions that have changed these roles, for only a superuser may read them",)
    return (*found, *_read_rows(ChangedRow, changed)), ()


async def _fetch_objects(connection: Connection, names: Collection[str]) -> tuple[ObjectFacts, ...]:
    bare = sorted({part for name in names for part in name.split(".")})[:MOST_NAMES]
    return _read_rows(ObjectFacts, await connection.fetch("preflight_objects", names=bare, most=_MOST_ROWS))


async def measure_rates(connection: Connection, oids: Collection[int], seconds: float) -> dict[int, Rate]:
    """How much each table is used, over so many seconds; where it is used, over three times as many.

    Sessions report their counts once a second. So a rate is taken from one report to a later one. Raises ServerError.
    """
    if not oids:
        return {}
    readings = [await _read_counts(connection, oids)]
    most = seconds
    while _measured_seconds(readings) < most:
        await asyncio.sleep(seconds / 8)
        readings.append(await _read_counts(connection, oids))
        if any(_count(readings[-1][oid]) != _count(row) for oid, row in readings[0].items() if oid in readings[-1]):
            most = 3 * seconds
    return {oid: _measure_rate([each[oid] for each in readings if oid in each]) for oid in readings[-1]}


async def _read_counts(connection: Connection, oids: Collection[int]) -> dict[int, Any]:
    return {row.oid: row for row in await connection.fetch("preflight_rates", oids=sorted(oids))}


def _measured_seconds(readings: Sequence[Mapping[int, Any]]) -> float:
    # By the server's clock: our own also counts the way there.
    first, last = (next(iter(each.values()), None) for each in (readings[0], readings[-1]))
    return inf if first is None or last is None else (last.at - first.at).total_seconds()


def _count(row: Any) -> int:
    return int(row.scans + row.changes)


def _measure_rate(rows: Sequence[Any]) -> Rate:
    return Rate(_per_second(rows, "scans"), _per_second(rows, "changes"))


def _per_second(rows: Sequence[Any], counter: str) -> float:
    """From the first report that arrived to the last one; where these are too few, over the whole time."""
    reports = [row for before, row in pairwise(rows) if getattr(row, counter) != getattr(before, counter)]
    is_enough = len(reports) > 1 and (reports[-1].at - reports[0].at).total_seconds() > 0.9
    first, last = (reports[0], reports[-1]) if is_enough else (rows[0], rows[-1])
    elapsed: float = max((last.at - first.at).total_seconds(), 0.001)
    return max(float(getattr(last, counter) - getattr(first, counter)), 0.0) / elapsed


async def _resolve_names(
    connection: Connection, names: Sequence[str], path: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """By name, what it may mean: the first in the search path, or else all of that name."""
    asked = [(name, *_split(name)) for name in names if name.count(".") <= 1]
    if not asked:
        return {}
    rows = await connection.fetch(
        "preflight_names",
        schemas=[schema for _, schema, _ in asked],
        names=[relation for _, _, relation in asked],
        most=_MOST_ROWS,
    )
    order = {schema: place for place, schema in reversed([*enumerate(path)])}
    order.setdefault("pg_catalog", -1)
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(asked[row.place - 1][0], []).append(row)
    return {name: _choose(meant, order) for name, meant in found.items()}


def _choose(rows: list[Any], order: Mapping[str, int]) -> tuple[int, ...]:
    inside = [row for row in rows if row.schema in order]
    if inside:
        return (min(inside, key=lambda row: order[row.schema]).oid,)
    return tuple(row.oid for row in rows)


async def _fetch_path(connection: Connection) -> Sequence[str]:
    rows = await connection.fetch("preflight_path")
    return [part.strip().strip('"') for part in rows[0].search_path.split(",")] if rows else _DEFAULT_PATH


def _split(name: str) -> tuple[str, str]:
    schema, _, relation = name.rpartition(".")
    return schema, relation


async def _follow_ties(
    connection: Connection, first: Collection[int]
) -> tuple[set[int], tuple[RelationTie, ...], bool]:
    """All relations that DDL on the first ones may touch, the ties between them, and whether that was too much."""
    inner, others = set(first), set[int]()
    todo, asked = set(first), set[int]()
    ties: dict[RelationTie, None] = {}
    while todo:
        asked |= todo
        rows = await connection.fetch("preflight_edges", oids=sorted(todo), most=_MOST_TIES)
        found = [RelationTie(**row._asdict()) for row in rows]
        ties.update(dict.fromkeys(found))
        for tie in found:
            _take_in(tie, inner, others)
        if len(rows) >= _MOST_TIES or len(inner | others) > MOST_RELATIONS:
            return inner | others, tuple(ties), True
        todo = (inner | others) - asked
    return inner | others, tuple(ties), False


def _take_in(tie: RelationTie, inner: set[int], others: set[int]) -> None:
    if tie.source in inner:
        (inner if tie.kind in _FROM_SOURCE else others).add(tie.target)
    if tie.target in inner:
        depends = tie.kind == "foreign_key"
        (inner if depends else others).update({tie.source} if tie.kind in _FROM_TARGET else ())
    if tie.source in others and tie.kind in _FROM_OTHERS:
        others.add(tie.target)
    if tie.target in others and tie.kind == "view":
        others.add(tie.source)


async def _fetch_checks(connection: Connection, tables: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The valid CHECKs of tables; none where a lock on one of them conflicts."""
    try:
        rows = await connection.fetch("preflight_checks", oids=tables, most=_MOST_ROWS)
    except StatementFailed:
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for row in rows:
        found[row.table_oid] = (*found.get(row.table_oid, ()), row.definition)
    return found


def _read_rows(kind: type[S], rows: Sequence[Any]) -> tuple[S, ...]:
    return tuple(kind(**{name: _frozen(getattr(row, name)) for name in kind.__struct_fields__}) for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_object(facts: ObjectFacts) -> LockedObject:
    name = f"{facts.schema}.{facts.name}" if facts.schema else facts.name
    return LockedObject(facts.classid, facts.oid, facts.kind, name)


def _as_relation(facts: RelationFacts) -> Relation:
    return Relation(
        oid=facts.oid,
        name=facts.shown,
        kind=facts.kind,
        is_system=False,
        pages=facts.pages,
        live_rows=max(facts.rows, 0.0),
    )
