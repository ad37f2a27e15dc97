"""What to ask the planner about the blockers of a snapshot: little, seldom, and nothing that is not ours.

Planning evaluates functions, so another session's text is never planned, not even quoted: the search is written again
from the columns and operators that were understood. Its values stay out of it as well, for the server may log and
remember what it is sent (`pg_stat_statements` keeps the text of an EXPLAIN as it is).
"""

from itertools import chain

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.causes.unindexed_scan import Claim, find_claim
from pgdoctor.diagnosis.index_advice.scanned_tables import BIG_TABLE_ROWS, find_read_table
from pgdoctor.model.query_plan import ExplainRequest, PlannedTable, QueryPlan
from pgdoctor.model.snapshot import Relation, Snapshot
from pgdoctor.model.wait_graph import Node
from pgdoctor.model.waits import wait_graph
from pgdoctor.sqltext.conditions import NO_COLUMN, Alternative, Filter, Search

#: Questions of one poll, the widest reach first, and blockers that are examined for them.
MOST_QUESTIONS = 3
_MOST_SUSPECTS = 100

_KINDS = ("select", "select_for_update", "insert", "update", "delete")

_NO_SHAPE = "it joins tables in a way that EXPLAIN is not asked about"

_CASTS = {"": "", "numeric": "::pg_catalog.numeric", "float": "::pg_catalog.float8", "text": "::pg_catalog.text"}

#: The planner's default costs of a page and of a row.
_PAGE, _ROW = 1.0, 0.01


def explain_requests(snapshot: Snapshot) -> dict[Node, ExplainRequest | QueryPlan]:
    """By blocker: what to ask about its search, or a silent plan that says why it is not asked."""
    graph = wait_graph(snapshot)
    running = [node for node in graph.blockers if node in snapshot.sessions and node not in graph.blockers_of]
    running.sort(key=lambda node: (-graph.count_blocked(node), node))
    found: dict[Node, ExplainRequest | QueryPlan] = {}
    for facts in (BlockerFacts(node, snapshot, graph) for node in running[:_MOST_SUSPECTS]):
        claimed = find_claim(facts)
        if claimed is None or claimed.is_join:
            if (shape := shape_request(facts)) is not None and len(found) < MOST_QUESTIONS:
                found[facts.node] = shape
            elif claimed is not None:
                found[facts.node] = QueryPlan(claimed.relation.oid, silence=_NO_SHAPE)
        else:
            objection = _find_objection(facts, claimed, len(found))
            found[facts.node] = (
                QueryPlan(claimed.relation.oid, silence=objection) if objection else _make_request(claimed)
            )
    return found


def _find_objection(facts: BlockerFacts, claimed: Claim, asked: int) -> str:
    """The objection to asking; empty without one."""
    assert facts.session is not None
    if facts.session.truncated or facts.statement.kinds not in [(kind,) for kind in _KINDS]:
        return "its text is not one complete SELECT, INSERT, UPDATE or DELETE"
    if _is_locked(facts.snapshot, {claimed.relation.oid, *(claimed.relation.parts or ())}):
        return "a session holds or awaits AccessExclusiveLock on the table, so EXPLAIN would wait"
    if asked >= MOST_QUESTIONS:
        return f"at most {MOST_QUESTIONS} statements are explained at a time"
    return ""


def shape_request(facts: BlockerFacts) -> ExplainRequest | None:
    """What to ask about all tables of a statement; None where it is not understood, or reads no big table."""
    shape = facts.statement_shape
    if shape is None:
        return None
    named = [(each, find_read_table(facts, each.name)) for each in shape.tables]
    relations = [relation for _, relation in named if relation is not None]
    known = {name for relation in relations for name in relation.columns or ()}
    if len(relations) < len(named) or not shape.columns <= known or not any(map(_is_big, relations)):
        return None
    if _is_locked(facts.snapshot, {oid for each in relations for oid in (each.oid, *(each.parts or ()))}):
        return None
    text = "".join(relations[piece].name if isinstance(piece, int) else piece for piece in shape.pieces)
    return ExplainRequest(
        oid=relations[0].oid,
        table=relations[0].name,
        columns=tuple(sorted(shape.columns)),
        condition="",
        parameters=shape.parameters,
        full_cost=0.0,
        is_whole=shape.is_whole,
        search=text,
        tables=tuple(
            PlannedTable(relation.oid, relation.name, each.alias) for each, relation in named if relation is not None
        ),
    )


def _is_big(relation: Relation) -> bool:
    return relation.indexes is not None and relation.live_rows >= BIG_TABLE_ROWS


def _is_locked(snapshot: Snapshot, oids: set[int]) -> bool:
    """A session has, or waits for, one of the tables or an index of them for himself alone."""
    locks = chain(
        chain.from_iterable(session.locks for session in snapshot.sessions.values()),
        chain.from_iterable(transaction.locks for transaction in snapshot.prepared),
    )
    return any(
        table.oid in oids
        for lock in locks
        if lock.locktype == "relation"
        and lock.mode == "AccessExclusiveLock"
        and snapshot.is_here(lock)
        and (table := snapshot.table_of(lock)) is not None
    )


def _make_request(claimed: Claim) -> ExplainRequest:
    writer = _RestrictionWriter(claimed)
    written = [writer.write_restriction(each) for each in claimed.filters if not _names_no_column(each)]
    asked = [text for text in written if text]
    return ExplainRequest(
        oid=claimed.relation.oid,
        table=claimed.relation.name,
        columns=tuple(sorted(writer.columns)),
        condition=" AND ".join(asked) or "true",
        parameters=writer.parameters,
        full_cost=sum(
            max(part.pages, 0) * _PAGE + max(part.live_rows, 0.0) * _ROW
            for part in claimed.table.list_partitions() or ()
        ),
        is_whole=len(asked) == len(written),
        is_for_values=writer.is_for_values,
    )


def _names_no_column(restriction: Filter) -> bool:
    return all(arm.obstacle == NO_COLUMN for arm in restriction.arms)


class _RestrictionWriter:
    """Writes the conditions on one table, each value as the next parameter."""

    def __init__(self, claimed: Claim) -> None:
        self.columns: set[str] = set()
        self.parameters = 0
        self.is_for_values = True
        self._known = claimed.table.columns

    def write_restriction(self, restriction: Filter) -> str:
        """One of the conditions that must all hold; empty where it has a part that cannot be asked."""
        if not all(self._is_writable(arm) for arm in restriction.arms):
            return ""
        return "(" + " OR ".join(map(self._write_arm, restriction.arms)) + ")"

    def _is_writable(self, arm: Alternative) -> bool:
        named = arm.mentions if arm.function else arm.columns
        return bool(named) and not arm.is_doubtful and all(name in self._known for name in named)

    def _write_arm(self, arm: Alternative) -> str:
        if arm.function in ("lower", "upper"):
            return f"pg_catalog.{arm.function}({self._write_column(arm.mentions[0])}) = {self._write_parameter('text')}"
        return " AND ".join(self._write_search(search) for search in arm.searches)

    def _write_search(self, search: Search) -> str:
        column = self._write_column(search.column)
        self.is_for_values = self.is_for_values and (search.may_be_for_a_value or search.operator == "null")
        match search.operator:
            case "=" | "pattern":
                return f"{column} = {self._write_parameter(search.value_type)}"
            case "<":  # An open range is taken for a third of the table, and read as a whole with any index.
                return " AND ".join(
                    f"{column} {sign} {self._write_parameter(search.value_type)}" for sign in (">=", "<=")
                )
            case "prefix":
                return f"{column} LIKE 'x%'"
            case "null":
                return f"{column} IS NULL"
            case "not null":
                return f"{column} IS NOT NULL"

    def _write_column(self, name: str) -> str:
        self.columns.add(name)
        return self._known[name].quoted

    def _write_parameter(self, value_type: str) -> str:
        self.parameters += 1
        return f"${self.parameters}{_CASTS[value_type]}"
