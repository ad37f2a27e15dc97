"""What is left of a condition that the server has cut at `track_activity_query_size`.

Used are the conditions that are complete and joined by AND, and a list of values that is cut inside of them. The text
behind the cut may add a condition, so in doubt nothing is left. Where OR or CASE is visible, all is in doubt.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pgdoctor.sqltext.lexer import Sort, Token
from pgdoctor.sqltext.token_stream import TokenStream

#: The signs of comparisons, and the words.
_SIGNS = "=<>~"
_UNCLEAR = frozenset({"or", "case"})

_PARAMETER = Token(Sort.PARAMETER, "$1", 0, 0)
_CLOSING = {"(": ")", "[": "]"}


class CutClause(NamedTuple):
    """The complete conditions, the names in the one that is not, and the beginning of a name at its end.

    `listed`: the column whose list of values is longer than what is left of it.
    """

    tokens: tuple[Token, ...]
    listed: str = ""
    names: tuple[str, ...] = ()
    name_at_cut: str = ""


def read_cut_clause(sentence: TokenStream, start: int) -> CutClause | None:
    """What is left of the clause that begins there and that the cut ends; None where that is in doubt."""
    tokens = sentence.tokens[start:]
    level = [index - start for index in sentence.iterate_level(start)]
    if any(tokens[index].is_any(_UNCLEAR) for index in level):
        return None
    last = _last_and(tokens, level)
    head, tail = tokens[: max(last, 0)], tokens[last + 1 :]
    if any(token.is_word("select") for token in tail):
        return None
    if completed := _completed_list(tail, sentence):
        return CutClause((*tokens[: last + 1], *completed), listed=_find_listed_column(tail))
    if completed := _completed_value(tail, sentence):
        return CutClause((*tokens[: last + 1], *completed))
    names = tuple(token.value for token in tail if token.is_name)
    if not head or not (names or sentence.last_word):
        return None
    return CutClause(tuple(head), names=names, name_at_cut=sentence.last_word)


def _last_and(tokens: Sequence[Token], level: Sequence[int]) -> int:
    """The index of the last AND that joins two conditions, not the ends of BETWEEN; -1 without any."""
    found, is_between = -1, False
    for index in level:
        if tokens[index].is_word("between"):
            is_between = True
        elif tokens[index].is_word("and"):
            found, is_between = (found, False) if is_between else (index, False)
    return found


def _completed_list(tail: Sequence[Token], sentence: TokenStream) -> tuple[Token, ...]:
    """`column IN (1, 2, 3` with its end; nothing for anything else, nor without any value."""
    opened = [index for index, token in enumerate(tail) if token.is_symbol("([")]
    if not opened or any(token.is_symbol(")]") for token in tail) or not _opens_list(tail, opened):
        return ()
    values = list(tail[opened[-1] + 1 :])
    if not all(_may_be_in_list(token, before) for before, token in pairwise([tail[opened[-1]], *values])):
        return ()
    commas = [index for index, token in enumerate(values) if token.is_symbol(",")]
    whole = values[: commas[-1]] if commas else ([_PARAMETER] if sentence.ends_in_literal else [])
    if not whole:
        return ()
    closing = [_build_symbol(_CLOSING[tail[index].value]) for index in reversed(opened)]
    return (*tail[: opened[-1] + 1], *whole, *closing)


def _opens_list(tail: Sequence[Token], opened: Sequence[int]) -> bool:
    """IN (, = ANY (, = ANY (ARRAY[."""
    first = opened[0]
    before, earlier = tail[first - 1] if first else None, tail[first - 2] if first > 1 else None
    if before is None or earlier is None:
        return False
    if before.is_word("in"):
        return len(opened) == 1 and not earlier.is_word("not")
    is_array = len(opened) == 1 or (len(opened) == 2 and tail[opened[1] - 1].is_word("array"))
    return before.is_word("any") and earlier.is_symbol("=") and is_array


def _may_be_in_list(token: Token, before: Token) -> bool:
    return token.is_value or token.is_symbol(",:-") or (token.is_name and before.is_symbol(":"))


def _find_listed_column(tail: Sequence[Token]) -> str:
    """The column of a list: the name in front of IN, or of = ANY."""
    before = next(index for index, token in enumerate(tail) if token.is_symbol("([")) - 1
    return next((token.value for token in reversed(tail[:before]) if token.is_name), "")


def _completed_value(tail: Sequence[Token], sentence: TokenStream) -> tuple[Token, ...]:
    """`column = 'some text` with a value in the place of the text."""
    if any(token.is_symbol("([)]") for token in tail) or len(tail) < 2:
        return ()
    if tail[-1].is_symbol("?") and tail[-2].is_symbol(_SIGNS):  # Of a text without its values.
        return tuple(tail)
    if sentence.ends_in_literal and tail[-1].is_symbol(_SIGNS):
        return (*tail, _PARAMETER)
    return ()


def _build_symbol(sign: str) -> Token:
    return Token(Sort.SYMBOL, sign, 0, 0)
