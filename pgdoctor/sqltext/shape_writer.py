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


#: What is written for an item of a list that is not understood.
_NOTHING = "NULL"

_QUERIES = (exp.Select, exp.SetOperation)


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
        #: By alias of ours: the columns that a query in brackets has named itself, and what they are called here; empty
        #: for those that are not written.
        self._named: dict[str, dict[str, str]] = {}
        self._outputs = 0

    def write_shape(self, tree: Node) -> StatementShape:
        written = "".join(self._write_statement(tree))
        parts = written.split("\0")
        pieces = tuple(int(part) if number % 2 else part for number, part in enumerate(parts))
        return StatementShape(tuple(self._tables), pieces, frozenset(self._columns), self._parameters, self._is_whole)

    def _write_statement(self, tree: Node) -> str:
        tree = tree.unnest()
        with_list, changes = self._with_list(tree)
        body = self._write_body(tree)
        return with_list + (" UNION ALL ".join(f"({each})" for each in (body, *changes)) if changes else body)

    def _write_body(self, tree: Node) -> str:
        if isinstance(tree, _QUERIES):
            return self._write_plain_query(tree, "1")[0]
        if isinstance(tree, exp.Insert) and isinstance(tree.expression, (*_QUERIES, exp.Subquery)):
            return self._write_statement(tree.expression)
        if isinstance(tree, exp.Insert) and isinstance(tree.expression, exp.Values):
            return "SELECT 1"
        return self._write_change(tree, "1")[0]

    def _write_change(self, tree: Node, shown: str | None) -> tuple[str, dict[str, str]]:
        """The search of a statement that changes rows; `shown` None: its RETURNING list."""
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
        listed, named = (shown, {}) if shown is not None else self._write_list(tree.args["returning"])
        self._scopes.pop()
        return f"SELECT {listed} FROM {', '.join(sources)}{condition}", named  # noqa: S608 - no word is the client's.

    def _with_list(self, tree: Node) -> tuple[str, list[str]]:
        """The WITH list, and the searches of those of its statements that change rows: they run unasked for."""
        found = tree.args.get("with_") or tree.args.get("with")
        if found is None:
            return "", []
        is_recursive = bool(found.args.get("recursive"))
        written, changes = [], []
        for each in found.expressions:
            name, columns = f"c{len(self._with)}", each.args["alias"].args.get("columns") or []
            if is_recursive:
                self._with[each.alias] = name
            self._named[name] = {column.name: self._name_output() for column in columns}
            materialized = {True: "MATERIALIZED ", False: "NOT MATERIALIZED "}.get(each.args.get("materialized"), "")
            if isinstance(each.this, _QUERIES):
                body, named = self._write_query_body(each.this, None)
            elif isinstance(each.this, (exp.Update, exp.Delete, exp.Insert)):
                changes.append(self._write_body(each.this))
                if isinstance(each.this, exp.Insert) or not each.this.args.get("returning"):
                    continue
                body, named = self._write_change(each.this, None)
                materialized = "MATERIALIZED "
            else:
                raise _Unwritable
            names = f" ({', '.join(self._named[name].values())})" if columns else ""
            self._named[name] = self._named[name] or named
            self._with[each.alias] = name
            written.append(f"{name}{names} AS {materialized}({body})")
        recursive = "RECURSIVE " if is_recursive else ""
        return (f"WITH {recursive}{', '.join(written)} " if written else ""), changes

    def _write_query_body(
        self, query: Node, shown: str | None, *, is_compared: bool = False
    ) -> tuple[str, dict[str, str]]:
        """A query or several that are put together, and the columns that it names itself. What is done with the rows
        of both is the same to the scans below. `is_compared`: all of its list must be understood."""
        query = query.unnest()
        with_list, changes = self._with_list(query)
        if changes:
            raise _Unwritable
        text, named = self._write_plain_query(query, shown, is_compared=is_compared)
        return with_list + text, named

    def _write_plain_query(
        self, query: Node, shown: str | None, *, is_compared: bool = False
    ) -> tuple[str, dict[str, str]]:
        if isinstance(query, exp.Select):
            return self._write_select(query, shown, is_compared=is_compared)
        if not isinstance(query, exp.SetOperation):
            raise _Unwritable
        left, named = self._write_query_body(query.this, shown, is_compared=is_compared)
        right, _ = self._write_query_body(query.expression, shown, is_compared=is_compared)
        return f"({left}) UNION ALL ({right})", named

    def _write_select(self, query: exp.Select, shown: str | None, *, is_compared: bool) -> tuple[str, dict[str, str]]:
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
        listed, named = (shown, {}) if shown is not None else self._write_list(query)
        if is_compared and any(f"{each} ".startswith(f"{_NOTHING} ") for each in listed.split(", ")):
            raise _Unwritable
        self._scopes.pop()
        return f"SELECT {listed} FROM {sources}{condition}{end}", named  # noqa: S608 - no word is the client's.

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

    def _write_list(self, query: Node) -> tuple[str, dict[str, str]]:
        """The columns that a query gives to the one around it, and those of them that it names itself."""
        if all(isinstance(each, exp.Star) or isinstance(each.this, exp.Star) for each in query.expressions):
            return "*", {}
        written, named = [], {}
        # Groups are not written, so nothing is made of the rows of one beside other columns.
        is_one = len(query.expressions) == 1
        for each in query.expressions:
            given = self._write_given_or_null(each.this if isinstance(each, exp.Alias) else each, is_one=is_one)
            if isinstance(each, exp.Alias):
                output = self._name_output()
                named[each.alias] = output if given != _NOTHING else ""
                given = f"{given} AS {output}"
            written.append(given)
        return ", ".join(written), named

    def _name_output(self) -> str:
        self._outputs += 1
        return f"o{self._outputs}"

    def _write_given_or_null(self, node: Node, *, is_one: bool) -> str:
        if not is_one and node.find(exp.AggFunc):
            return _NOTHING
        try:
            return self._write_given(node)
        except _Unwritable:
            return _NOTHING

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
        if isinstance(source, exp.Subquery) and isinstance(source.this, _QUERIES):
            if source.args["alias"].args.get("columns"):
                raise _Unwritable
            alias = f"s{self._sources}"
            body, self._named[alias] = self._write_query_body(source.this, None)
            self._scopes[-1][source.alias] = alias
            return f"({body}) AS {alias}"
        if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
            raise _Unwritable
        own = source.alias or source.name
        if source.name in self._with and not source.db:
            alias = self._scopes[-1][own] = f"s{self._sources}"
            self._named[alias] = self._named[self._with[source.name]]
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
            return f"EXISTS ({self._write_query_body(node.this, '1')[0]})"
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
        if not isinstance(node, _QUERIES):
            raise _Unwritable
        return f"({self._write_query_body(node, None, is_compared=True)[0]})"

    def _write_column(self, column: exp.Column) -> str:
        if column.name == "ctid" or column.args.get("db"):
            raise _Unwritable
        owner = ""
        if column.table:
            owner = next((scope[column.table] for scope in reversed(self._scopes) if column.table in scope), "")
            if not owner:
                raise _Unwritable
        if (named := self._find_named(column, owner)) is not None:
            return named
        self._columns.add(column.name)
        quoted = '"' + column.name.replace('"', '""') + '"'
        return f"{owner}.{quoted}" if owner else quoted

    def _find_named(self, column: exp.Column, owner: str) -> str | None:
        """A column that a query in brackets has named itself; None for all others."""
        owners = [owner] if owner else list(self._scopes[-1].values()) if self._scopes else []
        found = [each for each in owners if column.name in self._named.get(each, {})]
        if not found:
            return None
        output = self._named[found[0]][column.name]
        if len(found) > 1 or not output:
            raise _Unwritable
        return f"{found[0]}.{output}"

    def _write_parameter(self) -> str:
        self._parameters += 1
        return f"${self._parameters}"


def _find_from(node: Node) -> Node | None:
    found: Node | None = node.args.get("from_") or node.args.get("from")
    return found
