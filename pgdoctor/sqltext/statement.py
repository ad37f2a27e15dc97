"""What a statement's text says: its kind, the relations it is about, the conditions it puts on the table it reads.

The text is a witness, not the truth. It may be cut, hold several statements, hide behind a function, or be the last one
of an idle session; locks say for certain what is held. Read by tokens, for the leading words of a cut
statement still tell its kind (measured on the regression tests of PostgreSQL: right in 94 % of those cut at 512
bytes, wrong in none, the others unknown); only a WHERE clause is left to a parser.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice, zip_longest
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pgdoctor.sqltext import conditions, statement_head, statement_kinds, statement_tables
from pgdoctor.sqltext.conditions import Alternative, Filter, GivenValues, Predicate, Search, Tie
from pgdoctor.sqltext.cut_clause import CutClause
from pgdoctor.sqltext.lexer import Sort, Token, scan_tokens
from pgdoctor.sqltext.shape import LONGEST_SHAPED, ByShape
from pgdoctor.sqltext.statement_head import StatementHead
from pgdoctor.sqltext.statement_tables import SortKey, TableScan
from pgdoctor.sqltext.subquery_scans import find_subquery_scans
from pgdoctor.sqltext.token_stream import TokenStream

#: Tokens of a text that are read, which takes a few milliseconds.
MOST_TOKENS = 4_000

#: Statements of a text that are read. Each costs as much as 20 tokens (measured: 4,000 tokens of `begin;` took 20 ms).
MOST_STATEMENTS = 300

#: How many times longer than what is seen of it a list is taken to be that is cut.
_CUT_LISTS = 10

#: Shapes of texts that are remembered, and texts with their conditions: 8 MB at the very most.
_CACHED = 512
_SEARCHES_CACHED = 64

Reading = tuple[TokenStream, StatementHead]


class Statement(Struct, frozen=True):
    """What is known of a text; the defaults are those of a text that says nothing.

    `kind`: the most telling of `kinds` (see `kinds.FAMILIES`), which has one for each statement of the text.
    `targets`: the relations that the telling statement is about, as written and folded; for a query the tables of
    its FROM list, for an index command the table if it names one, else the index.
    `assigned`: columns that an UPDATE (or ON CONFLICT, or MERGE) sets, as far as the text goes.
    """

    kind: str = statement_kinds.UNKNOWN.kind
    kinds: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    assigned: tuple[str, ...] = ()
    #: Nothing of the text is cut off.
    is_whole: bool = True

    @property
    def is_ddl(self) -> bool:
        """It changes the schema; TRUNCATE, which locks like it, included."""
        return self.kind in statement_kinds.DDL

    @property
    def has_ddl(self) -> bool:
        """One of its statements changes the schema, whatever else it does: LOCK TABLE, then ALTER TABLE."""
        return not statement_kinds.DDL.isdisjoint(self.kinds)

    @property
    def work(self) -> tuple[str, ...]:
        """The kinds of its statements, without those that only open, end or set up something."""
        return tuple(kind for kind in self.kinds if kind not in statement_kinds.SESSION)

    @property
    def is_one(self) -> bool:
        """Which of its statements runs is known: at most one of them does any work."""
        return len(self.work) <= 1

    @property
    def is_maintenance(self) -> bool:
        """VACUUM, ANALYZE, REINDEX, CLUSTER, REPACK or REFRESH."""
        return self.kind in statement_kinds.MAINTENANCE

    @property
    def is_lock_table(self) -> bool:
        return self.kind in statement_kinds.LOCK_TABLE

    @property
    def is_wrapper(self) -> bool:
        """It calls code that the text does not show."""
        return self.kind in statement_kinds.WRAPPERS

    @property
    def ends_transaction(self) -> bool:
        """Whichever of its statements runs now, it ends the transaction; one that is cut off may not.

        Of `begin; update …; select pg_sleep(60); commit` the server shows the whole text from the first second on.
        """
        return self.is_whole and bool(self.kinds) and statement_kinds.ENDS_TRANSACTION.issuperset(self.kinds)


class Conditions(Struct, frozen=True):
    """What a statement, or a query inside of one, asks of the table that it reads.

    `scanned`: that table, the first one that is read; empty if not known.
    `filters`: the conditions of WHERE on that table that must all hold, joins left out.
    `has_where`: there is a WHERE clause, whether or not it could be read.
    `filters_known`: `filters` and `has_where` are complete. Otherwise they prove nothing.
    `is_joined`: other tables take part, so an index on a column they are joined by may serve, filters or not.
    `tied`: all columns that they may be joined by; None where that is not known.
    `given`: the columns that are searched for values that the text gives, and for no others.
    """

    scanned: str = ""
    filters: tuple[Filter, ...] = ()
    has_where: bool = False
    filters_known: bool = False
    is_joined: bool = False
    tied: tuple[str, ...] | None = ()
    given: tuple[GivenValues, ...] = ()
    #: Of a text that is cut inside of its conditions: what is asked in front of the cut, as if that was all of it.
    visible: "Conditions | None" = None
    #: Of what is visible: more conditions may follow. Names in the one at the cut, and the beginning of one more.
    is_cut: bool = False
    at_cut: tuple[str, ...] = ()
    name_at_cut: str = ""
    #: Where each wanted row goes with one of another table: its name, or how many VALUES, and the tying equality.
    tie: Tie | None = None
    other: str = ""
    other_rows: int = 0
    sorted_by: tuple[SortKey, ...] = ()
    #: It ends as soon as it has found some rows, unless it has to sort them.
    is_limited: bool = False


def rename_columns(asked: Conditions, names: Mapping[str, str]) -> Conditions | None:
    """What is asked of a view, as asked of its table; None where one of the columns has no name there."""
    columns = {
        *chain.from_iterable((*arm.columns, *arm.mentions) for each in asked.filters for arm in each.arms),
        *(asked.tied or ()),
        *(each.column for each in asked.given),
    }
    if not columns <= names.keys():
        return None
    return replace(
        asked,
        filters=tuple(Filter(tuple(_rename_columns(arm, names) for arm in each.arms)) for each in asked.filters),
        tied=None if asked.tied is None else tuple(names[each] for each in asked.tied),
        given=tuple(replace(each, column=names[each.column]) for each in asked.given),
        at_cut=tuple(names.get(each, each) for each in asked.at_cut),
    )


def _rename_columns(arm: Alternative, names: Mapping[str, str]) -> Alternative:
    expression = arm.expression and replace(arm.expression, column=names[arm.expression.column])
    return replace(
        arm,
        searches=tuple(replace(each, column=names[each.column]) for each in arm.searches),
        mentions=tuple(names[each] for each in arm.mentions),
        expression=expression,
    )


def read_statement(text: str, truncated: bool = False) -> Statement:
    """What the text says. `truncated`: the server has cut it, so its last word is not trusted. Never raises."""
    return _remembered(text, truncated)


def most_telling_reading(text: str, truncated: bool = False) -> Reading | None:
    """The most telling statement of a text, token by token; None where there is none."""
    found = read_statements(text, truncated)
    return _most_telling(found) if found else None


def read_statements(text: str, truncated: bool = False) -> list[Reading]:
    """The statements of a text, token by token. Never raises."""
    return [(sentence, statement_head.read_head(sentence)) for sentence in _read_sentences(text, truncated)[0]]


def read_searches(text: str, truncated: bool = False) -> tuple[Conditions, ...]:
    """What the telling statement asks of the table that it reads first, then what queries inside of it ask that are run
    whatever surrounds them. Never raises.

    Apart from `read`, since the first clause of a process loads a parser: 30 MB and a fifth of a second.
    """
    return _searched(text, truncated) if len(text) <= LONGEST_SHAPED else _find_searches(text, truncated)


def _find_searches(text: str, truncated: bool) -> tuple[Conditions, ...]:
    found = read_statements(text, truncated)
    if not found:
        return ()
    sentence, head = _most_telling(found)
    scan_of_first = statement_tables.find_scan(sentence, head)
    first = _read_conditions(scan_of_first) if scan_of_first else Conditions()
    # The rows of a list may be looked up one by one where what surrounds it asks for few.
    asks_for_nothing_else = first.filters_known and not first.filters
    others = map(_read_conditions, find_subquery_scans(sentence, head, with_lists=asks_for_nothing_else))
    joined = map(_read_conditions, statement_tables.find_join_scans(sentence, head)) if first.is_joined else ()
    return first, *(each for each in others if _stands_alone(each)), *(each for each in joined if each.tie)


def _stands_alone(asked: Conditions) -> bool:
    """No condition of a query ties two columns, of which one may be the surrounding statement's."""
    return all(len(arm.mentions) <= 1 for each in asked.filters for arm in each.arms)


def _read_text(text: str, truncated: bool) -> Statement:
    sentences, is_cut = _read_sentences(text, truncated)
    if not sentences:
        return Statement(is_whole=not is_cut)
    found = [(sentence, statement_head.read_head(sentence)) for sentence in sentences]
    sentence, head = _most_telling(found)
    return Statement(
        kind=head.form.kind,
        kinds=tuple(each.form.kind for _, each in found),
        targets=statement_tables.find_targets(sentence, head),
        assigned=statement_tables.find_assigned_columns(sentence, head),
        is_whole=not is_cut,
    )


def _most_telling(found: list[Reading]) -> Reading:
    return min(found, key=lambda reading: statement_kinds.kind_rank(reading[1].form.kind))


def _read_conditions(scan: TableScan) -> Conditions:
    found: Predicate | None = Predicate()
    if not scan.is_whole:
        found = None
    elif scan.condition is not None:
        found = conditions.read_predicate(scan.condition, scan.owner, is_alone=not scan.is_joined)
    return Conditions(
        scanned=scan.table,
        filters=found.filters if found else (),
        has_where=scan.condition is not None,
        filters_known=found is not None,
        is_joined=scan.is_joined or (found is not None and found.is_joined),
        tied=found.tied if found and scan.is_tied_here else None,
        given=found.given if found else (),
        visible=_read_visible(scan, scan.cut) if scan.cut else None,
        sorted_by=scan.sorted_by,
        is_limited=scan.is_limited,
        **_read_tie(scan, found.tie if found else None),
    )


def _read_tie(scan: TableScan, tie: Tie | None) -> dict[str, Any]:
    """The tie, where it is with a table of which something can be known."""
    if tie is not None and tie.table:
        return {} if tie.table in scan.with_names else {"tie": tie, "other": tie.table}
    others = [each for each in scan.others if tie is not None and each.owner == tie.other]
    return {"tie": tie, "other": others[0].name, "other_rows": others[0].rows} if len(others) == 1 else {}


def _read_visible(scan: TableScan, cut: CutClause) -> Conditions | None:
    """What the text asks in front of the cut."""
    whole = _read_conditions(scan._replace(condition=cut.tokens, is_whole=True, cut=None))
    if not whole.filters_known:
        return None
    # A list that is cut may be many times longer, and which values follow is not known.
    return replace(
        whole,
        filters=tuple(_lengthen_filter(each, cut.listed) for each in whole.filters),
        given=tuple(each for each in whole.given if each.column != cut.listed),
        is_cut=True,
        at_cut=cut.names,
        name_at_cut=cut.name_at_cut,
    )


def _lengthen_filter(restriction: Filter, column: str) -> Filter:
    arms = tuple(
        replace(
            arm, searches=tuple(_with_more_values(each) if each.column == column else each for each in arm.searches)
        )
        for arm in restriction.arms
    )
    return replace(restriction, arms=arms)


def _with_more_values(search: Search) -> Search:
    return replace(search, values=search.values * _CUT_LISTS)


def _read_sentences(text: str, truncated: bool) -> tuple[list[TokenStream], bool]:
    """The statements of a text, and whether it is cut. Of a cut one, what touches the cut is left out."""
    tokens = list(islice(scan_tokens(text), MOST_TOKENS + 1))
    is_cut = truncated or len(tokens) > MOST_TOKENS
    tokens = tokens[:MOST_TOKENS]
    last: Token | None = None
    if tokens and (tokens[-1].sort is Sort.CUT or (truncated and _touches_end(tokens[-1], text))):
        last = tokens.pop()
        is_cut = True
    parts = [part for part in _split_tokens(tokens) if part]
    sentences = [TokenStream(part, is_cut and part is parts[-1]) for part in parts[:MOST_STATEMENTS]]
    if last is not None and len(sentences) == len(parts) and parts:
        word = last.value if last.is_name else ""
        in_quotes = truncated and last.sort is Sort.CUT and text[last.start] == "'"
        sentences[-1] = TokenStream(parts[-1], True, word, ends_in_literal=in_quotes)
    return sentences, is_cut or len(parts) > MOST_STATEMENTS


def _touches_end(token: Token, text: str) -> bool:
    return token.end == len(text) and token.sort is not Sort.SYMBOL


def _split_tokens(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens between semicolons, but for those in brackets (CREATE RULE) and in BEGIN ATOMIC ... END."""
    part: list[Token] = []
    depth = atomic = 0
    for token, following in zip_longest(tokens, tokens[1:]):
        if token.is_symbol(";") and depth <= 0 and not atomic:
            yield part
            part, depth = [], 0
            continue
        part.append(token)
        if token.sort is Sort.SYMBOL:
            depth += token.is_symbol("([") - token.is_symbol(")]")
        elif token.is_word("begin") and following is not None and following.is_word("atomic"):
            atomic = 1
        elif atomic:
            atomic += token.is_word("case") - token.is_word("end")
    yield part


def _list_names(found: Statement) -> tuple[str, ...]:
    return (*found.targets, *found.assigned)


_remembered = ByShape(_read_text, _CACHED, _list_names)
_searched = lru_cache(maxsize=_SEARCHES_CACHED)(_find_searches)
