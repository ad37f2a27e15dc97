"""What a statement is: its leading words, seen through wrappers, brackets and WITH."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from pgdoctor.sqltext import statement_kinds
from pgdoctor.sqltext.lexer import Sort, word_set
from pgdoctor.sqltext.statement_kinds import StatementForm
from pgdoctor.sqltext.token_stream import CLAUSE_ENDS, TokenStream

#: Brackets and wrappers that are followed inwards.
_MOST_HOPS = 20

_QUERY = word_set("select with table values")
_DML = word_set("insert update delete merge")
_MAIN_VERBS = _QUERY | _DML

#: Names of a WITH list, and the index behind the bracket that opens the query of each.
Bodies = dict[str, int]


class StatementHead(NamedTuple):
    """The form of a statement, the index of its verb, the index behind its leading words, its WITH queries."""

    form: StatementForm
    verb: int
    behind: int
    bodies: Bodies


def read_head(sentence: TokenStream) -> StatementHead:
    """What the statement is, seen through wrappers and WITH.

    A WITH query that changes rows speaks for a statement that otherwise only reads.
    """
    start = _find_innermost(sentence)
    bodies: Bodies = {}
    if sentence[start].is_word("with"):
        main = main_verb(sentence, start, bodies)
        changing = [body for body in bodies.values() if sentence[body].is_any(_DML)]
        if changing and not sentence[main].is_any(_DML):
            main = changing[0]
        start = main
    return head_at(sentence, start, bodies)


def head_at(sentence: TokenStream, verb: int, bodies: Bodies) -> StatementHead:
    """What the statement, or the query inside of one, is whose verb stands there."""
    found = _match_head(sentence, verb)._replace(bodies=bodies)
    refine = _REFINERS.get(found.form.kind)
    return refine(sentence, found) if refine else found


def _find_innermost(sentence: TokenStream) -> int:
    """The index of the innermost statement; of the wrapper itself where nothing is seen of what it wraps."""
    start = 0
    for _ in range(_MOST_HOPS):
        token = sentence[start]
        inner = start + 1 if token.is_symbol("(") else None
        if token.is_any(_WRAPPERS):
            inner = _WRAPPERS[token.value](sentence, start)
        if inner is None or not (sentence[inner].sort is Sort.WORD or sentence[inner].is_symbol("(")):
            break
        start = inner
    return start


def _find_explained(sentence: TokenStream, start: int) -> int:
    index = start + 1
    if sentence[index].is_symbol("(") and not sentence[index + 1].is_any(_QUERY):
        return sentence.next_index(index)
    while sentence[index].is_word("analyze", "analyse", "verbose"):
        index += 1
    return index


def _behind_word(word: str) -> Callable[[TokenStream, int], int | None]:
    wanted = frozenset({word})

    def find(sentence: TokenStream, start: int) -> int | None:
        found = sentence.find(start, wanted)
        return None if found is None else found + 1

    return find


_WRAPPERS: dict[str, Callable[[TokenStream, int], int | None]] = {
    "explain": _find_explained,
    "prepare": _behind_word("as"),
    "declare": _behind_word("for"),
    # The server's own label: `autovacuum: VACUUM public.orders`.
    "autovacuum": lambda sentence, start: start + 2 if sentence[start + 1].is_symbol(":") else None,
}


def _match_head(sentence: TokenStream, verb: int) -> StatementHead:
    """The longest match of the leading words, with noise passed over and options taken in."""
    leading: tuple[str, ...] = ()
    flags: set[str] = set()
    index = verb
    while True:
        token = sentence[index]
        noise = statement_kinds.CREATE_NOISE if leading == ("create",) else statement_kinds.NOISE
        if token.is_symbol("(") and leading and leading[0] in statement_kinds.TAKES_OPTIONS:
            flags |= _read_options(sentence, index)
        elif token.sort is Sort.WORD and (*leading, token.value) in statement_kinds.PREFIXES:
            leading = (*leading, token.value)
        elif leading and token.is_any(noise):
            flags.add(token.value)
        else:
            break
        index = sentence.next_index(index)
    while leading and leading not in statement_kinds.FORMS:
        leading = leading[:-1]
    form = statement_kinds.FORMS.get(leading, statement_kinds.UNKNOWN)
    variants = (
        statement_kinds.VARIANTS[form.kind, flag] for flag in flags if (form.kind, flag) in statement_kinds.VARIANTS
    )
    return StatementHead(form._replace(kind=next(variants, form.kind)), verb, index, {})


def _read_options(sentence: TokenStream, opener: int) -> set[str]:
    """The options in brackets that are not switched off: `(FULL, ANALYZE false)` is just `full`."""
    inside = range(opener + 1, sentence.next_index(opener) - 1)
    return {
        sentence[index].value
        for index in inside
        if sentence[index].sort is Sort.WORD and not sentence[index + 1].is_word("false", "off")
    }


def main_verb(sentence: TokenStream, start: int, bodies: Bodies) -> int:
    """The index of the main verb behind a WITH list, whose queries are added to `bodies`; past the end if unseen."""
    name = ""
    for index in sentence.iterate_level(start + 1):
        token, last = sentence[index], sentence[index - 1]
        if last.is_word("with", "recursive") or last.is_symbol(","):
            name = token.value
        elif token.is_symbol("(") and last.is_word("as", "materialized"):
            bodies.setdefault(name, index + 1)
        elif token.is_symbol("(") and last.is_symbol(")"):
            return index + 1
        elif token.is_any(_MAIN_VERBS):
            return index
    return len(sentence.tokens)


def _refine_select(sentence: TokenStream, found: StatementHead) -> StatementHead:
    """SELECT ... INTO makes a table, and FOR UPDATE locks rows, at whatever depth."""
    into = sentence.find(found.verb, frozenset({"into"}), CLAUSE_ENDS | {"from"})
    if into is not None:
        behind = into + 1
        while sentence[behind].is_word("temp", "temporary", "unlogged", "table"):
            behind += 1
        return found._replace(form=statement_kinds.CREATE_TABLE_AS, behind=behind)
    for token, following in pairwise(sentence.tokens):
        if token.is_word("for") and following.is_word("update", "no", "share", "key"):
            return found._replace(form=statement_kinds.SELECT_FOR_UPDATE)
    return found


def _creating_table(sentence: TokenStream, found: StatementHead) -> StatementHead:
    is_query = sentence.find(found.behind, frozenset({"as"})) is not None
    return found._replace(form=statement_kinds.CREATE_TABLE_AS) if is_query else found


def _refine_copy(sentence: TokenStream, found: StatementHead) -> StatementHead:
    direction = sentence.find(found.behind, frozenset({"from", "to"}))
    if direction is None:
        return found
    return found._replace(
        form=statement_kinds.COPY_FROM if sentence[direction].is_word("from") else statement_kinds.COPY_TO
    )


_REFINERS: dict[str, Callable[[TokenStream, StatementHead], StatementHead]] = {
    "select": _refine_select,
    "create_table": _creating_table,
    "copy": _refine_copy,
}
