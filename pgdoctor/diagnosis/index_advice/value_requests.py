"""Which values of a running blocker's statement to look for among the most common ones of their columns.

Of a queue table most rows are done, and a statement asks for the few that are not: only the value tells which.
"""

import re
from collections.abc import Iterator, Sequence

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.index_advice.scanned_tables import BIG_TABLE_ROWS, find_scanned_tables, find_ties, parts_locked
from pgdoctor.model.snapshot import ColumnStats, Snapshot
from pgdoctor.model.waits import wait_graph
from pgdoctor.sqltext.conditions import Filter, GivenValues
from pgdoctor.sqltext.lexer import read_literal

#: Blockers that are asked about in one poll, the widest reach first, and values of one column.
MOST_BLOCKERS = 20
MOST_VALUES = 50

#: Characters of a value. The server keeps no longer ones among the most common (WIDTH_THRESHOLD in analyze.c).
_MOST_CHARACTERS = 250

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_INTEGERS = frozenset({"int2", "int4", "int8"})
_TRUTHS = {"t": "t", "true": "t", "1": "t", "f": "f", "false": "f", "0": "f"}


class ValueRequest:
    """The values of one column that a blocker's statement asks for, or leaves out, as the server writes them.

    No struct, so that nothing prints or stores it: the values are user data.
    """

    __slots__ = ("column", "is_excluded", "node", "table", "values")

    def __init__(
        self, node: int, table: int, column: ColumnStats, values: tuple[str, ...], *, is_excluded: bool = False
    ) -> None:
        self.node = node
        self.table = table
        self.column = column
        self.values = values
        self.is_excluded = is_excluded


def value_requests(snapshot: Snapshot) -> tuple[ValueRequest, ...]:
    """What to ask about the running blockers that search a big table without an index."""
    return tuple(request for facts in _running_blockers(snapshot) for request in _build_requests(facts))


def joined_names(snapshot: Snapshot, *, with_shapes: bool = False) -> tuple[tuple[int, str], ...]:
    """The tables to look up that running blockers join a big one to, by PID and bare name.

    `with_shapes`: all tables of their statements, which the planner is to be asked about.
    """
    found = [
        (facts.node, name.rpartition(".")[2])
        for facts in _running_blockers(snapshot)
        for name in (
            *(asked.other for _, asked, _ in find_ties(facts) if asked.other),
            *(each.name for each in (facts.statement_shape.tables if with_shapes and facts.statement_shape else ())),
        )
    ]
    return tuple(dict.fromkeys(found))


def _running_blockers(snapshot: Snapshot) -> Iterator[BlockerFacts]:
    """Those that wait for no session and run one statement, the widest reach first; none without a big table.

    To read their conditions costs a fifth of a second the first time.
    """
    known = [each for each in snapshot.relations.values() if each.indexes is not None]
    if sum(max(each.live_rows, 0.0) for each in known) < BIG_TABLE_ROWS:
        return
    graph = wait_graph(snapshot)
    nodes = [node for node in graph.blockers if node in snapshot.sessions and node not in graph.blockers_of]
    nodes.sort(key=lambda node: (-graph.count_blocked(node), node))
    for facts in (BlockerFacts(node, snapshot, graph) for node in nodes[:MOST_BLOCKERS]):
        if facts.is_running and facts.statement.is_one:
            yield facts


def _build_requests(facts: BlockerFacts) -> Iterator[ValueRequest]:
    text = facts.session.statement if facts.session else None
    for table, asked in find_scanned_tables(facts, trusts_hidden=True):
        left_out = _list_excluded(asked.filters)
        if not (asked.given or left_out) or table.unserved_rows(asked.filters, parts_locked(facts)) < BIG_TABLE_ROWS:
            continue
        for each, is_excluded in [*((given, False) for given in asked.given), *((other, True) for other in left_out)]:
            column = table.columns.get(each.column)
            if column is None or column.is_hidden or column.is_partition_key:
                continue
            values = _read_values(each, column, text or "")
            if values:
                yield ValueRequest(facts.node, table.relation.oid, column, values, is_excluded=is_excluded)


def _list_excluded(filters: Sequence[Filter]) -> list[GivenValues]:
    """By column, the values that no wanted row has. Conditions in an OR say nothing of all rows."""
    found: dict[str, tuple[int, ...]] = {}
    for arm in (each.arms[0] for each in filters if len(each.arms) == 1 and each.arms[0].excluded):
        found[arm.mentions[0]] = found.get(arm.mentions[0], ()) + arm.excluded
    return [GivenValues(column, places) for column, places in found.items()]


def _read_values(given: GivenValues, column: ColumnStats, text: str) -> tuple[str, ...]:
    """All of the values; none where one of them cannot be compared for certain."""
    if len(given.places) > MOST_VALUES:
        return ()
    literals = [read_literal(text, place) for place in given.places]
    stored = [None if literal is None else _as_stored(literal, column.type) for literal in literals]
    stored += ["t" if truth else "f" for truth in given.truths]
    return tuple(dict.fromkeys(each for each in stored if each is not None)) if None not in stored else ()


def _as_stored(literal: str, kind: str) -> str | None:
    """The literal as the server writes a value of this type; None where that is not certain."""
    # The replacement character stands for bytes that were no text.
    if len(literal) > _MOST_CHARACTERS or "\ufffd" in literal:
        return None
    if kind in _INTEGERS:
        return str(int(literal)) if _INTEGER.fullmatch(literal) else None
    if kind == "bool":
        return _TRUTHS.get(literal.lower())
    return literal.rstrip(" ") if kind == "bpchar" else literal
