"""Matches the tokens of a statement against a form, written as one text.

    word a|b        a keyword, or one of several
    [if exists]     may be missing, with all inside of it
    {column}        a name, kept under that word; a keyword that begins a clause is none
    {table:r}       a relation, with its schema
    {tables:l}      relations with commas between them
    ()              what stands in brackets
    #               a value: a literal, a number with its sign, or a word such as DEFAULT
    ...             the rest, whatever it is; without it nothing may follow

A form fits only a statement that it reads to its end: what is not expected there is not passed over.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from pgdoctor.sqltext.lexer import word_set
from pgdoctor.sqltext.token_stream import TokenStream

#: Words that are no name in DDL unless they are quoted.
_RESERVED = word_set(
    "add all alter and as check concurrently constraint create default drop exclude for foreign from if in not null "
    "on only or primary references rename reset select set table to unique using values validate where with"
)

_PARTS = re.compile(r"\[|\]|\{(?P<name>\w+)(?::(?P<kind>[rl]))?\}|\(\)|#|\.\.\.|[\w|]+")

_Items = tuple["_Item", ...]


class _Item(NamedTuple):
    kind: str
    words: frozenset[str] = frozenset()
    inner: _Items = ()
    name: str = ""


class Match(NamedTuple):
    """What a form has found: names by the word of the form, and the index at which its rest begins."""

    names: Mapping[str, tuple[str, ...]]
    rest: int

    def one(self, name: str) -> str:
        """The first name that was kept under a word; empty where none was."""
        return next(iter(self.names.get(name, ())), "")


class _State(NamedTuple):
    place: int
    names: dict[str, tuple[str, ...]]


def match_form(form: str, sentence: TokenStream, start: int, end: int) -> Match | None:
    """What the form finds in the tokens from `start` to `end`; None where it does not fit."""
    state = _match(_read_form(form), sentence, _State(start, {}), end)
    return None if state is None else Match(state.names, state.place)


@cache
def _read_form(form: str) -> _Items:
    stack: list[list[_Item]] = [[]]
    for part in _PARTS.finditer(form):
        text = part.group()
        if text == "[":
            stack.append([])
        elif text == "]":
            inner = tuple(stack.pop())
            stack[-1].append(_Item("optional", inner=inner))
        elif part["name"]:
            stack[-1].append(
                _Item({"r": "relation", "l": "relations"}.get(part["kind"] or "", "name"), name=part["name"])
            )
        elif text in _SYMBOLS:
            stack[-1].append(_Item(_SYMBOLS[text]))
        else:
            stack[-1].append(_Item("word", frozenset(text.split("|"))))
    assert len(stack) == 1, form
    return tuple(stack[0])


_SYMBOLS = {"()": "group", "#": "value", "...": "rest"}


def _match(items: _Items, sentence: TokenStream, state: _State, end: int) -> _State | None:
    if not items:
        return state if state.place >= end else None
    item, others = items[0], items[1:]
    if item.kind == "rest":
        return state
    if item.kind == "optional":
        found = _match((*item.inner, *others), sentence, state, end)
        return found if found is not None else _match(others, sentence, state, end)
    if state.place >= end:
        return None
    following = _match_one(item, sentence, state)
    return None if following is None else _match(others, sentence, following, end)


def _match_one(item: _Item, sentence: TokenStream, state: _State) -> _State | None:
    """The state behind one item that is not optional; None where it does not fit."""
    index, names = state
    token = sentence[index]
    match item.kind:
        case "word":
            return _State(index + 1, names) if token.is_any(item.words) else None
        case "name":
            if not token.is_name or token.is_any(_RESERVED):
                return None
            return _State(index + 1, {**names, item.name: (token.value,)})
        case "relation":
            if token.is_any(_RESERVED - {"only"}):
                return None
            name, behind = sentence.read_relation(index)
            only = {"only": ("only",)} if token.is_word("only") else {}
            following = _State(behind + sentence[behind].is_symbol("*"), {**names, **only, item.name: (name,)})
            return following if name else None
        case "relations":
            found, behind = read_relations(sentence, index)
            only = {"only": ("only",)} if token.is_word("only") else {}
            return _State(behind, {**names, **only, item.name: found}) if found else None
        case "group":
            return _State(sentence.next_index(index), names) if token.is_symbol("(") else None
    index += token.is_symbol("-+")
    return _State(index + 1, names) if sentence[index].is_value or sentence[index].is_name else None


def read_relations(sentence: TokenStream, index: int) -> tuple[tuple[str, ...], int]:
    """A list of relations, and the index behind it; none where one of them cannot be read."""
    found: list[str] = []
    while True:
        if sentence[index].is_any(_RESERVED - {"only"}):
            return (), index
        name, index = sentence.read_relation(index)
        if not name:
            return (), index
        found.append(name)
        index += sentence[index].is_symbol("*")
        if not sentence[index].is_symbol(","):
            return tuple(found), index
        index += 1
