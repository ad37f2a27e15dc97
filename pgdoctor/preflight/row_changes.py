"""The relations of which a statement changes or locks every row, for no condition tells which rows it wants."""

from collections.abc import Iterator

from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.form_match import read_relations
from pgdoctor.sqltext.lexer import Token, word_set
from pgdoctor.sqltext.token_stream import TokenStream

_WHERE = word_set("where")
_FROM = word_set("from")
_FOR = word_set("for")
_BOUNDS = word_set("where limit fetch")
_RETURNING = word_set("returning")

#: Words of a condition that name no column.
_CONSTANTS = word_set("true false not and or null is")

#: Behind FOR, the words of a query that locks its rows.
_LOCKS = word_set("update no share key")


def find_whole_changes(case: StatementCase) -> Iterator[str]:
    """The names of the relations; also of those in the WITH queries of the statement."""
    stream = case.sentence.stream
    if _is_only_planned(case):
        return
    for index in range(case.start, case.end):
        token = stream[index]
        if token.is_word("select"):
            yield from _find_locked(stream, index + 1)
        elif not _begins_statement(case, index):
            continue
        elif token.is_word("update"):
            yield from _find_changed(stream, index + 1)
        elif token.is_word("delete") and stream[index + 1].is_word("from"):
            yield from _find_changed(stream, index + 2)
        elif token.is_word("merge") and stream[index + 1].is_word("into"):
            yield from _find_merged(case, index + 2)


def _is_only_planned(case: StatementCase) -> bool:
    """EXPLAIN without ANALYZE runs nothing."""
    before = case.sentence.stream.tokens[: case.start]
    return (
        bool(before) and before[0].is_word("explain") and not any(each.is_word("analyze", "analyse") for each in before)
    )


def _begins_statement(case: StatementCase, index: int) -> bool:
    return index == case.start or case.sentence.stream[index - 1].is_symbol("()")


def _find_changed(stream: TokenStream, index: int) -> Iterator[str]:
    """The relation of UPDATE or DELETE, unless its WHERE restricts the rows."""
    where = stream.find(index, _WHERE)
    condition = stream.read_clause(where + 1, _RETURNING) if where is not None else []
    if condition is not None and not _names_column(condition):
        yield stream.read_relation(index)[0]


def _find_merged(case: StatementCase, index: int) -> Iterator[str]:
    """The relation of MERGE, where rows without a partner are changed, too."""
    if case.has_words("by", "source"):
        yield case.sentence.stream.read_relation(index)[0]


def _find_locked(stream: TokenStream, index: int) -> Iterator[str]:
    """The relations of a query with FOR UPDATE or its like, unless WHERE or LIMIT restricts the rows."""
    locks = (each for each in stream.iterate_level(index) if stream[each].is_any(_FOR))
    if not any(stream[each + 1].is_any(_LOCKS) for each in locks) or stream.find(index, _BOUNDS) is not None:
        return
    begin = stream.find(index, _FROM)
    if begin is not None:
        yield from read_relations(stream, begin + 1)[0]


def _names_column(condition: list[Token]) -> bool:
    return any(token.is_name and not token.is_any(_CONSTANTS) for token in condition)
