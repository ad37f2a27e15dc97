"""Asks the planner about the searches of blockers. Whatever fails is said in the answer, never fatal.

Nothing is executed (never ANALYZE). No lock on a table is queued for: a session that waits is one more in the queue.
Planning runs in a read-only transaction that is rolled back at once, and the search is wholly ours (see `questions`).
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pgdoctor.diagnosis.index_advice.explain_requests import explain_requests
from pgdoctor.errors import ServerError, StatementFailed
from pgdoctor.model.query_plan import ExplainRequest, PlannedScan, QueryPlan
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.connection import Connection
from pgdoctor.postgres.queries import load_sql
from pgdoctor.postgres.text_loader import python_codec

#: Milliseconds that each statement may take, however long the connection's deadline is; a plan needs a few.
_MOST_MILLISECONDS = 1000

#: Statements of one question: all of them together stay within the deadline.
_STATEMENTS = 8

#: Settings of a transaction that plans. A generic plan, from 14 on: EXPLAIN (GENERIC_PLAN) came with 16. No partition
#: is left out for a value that is none. CHECK constraints are not looked at, nor policies put in, for both may call
#: functions. Nothing is taken from an index alone: the statement needs the rows, the question only counts them.
_SETTINGS = """
    SET LOCAL lock_timeout = '100ms';
    SET LOCAL plan_cache_mode = force_generic_plan;
    SET LOCAL enable_partition_pruning = off;
    SET LOCAL enable_indexonlyscan = off;
    SET LOCAL constraint_exclusion = off;
    SET LOCAL row_security = off;
"""

_IN_PART = "EXPLAIN covers only some of the conditions"

#: What a refusal of the server means, by SQLSTATE.
_REFUSALS = {
    "42501": "our role is not permitted to read the table",
    "55P03": "the table or a catalog is locked",
    "57014": "EXPLAIN took too long",
}

#: After these no more is asked at this poll.
_TIMEOUTS = frozenset({"55P03", "57014"})


class _Node(msgspec.Struct, frozen=True):
    """A node of a plan, of which nothing but figures and kinds is taken."""

    kind: str = msgspec.field(name="Node Type")
    cost: float = msgspec.field(name="Total Cost")
    rows: float = msgspec.field(name="Plan Rows")
    relation: str | None = msgspec.field(name="Relation Name", default=None)
    alias: str = msgspec.field(name="Alias", default="")
    join: str = msgspec.field(name="Join Type", default="")
    #: Conditions as the server writes them, on columns and parameters of ours.
    filter: str = msgspec.field(name="Filter", default="")
    hash_condition: str = msgspec.field(name="Hash Cond", default="")
    merge_condition: str = msgspec.field(name="Merge Cond", default="")
    join_filter: str = msgspec.field(name="Join Filter", default="")
    below: tuple["_Node", ...] = msgspec.field(name="Plans", default=())

    @property
    def condition(self) -> str:
        """By what it joins."""
        return self.hash_condition or self.merge_condition or self.join_filter

    def list_scans(self) -> Iterator[str]:
        """How tables are read in it."""
        if self.relation is not None:
            yield self.kind
        for node in self.below:
            yield from node.list_scans()


#: A column that is compared with a value, maybe cast to text, and one of a table.
_COLUMN = r"(?P<column>\"(?:[^\"]|\"\")+\"|[a-z_][a-z0-9_$]*)"
_COMPARED = re.compile(rf"\((?:\w+\.)?\(?{_COLUMN}\)?(?:::\w+)? = (?:ANY \()?\(?\$\d+")

#: Joins that want no row of a table without one of the other.
_NARROWING = frozenset({"Inner", "Semi", "Right Semi"})


def _read_as_a_whole(question: ExplainRequest, root: _Node) -> Iterator[PlannedScan]:
    """The tables that a plan reads as a whole, with what it wants of them."""
    oids = {table.alias: table.oid for table in question.tables}
    waiting: list[tuple[_Node, _Node | None, float]] = [(root, None, 0.0)]
    while waiting:
        node, join, other_rows = waiting.pop()
        if node.join:
            join = node if node.join in _NARROWING else None
            sides = node.below[:2]
            waiting += [(side, join, sides[1 - number].rows) for number, side in enumerate(sides) if len(sides) == 2]
            continue
        # A scan under a LIMIT or an aggregate is read for that, and not for the join above.
        is_passed_on = node.kind in ("Hash", "Sort", "Materialize", "Gather", "Memoize", "Gather Merge")
        waiting += [(below, join if is_passed_on else None, other_rows) for below in node.below]
        if node.kind != "Seq Scan" or node.alias not in oids:
            continue
        columns = tuple(_strip_quotes(found["column"]) for found in _COMPARED.finditer(node.filter))
        ties = re.findall(rf"\b{node.alias}\.{_COLUMN}", join.condition) if join is not None else []
        yield PlannedScan(
            oids[node.alias],
            columns,
            node.rows,
            joined_by=_strip_quotes(ties[0]) if join is not None and len(ties) == 1 and " = " in join.condition else "",
            other_rows=other_rows,
            joined_rows=join.rows if join is not None else 0.0,
        )


def _strip_quotes(column: str) -> str:
    return column[1:-1].replace('""', '"') if column.startswith('"') else column


class _Explained(msgspec.Struct, frozen=True):
    plan: _Node = msgspec.field(name="Plan")


_decode = msgspec.json.Decoder(tuple[_Explained]).decode


async def explain_searches(snapshot: Snapshot, server: Connection) -> dict[int, QueryPlan]:
    """By PID of a blocker: what the planner says of its search, or why it says nothing."""
    found: dict[int, QueryPlan] = {}
    given_up = ""
    for node, question in (await asyncio.to_thread(explain_requests, snapshot)).items():
        if isinstance(question, QueryPlan):
            found[node] = question
        elif given_up:
            found[node] = QueryPlan(question.oid, silence=given_up)
        else:
            try:
                found[node] = _read_plan(question, await server.within_deadline(_generic_plan(server, question)))
            except ServerError as error:
                found[node] = QueryPlan(question.oid, silence=_describe_refusal(error))
                if not isinstance(error, StatementFailed) or error.sqlstate in _TIMEOUTS:
                    given_up = "EXPLAIN of another statement was aborted"
    return found


def _read_plan(question: ExplainRequest, answer: str | None) -> QueryPlan:
    if answer is None:
        return QueryPlan(question.oid, silence="planning could run functions that are not built-in")
    try:
        [explained] = _decode(answer)
    except msgspec.MsgspecError:
        return QueryPlan(question.oid, silence="the plan could not be read")
    if question.tables:
        if not question.is_whole:
            return QueryPlan(question.oid, silence=_IN_PART)
        found = tuple(_read_as_a_whole(question, explained.plan))
        return QueryPlan(question.oid, cost=explained.plan.cost, read_as_a_whole=found, is_of_shape=True)
    plan = QueryPlan(
        question.oid,
        scans=tuple(explained.plan.list_scans()),
        cost=explained.plan.cost,
        full_cost=question.full_cost,
        rows=explained.plan.rows if question.is_for_values else None,
    )
    if plan.reads_all and not question.is_whole:
        return QueryPlan(question.oid, silence=_IN_PART)
    return plan


async def _generic_plan(server: Connection, question: ExplainRequest) -> str | None:
    """The plan in JSON; None where planning might run code that is not the server's own."""
    milliseconds = min(max(round(server.deadline * 1000 / _STATEMENTS), 100), _MOST_MILLISECONDS)
    is_prepared = False
    try:
        await _run_text(
            server,
            f"BEGIN READ ONLY; {server.transaction_settings}SET LOCAL statement_timeout = {milliseconds}; {_SETTINGS}"
            f"LOCK TABLE {', '.join(table.name for table in question.planned)} IN ACCESS SHARE MODE NOWAIT",
        )
        async with server.connection.cursor() as cursor:
            for table in question.planned:
                about = {"oid": table.oid, "table_name": table.name, "columns": list(question.columns)}
                await cursor.execute(load_sql("plannable", server.version_num), about, prepare=False)
                if await cursor.fetchone() != (True,):
                    return None
        await _run_text(server, f"PREPARE pgdoctor_search AS {question.statement}")
        is_prepared = True
        values = f"({', '.join(['NULL'] * question.parameters)})" if question.parameters else ""
        [(plan,)] = await _run_text(server, f"EXPLAIN (FORMAT JSON) EXECUTE pgdoctor_search {values}")
        return str(plan)
    finally:
        if server.is_open:
            # No rollback undoes PREPARE. In one message, for after a ROLLBACK the driver forgets all that is prepared.
            await _run_text(server, "ROLLBACK; DEALLOCATE pgdoctor_search" if is_prepared else "ROLLBACK")


async def _run_text(server: Connection, text: str) -> Sequence[Any]:
    """Statements that are made here, not read from `sql/`, because they name relations."""
    async with server.connection.cursor() as cursor:
        await cursor.execute(text.encode(python_codec(server.connection), errors="replace"), prepare=False)
        return await cursor.fetchall() if cursor.description else ()


def _describe_refusal(error: ServerError) -> str:
    """Why there is no answer; not in the server's words, which may quote."""
    if not isinstance(error, StatementFailed):
        return "the server did not answer"
    return _REFUSALS.get(error.sqlstate or "", f"the server refused it (SQLSTATE {error.sqlstate})")
