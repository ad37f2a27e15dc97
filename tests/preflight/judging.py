"""Judges statements about the fixture schema, and reads what a server really locks for them."""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from pgdoctor.model.lock_modes import MODES, modes_conflict
from pgdoctor.model.preflight import Catalog
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.preflight import fetch_catalog
from pgdoctor.preflight.effect import telling_modes
from pgdoctor.preflight.judge import Judged, Settings, emptied_schemas, judge_script, mentioned_names
from pgdoctor.preflight.script import split_script
from tests.scenes import Scene

HERE = Path(__file__).parent
FIXTURE = (HERE / "fixture.sql").read_text(encoding="utf-8")

_SINCE = re.compile(r"\[(\d+)\] ")

_RELATIONS = """
    select c.oid, format('%I.%I', n.nspname, c.relname), c.relfilenode, c.relkind, pg_stat_get_xact_numscans(c.oid)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'side', 'pg_toast') and c.oid >= 16384
"""
_OBJECT_LOCKS = """
    select classid, objid, mode from pg_locks
    where pid = %s and locktype = 'object' and (classid, objid) in (
        select tableoid, oid from pg_type union all select tableoid, oid from pg_proc
        union all select tableoid, oid from pg_namespace union all select tableoid, oid from pg_authid
        union all select tableoid, oid from pg_extension union all select tableoid, oid from pg_publication
        union all select tableoid, oid from pg_database union all select tableoid, oid from pg_statistic_ext
    )
    -- Statistics that go with their table are reached by the lock on that.
    and (classid <> 'pg_statistic_ext'::regclass or mode <> 'AccessExclusiveLock')
"""
#: Read by another session, which sees the rows as they were before, and who changes them.
_CHANGED = """
    select tableoid, oid from (
        select tableoid, oid, xmax from pg_class union all select tableoid, oid, xmax from pg_type
        union all select tableoid, oid, xmax from pg_proc union all select tableoid, oid, xmax from pg_namespace
        union all select tableoid, oid, xmax from pg_authid union all select tableoid, oid, xmax from pg_publication
        union all select tableoid, oid, xmax from pg_database
    ) x where xmax::text = %s
"""
_LOCKS = "select relation, mode from pg_locks where pid = %s and locktype = 'relation'"

Locks = set[tuple[str, str]]


class Real(NamedTuple):
    """What a statement did: relations by name, those that were there before."""

    locks: Locks
    rewritten: set[str]
    scanned: set[str]
    #: Objects that are no relations, and modes; the mode is empty where a row of a catalog was changed.
    objects: set[tuple[tuple[int, int], str]]


def statements(version: int) -> list[str]:
    """The statements that run on a server of that major version; `[18]` in front of one: from 18 on."""
    found = []
    for line in (HERE / "statements.sql").read_text(encoding="utf-8").splitlines():
        since = _SINCE.match(line)
        if line and (since is None or int(since[1]) <= version):
            found.append(_SINCE.sub("", line, count=1))
    return found


def stage(scene: Scene) -> None:
    """Make the fixture schema with the role `clerk`, and let the server measure it."""
    scene.role("clerk")
    scene.admin.execute(FIXTURE)
    scene.admin.execute("vacuum analyze")


def fetch(dsn: str, scripts: Iterable[str]) -> tuple[Catalog, int]:
    """The catalog for these scripts, and the server's major version."""
    parts = [part for script in scripts for part in split_script(script)]
    names, functions = mentioned_names(parts)
    schemas = emptied_schemas(parts)

    async def ask() -> tuple[Catalog, int]:
        async with await Connection.open(dsn, 20) as connection:
            catalog = await fetch_catalog(connection, names, functions, with_checks=True, schemas=schemas)
            return catalog, connection.version_num // 10_000

    return asyncio.run(ask())


def judge(script: str, catalog: Catalog | None = None, version: int = 18, **settings: Any) -> tuple[Judged, ...]:
    """All statements of a script, with no size that counts as small unless one is given."""
    parts = tuple(split_script(script))
    return judge_script(parts, catalog, version, Settings(**{"small_bytes": 0, **settings}))


def run(admin: psycopg.Connection, statement: str, other: psycopg.Connection | None = None) -> Real:
    """Run a statement in a transaction that is rolled back, and read what it locked and did.

    `other`: a session that reads which objects it locked and changed.
    """
    admin.execute("begin")
    try:
        before = relation_names(admin)
        _execute(admin, statement)
        locks = read_locks(admin, admin.info.backend_pid, before)
        after = relation_names(admin)
        objects = _read_objects(admin, other) if other is not None else set()
    finally:
        admin.execute("rollback")
    stayed = [(row, after[oid]) for oid, row in before.items() if oid in after and row[3] in "rm"]
    return Real(
        locks,
        {row[1] for row, now in stayed if now[2] != row[2]},
        {row[1] for row, now in stayed if (now[4] or 0) > (row[4] or 0)},
        objects,
    )


def _read_objects(admin: psycopg.Connection, other: psycopg.Connection) -> set[tuple[tuple[int, int], str]]:
    pid = admin.info.backend_pid
    xid = admin.execute("select txid_current_if_assigned()::text").fetchone()
    locks = {((row[0], row[1]), row[2]) for row in other.execute(_OBJECT_LOCKS, [pid]).fetchall()}
    changed = other.execute(_CHANGED, xid).fetchall() if xid and xid[0] else []
    return locks | {((row[0], row[1]), "") for row in changed}


def relation_names(admin: psycopg.Connection) -> dict[int, Any]:
    """The relations of the fixture that are there now, by OID."""
    return {row[0]: row for row in admin.execute(_RELATIONS).fetchall()}


def read_locks(admin: psycopg.Connection, pid: int, before: dict[int, Any]) -> Locks:
    """The modes that a session holds or awaits on relations that were there before, but for those that say nothing."""
    modes: dict[str, list[str]] = {}
    for oid, mode in admin.execute(_LOCKS, [pid]).fetchall():
        if oid in before:
            modes.setdefault(before[oid][1], []).append(mode)
    return {(name, mode) for name, found in modes.items() for mode in telling_modes(list(dict.fromkeys(found)))}


def said_locks(judged: Judged) -> Locks:
    return {(lock.name, lock.mode) for lock in judged.effect.locks}


def uncovered(real: Locks, said: Locks) -> Locks:
    """The real locks that block something which no lock that was said blocks."""
    blocked: dict[str, set[str]] = {}
    for name, mode in said:
        blocked.setdefault(name, set()).update(_blocked_by(mode))
    return {(name, mode) for name, mode in real if not _blocked_by(mode) <= blocked.get(name, set())}


def _blocked_by(mode: str) -> set[str]:
    return {other for other in MODES if modes_conflict(mode, other)}


def _execute(admin: psycopg.Connection, statement: str) -> None:
    if not statement.startswith("copy"):
        admin.execute(statement)
        return
    with admin.cursor().copy(statement) as copy:
        if "stdin" in statement:
            copy.write("1\t100\n")
        else:
            for _ in copy:
                pass
