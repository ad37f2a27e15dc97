"""Which kind of statement took a lock that blocks another session, or asks for it: DDL, LOCK TABLE, maintenance,
or none.

A blocker's class follows from this, and not from its other locks. The lock itself decides: its mode, and what it is on.
Only where several kinds of statements take such a lock does the text decide, and then what the transaction has done.

Source: PostgreSQL documentation, "Explicit Locking"; the locks of 138 statements measured on 12 to 18.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.index_advice.scanned_tables import find_named_table
from pgdoctor.model.lock_modes import MAY_BE_DDL, STRONG
from pgdoctor.model.snapshot import Lock, Relation
from pgdoctor.model.waits import LARGE_OBJECT_CATALOGS
from pgdoctor.sqltext import ddl, statement_kinds
from pgdoctor.sqltext.ddl import AE, SUE, E, Part, S

Origin = Literal["ddl", "lock_table", "maintenance"]
_Origins = frozenset[Origin]

_NONE: _Origins = frozenset()
_DDL: _Origins = frozenset({"ddl"})
_LOCK_TABLE: _Origins = frozenset({"lock_table"})
_MAINTENANCE: _Origins = frozenset({"maintenance"})

_FAMILIES: Mapping[str, _Origins] = {"ddl": _DDL, "lock": _LOCK_TABLE, "maintenance": _MAINTENANCE}

#: DDL that takes no strong lock on any relation that exists.
_READING = frozenset({"create_table_as", "create_materialized_view"})

#: The modes in which a kind of maintenance locks a table or one of its indexes. VACUUM cuts off empty pages at its end.
_MAINTENANCE_MODES: Mapping[str, frozenset[str]] = {
    "vacuum": frozenset({SUE, AE}),
    "analyze": frozenset({SUE}),
    "reindex": frozenset({S, AE}),
    "reindex_concurrently": frozenset({SUE, AE}),
    "refresh": frozenset({AE}),
    "refresh_concurrently": frozenset({E}),
    "vacuum_full": frozenset({AE}),
    "cluster": frozenset({AE}),
    "repack": frozenset({AE}),
    "repack_concurrently": frozenset({SUE, AE}),
}

#: The catalog of databases. NOTIFY locks row 0 of it while it commits, and that is no DDL.
_DATABASES = 1262

#: Large objects are locked under the OID of this catalog, and are data of users.
_LARGE_OBJECT = 2613

#: The catalog of comments. COMMENT keeps its lock on it, and ANALYZE takes none.
_COMMENTS = 2609


def blocks_by(facts: BlockerFacts, origin: Origin) -> bool:
    """Whether a statement of this kind took a lock that blocks another session, or asks for one that others queue
    behind.

    Where none did, the statement that it runs now decides: it keeps the transaction open.
    """
    found = frozenset().union(*(_find_origins(facts, lock) for lock in facts.obstacles))
    return origin in found if found else _is_running(facts, origin)


def explain_doubt(facts: BlockerFacts) -> Iterator[str]:
    """Says what tells DDL from LOCK TABLE where the text of the blocker is that of another statement."""
    lock = next((lock for lock in facts.obstacles if _is_ambiguous(facts, lock)), None)
    if lock is None or facts.session is None:
        return
    if not lock.granted:
        yield f"{lock.mode} is requested by DDL and by LOCK TABLE: its text does not show which"
    elif facts.redefines:
        yield "its transaction has changed a definition, as the catalogs show: the lock is that of DDL"
    elif lock.mode == SUE:
        return
    elif not facts.session.has_xid or facts.redefines is False:
        yield "its transaction has changed no definition: LOCK TABLE took the lock, or DDL that found nothing to do"
    else:
        yield f"{lock.mode} is taken by DDL and by LOCK TABLE: its text does not show which"


def explain_view(facts: BlockerFacts) -> Iterator[str]:
    """Says that LOCK TABLE on a view took the lock on a table behind it, or asks for it."""
    if not any(lock.locktype == "relation" and "lock_table" in _find_origins(facts, lock) for lock in facts.obstacles):
        return
    modes = {lock.mode for lock in facts.obstacles if lock.locktype == "relation"}
    locked = (facts.snapshot.table_of(lock) for lock in facts.strong_table_locks if lock.granted and lock.mode in modes)
    view = next((table for table in locked if table is not None and table.kind == "v"), None)
    if view is not None:
        yield f"LOCK TABLE on a view ({view.name}) locks the tables behind it, too"


def _is_running(facts: BlockerFacts, origin: Origin) -> bool:
    """It runs a statement of this kind now: its request says so, or its text and the lock on a relation that it names.

    Temporary relations do not count, nor do those that its own transaction has created.
    """
    if facts.session is None or not facts.is_running:
        return False
    asked = [lock for lock in facts.strong_table_locks if not lock.granted]
    if asked:
        return any(origin in _find_origins(facts, lock) for lock in asked)
    found = ddl.split_parts(facts.session.statement or "", truncated=facts.session.truncated)
    if (
        len(found) != 1
        or origin not in _FAMILIES.get(found[0].family, _NONE)
        or found[0].kind in statement_kinds.CREATING
    ):
        return False
    # LOCK TABLE only runs for as long as it waits.
    return found[0].family == "lock" or found[0].effect.is_concurrent or _has_locked_a_target(facts, found[0])


def _find_origins(facts: BlockerFacts, lock: Lock) -> _Origins:
    """The kinds of statements that may have taken the lock, or ask for it; none for that of plain reads and writes."""
    match lock.locktype:
        case "object":
            is_of_notify = lock.classid == _DATABASES and not lock.objid
            return _NONE if is_of_notify or lock.classid == _LARGE_OBJECT else _DDL
        case "transactionid":
            return _DDL if _is_on_a_catalog(facts.blocking_table) else _NONE
        case "relation" if lock.mode in STRONG:
            return _told_by_object(facts, lock) or _told_by_text(facts, lock) or _told_by_transaction(facts, lock)
    return _NONE


def _told_by_object(facts: BlockerFacts, lock: Lock) -> _Origins:
    """What the mode and the relation say for sure. Tables are locked in ExclusiveLock by LOCK TABLE alone."""
    table = facts.snapshot.table_of(lock)
    if lock.mode == E and table is not None and table.kind in ("r", "p"):
        return _LOCK_TABLE
    if lock.mode == E and table is not None and table.kind == "m":
        return _MAINTENANCE
    return _NONE


def _told_by_text(facts: BlockerFacts, lock: Lock) -> _Origins:
    """What its current or last statements say, those of them that take such a lock."""
    session = facts.session
    if session is None:
        return _NONE
    found = ddl.split_parts(session.statement or "", truncated=session.truncated)
    return frozenset(
        origin for part in found if _may_take(part, lock, facts) for origin in _FAMILIES.get(part.family, _NONE)
    )


def _may_take(part: Part, lock: Lock, facts: BlockerFacts) -> bool:
    match part.family:
        case "lock":
            names_it = not lock.granted or _names_lock(part, lock, facts) or _names_above(part, lock, facts)
            return names_it and part.effect.mode in (None, lock.mode)
        case "maintenance":
            return lock.mode in _MAINTENANCE_MODES.get(part.kind, ())
        case "ddl":
            if _locks_a_parent(part, lock, facts):
                return True
            return lock.mode != E and part.kind not in (statement_kinds.CREATING if lock.granted else _READING)
    return False


def _names_lock(part: Part, lock: Lock, facts: BlockerFacts) -> bool:
    table = facts.snapshot.table_of(lock)
    return table is None or any(find_named_table(each, [table]) for each in part.targets)


def _names_above(part: Part, lock: Lock, facts: BlockerFacts) -> bool:
    """The statement names a view or a partitioned table that is locked in the same mode: what is below is locked,
    too."""
    above = (each for each in facts.strong_table_locks if each.granted and each.mode == lock.mode)
    tables = (facts.snapshot.table_of(each) for each in above)
    return any(
        find_named_table(name, [table]) for table in tables if table and table.kind in "vp" for name in part.targets
    )


def _locks_a_parent(part: Part, lock: Lock, facts: BlockerFacts) -> bool:
    """It is CREATE TABLE, and this the lock on the partitioned, inherited or referenced table that it names."""
    table = facts.snapshot.table_of(lock)
    return table is not None and any(
        mode == lock.mode and find_named_table(name, [table]) is not None for name, mode in part.parents
    )


def _told_by_transaction(facts: BlockerFacts, lock: Lock) -> _Origins:
    """What is left where its text is that of another statement: DDL has changed a catalog, and so has an id."""
    table, session = facts.snapshot.table_of(lock), facts.session
    if table is not None and (table.kind == "m" or _is_rebuilt(facts, lock)):
        return _MAINTENANCE
    if session is None or not lock.granted:
        return _DDL
    if lock.mode == AE and facts.node in facts.snapshot.clustering:
        return _MAINTENANCE
    if lock.mode == SUE:
        return _DDL if facts.redefines or _has_commented(facts) else _NONE
    return _DDL if session.has_xid and facts.redefines is not False else _LOCK_TABLE


def _has_commented(facts: BlockerFacts) -> bool:
    return any(lock.locktype == "relation" and lock.relation == _COMMENTS for lock in facts.held_locks)


def _is_rebuilt(facts: BlockerFacts, lock: Lock) -> bool:
    """REINDEX locks the index more strongly than the table; DROP INDEX and ALTER TABLE lock the table as well."""
    table = facts.snapshot.table_of(lock)
    if table is None or not (facts.is_on_index(lock) or lock.mode == S):
        return False
    modes = {each.mode for each in facts.held_locks if each.locktype == "relation" and each.relation == table.oid}
    has_index = any(
        each.mode == AE and facts.is_on_index(each) and facts.snapshot.table_of(each) == table
        for each in facts.held_locks
    )
    return S in modes and AE not in modes and has_index


def _is_ambiguous(facts: BlockerFacts, lock: Lock) -> bool:
    """Only the transaction tells by what statement it was taken."""
    if lock.locktype != "relation" or lock.mode not in MAY_BE_DDL:
        return False
    if _told_by_object(facts, lock) or _told_by_text(facts, lock):
        return False
    return "maintenance" not in _told_by_transaction(facts, lock)


def _is_on_a_catalog(table: Relation | None) -> bool:
    return table is not None and table.is_system and table.oid not in LARGE_OBJECT_CATALOGS


def _has_locked_a_target(facts: BlockerFacts, part: Part) -> bool:
    """It has a strong lock on a relation that the statement names, or none at all: GRANT, or DDL that just begins."""
    if not any(lock.locktype == "relation" and lock.mode in STRONG for lock in facts.locks):
        return True
    relations = [facts.snapshot.relations.get(lock.relation or 0) for lock in facts.strong_table_locks]
    known = list({each.oid: each for each in relations if each is not None}.values())
    return any(find_named_table(target, known) is not None for target in part.targets)
