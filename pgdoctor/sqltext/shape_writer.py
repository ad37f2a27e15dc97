"""The part of `statement_shape` that needs sqlglot. Import it late. Unknown parts are not written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from pgdoctor.sqltext.operands import is_volatile, may_change
from pgdoctor.sqltext.statement_shape import ShapeTable, StatementShape
from pgdoctor.sqltext.where_clause import BoundedPostgres, list_sides

if TYPE_CHECKING:
    from sqlglot.expressions import Expr as Node

_SIGNS: dict[type[Any], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}

#: Joins as they are written, by side and kind.
_JOINS = {"": "JOIN", "INNER": "JOIN", "LEFT": "LEFT JOIN", "RIGHT": "RIGHT JOIN", "FULL": "FULL JOIN", "CROSS": ","}

#: Tables and queries of one statement.
_MOST_SOURCES = 12


class _Unwritable(Exception):
    """A part of the statement is not understood."""


def write_shape(plain: str) -> StatementShape | None:
    """The shape of a statement that is free of literals; None where it cannot be written."""
    try:
        tree = sqlglot.parse_one(plain, read=BoundedPostgres, error_level=sqlglot.ErrorLevel.RAISE)
        return _ShapeWriter().write_shape(tree)
    except Exception:  # noqa: BLE001 - sqlglot raises IndexError and RecursionError among many others.
        return None


class _ShapeWriter:
    def __init__(self) -> None:
        self._tables: list[ShapeTable] = []
        self._columns: set[str] = set()
        self._parameters = 0
        self._sources = 0
        self._is_whole = True
        #: What names of tables and aliases mean, the innermost query last.
        self._scopes: list[dict[str, str]] = []
        self._with: dict[str, str] = {}

    def write_shape(self, tree: Node) -> StatementShape:
        written = "".join(self._write_statement(tree))
        parts = written.split("\0")
        pieces = tuple(int(part) if number % 2 else part for number, part in enumerate(parts))
        return StatementShape(tuple(self._tables), pieces, frozenset(self._columns), self._parameters, self._is_whole)

    def _write_statement(self, tree: Node) -> str:
        tree = tree.unnest()
        with_list = self._with_list(tree)
        if isinstance(tree, exp.Select):
            return with_list + self._write_select(tree, "1")
        if isinstance(tree, exp.Insert) and isinstance(tree.expression, (exp.Select, exp.Subquery)):
            return with_list + self._write_statement(tree.expression)
        self._scopes.append({})
        sources = [self._write_source(tree.this)]
        where = tree.args.get("where")
        if isinstance(tree, exp.Update):
            source = _find_from(tree)
            sources += ["".join(self._with_joins(source.this))] if source is not None else []
        elif isinstance(tree, exp.Delete):
            sources += ["".join(self._with_joins(each)) for each in tree.args.get("using") or []]
        elif isinstance(tree, exp.Merge) and not any(each.args.get("source") for each in tree.find_all(exp.When)):
            sources.append(self._write_source(tree.args["using"]))
            where = exp.Where(this=tree.args["on"])
        else:
            raise _Unwritable
        condition = self._write_where(where.this if where is not None else None)
        return f"{with_list}SELECT 1 FROM {', '.join(sources)}{condition}"  # noqa: S608 - no word is the client's.

    def _with_list(self, tree: Node) -> str:
        found = tree.args.get("with_") or tree.args.get("with")
        if found is None:
            return ""
        if found.args.get("recursive"):
            raise _Unwritable
        written = []
        for each in found.expressions:
            if not isinstance(each.this, exp.Select):
                raise _Unwritable
            body = self._write_select(each.this, None)
            name = self._with[each.alias] = f"c{len(self._with)}"
            materialized = {True: "MATERIALIZED ", False: "NOT MATERIALIZED "}.get(each.args.get("materialized"), "")
            written.append(f"{name} AS {materialized}({body})")
        return f"WITH {', '.join(written)} "

    def _write_select(self, query: exp.Select, shown: str | None) -> str:
        """A query; `shown` None: its own list, which must be columns or one aggregate."""
        source = _find_from(query)
        if source is None or query.args.get("having") or query.args.get("windows"):
            raise _Unwritable
        self._scopes.append({})
        sources = "".join(self._with_joins(source.this)) + "".join(
            self._write_join(each) for each in query.args.get("joins") or []
        )
        where = query.args.get("where")
        condition = self._write_where(where.this if where is not None else None)
        end = self._write_end(query)
        listed = shown if shown is not None else self._write_list(query)
        self._scopes.pop()
        return f"SELECT {listed} FROM {sources}{condition}{end}"  # noqa: S608 - no word is the client's.

    def _write_end(self, query: exp.Select) -> str:
        """ORDER BY and LIMIT: they decide together whether the rows have to be sorted."""
        if not query.args.get("limit"):
            return ""
        if query.args.get("group") or query.args.get("distinct") or any(query.find_all(exp.AggFunc)):
            return ""
        order = query.args.get("order")
        keys = [self._write_key(each) for each in order.expressions] if order is not None else []
        by = f" ORDER BY {', '.join(keys)}" if keys else ""
        return f"{by} LIMIT {self._write_parameter()}"

    def _write_key(self, ordered: Node) -> str:
        column = ordered.this.unnest()
        if not isinstance(column, exp.Column):
            raise _Unwritable
        return self._write_column(column) + (" DESC" if ordered.args.get("desc") else "")

    def _write_list(self, query: exp.Select) -> str:
        """The columns that a query gives to the one around it."""
        if all(isinstance(each, exp.Star) or isinstance(each.this, exp.Star) for each in query.expressions):
            return "*"
        return ", ".join(self._write_given(each) for each in query.expressions)

    def _write_given(self, node: Node) -> str:
        node = node.unnest()
        if isinstance(node, exp.Column):
            return self._write_column(node)
        if isinstance(node, (exp.Max, exp.Min)) and isinstance(node.this, exp.Column) and not node.expressions:
            return f"pg_catalog.{type(node).__name__.lower()}({self._write_column(node.this)})"
        raise _Unwritable

    def _with_joins(self, source: Node) -> Iterator[str]:
        yield self._write_source(source)
        for each in source.args.get("joins") or []:
            yield self._write_join(each)

    def _write_source(self, source: Node) -> str:
        self._sources += 1
        if self._sources > _MOST_SOURCES or source.args.get("laterals") or source.args.get("sample"):
            raise _Unwritable
        if isinstance(source, exp.Subquery) and isinstance(source.this, exp.Select):
            alias = f"s{self._sources}"
            text = f"({self._write_select(source.this, None)}) AS {alias}"
            self._scopes[-1][source.alias] = alias
            return text
        if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
            raise _Unwritable
        own = source.alias or source.name
        if source.name in self._with and not source.db:
            alias = self._scopes[-1][own] = f"s{self._sources}"
            return f"{self._with[source.name]} AS {alias}"
        alias = self._scopes[-1][own] = f"t{len(self._tables)}"
        self._tables.append(ShapeTable(f"{source.db}.{source.name}" if source.db else source.name, alias))
        return f"\0{len(self._tables) - 1}\0 AS {alias}"

    def _write_join(self, join: Node) -> str:
        kind = (join.args.get("side") or join.args.get("kind") or "").upper()
        if kind not in _JOINS or join.args.get("using") or join.args.get("method"):
            raise _Unwritable
        on = join.args.get("on")
        source = self._write_source(join.this)
        if on is None:
            return f", {source}"
        return f" {_JOINS[kind]} {source} ON {self._write_condition(on)}"

    def _write_where(self, tree: Node | None) -> str:
        """What is understood of a condition; the rest is left out."""
        if tree is None:
            return ""
        written = []
        for each in list_sides(tree, exp.And):
            before = len(self._tables), self._parameters, [dict(scope) for scope in self._scopes]
            columns = set(self._columns)
            try:
                written.append(self._write_condition(each))
            except _Unwritable:
                del self._tables[before[0] :]
                self._parameters, self._scopes, self._columns = before[1], before[2], columns
                self._is_whole = False
        return f" WHERE {' AND '.join(written)}" if written else ""

    def _write_condition(self, node: Node) -> str:
        node = node.unnest()
        for kind, word in ((exp.And, " AND "), (exp.Or, " OR ")):
            if isinstance(node, kind):
                return "(" + word.join(self._write_condition(each) for each in list_sides(node, kind)) + ")"
        if isinstance(node, exp.Not):
            return f"(NOT {self._write_condition(node.this)})"
        if isinstance(node, exp.Column):
            return self._write_column(node)
        if isinstance(node, exp.Exists) and isinstance(node.this, exp.Select):
            return f"EXISTS ({self._write_select(node.this, '1')})"
        if isinstance(node, exp.In):
            inside = self._write_query(node.args["query"]) if node.args.get("query") else self._parameters_for(node)
            return f"({self._write_operand(node.this)} IN {inside})"
        if isinstance(node, exp.Between):
            low, high = self._write_operand(node.args["low"]), self._write_operand(node.args["high"])
            return f"({self._write_operand(node.this)} BETWEEN {low} AND {high})"
        if isinstance(node, exp.Is) and isinstance(node.expression, (exp.Null, exp.Boolean)):
            negation = "NOT " if node.args.get("negate") else ""
            return f"({self._write_operand(node.this)} IS {negation}{node.expression.sql()})"
        if type(node) in _SIGNS:
            return f"({self._write_operand(node.this)} {_SIGNS[type(node)]} {self._write_operand(node.expression)})"
        raise _Unwritable

    def _write_operand(self, node: Node) -> str:
        node = node.unnest()
        if isinstance(node, exp.Column):
            return self._write_column(node)
        if isinstance(node, exp.Boolean):
            return str(node.sql())
        if isinstance(node, (exp.Lower, exp.Upper)) and isinstance(node.this, exp.Column):
            return f"pg_catalog.{type(node).__name__.lower()}({self._write_column(node.this)})"
        if isinstance(node, exp.Any):
            is_of_values = node.find(exp.Column, exp.Query) is None
            return f"ANY ({self._write_parameter()})" if is_of_values else f"ANY {self._write_query(node.this)}"
        if isinstance(node, (exp.Subquery, exp.Select)):
            return self._write_query(node)
        if node.find(exp.Column, exp.Query) or is_volatile(node) or may_change(node):
            raise _Unwritable
        return self._write_parameter()

    def _parameters_for(self, node: Node) -> str:
        if not node.expressions or any(each.find(exp.Column, exp.Query) for each in node.expressions):
            raise _Unwritable
        return f"({', '.join(self._write_parameter() for _ in node.expressions)})"

    def _write_query(self, node: Node) -> str:
        """A query of values in brackets, or of an array."""
        while isinstance(node, (exp.Subquery, exp.Paren)):
            node = node.this
        if isinstance(node, exp.Array) and len(node.expressions) == 1:
            node = node.expressions[0]
        if not isinstance(node, exp.Select):
            raise _Unwritable
        return f"({self._write_select(node, None)})"

    def _write_column(self, column: exp.Column) -> str:
        if column.name == "ctid" or column.args.get("db"):
            raise _Unwritable
        self._columns.add(column.name)
        quoted = '"' + column.name.replace('"', '""') + '"'
        if not column.table:
            return quoted
        owner = next((scope[column.table] for scope in reversed(self._scopes) if column.table in scope), None)
        if owner is None:
            raise _Unwritable
        return f"{owner}.{quoted}"

    def _write_parameter(self) -> str:
        self._parameters += 1
        return f"${self._parameters}"


def _find_from(node: Node) -> Node | None:
    found: Node | None = node.args.get("from_") or node.args.get("from")
    return found
