"""The searches for rows that a statement makes beside its first one, where nothing around them narrows them.

A query of a WITH list that changes or locks rows is run as it stands. So is a query that gives one value or an array,
and any with LIMIT. One that gives a list (IN) may be joined to what surrounds it, and is only run as it stands if that
asks for nothing else.
Source: PostgreSQL documentation, "WITH Queries"; subselect.c and prepjointree.c, for what is pulled up.
"""

from collections.abc import Iterator
from itertools import islice

from pgdoctor.sqltext import statement_head, statement_tables
from pgdoctor.sqltext.lexer import word_set
from pgdoctor.sqltext.statement_head import StatementHead
from pgdoctor.sqltext.statement_tables import TableScan
from pgdoctor.sqltext.token_stream import TokenStream

#: Queries of one statement that are read.
_MOST = 3

_CHANGES = word_set("update delete")
_LOCKS = word_set("for")
_ENOUGH = word_set("limit fetch")

#: What stands in front of a query that is run as it stands: all values; those with LIMIT.
_BEFORE_ANY = word_set("array materialized")
_BEFORE_LIMITED = word_set("in from join lateral")


def find_subquery_scans(sentence: TokenStream, head: StatementHead, with_lists: bool) -> Iterator[TableScan]:
    """The searches beside the first, in the order of the text. `with_lists`: also those whose values are a list."""
    found = dict.fromkeys((*_of_with(sentence, head), *_of_values(sentence, with_lists)))
    for start in islice(found, _MOST):
        scan = statement_tables.find_scan(sentence, statement_head.head_at(sentence, start, head.bodies))
        if scan is not None:
            yield scan._replace(is_limited=_is_limited(sentence, start) or _is_read_in_part(sentence, start))


def _is_limited(sentence: TokenStream, start: int) -> bool:
    return sentence.find(start, _ENOUGH) is not None


def _is_read_in_part(sentence: TokenStream, start: int) -> bool:
    """The reader of a query of WITH may end before that does."""
    is_materialized = sentence[start - 2].is_word("materialized")
    return is_materialized and any(token.is_any(_ENOUGH) for token in sentence.tokens)


def _of_with(sentence: TokenStream, head: StatementHead) -> Iterator[int]:
    for start in head.bodies.values():
        locks = sentence[start].is_word("select") and sentence.find(start, _LOCKS) is not None
        if start != head.verb and (locks or sentence[start].is_any(_CHANGES)):
            yield start


def _of_values(sentence: TokenStream, with_lists: bool) -> Iterator[int]:
    for index, token in enumerate(sentence.tokens):
        if not token.is_symbol("(") or not sentence[index + 1].is_word("select"):
            continue
        last, before = sentence[index - 1], sentence[index - 2]
        is_alone = last.is_symbol("=<>") or (last.is_any(_BEFORE_ANY) and not before.is_word("not"))
        is_list = with_lists and last.is_word("in") and not before.is_word("not")
        may_be_limited = last.is_any(_BEFORE_LIMITED) or last.is_symbol(",")
        if is_alone or is_list or (may_be_limited and _is_limited(sentence, index + 1)):
            yield index + 1
