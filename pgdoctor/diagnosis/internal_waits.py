"""Waits inside the server (LWLocks, page I/O): what they are for, what causes many of them, and what ends it.

The names are those of PostgreSQL 14 to 18. Source: PostgreSQL documentation, "Wait Events of Type LWLock", "Lock
Management", "Resource Consumption" (the sizes of the SLRU caches, since 17); `FastPathLockSlotsPerBackend` in proc.h,
`PGPROC_MAX_CACHED_SUBXIDS` (64) in proc.h.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from pgdoctor.formatting import format_client, format_count
from pgdoctor.model.server_context import LockTableHolder, ServerContext

#: Active sessions on average, and their share of all, from which on a wait is worth a word.
_MANY = 1.0
_SHARE = 0.1

#: Ids of subtransactions that a session has room for; beyond them others must look them up.
_CACHED_SUBTRANSACTIONS = 64

#: What an active session waits for, as `pg_stat_activity` has it.
_Event = tuple[str, str | None]


class InternalWait(msgspec.Struct, frozen=True):
    """Many sessions wait for one kind of internal lock."""

    #: As the server calls them: LWLock:LockManager.
    events: tuple[str, ...]
    #: Active sessions on average.
    sessions: float
    #: What they wait for, what usually causes it, and what ends it.
    what: str
    cause: str
    end: str
    #: What was measured that speaks for the cause.
    evidence: tuple[str, ...] = ()


class _Explanation(msgspec.Struct, frozen=True):
    events: frozenset[str]
    what: str
    cause: str
    end: str
    #: The type of the events.
    kind: str = "LWLock"


_EXPLANATIONS = (
    _Explanation(
        frozenset({"LockManager", "LockFastPath"}),
        "to enter locks into the shared lock table",
        "statements lock more relations than the fast path has room for: each table, partition and index counts, also "
        "those that a query plan only considers (room for 16 a session; since 18 about max_locks_per_transaction)",
        "name the partition key in the query, drop unused indexes, run fewer sessions at once (a pooler); "
        "on 18 raise max_locks_per_transaction",
    ),
    _Explanation(
        frozenset({"SubtransSLRU", "SubtransBuffer"}),
        "to look up which transaction a subtransaction belongs to",
        f"a transaction has more than {_CACHED_SUBTRANSACTIONS} subtransactions (SAVEPOINT, EXCEPTION blocks in "
        "PL/pgSQL) while another one stays open for long; on a standby it is one of the primary",
        "end the long transactions, and the one with the many savepoints; take the EXCEPTION block out of the loop",
    ),
    _Explanation(
        frozenset(
            {"MultiXactOffsetSLRU", "MultiXactOffsetBuffer", "MultiXactMemberSLRU", "MultiXactMemberBuffer"}
            | {"MultiXactGen", "MultiXactTruncation"}
        ),
        "to look up who has locked a row together with others (a multixact)",
        "many transactions lock the same rows in share mode: foreign keys to a few parent rows (FOR KEY SHARE), "
        "or FOR SHARE",
        "keep transactions that insert children of one parent short; no FOR SHARE on rows that all use; VACUUM the "
        "parent table; since 17 raise multixact_offset_buffers and multixact_member_buffers",
    ),
    _Explanation(
        frozenset({"XactSLRU", "XactBuffer"}),
        "to look up whether a transaction has committed",
        "many rows of recent transactions are read for the first time, or a transaction stays open for so long that "
        "old ones must be looked up",
        "end the long transactions, VACUUM the tables that were loaded; since 17 raise transaction_buffers",
    ),
    _Explanation(
        frozenset({"BufferContent"}),
        "to read or change the same page",
        "many sessions change the same few pages: one row or a small table, the last page of an index on an ever "
        "growing key, the parent row of many foreign keys",
        "find the statement that most of them run; update the row less often, insert in batches, partition by hash",
    ),
    _Explanation(
        # The second name is that of 17 and later.
        frozenset({"BufferIO", "BufferIo"}),
        "for a page that another session is reading or writing",
        "the storage is slow or has stalled; the session that waits for IO:DataFileRead, DataFileExtend or "
        "DataFileWrite does the work for all of them",
        "check the disk (iostat, the kernel's log), and run fewer sessions that load or scan the same table",
        kind="IPC",
    ),
    _Explanation(
        frozenset({"ProcSignalBarrier"}),
        "for every process of the server to answer",
        "one process does not answer: it is stopped (SIGSTOP, a debugger), hangs in a system call (storage, network), "
        "or in code of an extension. DROP DATABASE, CREATE DATABASE and ALTER DATABASE SET TABLESPACE wait for all",
        'the server\'s log names the process ("still waiting for backend with PID"); end that process or what it hangs '
        "in; a cancel of the command that waits is safe",
        kind="IPC",
    ),
    _Explanation(
        frozenset({"BufferMapping"}),
        "to find a page in shared_buffers, or to replace one",
        "pages are read in and evicted at a high rate: large scans, or shared_buffers smaller than what is in use",
        "find the scans (pg_stat_statements by blocks read), add the index that they lack, raise shared_buffers",
    ),
    _Explanation(
        frozenset({"WALWrite", "WALInsert", "WALBufMapping"}),
        "to write WAL",
        "the disk of pg_wal is slow, or there are very many small commits",
        "check that disk (latency of fsync), commit in batches, set wal_compression; synchronous_commit = off only "
        "where the last commits may be lost",
    ),
    _Explanation(
        frozenset({"ProcArray", "XidGen"}),
        "to take a snapshot, or to begin or end a transaction",
        "very many sessions run short transactions at once, or savepoints use up ids",
        "run fewer sessions at once (a pooler), put several statements into one transaction",
    ),
    _Explanation(
        frozenset({"SInvalRead", "SInvalWrite"}),
        "to learn of changed definitions",
        "DDL at a high rate: temporary tables, CREATE and DROP, GRANT, ANALYZE, with many connections",
        "create temporary tables once for a session, and not for each query; fewer connections",
    ),
    _Explanation(
        frozenset({"NotifyQueue", "NotifyQueueTail", "NotifySLRU", "NotifyBuffer"}),
        "for the queue of NOTIFY",
        "NOTIFY at a high rate, or a session that listens and stays in a transaction",
        "notify less often (once for a batch), end the idle transaction of the listener",
    ),
    _Explanation(
        frozenset(
            {"SerializableXactHash", "SerializableFinishedList", "SerializablePredicateList", "PerXactPredicateList"}
            | {"PredicateLockManager", "SerialSLRU", "SerialBuffer"}
        ),
        "for the bookkeeping of SERIALIZABLE transactions",
        "many SERIALIZABLE transactions at once, or one that stays open for long",
        "keep them short, declare those that only read READ ONLY, use REPEATABLE READ where that suffices",
    ),
    _Explanation(
        frozenset({"pg_stat_statements"}),
        "for the table of pg_stat_statements",
        "more different statements than pg_stat_statements.max, so that entries are evicted all the time",
        "use parameters in place of literals, raise pg_stat_statements.max",
    ),
)


def list_known_events(kind: str = "LWLock") -> frozenset[str]:
    """The names of all events of a type that are explained."""
    return frozenset().union(*(each.events for each in _EXPLANATIONS if each.kind == kind))


def explain_internal_waits(waits: Mapping[_Event, float], around: ServerContext | None) -> tuple[InternalWait, ...]:
    """The internal locks for which many active sessions wait, the most first.

    `waits`: active sessions on average, by what they wait for.
    """
    busy = sum(waits.values())
    found = [_measure_wait(each, waits, around) for each in _EXPLANATIONS]
    many = (each for each in found if each.sessions >= max(_MANY, _SHARE * busy))
    return tuple(sorted(many, key=lambda each: -each.sessions))


def _measure_wait(known: _Explanation, waits: Mapping[_Event, float], around: ServerContext | None) -> InternalWait:
    here = {name: number for (kind, name), number in waits.items() if kind == known.kind and name in known.events}
    events = tuple(f"{known.kind}:{name}" for name in sorted(here, key=lambda name: -here[name]))
    evidence = tuple(text for name in sorted(here) for text in _EVIDENCE.get(name, _no_evidence)(around))
    return InternalWait(events, sum(here.values()), known.what, known.cause, known.end, tuple(dict.fromkeys(evidence)))


def _no_evidence(_: ServerContext | None) -> Iterator[str]:
    yield from ()


def _describe_overflow(around: ServerContext | None) -> Iterator[str]:
    """Who has table locks beyond the fast path."""
    table = around.lock_table if around else None
    if table is None or not table.overflowed:
        return
    yield f"{format_count(table.overflowed, 'weak table lock')} found no place in the fast path"
    most = max(table.holders, key=lambda each: each.overflowed, default=None)
    if most is not None and most.overflowed:
        yield f"the most has {_format_holder(most)}: {most.overflowed:,}{_format_statement(most)}"


def _describe_subtransactions(around: ServerContext | None) -> Iterator[str]:
    """Who has more subtransactions than others can see at once."""
    holders = around.lock_table.holders if around and around.lock_table else ()
    for each in holders:
        if each.ids > _CACHED_SUBTRANSACTIONS:
            ids = format_count(each.ids - 1, "subtransaction")
            yield f"{_format_holder(each)} has {ids} with an id{_format_statement(each)}"


_EVIDENCE: Mapping[str, Callable[[ServerContext | None], Iterator[str]]] = {
    "LockManager": _describe_overflow,
    "LockFastPath": _describe_overflow,
    "SubtransSLRU": _describe_subtransactions,
    "SubtransBuffer": _describe_subtransactions,
}


def _format_holder(holder: LockTableHolder) -> str:
    if holder.pid is None:
        return f"prepared transaction {holder.gid}"
    return f"session {holder.pid} of {format_client(holder.application, holder.user)}"


def _format_statement(holder: LockTableHolder) -> str:
    return f", {holder.statement[:100]}" if holder.statement else ""
