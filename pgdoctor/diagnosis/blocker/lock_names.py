"""Names of locked objects and of waits, in words, for every lock type of `pg_locks`.

Source: PostgreSQL documentation, "pg_locks"; the NOTIFY queue from `PreCommit_Notify` in async.c, page locks from
`ginInsertCleanup` in ginfast.c. OIDs of system catalogs are the same on every server.
"""

from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.snapshot import Lock, Relation, Session, Snapshot
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.statement_kinds import DDL

_DATABASE_CATALOG = 1262

#: What an object lock is on, by the OID of the catalog that has the object. Only these are looked up by name.
OBJECT_TYPES = {
    1213: "tablespace",
    1247: "type",
    1255: "function",
    1260: "role",
    1262: "database",
    1417: "foreign server",
    1418: "user mapping",
    2328: "foreign-data wrapper",
    2600: "aggregate",
    2601: "access method",
    2605: "cast",
    2606: "constraint",
    2607: "conversion",
    2612: "language",
    2613: "large object",
    2615: "schema",
    2616: "operator class",
    2617: "operator",
    2618: "rule",
    2620: "trigger",
    2753: "operator family",
    3079: "extension",
    3256: "policy",
    3381: "statistics object",
    3456: "collation",
    3466: "event trigger",
    3576: "transform",
    3600: "text search dictionary",
    3601: "text search parser",
    3602: "text search configuration",
    3764: "text search template",
    6100: "subscription",
    6104: "publication",
}

#: The same, for objects that have no name of their own.
_NAMELESS_TYPES = {6000: "replication origin", 6106: "publication's table", 6237: "publication's schema"}

#: What a row of other catalogs is about.
_CATALOG_ROWS = {
    826: "default privilege",
    1249: "column",
    1259: "table, index, view and sequence",
    1261: "membership in a role",
    2224: "sequence",
    2610: "index",
    2964: "setting of a role or database",
}

#: Locks whose whole meaning is their type.
_BY_TYPE = {
    "frozenid": "the frozen transaction IDs of a database, which VACUUM updates",
    "applytransaction": "a remote transaction that a subscription applies",
    "userlock": "a user lock",
}

#: Statements that insert a key: it may be there already, in a transaction that has not ended.
_INSERTS = frozenset({"insert", "copy_from"}) | DDL

#: A function that waits as CREATE_REPLICATION_SLOT does.
_NEW_SLOT = "pg_create_logical_replication_slot"

#: Statements that search for rows to change or lock: one whose key is another one's new key waits for that, too.
_FINDS_ROWS = frozenset({"update", "delete", "select_for_update"})


def is_notify_queue(lock: Lock) -> bool:
    """The lock under which transactions with NOTIFY commit, one at a time; it is held until the commit is over."""
    return (lock.locktype, lock.database, lock.classid, lock.objid) == ("object", 0, _DATABASE_CATALOG, 0)


def describe_object(snapshot: Snapshot, lock: Lock, datname: str | None = None) -> str:
    """What a lock is on: `public.orders`, `role app`, `advisory key 42`. `datname`: the database of its session."""
    match lock.locktype:
        case "relation":
            return _name_relation(snapshot, lock, datname)
        case "extend":
            return f"the extension of {_name_file(snapshot, lock, datname)}"
        case "tuple":
            return f"a row of {_name_relation(snapshot, lock, datname)}"
        case "page":
            return _name_page(snapshot, lock, datname)
        case "object":
            return _name_object(snapshot, lock, datname)
        case "advisory":
            return f"advisory key {advisory_key(lock)}"
        case "transactionid":
            return f"transaction {lock.transactionid}"
        case "virtualxid":
            return f"virtual transaction {lock.virtualxid}"
        case "spectoken":
            return f"a key that transaction {lock.transactionid} is inserting with ON CONFLICT"
    return _BY_TYPE.get(lock.locktype, f"a {lock.locktype}")


def describe_wait(snapshot: Snapshot, waiter: Session, request: Lock, table: Relation | None, blocker: str = "") -> str:
    """What a session waits for: `AccessShareLock on public.orders`, `its turn to extend public.load`.

    `table`: what the wait is about, where that is known. `blocker`: the text of the statement that it waits for.
    """
    name = _name_from(snapshot, waiter, table)
    match request.locktype:
        case "transactionid" if builds_snapshot(waiter):
            return f"the end of transaction {request.transactionid}, to begin logical decoding"
        case "transactionid" if waits_for_key(snapshot, waiter, table):
            verb = "has inserted" if statement.read_statement(blocker).kind in _INSERTS else "has written"
            return f"a key{f' of {name}' if name else ''} that transaction {request.transactionid} {verb}"
        case "transactionid" if _may_wait_for_key(waiter, blocker):
            return f"a row or a key{f' of {name}' if name else ''}"
        case "transactionid" | "tuple":
            return f"a row of {name}" if name else "a row"
        case "virtualxid":
            of = f", for {name}" if name else ""
            return f"the end of {describe_object(snapshot, request)}{of}"
        case "spectoken":
            return describe_object(snapshot, request)
        case "extend":
            return f"its turn to extend {_name_file(snapshot, request, waiter.datname)}"
    why = ", to log in" if waiter.is_starting else ""
    return f"{request.mode} on {describe_object(snapshot, request, waiter.datname)}{why}"


def is_of_waiter_alone(waiter: Session, request: Lock) -> bool:
    """What a session waits for, and on which table, is the same whatever session it waits for."""
    if request.locktype not in ("transactionid", "spectoken"):
        return True
    return any(lock.locktype == "tuple" for lock in waiter.held)


def _name_from(snapshot: Snapshot, waiter: Session, table: Relation | None) -> str | None:
    """The name of a table that a session of its database waits for, with the database where that is another one."""
    if table is None:
        return None
    names = {each.name for each in snapshot.databases.values()}
    is_elsewhere = waiter.datname in names and not table.is_system
    return f"{table.name} of database {waiter.datname}" if is_elsewhere else table.name


def describe_rows(table: Relation) -> str:
    """The rows of a table, with what they are about where it is a catalog: `rows of pg_catalog.pg_proc`."""
    kind = _CATALOG_ROWS.get(table.oid) or OBJECT_TYPES.get(table.oid)
    return f"rows of {table.name}{f' (one for each {kind})' if table.is_system and kind else ''}"


def explain_lock(snapshot: Snapshot, lock: Lock) -> str | None:
    """What a lock is for that no statement asks for by itself; None for the others."""
    if is_notify_queue(lock):
        return "transactions with NOTIFY commit one at a time: each holds the queue of NOTIFY until its commit is over"
    match lock.locktype:
        case "extend":
            return (
                f"it adds pages to {_name_file(snapshot, lock, None)}: one session at a time may extend a table's file"
            )
        case "page":
            return f"it cleans {_name_page(snapshot, lock, None)}: one session at a time may"
    return None


def builds_snapshot(waiter: Session) -> bool:
    """It makes a logical replication slot, which waits for the end of all transactions that have changed something."""
    if any(lock.locktype == "tuple" for lock in waiter.held):
        return False
    return waiter.backend_type == "walsender" or _NEW_SLOT in (waiter.statement or "").lower()


def waits_for_key(snapshot: Snapshot, waiter: Session, table: Relation | None) -> bool:
    """It inserts, and stands in no row's queue: it waits for the end of a transaction that has written its key.

    `table`: what it waits for. A trigger may want a row of another table than that of the statement.
    """
    if any(lock.locktype == "tuple" for lock in waiter.held):
        return False
    if not any(lock.locktype == "transactionid" for lock in waiter.requests):
        return False
    text = statement.read_statement(waiter.statement or "", truncated=waiter.truncated)
    if text.kind not in _INSERTS:
        return False
    is_of_table = table is not None and table.is_named(text.targets)
    return text.kind in DDL or is_of_table or _writes_one_table(snapshot, waiter)


def _writes_one_table(snapshot: Snapshot, session: Session) -> bool:
    written = (snapshot.table_of(lock) for lock in session.held if lock.mode == "RowExclusiveLock")
    return len({table.oid for table in written if table is not None}) <= 1


def _may_wait_for_key(waiter: Session, blocker: str) -> bool:
    """It stands in no row's queue, as the next for a row does; but a row that changes hands has waiters without one."""
    if any(lock.locktype == "tuple" for lock in waiter.held):
        return False
    kind = statement.read_statement(waiter.statement or "", truncated=waiter.truncated).kind
    return kind not in _FINDS_ROWS or (kind == "update" and statement.read_statement(blocker).kind in _INSERTS)


def parse_advisory_key(lock: Lock) -> AdvisoryKey:
    """The key as `pg_locks` has it."""
    return lock.classid or 0, lock.objid or 0, lock.objsubid or 0


def advisory_key(lock: Lock) -> str:
    """The key as the application gave it: one bigint, or two integers."""
    return format_advisory_key(parse_advisory_key(lock))


def format_advisory_key(key: AdvisoryKey) -> str:
    """The same of a key as `pg_locks` has it."""
    high, low, form = key
    if form == 2:
        return f"({_to_signed(high, 32)}, {_to_signed(low, 32)})"
    return str(_to_signed(high << 32 | low, 64))


def _to_signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _name_relation(snapshot: Snapshot, lock: Lock, datname: str | None) -> str:
    own, table = snapshot.relation_of(lock), snapshot.table_of(lock)
    if own is None or table is None:
        name = f"relation {lock.relation}"
    else:
        name = f"index {own.name} of {table.name}" if table.oid != own.oid else table.name
    return name + _describe_database(snapshot, lock, datname)


def _name_file(snapshot: Snapshot, lock: Lock, datname: str | None) -> str:
    """The relation itself, an index too: the lock is about its file, and not about the table."""
    own = snapshot.relation_of(lock)
    if own is None:
        return _name_relation(snapshot, lock, datname)
    return (f"index {own.name}" if own.kind in ("i", "I") else own.name) + _describe_database(snapshot, lock, datname)


def _name_page(snapshot: Snapshot, lock: Lock, datname: str | None) -> str:
    """The first page of a GIN index is locked while its pending list is cleaned; nothing else locks pages."""
    relation = _name_file(snapshot, lock, datname)
    return f"the pending list of {relation}" if lock.page == 0 else f"page {lock.page} of {relation}"


def _name_object(snapshot: Snapshot, lock: Lock, datname: str | None) -> str:
    if is_notify_queue(lock):
        return "the queue of NOTIFY"
    elsewhere = _describe_database(snapshot, lock, datname)
    for each in snapshot.objects_of(lock):
        if (each.classid, each.objid) == (lock.classid, lock.objid):
            return f"{each.type} {each.name}{elsewhere}"
    found = OBJECT_TYPES.get(lock.classid or 0) or _NAMELESS_TYPES.get(lock.classid or 0)
    return (f"{found} {lock.objid}" if found else f"object {lock.objid} of catalog {lock.classid}") + elsewhere


def _describe_database(snapshot: Snapshot, lock: Lock, datname: str | None) -> str:
    """Which database it is in, where that is not the connected one. `datname`: that of the lock's session."""
    if snapshot.is_here(lock):
        return ""
    other = snapshot.databases.get(lock.database or 0)
    return f" of database {(other.name if other else None) or datname or lock.database}"
