"""What a row lock excludes without need, and what becomes of its waiter: sentences for the evidence of a blocker.

FOR UPDATE excludes the check of a foreign key, FOR NO KEY UPDATE does not. Without OF it locks a row of each table of a
join. Without SKIP LOCKED all workers of a queue want the same row. A row of the catalogs is written without a second
try: if the holder commits, the waiter fails.
Source: PostgreSQL documentation, "Row-Level Locks" and "The Locking Clause"; measured on 14 and 18.
"""

from collections.abc import Iterator
from itertools import islice, pairwise

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.lock_names import waits_for_key
from pgdoctor.diagnosis.blocker.row_locks import read_row_words
from pgdoctor.model.snapshot import Relation, Session
from pgdoctor.sqltext import statement
from pgdoctor.sqltext.lexer import Token, scan_tokens

#: Waiters whose texts are read.
_MOST_WAITERS = 20

#: Where TimescaleDB keeps the rows of a table.
_CHUNKS = "_timescaledb_internal."

_WRITES = frozenset({"insert", "update", "delete", "merge"})

#: Two of them want the same next row by chance, a queue of them by their text.
_QUEUE = 2


def describe_row_locks(facts: BlockerFacts) -> Iterator[str]:
    """Says it of a root blocker whose rows or keys others wait for."""
    table = facts.contested_row_table
    if not facts.is_root or table is None or "transactionid" not in facts.contested_types:
        return
    waiters = [each for each in islice(facts.sampled_waiters, _MOST_WAITERS) if each.statement]
    if table.is_system:
        yield from _describe_catalog(facts, waiters, table)
        return
    yield from _describe_detour(facts, waiters, table)
    yield from _describe_join(facts, waiters, table)
    yield from _describe_queue(facts)


def _describe_catalog(facts: BlockerFacts, waiters: list[Session], table: Relation) -> Iterator[str]:
    for waiter in waiters[:1]:
        if waits_for_key(facts.snapshot, waiter, table):
            fails = "with a duplicate key of the catalog, even with IF NOT EXISTS"
        else:
            fails = 'with "tuple concurrently updated"'
        yield f"if it commits, {waiter.pid} fails {fails}: run such commands one after the other, and try it again"


def _describe_detour(facts: BlockerFacts, waiters: list[Session], table: Relation) -> Iterator[str]:
    """The first waiter whose statement does not name the table: a foreign key or a trigger wants the row."""
    for waiter in waiters:
        text = statement.read_statement(waiter.statement or "", truncated=waiter.truncated)
        if text.kind not in _WRITES or not text.is_one or _mentions(waiter.statement or "", table):
            continue
        modes = {lock.mode for lock in waiter.held if lock.relation == table.oid}
        if "RowExclusiveLock" in modes:
            if text.kind != "insert" or not _writes_plain_table(facts, waiter, text.targets):
                continue
            yield f"the statement of {waiter.pid} does not name {table.name}: a trigger or function of it writes there"
        elif "RowShareLock" in modes:
            yield f"{waiter.pid} waits in the check of a foreign key that references {table.name}{_weaker(facts)}"
        return


def _writes_plain_table(facts: BlockerFacts, waiter: Session, names: tuple[str, ...]) -> bool:
    """An INSERT names a table that keeps its rows itself: no view, no partitioned table, none of TimescaleDB.

    UPDATE and DELETE reach tables that inherit, of which nothing is read here.
    """
    if any(each.name.startswith(_CHUNKS) for each in facts.snapshot.relations.values()):
        return False
    written = (facts.snapshot.table_of(lock) for lock in waiter.held if lock.mode == "RowExclusiveLock")
    return any(each is not None and each.kind == "r" and each.is_named(names) for each in written)


def _weaker(facts: BlockerFacts) -> str:
    """The lock that lets the check pass, where the holder's text shows that it has taken a stronger one."""
    if facts.statement.kind in _WRITES or "update" not in read_row_words(_own_text(facts)):
        return ""
    return ": FOR UPDATE excludes it, FOR NO KEY UPDATE would not"


def _describe_join(facts: BlockerFacts, waiters: list[Session], table: Relation) -> Iterator[str]:
    """FOR UPDATE of a join, where the contested table is not the one that is read first."""
    for text in (_own_text(facts), *(each.statement or "" for each in waiters)):
        found = statement.read_statement(text)
        if found.kind in _WRITES or "update" not in read_row_words(text) or not found.targets:
            continue
        tokens = list(scan_tokens(text))
        is_join = any(token.is_word("join") for token in tokens)
        if is_join and not table.is_named(found.targets[:1]) and not _names_tables(tokens):
            yield f"FOR UPDATE of a join locks rows of each of its tables, {table.name} too: FOR UPDATE OF names one"
            return


def _names_tables(tokens: list[Token]) -> bool:
    """An OF stands behind FOR ... UPDATE."""
    return any(first.is_word("update") and second.is_word("of") for first, second in pairwise(tokens))


def _describe_queue(facts: BlockerFacts) -> Iterator[str]:
    """Sessions of one queue, each of which takes the next row."""
    behind = islice(facts.graph.iterate_behind(facts.node), _MOST_WAITERS)
    texts = (facts.snapshot.sessions[pid].statement or "" for pid in behind)
    if sum(map(_takes_next_row, texts)) >= _QUEUE:
        yield "if those that wait take any next row, as workers of a queue do: FOR UPDATE SKIP LOCKED takes another one"


def _takes_next_row(text: str) -> bool:
    """It locks the first rows of an order, and waits where they are locked."""
    if read_row_words(text).isdisjoint({"update", "no key update"}):
        return False
    words = {token.value for token in scan_tokens(text) if token.is_name}
    return {"order", "limit"} <= words and words.isdisjoint({"skip", "nowait"})


def _own_text(facts: BlockerFacts) -> str:
    return (facts.session.statement if facts.session else None) or ""


def _mentions(text: str, table: Relation) -> bool:
    """The text has the table's name in it, in a part that is not looked into, or locks rows by itself."""
    return any(token.is_name and token.value == table.bare_name for token in scan_tokens(text)) or not read_row_words(
        text
    ).isdisjoint({"update", "no key update", "share", "key share"})
