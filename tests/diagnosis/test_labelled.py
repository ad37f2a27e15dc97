"""Built snapshots with the verdict that a DBA would give: for each class first what must not be taken for it.

`python -m tests.diagnosis.test_labelled` prints precision and recall of each class over this table. A label is what
is right, not what is said today: a case whose verdict is wrong today is marked `wrong`, with the reason.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from tabulate import tabulate

from pgdoctor.diagnosis.cause import class_names
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.diagnosis import Blocker
from pgdoctor.model.snapshot import (
    CommandProgress,
    IndexInfo,
    Lock,
    PreparedTransaction,
    Relation,
    Session,
    Snapshot,
    UniqueKey,
)
from tests.building import ORDERS, advisory, ago, lock, row, session, snapshot, transaction

#: The session in question, who waits for it, who waits behind that one, and who stands in front of it.
HOLDER, WAITER, THIRD, FRONT = 10, 20, 30, 5

AS, RS, RE = "AccessShareLock", "RowShareLock", "RowExclusiveLock"
SUE, S, SRE, E, AE = (
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)

OTHER = Relation(oid=5001, name="public.other", kind="r", is_system=False, pages=10, live_rows=1000.0)
ORDERS_KEY = Relation(5002, "public.orders_pkey", "i", is_system=False, pages=5, live_rows=1000.0, table=ORDERS.oid)

IDLE = {"state": "idle in transaction", "wait_event_type": "Client", "wait_event": "ClientRead"}
ABORTED = {"state": "idle in transaction (aborted)", "wait_event_type": "Client", "wait_event": "ClientRead"}
HIDDEN = dict.fromkeys(
    ("backend_type", "state", "statement", "xact_start", "query_start", "state_change", "backend_start")
)


class Case(NamedTuple):
    """A snapshot, and what is to be said of one blocker in it."""

    name: str
    snapshot: Snapshot
    classification: str
    action: str
    also: tuple[str, ...] = ()
    relation: str | None = ORDERS.name
    node: int = HOLDER
    #: Why the verdict is wrong today; empty where it is right.
    wrong: str = ""


# Situations


def on_table(
    held: str, wanted: str = AE, *more: Lock, relations: tuple[Relation, ...] = (ORDERS, OTHER), **facts: Any
) -> Snapshot:
    """It holds orders in one mode, and a session wants it in another."""
    holder = session(HOLDER, **{"locks": (lock(HOLDER, held, granted=True), *more), **facts})
    return snapshot([holder, wants_table(wanted)], relations=relations)


def wants_table(mode: str, pid: int = WAITER, behind: int = HOLDER, **about: Any) -> Session:
    return session(pid, blockers=(behind,), locks=(lock(pid, mode, granted=False, **about),))


def on_row(*more: Lock, relations: tuple[Relation, ...] = (ORDERS, OTHER), **facts: Any) -> Snapshot:
    """It has changed a row of orders, and a session wants to change it too."""
    return snapshot([row_holder(*more, **facts), row_waiter()], relations=relations)


def row_holder(*more: Lock, pid: int = HOLDER, **facts: Any) -> Session:
    held = (lock(pid, RE, granted=True), transaction(pid, pid, granted=True), *more)
    return session(
        pid, **{"locks": held, "has_xid": True, "statement": "update orders set v = 1 where id = 7", **facts}
    )


def row_waiter(pid: int = WAITER, behind: int = HOLDER) -> Session:
    locks = (lock(pid, RE, granted=True), *row(pid, behind))
    return session(pid, blockers=(behind,), locks=locks, statement="update orders set v = 2 where id = 7")


def on_advisory(*more: Lock, **facts: Any) -> Snapshot:
    """It holds an advisory lock, and a session wants it."""
    holder = session(HOLDER, **{"locks": (advisory(HOLDER, granted=True), *more), **facts})
    waiter = session(WAITER, blockers=(HOLDER,), locks=(advisory(WAITER, granted=False),))
    return snapshot([holder, waiter])


def queued(wanted: str, *more: Lock, **facts: Any) -> Snapshot:
    """It waits for orders behind an idle reader, and a session that wants to read queues behind it."""
    front = session(FRONT, locks=(lock(FRONT, AS, granted=True),), **IDLE)
    asked = (lock(HOLDER, wanted, granted=False), *more)
    return snapshot([front, session(HOLDER, blockers=(FRONT,), locks=asked, **facts), wants_table(AS)])


def prepared(**facts: Any) -> Snapshot:
    """A prepared transaction has changed a row of orders."""
    locks = (lock(None, RE, granted=True), transaction(None, 77, granted=True))
    usual = {"gid": "order 7", "transactionid": 77, "prepared": ago(600), "owner": "app", "datname": "shop"}
    holder = PreparedTransaction(node=-1, locks=locks, **{**usual, **facts})
    waiter = replace(row_waiter(), blockers=(-1,), locks=(lock(WAITER, RE, granted=True), *row(WAITER, 77)))
    return snapshot([waiter], prepared=(holder,))


def hot(former: set[int], crowd: int = 3, seconds: float = 0.4, **facts: Any) -> Snapshot:
    """A row of orders that a crowd queues for, held for so many seconds, and who held it in the polls before."""
    since = ago(seconds)
    facts = {"xact_start": since, "query_start": since, "state_change": since, **facts}
    first = row_waiter()
    place = {"locktype": "tuple", "page": 0, "tuple": 1}
    others = [
        session(pid, blockers=(WAITER,), locks=(lock(pid, RE, granted=True), lock(pid, E, granted=False, **place)))
        for pid in range(THIRD, THIRD + crowd - 1)
    ]
    return snapshot([row_holder(**facts), first, *others], former_holders={ORDERS.oid: frozenset(former)})


#: What the scenes of a class have in common.
READS = ("long_query", "cancel")
DDL_RUNS = ("migration", "cancel")

#: A table of one session alone.
SCRATCH = Relation(5003, "pg_temp_3.scratch", "r", is_system=False, pages=1, live_rows=9.0, is_temporary=True)

#: A strong lock that no session is waiting for.
OTHER_TABLE = lock(HOLDER, AE, granted=True, relation=OTHER.oid)

BIG = replace(ORDERS, pages=20_000, live_rows=2_000_000.0)


def index(*columns: str | None, method: str = "btree", is_usable: bool = True, **more: Any) -> IndexInfo:
    return IndexInfo(method=method, is_usable=is_usable, keys=tuple(UniqueKey(column) for column in columns), **more)


def scan(statement: str, *indexes: IndexInfo, table: Relation = BIG, known: bool = True, **facts: Any) -> Snapshot:
    """It runs a statement on orders, big unless something else is said, that has these indexes."""
    table = replace(table, indexes=(index("id"), *indexes) if known else None)
    return on_row(relations=(table, OTHER), statement=statement, **facts)


def circle(*pids: int) -> Snapshot:
    """Sessions that each hold a row that the next one wants."""
    ring = zip(pids, (*pids[1:], pids[0]), strict=True)
    return snapshot(row_holder(*row(pid, other), pid=pid, blockers=(other,)) for pid, other in ring)


def another_database() -> Snapshot:
    """The incident is in a database that we are not connected to."""
    holder = session(HOLDER, datname="crm", locks=(lock(HOLDER, AS, granted=True, database=2),), **IDLE)
    return snapshot([holder, wants_table(AE, database=2)])


# Verdicts


IDLE_IN_TRANSACTION = [
    Case("a running update is not idle", on_row(), "long_query", "cancel"),
    Case(
        "idle outside of a transaction is not idle in one",
        on_advisory(state="idle", xact_start=None),
        "advisory_lock",
        "none",
        relation=None,
    ),
    Case("a commit in progress is not idle", on_row(statement="commit"), "long_query", "none"),
    Case(
        "a function called by fast path is not idle",
        on_row(state="fastpath function call", statement="<FASTPATH> function call"),
        "unknown",
        "none",
    ),
    Case("idle and hidden is unknown", on_row(**HIDDEN), "unknown", "none"),
    Case(
        "an idle pg_dump is a backup",
        on_table(AS, application_name="pg_dump", **IDLE),
        "backup",
        "none",
        ("idle_in_transaction",),
    ),
    Case("a forgotten update", on_row(**IDLE), "idle_in_transaction", "terminate"),
    Case("a forgotten read in front of DDL", on_table(AS, **IDLE), "idle_in_transaction", "terminate"),
    Case(
        "a forgotten lock on a row",
        on_row(statement="select * from orders where id = 7 for update", **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case(
        "the table is the one it holds, not the one it last read",
        on_row(statement="select * from other", **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case(
        "aborted inside of a savepoint it holds what it held before",
        on_row(statement="insert into other values (1)", **ABORTED),
        "idle_in_transaction",
        "terminate",
    ),
    Case(
        "aborted by a word that is no SQL", on_row(statement="selekt 1", **ABORTED), "idle_in_transaction", "terminate"
    ),
    Case(
        "opened by DDL, then idle",
        on_table(AE, AS, has_xid=True, statement="select 1", **IDLE),
        "idle_in_transaction",
        "terminate",
        ("migration",),
    ),
    Case(
        "idle behind its own ALTER",
        on_table(AE, AS, has_xid=True, statement="alter table orders add c int", **IDLE),
        "idle_in_transaction",
        "terminate",
        ("migration",),
    ),
    Case(
        "idle behind its own LOCK TABLE",
        on_table(SRE, RE, statement="lock table orders in share row exclusive mode", **IDLE),
        "idle_in_transaction",
        "terminate",
        ("explicit_lock",),
    ),
    Case(
        "idle behind its own LOCK TABLE in a weak mode",
        on_table(SUE, SUE, statement="lock table orders in share update exclusive mode", **IDLE),
        "idle_in_transaction",
        "terminate",
        ("explicit_lock",),
    ),
    Case(
        "an advisory lock that nobody wants beside a row that somebody does",
        on_row(advisory(HOLDER, granted=True), **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case(
        "ANALYZE, then idle",
        on_table(SUE, AE, statement="analyze orders", **IDLE),
        "idle_in_transaction",
        "terminate",
        also=("maintenance",),
    ),
    Case(
        "its text is cut",
        on_row(statement="update orders set v = 'abc", truncated=True, **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case("its text is empty", on_row(statement="", **IDLE), "idle_in_transaction", "terminate"),
    Case(
        "in another database its table has no name",
        another_database(),
        "idle_in_transaction",
        "terminate",
        relation=None,
    ),
    Case(
        "at the head of a queue it is the root",
        queued(AE, statement="alter table orders add c int"),
        "idle_in_transaction",
        "terminate",
        node=FRONT,
    ),
]

MIGRATION = [
    Case(
        "a DDL word in a literal",
        on_row(statement="update orders set v = 'alter table orders' where id = 7"),
        "long_query",
        "cancel",
    ),
    Case(
        "a DDL word in a comment",
        on_row(statement="/* drop table orders */ update orders set v = 1 where id = 7"),
        "long_query",
        "cancel",
    ),
    Case("a DDL word in a name", on_table(AS, statement='select "alter table" from orders'), "long_query", "cancel"),
    Case(
        "a column called like a DDL word",
        on_table(AS, statement="select truncate, comment from orders"),
        "long_query",
        "cancel",
    ),
    Case(
        "DDL that is only explained about",
        on_table(AS, statement="explain select * from orders"),
        "long_query",
        "cancel",
    ),
    Case(
        "LOCK TABLE with a transaction id",
        on_table(AE, AS, has_xid=True, statement="lock table orders"),
        "explicit_lock",
        "cancel",
    ),
    Case(
        "VACUUM FULL holds the same lock",
        on_table(AE, AS, has_xid=True, statement="vacuum full orders"),
        "maintenance",
        "cancel",
    ),
    Case(
        "the weak lock of an earlier ANALYZE",
        on_table(SUE, AE, statement="select * from orders"),
        "long_query",
        "cancel",
    ),
    Case(
        "a strong lock without a transaction id is no DDL's",
        on_table(SRE, RE, statement="select * from other"),
        "explicit_lock",
        "cancel",
    ),
    Case(
        "ALTER TABLE that runs",
        on_table(AE, AS, has_xid=True, statement="alter table orders alter v type bigint"),
        "migration",
        "cancel",
    ),
    Case("ALTER TABLE that queues", queued(AE, statement="alter table orders add c int"), "migration", "cancel"),
    Case(
        "with comment, brackets and line breaks",
        queued(AE, statement="/* django */\n-- 0042\n  ALTER\n TABLE IF EXISTS ONLY orders ADD c int"),
        "migration",
        "cancel",
    ),
    Case(
        "cut in the middle",
        queued(AE, statement="alter table orders add column no", truncated=True),
        "migration",
        "cancel",
    ),
    Case(
        "one of several statements",
        on_table(
            AE,
            AS,
            has_xid=True,
            statement="set lock_timeout = '3s'; alter table orders add c int; update orders set c = 1",
        ),
        "migration",
        "cancel",
    ),
    Case(
        "later in its transaction",
        on_table(AE, AS, has_xid=True, statement="update other set v = 1"),
        "migration",
        "cancel",
    ),
    Case(
        "in a DO block",
        on_table(AE, AS, has_xid=True, statement="do $$ begin execute 'alter table orders add c int'; end $$"),
        "migration",
        "cancel",
    ),
    Case("in a procedure", on_table(AE, AS, has_xid=True, statement="call migrate()"), "migration", "cancel"),
    Case("in a function", on_table(SRE, RE, has_xid=True, statement="select migrate()"), "migration", "cancel"),
    Case(
        "its statement is cut beyond recognition",
        on_table(AE, AS, has_xid=True, statement="with a as (select", truncated=True),
        "migration",
        "cancel",
    ),
    Case(
        "CREATE INDEX in front of writers",
        on_table(S, RE, has_xid=True, statement="create index on orders (v)"),
        "migration",
        "cancel",
    ),
    Case(
        "ADD FOREIGN KEY on the parent",
        on_table(SRE, RE, has_xid=True, statement="alter table other add foreign key (o) references orders"),
        "migration",
        "cancel",
    ),
    Case(
        "DROP of the child holds the parent",
        on_table(AE, AS, has_xid=True, statement="drop table other"),
        "migration",
        "cancel",
    ),
    Case(
        "a temporary table that it has created",
        on_row(lock(HOLDER, AE, granted=True, relation=777), statement="update orders set v = 1 where id = 7"),
        "long_query",
        "cancel",
    ),
    Case(
        "a temporary table that it has truncated",
        on_row(lock(HOLDER, AE, granted=True, relation=SCRATCH.oid), relations=(ORDERS, SCRATCH)),
        "long_query",
        "cancel",
    ),
    Case(
        "an index on a temporary table",
        on_row(
            lock(HOLDER, S, granted=True, relation=SCRATCH.oid),
            relations=(ORDERS, SCRATCH),
            statement="create index on scratch (id)",
        ),
        "long_query",
        "cancel",
    ),
    Case("TRUNCATE of another table before", on_row(OTHER_TABLE), "long_query", "cancel"),
    Case(
        "TRUNCATE of another table before, then idle",
        on_row(OTHER_TABLE, **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case("CREATE TABLE AS reads it", on_table(AS, statement="create table c as select * from orders"), *READS),
    Case("SELECT INTO reads it", on_table(AS, statement="select * into c from orders"), *READS),
    Case("a view over it", on_table(AS, statement="create materialized view c as select * from orders"), *READS),
    Case("DDL of another table with rows of this one", on_row(OTHER_TABLE, statement="drop table other"), *DDL_RUNS),
    Case("DO asks for the strongest lock", queued(AE, statement="do 'begin execute x; end'"), *DDL_RUNS),
    Case("CALL asks for a lock that excludes writers", queued(SRE, statement="call mig()"), *DDL_RUNS),
    Case("EXECUTE asks for the strongest lock", queued(AE, statement="execute p"), *DDL_RUNS),
    Case("a function asks for the strongest lock", queued(AE, statement="select mig()"), *DDL_RUNS),
    Case("a trigger asks for the strongest lock", queued(AE, statement="insert into other values (1)"), *DDL_RUNS),
    Case("an empty text asks for the strongest lock", queued(AE, statement=""), *DDL_RUNS),
    Case("a weaker lock of what others read", queued(AE, statement="lock table other"), "explicit_lock", "cancel"),
    Case(
        "a function asks for what only LOCK TABLE takes", queued(E, statement="select f()"), "explicit_lock", "cancel"
    ),
    Case("a writer only stands in the queue", queued(RE, statement="call work()"), "unknown", "none"),
    Case(
        "VALIDATE after ADD COLUMN",
        on_table(AE, AS, has_xid=True, statement="alter table orders validate constraint c"),
        *DDL_RUNS,
    ),
    Case("ANALYZE after ADD COLUMN", on_table(AE, AS, has_xid=True, statement="analyze orders"), *DDL_RUNS),
    Case("TRUNCATE locks like DDL", queued(AE, statement="truncate orders"), "migration", "cancel"),
    Case("DROP INDEX", queued(AE, statement="drop index orders_v_idx"), "migration", "cancel"),
    Case(
        "CREATE TRIGGER",
        on_table(SRE, RE, has_xid=True, statement="create trigger t before insert on orders execute function f()"),
        "migration",
        "cancel",
    ),
    Case(
        "CREATE INDEX CONCURRENTLY is left alone",
        on_table(SUE, AE, statement="create index concurrently on orders (v)"),
        "migration",
        "none",
    ),
    Case(
        "DROP INDEX CONCURRENTLY is left alone",
        on_table(SUE, AE, statement="drop index concurrently orders_v_idx"),
        "migration",
        "none",
    ),
    Case(
        "DETACH PARTITION CONCURRENTLY is left alone",
        on_table(SUE, AE, statement="alter table orders detach partition other concurrently"),
        "migration",
        "none",
    ),
]

MAINTENANCE = [
    Case(
        "VACUUM in a literal", on_table(AS, statement="select 'vacuum full orders' from orders"), "long_query", "cancel"
    ),
    Case(
        "autovacuum has a backend of its own",
        on_table(SUE, AE, backend_type="autovacuum worker", statement="autovacuum: VACUUM public.orders"),
        "autovacuum",
        "none",
    ),
    Case("VACUUM that is over", on_table(AS, statement="vacuum orders", **IDLE), "idle_in_transaction", "terminate"),
    Case(
        "VACUUM by hand",
        on_table(SUE, AE, statement="vacuum (verbose, analyze) orders"),
        "maintenance",
        "none",
    ),
    Case(
        "ANALYZE by hand",
        on_table(SUE, AE, statement="analyze verbose orders"),
        "maintenance",
        "none",
    ),
    Case("VACUUM FULL that queues", queued(AE, statement="vacuum (full) orders"), "maintenance", "cancel"),
    Case(
        "CLUSTER", on_table(AE, AS, has_xid=True, statement="cluster orders using orders_pkey"), "maintenance", "cancel"
    ),
    Case(
        "REINDEX, whose index a reader needs",
        on_table(S, RE, has_xid=True, statement="reindex table orders"),
        "maintenance",
        "cancel",
    ),
    Case(
        "REINDEX of one index holds readers up at planning",
        snapshot(
            [
                session(
                    HOLDER,
                    statement="reindex index orders_pkey",
                    has_xid=True,
                    locks=(lock(HOLDER, S, granted=True), lock(HOLDER, AE, granted=True, relation=ORDERS_KEY.oid)),
                ),
                wants_table(AS, relation=ORDERS_KEY.oid),
            ],
            relations=(ORDERS, ORDERS_KEY),
        ),
        "maintenance",
        "cancel",
    ),
    Case(
        "REINDEX CONCURRENTLY is left alone",
        on_table(SUE, AE, statement="reindex table concurrently orders"),
        "maintenance",
        "none",
    ),
    Case(
        "REFRESH MATERIALIZED VIEW",
        on_table(AE, AS, has_xid=True, statement="refresh materialized view orders"),
        "maintenance",
        "cancel",
    ),
]

AUTOVACUUM = [
    Case("a client that calls itself so", on_table(AS, application_name="autovacuum worker"), "long_query", "cancel"),
    Case(
        "a client that pastes its label",
        on_table(SUE, AE, statement="autovacuum: VACUUM public.orders"),
        "maintenance",
        "none",
    ),
    Case(
        "an ordinary one",
        on_table(SUE, AE, backend_type="autovacuum worker", statement="autovacuum: VACUUM ANALYZE public.orders"),
        "autovacuum",
        "none",
    ),
    Case(
        "one that prevents wraparound",
        on_table(
            SUE,
            AE,
            backend_type="autovacuum worker",
            statement="autovacuum: VACUUM public.orders (to prevent wraparound)",
        ),
        "autovacuum",
        "none",
    ),
    Case(
        "one whose text is cut",
        on_table(SUE, AE, backend_type="autovacuum worker", statement="autovacuum: VAC", truncated=True),
        "autovacuum",
        "none",
    ),
]

UNINDEXED_SCAN = [
    Case("a small table", scan("update orders set v = 1 where customer_id = 5", table=ORDERS), "long_query", "cancel"),
    Case(
        "an index serves it",
        scan("update orders set v = 1 where customer_id = 5", index("customer_id")),
        "long_query",
        "cancel",
    ),
    Case(
        "an index begins with its column",
        scan("delete from orders where customer_id = 5", index("customer_id", "v")),
        "long_query",
        "cancel",
    ),
    Case(
        "an index serves one of its conditions",
        scan("delete from orders where customer_id = 5 and id = 7"),
        "long_query",
        "cancel",
    ),
    Case("no condition at all", scan("update orders set v = 1"), "long_query", "cancel"),
    Case(
        "a join", scan("update orders set v = 1 from other where other.id = orders.customer_id"), "long_query", "cancel"
    ),
    Case(
        "a join by a column that has an index",
        scan("update orders set v = 1 from other where other.id = orders.id and orders.customer_id = 5"),
        "long_query",
        "cancel",
    ),
    Case(
        "an index on the very cast",
        scan("delete from orders where customer_id::text = '5'", index(None, expression_columns=("customer_id",))),
        "long_query",
        "cancel",
    ),
    Case(
        "a query inside that may be looked up row by row",
        scan("delete from other where id = 7 and v in (select v from orders where customer_id = 5)"),
        "long_query",
        "cancel",
    ),
    Case(
        "an index on an expression may serve",
        scan("update orders set v = 1 where lower(name) = 'x'", index(None, expression_columns=("name",))),
        "long_query",
        "cancel",
    ),
    Case(
        "a wildcard in front, of a column whose type is not known",
        scan("update orders set v = 1 where name like '%x'"),
        "long_query",
        "cancel",
    ),
    Case(
        "indexes that could not be read",
        scan("update orders set v = 1 where customer_id = 5", known=False),
        "long_query",
        "cancel",
    ),
    Case(
        "a condition that is cut off",
        scan("update orders set v = 1 where customer_id = 5 and i", truncated=True),
        "long_query",
        "cancel",
    ),
    Case(
        "a scan that is over",
        scan("update orders set v = 1 where customer_id = 5", **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case(
        "an update without an index", scan("update orders set v = 1 where customer_id = 5"), "unindexed_scan", "cancel"
    ),
    Case(
        "a delete, qualified and with parameters",
        scan("DELETE FROM public.orders AS o WHERE o.customer_id = $1"),
        "unindexed_scan",
        "cancel",
    ),
    Case(
        "an index that is not valid",
        scan("update orders set v = 1 where customer_id = 5", index("customer_id", is_usable=False)),
        "unindexed_scan",
        "cancel",
    ),
    Case(
        "its column stands second in an index whose first column version 18 may skip",
        scan("update orders set v = 1 where customer_id = 5", index("v", "customer_id")),
        "long_query",
        "cancel",
    ),
    Case(
        "one side of an OR without an index",
        scan("update orders set v = 1 where id = 7 or customer_id = 5"),
        "unindexed_scan",
        "cancel",
    ),
    Case(
        "a join by a column without an index",
        scan("update orders set v = 1 from other where other.v = orders.v and orders.customer_id = 5"),
        "unindexed_scan",
        "cancel",
    ),
    Case(
        "a cast that defeats the index",
        scan("delete from orders where customer_id::text = '5'", index("customer_id")),
        "unindexed_scan",
        "cancel",
    ),
    Case(
        "rows that are moved to another table",
        scan("with m as (delete from orders where customer_id = 5 returning *) insert into other select * from m"),
        "unindexed_scan",
        "cancel",
    ),
    Case(
        "rows locked one after the other",
        scan("select * from orders where customer_id = 5 for update"),
        "unindexed_scan",
        "cancel",
    ),
]

LONG_QUERY = [
    Case("one that waits itself", queued(AS), "unknown", "none"),
    Case("a text that says nothing", on_row(statement=""), "unknown", "none"),
    Case("a text that is no SQL", on_row(statement="frobnicate"), "unknown", "none"),
    Case("a report in front of DDL", on_table(AS), "long_query", "cancel"),
    Case(
        "a parallel leader waits for its workers only",
        on_table(AS, AE, wait_event_type="IPC", wait_event="ExecuteGather"),
        "long_query",
        "cancel",
    ),
    Case("a bulk insert", on_row(statement="insert into orders select * from other"), "long_query", "cancel"),
    Case("a procedure without strong locks", on_row(statement="call work()"), "long_query", "cancel"),
    Case(
        "COPY whose client sends nothing is deaf to a cancel",
        on_row(statement="copy orders from stdin", wait_event_type="Client", wait_event="ClientRead"),
        "long_query",
        "terminate",
    ),
    Case(
        "a result that its client does not take",
        on_table(AS, wait_event_type="Client", wait_event="ClientWrite"),
        "long_query",
        "terminate",
    ),
    Case("ROLLBACK in progress frees everybody by itself", on_row(statement="rollback"), "long_query", "none"),
    Case("PREPARE TRANSACTION in progress", on_row(statement="prepare transaction 'a'"), "long_query", "none"),
    Case(
        "COMMIT that waits for its standby",
        on_row(statement="commit", wait_event_type="IPC", wait_event="SyncRep"),
        "long_query",
        "none",
    ),
    Case(
        "a single statement that waits for its standby",
        on_row(wait_event_type="IPC", wait_event="SyncRep"),
        "long_query",
        "none",
    ),
    Case(
        "a job of an extension is no client",
        on_row(backend_type="pg_cron", application_name="pg_cron"),
        "long_query",
        "none",
    ),
]

PREPARED_TRANSACTION = [
    Case(
        "PREPARE TRANSACTION that idles is none",
        on_row(statement="prepare transaction 'a'", **ABORTED),
        "idle_in_transaction",
        "terminate",
    ),
    Case(
        "PREPARE of a statement is none",
        on_row(statement="prepare p as select 1", **IDLE),
        "idle_in_transaction",
        "terminate",
    ),
    Case("one that nobody finished", prepared(), "prepared_transaction", "none", node=-1),
    Case("one whose name has quotes", prepared(gid="it's one"), "prepared_transaction", "none", node=-1),
    Case("one of a dropped role", prepared(owner=None), "prepared_transaction", "none", node=-1),
    Case("one that was finished meanwhile", prepared(gid=None), "prepared_transaction", "none", node=-1),
]

EXPLICIT_LOCK = [
    Case(
        "LOCK in a literal",
        on_row(statement="update orders set v = 'lock table orders' where id = 7"),
        "long_query",
        "cancel",
    ),
    Case("a column called lock", on_table(AS, statement="select lock from orders"), "long_query", "cancel"),
    Case(
        "a strong lock with a transaction id is DDL's",
        on_table(AE, AS, has_xid=True, statement="select 1"),
        "migration",
        "cancel",
    ),
    Case(
        "with a transaction id, and catalogs in which something is changed",
        replace(on_table(AE, AS, has_xid=True, statement="select 1"), redefines={HOLDER: True}),
        "migration",
        "cancel",
    ),
    Case(
        "with a transaction id, and catalogs in which nothing is changed",
        replace(on_table(AE, AS, has_xid=True, statement="select 1"), redefines={HOLDER: False}),
        "explicit_lock",
        "cancel",
    ),
    Case("a weak lock is no sign of LOCK TABLE", on_table(RE, S, statement="select 1"), "long_query", "cancel"),
    Case(
        "before DDL in the same text",
        on_table(AE, AS, has_xid=True, statement="lock table orders; alter table orders add c int; select 1"),
        "explicit_lock",
        "cancel",
        ("migration",),
    ),
    Case("LOCK TABLE that queues", queued(AE, statement="lock table orders"), "explicit_lock", "cancel"),
    Case(
        "LOCK without TABLE, cut", queued(AE, statement="lock orders in acc", truncated=True), "explicit_lock", "cancel"
    ),
    Case("in the middle of its work", on_table(SRE, RE, statement="select pg_sleep(9)"), "explicit_lock", "cancel"),
    Case(
        "together with its work",
        on_table(E, RE, has_xid=True, statement="lock orders in exclusive mode; update orders set v = 1"),
        "explicit_lock",
        "cancel",
    ),
    Case(
        "pg_dump locks what it reads",
        on_table(AS, application_name="pg_dump", statement="LOCK TABLE public.orders IN ACCESS SHARE MODE"),
        "backup",
        "none",
        ("explicit_lock",),
    ),
]

ADVISORY_LOCK = [
    Case("one that nobody wants, in a running session", on_row(advisory(HOLDER, granted=True)), "long_query", "cancel"),
    Case(
        "another key than the one that is wanted",
        on_row(advisory(HOLDER, granted=True, key=2), statement="select pg_advisory_lock(2)"),
        "long_query",
        "cancel",
    ),
    Case(
        "a session lock of an idle session",
        on_advisory(state="idle", xact_start=None, statement="select pg_advisory_lock(1)"),
        "advisory_lock",
        "none",
        relation=None,
    ),
    Case(
        "a lock that an idle transaction gives back at its end",
        on_advisory(statement="select pg_advisory_xact_lock(1)", **IDLE),
        "idle_in_transaction",
        "terminate",
        ("advisory_lock",),
        relation=None,
    ),
    Case(
        "a lock of an idle transaction, or of its session",
        on_advisory(**IDLE),
        "idle_in_transaction",
        "none",
        ("advisory_lock",),
        relation=None,
    ),
    Case(
        "a migration tool's lock, and a table that as many want",
        replace(
            on_advisory(lock(HOLDER, AE, granted=True), has_xid=True, statement="alter table orders add c int"),
            sessions={
                **on_advisory(
                    lock(HOLDER, AE, granted=True), has_xid=True, statement="alter table orders add c int"
                ).sessions,
                THIRD: wants_table(AS, THIRD),
            },
        ),
        "migration",
        "cancel",
        ("advisory_lock",),
    ),
    Case("while it works", on_advisory(statement="select pg_sleep(60)"), "advisory_lock", "none", relation=None),
    Case(
        "a migration tool's mutex",
        on_advisory(lock(HOLDER, AE, granted=True), has_xid=True, statement="alter table orders add c int"),
        "advisory_lock",
        "none",
        ("migration",),
        relation=None,
    ),
]

HOT_ROW = [
    Case("the same holder throughout", hot({HOLDER}, seconds=60), "long_query", "cancel"),
    Case("nobody held it before", hot(set()), "long_query", "cancel"),
    Case("only one waits", hot({1, 2}, crowd=1), "long_query", "cancel"),
    Case("the holder idles", hot({1, 2}, seconds=60, **IDLE), "idle_in_transaction", "terminate"),
    Case("next in line for a row that is kept", hot({1, 2}, seconds=60), "unknown", "none", node=WAITER),
    Case("next in line for what nobody else held", hot(set()), "unknown", "none", node=WAITER),
    Case("next in line where the holder changes", hot({1, 2}), "hot_row", "none", node=WAITER),
    Case("another holder in each poll", hot({1, 2, HOLDER}), "hot_row", "none"),
    Case("a crowd, and one former holder", hot({1}, crowd=30), "hot_row", "none"),
    Case(
        "a counter that everybody raises",
        hot({1, 2}, statement="insert into orders values (1) on conflict (id) do update set v = orders.v + 1"),
        "hot_row",
        "none",
    ),
]

BACKUP = [
    Case(
        "a name that only contains pg_dump", on_table(AS, application_name="my_pg_dump_check"), "long_query", "cancel"
    ),
    Case(
        "COPY by a person",
        on_table(AS, application_name="psql", statement="copy orders to stdout"),
        "long_query",
        "cancel",
    ),
    Case("pg_dump in its text only", on_table(AS, statement="select * from orders -- pg_dump"), "long_query", "cancel"),
    Case(
        "pg_dump copies a table",
        on_table(AS, application_name="pg_dump", statement="COPY public.orders (id, v) TO stdout;"),
        "backup",
        "none",
    ),
    Case(
        "pg_dump whose reader is slow",
        on_table(AS, application_name="pg_dump", statement="COPY public.orders TO stdout;", wait_event="ClientWrite"),
        "backup",
        "none",
    ),
    Case("a name that goes on", on_table(AS, application_name="barmanager"), "long_query", "cancel"),
    Case(
        "pgBackRest",
        on_table(AS, application_name="pgBackRest [backup]", **IDLE),
        "backup",
        "none",
        ("idle_in_transaction",),
    ),
    Case("Barman", on_table(AS, application_name="barman_streaming_backup"), "backup", "none"),
    Case(
        "a base backup by another name",
        replace(
            on_table(AS, backend_type="walsender", application_name="nightly", statement="BASE_BACKUP"),
            progress={HOLDER: CommandProgress("base backup", "streaming database files", 1, 2)},
        ),
        "backup",
        "none",
        ("replication",),
    ),
    Case("pg_dumpall", on_table(AS, application_name="pg_dumpall", **IDLE), "backup", "none", ("idle_in_transaction",)),
]

REPLICATION = [
    Case(
        "a client that calls itself walreceiver", on_table(AS, application_name="walreceiver"), "long_query", "cancel"
    ),
    Case(
        "a subscription's name on a client",
        on_row(application_name="logical replication worker"),
        "long_query",
        "cancel",
    ),
    Case(
        "a WAL sender that copies a table",
        on_table(AS, backend_type="walsender", statement="COPY public.orders TO STDOUT"),
        "replication",
        "none",
    ),
    Case(
        "an apply worker, up to version 15",
        on_row(backend_type="logical replication worker", statement=""),
        "replication",
        "none",
    ),
    Case(
        "an apply worker, from version 16 on",
        on_row(backend_type="logical replication apply worker", statement=""),
        "replication",
        "none",
    ),
    Case(
        "a table that is being synchronised",
        on_row(backend_type="logical replication tablesync worker", **IDLE),
        "replication",
        "none",
        ("idle_in_transaction",),
    ),
    Case(
        "the startup process of a standby",
        on_table(AE, AS, backend_type="startup", statement="", state=None),
        "replication",
        "none",
    ),
]

UNKNOWN = [
    Case(
        "hidden, with a strong lock",
        on_table(AE, AS, **HIDDEN),
        "unknown",
        "none",
    ),
    Case("already gone", snapshot([wants_table(AS)]), "unknown", "none"),
    Case("in a circle of two", circle(10, 20), "unknown", "none"),
    Case("in a circle of three", circle(10, 20, 30), "unknown", "none", node=30),
    Case("a writer that only stands in the queue", queued(RE, statement="update orders set v = 1"), "unknown", "none"),
    Case(
        "no session at all has rights to be seen",
        snapshot([replace(row_holder(), **HIDDEN), replace(row_waiter(), **HIDDEN)]),
        "unknown",
        "none",
    ),
]

CASES = {
    "idle_in_transaction": IDLE_IN_TRANSACTION,
    "migration": MIGRATION,
    "maintenance": MAINTENANCE,
    "autovacuum": AUTOVACUUM,
    "unindexed_scan": UNINDEXED_SCAN,
    "long_query": LONG_QUERY,
    "prepared_transaction": PREPARED_TRANSACTION,
    "explicit_lock": EXPLICIT_LOCK,
    "advisory_lock": ADVISORY_LOCK,
    "hot_row": HOT_ROW,
    "backup": BACKUP,
    "replication": REPLICATION,
    "unknown": UNKNOWN,
}
ALL = [case for cases in CASES.values() for case in cases]


def verdict(case: Case) -> Blocker:
    """What is said today."""
    [found] = [blocker for blocker in diagnose(case.snapshot).blockers if blocker.node == case.node]
    return found


def marked(case: Case) -> Any:
    marks = [pytest.mark.xfail(reason=case.wrong)] if case.wrong else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [marked(case) for case in ALL])
def test_the_verdict_is_the_label(case: Case) -> None:
    said = verdict(case)
    assert said.classification == case.classification
    assert (said.also, said.relation, said.recommendation.action) == (case.also, case.relation, case.action)
    assert said.root is not any(
        case.snapshot.sessions[pid].blockers for pid in {case.node} & set(case.snapshot.sessions)
    )


def test_the_table_is_of_use() -> None:
    assert len(ALL) >= 80
    assert len({case.name for case in ALL}) == len(ALL)
    assert set(CASES) == set(class_names())
    for name, cases in CASES.items():
        labels = [case.classification for case in cases]
        assert labels.count(name) >= 3, name
        assert len(labels) - labels.count(name) >= 2 or name == "unknown", name


def figures() -> Iterator[tuple[str, int, int, float | None, float | None]]:
    """Class, cases that are of it, cases that are said to be, precision, recall; the cases known to be wrong count."""
    pairs = Counter((case.classification, verdict(case).classification) for case in ALL)
    for name in class_names():
        right = pairs[name, name]
        labelled = sum(number for (label, _), number in pairs.items() if label == name)
        said = sum(number for (_, given), number in pairs.items() if given == name)
        yield name, labelled, said, right / said if said else None, right / labelled if labelled else None


def main() -> None:
    """Print the figures."""
    print(tabulate(figures(), ("class", "labelled", "said", "precision", "recall"), floatfmt=".3f"))
    whole = [case for case in ALL if not differs(case)]
    print(f"\n{len(ALL)} cases; class, also, relation and action all right in {len(whole)}")
    for case in ALL:
        if differs(case):
            print(f"  not: {case.name}: {differs(case)}")


def differs(case: Case) -> str:
    """Where the verdict is another one than the label; empty if nowhere."""
    said = verdict(case)
    got = (said.classification, said.also, said.relation, said.recommendation.action)
    wanted = (case.classification, case.also, case.relation, case.action)
    return "" if got == wanted else f"{got}, not {wanted}"


if __name__ == "__main__":
    main()
