"""Which tables a statement is about, and where its conditions on the first of them stand."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pgdoctor.sqltext.cut_clause import CutClause, read_cut_clause
from pgdoctor.sqltext.lexer import Sort, Token, word_set
from pgdoctor.sqltext.statement_head import Bodies, StatementHead, main_verb
from pgdoctor.sqltext.token_stream import CLAUSE_ENDS, TokenStream

#: Subqueries that are followed to find the table that is read.
_MOST_HOPS = 20

_FROM = word_set("from")
_USING = word_set("using")
_WHERE = word_set("where")
_ON = word_set("on")
_BY = word_set("by")
_LIST_ENDS = CLAUSE_ENDS | _WHERE

#: What ends the condition of a query (ON CONFLICT may follow it), of an UPDATE or DELETE, and of a MERGE.
_QUERY_ENDS = CLAUSE_ENDS | _ON
_ORDER = word_set("order")
_KEY_ENDS = word_set("limit offset fetch for")
_ENOUGH = word_set("limit fetch")
_OTHER_JOINS = word_set("left right full cross natural using")
_TWO = 2
_AND = Token(Sort.WORD, "and", 0, 0)
_OPEN, _CLOSE = Token(Sort.SYMBOL, "(", 0, 0), Token(Sort.SYMBOL, ")", 0, 0)
_CHANGE_ENDS = word_set("returning")
_MERGE_ENDS = word_set("when")

#: Verbs in the place of a query that has no FROM list.
_NO_LIST = word_set("values insert update delete merge")


class TableSource(NamedTuple):
    """An item of a FROM list; the name is empty for a subquery or a function.

    `rows`: how many VALUES in its place has.
    """

    name: str
    alias: str
    rows: int = 0

    @property
    def owner(self) -> str:
        """What its columns are qualified with."""
        return self.alias or self.name.rpartition(".")[2]


class SortKey(NamedTuple):
    """An item of ORDER BY; the column is empty where it is anything but one."""

    column: str
    is_descending: bool = False


class TableScan(NamedTuple):
    """The table that is read first, and what is known of the search for its rows.

    `owner` is what its columns are qualified with. `condition` is None where there is none. `is_whole` is false
    where some of it was cut off, or where a query around this one adds to it. `is_tied_here`: nothing but the condition
    ties it to other tables. The target of an UPDATE or DELETE cannot be in a JOIN. `cut`: the rest of a condition
    that was cut off.
    """

    table: str
    owner: str
    condition: Sequence[Token] | None
    is_whole: bool
    is_joined: bool
    is_tied_here: bool
    cut: CutClause | None = None
    #: The other tables, where each selected row belongs to one of theirs.
    others: tuple[TableSource, ...] = ()
    #: Names that WITH gives to queries.
    with_names: frozenset[str] = frozenset()
    sorted_by: tuple[SortKey, ...] = ()
    #: It ends as soon as it has found some rows.
    is_limited: bool = False


_Targets = Callable[[TokenStream, StatementHead], tuple[str, ...]]
_Scans = Callable[[TokenStream, StatementHead], TableScan | None]


def find_targets(sentence: TokenStream, head: StatementHead) -> tuple[str, ...]:
    """The relations that the statement is about, as far as its text names them."""
    find = _TARGETS.get(head.form.target)
    return find(sentence, head) if find else ()


def _read_next(sentence: TokenStream, head: StatementHead) -> tuple[str, ...]:
    if sentence[head.behind].is_symbol("(") and head.form.kind.startswith("copy"):
        return _read_sources(sentence, head._replace(verb=head.behind))
    return sentence.read_relations(head.behind)


def _read_column(sentence: TokenStream, head: StatementHead) -> tuple[str, ...]:
    table = sentence.read_relation(head.behind)[0].rpartition(".")[0]
    return (table,) if table else ()


def _read_sources(sentence: TokenStream, head: StatementHead) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_find_scope(sentence, head.verb, head.bodies).tables))


def _find_behind(word: str) -> _Targets:
    wanted = frozenset({word})

    def find(sentence: TokenStream, head: StatementHead) -> tuple[str, ...]:
        found = sentence.find(head.behind, wanted)
        return () if found is None else sentence.read_relations(found + 1)

    return find


_TARGETS: dict[str, _Targets] = {
    "next": _read_next,
    "on": _find_behind("on"),
    "on?": lambda sentence, head: _find_behind("on")(sentence, head) or _read_next(sentence, head),
    "from": _find_behind("from"),
    "to": _find_behind("to"),
    "column": _read_column,
    "source": _read_sources,
}


def find_assigned_columns(sentence: TokenStream, head: StatementHead) -> tuple[str, ...]:
    """The columns that UPDATE sets, also that of ON CONFLICT and MERGE."""
    if head.form.kind not in ("update", "insert", "merge"):
        return ()
    found: list[str] = []
    is_setting = is_next = False
    for index in sentence.iterate_level(head.behind):
        token = sentence[index]
        if token.is_word("set"):
            is_next = is_setting = head.form.kind == "update" or sentence[index - 1].is_word("update")
        elif token.is_word("from", "where", "when", "returning"):
            is_setting = False
        elif is_setting and token.is_symbol(","):
            is_next = True
        elif is_setting and is_next:
            inside = range(index, sentence.next_index(index))
            found += [sentence[each].value for each in inside if sentence[each].is_name]
            is_next = False
    return tuple(dict.fromkeys(found))


def find_scan(sentence: TokenStream, head: StatementHead) -> TableScan | None:
    """The search for rows of a query or a change; None for what searches none, or where that cannot be seen."""
    find = _SCANS.get(head.form.kind)
    return find(sentence, head) if find else None


def _read_queried(sentence: TokenStream, head: StatementHead) -> TableScan | None:
    scope = _find_scope(sentence, head.verb, head.bodies)
    if not scope.first.name:
        return None
    condition, is_whole = _read_condition(sentence, scope.start, _WHERE, _QUERY_ENDS)
    found = _make_scan(scope.first, condition, is_whole and not scope.is_restricted_outside, scope.is_joined)
    found = found._replace(with_names=frozenset(head.bodies), sorted_by=_read_order(sentence, scope.start))
    return found if is_whole or scope.is_restricted_outside else _with_cut(found, sentence, scope.start)


def _read_order(sentence: TokenStream, start: int) -> tuple[SortKey, ...]:
    """The items of ORDER BY up to one that is no column, or that says where NULL is sorted."""
    begin = sentence.find(start, _ORDER)
    if begin is None or not sentence[begin + 1].is_word("by"):
        return ()
    found: list[SortKey] = []
    index = begin + 2
    while True:
        name, behind = sentence.read_relation(index)
        direction = sentence[behind].is_word("asc", "desc")
        is_descending = sentence[behind].is_word("desc")
        behind += direction
        is_plain = bool(name) and (behind >= len(sentence.tokens) or sentence[behind].is_any(_KEY_ENDS))
        if not is_plain and not sentence[behind].is_symbol(",)"):
            return (*found, SortKey(""))
        found.append(SortKey(name.rpartition(".")[2], is_descending))
        if not sentence[behind].is_symbol(","):
            return tuple(found)
        index = behind + 1


def find_join_scans(sentence: TokenStream, head: StatementHead) -> Iterator[TableScan]:
    """Each of the two tables of an inner join, as searched by the rows of the other one."""
    if head.form.kind not in ("select", "select_for_update", "insert"):
        return
    start = sentence.find(head.verb, _FROM, CLAUSE_ENDS) if sentence[head.verb].is_word("select") else None
    if start is None or sentence.find(start, _ENOUGH) is not None or sentence.find(start, _OTHER_JOINS) is not None:
        return
    sources = _read_items(sentence, start + 1)
    condition, is_whole = _read_joining(sentence, start + 1)
    if len(sources) != _TWO or not condition or not is_whole or not all(each.name for each in sources):
        return
    names = frozenset(head.bodies)
    for source, other in (sources, sources[::-1]):
        if source.name not in names:
            found = _make_scan(source, condition, is_whole, is_joined=True)
            yield found._replace(others=_known_sources((other,), sentence, head), with_names=names)


def _read_joining(sentence: TokenStream, start: int) -> tuple[Sequence[Token], bool]:
    """The condition of the join and that behind WHERE, as one, and whether that is certain."""
    condition, is_whole = _read_condition(sentence, start, _WHERE, _QUERY_ENDS)
    on = sentence.find(start, _ON, _LIST_ENDS)
    if on is None:
        return condition or (), is_whole
    joining = sentence.read_clause(on + 1, _LIST_ENDS)
    if not joining or not is_whole:
        return (), False
    parts = (_OPEN, *joining, _CLOSE)
    return (parts if condition is None else (*parts, _AND, _OPEN, *condition, _CLOSE)), True


def _read_inserted(sentence: TokenStream, head: StatementHead) -> TableScan | None:
    """The query of INSERT ... SELECT."""
    for index in sentence.iterate_level(sentence.read_relation(head.behind)[1]):
        opens = sentence[index].is_symbol("(") and sentence[index + 1].is_word("select", "with")
        if opens or sentence[index].is_word("select", "with", "table"):
            return _read_queried(sentence, head._replace(verb=index))
    return None


def _read_changed(others: frozenset[str]) -> _Scans:
    """UPDATE and DELETE, whose other tables stand behind FROM or USING."""

    def find(sentence: TokenStream, head: StatementHead) -> TableScan | None:
        source = _read_source(sentence, head.behind)
        if not source.name:
            return None
        condition, is_whole = _read_condition(sentence, head.behind, _WHERE, _CHANGE_ENDS)
        list_begins = sentence.find(head.behind, others, _WHERE)
        found = _make_scan(source, condition, is_whole, list_begins is not None, is_tied_here=True)
        found = found._replace(with_names=frozenset(head.bodies))
        if list_begins is not None:
            sources = _read_items(sentence, list_begins + 1)
            found = found._replace(others=_known_sources(sources, sentence, head))
        return found if is_whole else _with_cut(found, sentence, head.behind)

    return find


def _read_merged(sentence: TokenStream, head: StatementHead) -> TableScan | None:
    source = _read_source(sentence, head.behind)
    if not source.name:
        return None
    condition, is_whole = _read_condition(sentence, head.behind, _ON, _MERGE_ENDS)
    found = _make_scan(source, condition, is_whole, is_joined=True)
    list_begins = sentence.find(head.behind, _USING, _ON)
    # WHEN NOT MATCHED BY SOURCE is about all rows of the table.
    if list_begins is None or sentence.find(head.behind, _BY) is not None:
        return found
    return found._replace(others=_known_sources((_read_source(sentence, list_begins + 1),), sentence, head))


def _known_sources(
    sources: Sequence[TableSource], sentence: TokenStream, head: StatementHead
) -> tuple[TableSource, ...]:
    """Those that are tables, that stand for one, or that are VALUES."""
    found = (_behind_with(each, sentence, head) if each.name in head.bodies else each for each in sources)
    return tuple(each for each in found if each is not None and (each.name or each.rows))


def _behind_with(source: TableSource, sentence: TokenStream, head: StatementHead) -> TableSource | None:
    """The table that a query of WITH shows columns of, under the name that the query has; None for any other query."""
    verb = head.bodies[source.name]
    begin = sentence.find(verb, _FROM) if sentence[verb].is_word("select") else None
    if begin is None:
        return None
    shown = [sentence[index] for index in range(verb + 1, begin)]
    items = _read_items(sentence, begin + 1)
    is_plain = all(token.is_name or token.is_symbol(".,*") or token.is_word("distinct") for token in shown)
    if not is_plain or len(items) != 1 or not items[0].name or items[0].name in head.bodies:
        return None
    return TableSource(items[0].name, source.owner)


_SCANS: dict[str, _Scans] = {
    "select": _read_queried,
    "select_for_update": _read_queried,
    "insert": _read_inserted,
    "update": _read_changed(_FROM),
    "delete": _read_changed(_USING),
    "merge": _read_merged,
}


def _make_scan(
    source: TableSource, condition: Sequence[Token] | None, is_whole: bool, is_joined: bool, is_tied_here: bool = False
) -> TableScan:
    return TableScan(source.name, source.owner, condition, is_whole, is_joined, is_tied_here or not is_joined)


def _with_cut(scan: TableScan, sentence: TokenStream, start: int) -> TableScan:
    """The scan with the rest of its condition."""
    found = sentence.find(start, _WHERE)
    return scan if found is None else scan._replace(cut=read_cut_clause(sentence, found + 1))


def _read_condition(
    sentence: TokenStream, start: int, begins: frozenset[str], ends: frozenset[str]
) -> tuple[Sequence[Token] | None, bool]:
    """The condition behind WHERE, None if there is none, and whether that is certain."""
    before = ends - _ON  # ON also stands in a JOIN, before WHERE.
    found = sentence.find(start, begins, before)
    if found is None:
        return None, sentence.read_clause(start, before) is not None
    clause = sentence.read_clause(found + 1, ends)
    return clause or (), clause is not None


class _Scope(NamedTuple):
    """The query that reads a table: where its FROM list begins, the table, and all tables of it and around it."""

    start: int
    first: TableSource
    tables: tuple[str, ...]
    is_joined: bool
    is_restricted_outside: bool


def _find_scope(sentence: TokenStream, start: int, bodies: Bodies) -> _Scope:
    """The innermost query that reads the first table: subqueries and WITH queries in its place are followed."""
    waiting = dict(bodies)
    tables: tuple[str, ...] = ()
    is_joined = is_restricted = False
    for _ in range(_MOST_HOPS):
        if sentence[start].is_word("with"):
            start = main_verb(sentence, start, waiting)
            bodies = bodies | waiting
        if sentence[start].is_symbol("("):
            start += 1
            continue
        first = _from_list(sentence, start)
        sources = () if first is None else _read_items(sentence, first)
        if first is None or not sources:
            break
        is_joined |= len(sources) > 1
        # Those of the inner query come first.
        tables = tuple(source.name for source in sources if source.name and source.name not in bodies) + tables
        inner = _find_inside(sentence, first, sources[0], waiting)
        if inner is None:
            return _Scope(first, sources[0], tables, is_joined, is_restricted)
        condition, is_whole = _read_condition(sentence, first, _WHERE, _QUERY_ENDS)
        is_restricted |= condition is not None or not is_whole
        start = inner
    return _Scope(start, TableSource("", ""), tables, is_joined, is_restricted)


def _from_list(sentence: TokenStream, start: int) -> int | None:
    """The index behind FROM of the query at `start`, which may also be a FROM list in brackets or `TABLE orders`."""
    verb = sentence[start]
    if verb.is_word("table"):
        return start + 1
    if not verb.is_word("select"):
        return start if verb.is_name and not verb.is_any(_NO_LIST) else None
    found = sentence.find(start, _FROM, CLAUSE_ENDS)
    return None if found is None else found + 1


def _read_items(sentence: TokenStream, start: int) -> tuple[TableSource, ...]:
    """The items of a FROM or USING list."""
    found = []
    is_next = True
    for index in sentence.iterate_level(start):
        token = sentence[index]
        if token.is_any(_LIST_ENDS) or (token.is_word("conflict") and sentence[index - 1].is_word("on")):
            break
        if token.is_symbol(",") or token.is_word("join"):
            is_next = True
        elif is_next and not token.is_word("only", "lateral"):
            found.append(_read_source(sentence, index))
            is_next = False
    return tuple(found)


def _read_source(sentence: TokenStream, index: int) -> TableSource:
    name, behind = sentence.read_relation(index)
    if sentence[index].is_symbol("(") and sentence[index + 1].is_word("values"):
        inside = sentence.iterate_level(index + 2)
        rows = sum(sentence[each].is_symbol("(") for each in inside)
        return TableSource("", sentence.read_alias(sentence.next_index(index)), rows)
    if name == "unnest" and sentence[behind].is_symbol("("):
        end = sentence.next_index(behind)
        return TableSource("", sentence.read_alias(end), _count_elements(sentence.tokens[behind + 1 : end]))
    if not name or sentence[behind].is_symbol("("):
        return TableSource("", "")
    return TableSource(name, sentence.read_alias(behind))


def _count_elements(arrays: Sequence[Token]) -> int:
    """How many rows of arrays that stand in the text there are at most; 0 where one of them is not seen."""
    if any(token.sort is Sort.PARAMETER or token.is_word("select") for token in arrays):
        return 0
    is_seen = any(token.sort is Sort.STRING or token.is_word("array") for token in arrays)
    characters = max((token.end - token.start for token in arrays if token.sort is Sort.STRING), default=0)
    return max(sum(token.is_symbol(",") for token in arrays) + 1, characters // 2) if is_seen else 0


def _find_inside(sentence: TokenStream, index: int, source: TableSource, bodies: Bodies) -> int | None:
    """Where the query begins that stands for the first item of a FROM list, if that is not a table."""
    if sentence[index].is_symbol("("):
        return index + 1
    # Taken out, for a recursive query reads itself.
    return bodies.pop(source.name, None) if source.name else None
