"""One statement or action under judgement, with all that rules ask about it."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec

from pgdoctor.model.preflight import Catalog, RelationFacts
from pgdoctor.preflight.form_match import Match, read_relations
from pgdoctor.sqltext.lexer import Sort, Token, word_set
from pgdoctor.sqltext.token_stream import TokenStream


class Script(msgspec.Struct):
    """What earlier statements of a script have made: it is there when later ones run. Changed as they are judged."""

    #: Names of tables, views and sequences that were created.
    created: set[str] = msgspec.field(default_factory=set)
    #: Names after a rename, and what they were before.
    renamed: dict[str, str] = msgspec.field(default_factory=dict)
    #: (table, constraint): the column that a CHECK says is not null, empty where it says something else.
    checks: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)
    #: (table, column): valid CHECKs that say it is not null.
    not_null: set[tuple[str, str]] = msgspec.field(default_factory=set)
    #: Columns that were added, of (table, column).
    columns: set[tuple[str, str]] = msgspec.field(default_factory=set)

    def copy(self) -> "Script":
        """What is known now, untouched by what later statements make."""
        return Script(set(self.created), dict(self.renamed), dict(self.checks), set(self.not_null), set(self.columns))


class Sentence(NamedTuple):
    """One statement: its tokens, its text, and where it stands in the script."""

    stream: TokenStream
    text: str


class StatementCase(NamedTuple):
    """What a rule is asked about. `catalog` None: there is no server, and names are all that is known."""

    sentence: Sentence
    match: Match
    start: int
    end: int
    catalog: Catalog | None
    #: The server's major version; where there is none, the newest.
    version: int
    script: Script
    #: The table of ALTER TABLE, for its actions.
    table: str = ""
    is_only: bool = False

    @property
    def tokens(self) -> list[Token]:
        """All tokens of the statement or action."""
        return self.sentence.stream.tokens[self.start : self.end]

    @property
    def rest(self) -> list[Token]:
        """The tokens that the form leaves to `...`."""
        return self.sentence.stream.tokens[self.match.rest : self.end]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the relations that the statement is about."""
        named = (*self.match.names.get("table", ()), *self.match.names.get("tables", ()))
        return named or ((self.table,) if self.table else ())

    def has_word(self, *words: str) -> bool:
        """One of the words is among the tokens, at any depth."""
        return any(token.is_word(*words) for token in self.tokens)

    def has_words(self, first: str, second: str) -> bool:
        """Two words stand beside each other, at any depth."""
        tokens = self.tokens
        return any(a.is_word(first) and b.is_word(second) for a, b in pairwise(tokens))

    def named_behind(self, word: str) -> Iterator[str]:
        """The relations that are named behind a word, at any depth."""
        stream = self.sentence.stream
        for index in range(self.start, self.end):
            if stream[index].is_word(word) and not stream[index - 1].is_symbol("."):
                yield from read_relations(stream, index + 1)[0][:1]

    def mentioned(self) -> Iterator[str]:
        """All that may be the name of a relation: each sequence of names with dots, but for calls of functions."""
        stream, index = self.sentence.stream, self.start
        while index < self.end:
            if not stream[index].is_name or stream[index - 1].is_symbol("."):
                index += 1
                continue
            parts = [stream[index].value]
            while stream[index + 1].is_symbol(".") and stream[index + 2].is_name:
                parts.append(stream[index + 2].value)
                index += 2
            index += 1
            if not stream[index].is_symbol("("):
                # `orders.id` may be a column of orders.
                yield from (".".join(parts[:length]) for length in range(1, min(len(parts), 3) + 1))

    def called(self) -> Iterator[tuple[str, ...]]:
        """The functions that are called: the parts of the name of each."""
        stream = self.sentence.stream
        for index in range(self.start, self.end):
            if stream[index].is_name and stream[index + 1].is_symbol("(") and not _opens_list(stream, index):
                parts = [stream[index].value]
                while stream[index - 1].is_symbol(".") and stream[index - 2].is_name:
                    index -= 2
                    parts.insert(0, stream[index].value)
                yield tuple(parts)

    def named_in_calls(self) -> Iterator[str]:
        """The sequences that `nextval()` and its like name in a literal; none where it is no plain name."""
        stream = self.sentence.stream
        for index in range(self.start, self.end):
            literal = stream[index + 2]
            if (
                stream[index].is_any(_SEQUENCE_CALLS)
                and stream[index + 1].is_symbol("(")
                and literal.sort is Sort.STRING
            ):
                found = _PLAIN_NAME.fullmatch(self.sentence.text, literal.start, literal.end)
                if found is not None:
                    yield found[1].lower()

    def find(self, name: str) -> tuple[RelationFacts, ...]:
        """The relations that are meant by a name; none where it is new, or there is no server."""
        name = self.script.renamed.get(name, name)
        if self.catalog is None or name in self.script.created:
            return ()
        return tuple(self.catalog.relations[oid] for oid in self.catalog.named.get(name, ()))

    def is_new(self, name: str) -> bool:
        """An earlier statement of the script has created it: it is empty, and no other session uses it."""
        return name in self.script.created

    def constraint_kinds(self) -> Mapping[str, str]:
        """For the constraint that the form names: its kind in each table that has one of that name."""
        if self.catalog is None:
            return {}
        found = {}
        for table in self.tables:
            for facts in self.find(table):
                constraint = self.catalog.find_constraint(facts.oid, self.match.one("constraint"))
                if constraint is not None:
                    found[table] = constraint.kind
        return found


_SEQUENCE_CALLS = word_set("nextval setval currval")
_PLAIN_NAME = re.compile(r"'((?:[A-Za-z_][A-Za-z0-9_]*\.)?[A-Za-z_][A-Za-z0-9_]*)'")

#: Words in front of brackets that are no calls.
_NO_CALLS = word_set(
    "values in any all some exists and or not as on using where when then else case select from by over filter within "
    "group row array check default key unique references varchar char numeric decimal bit timestamp time interval "
    "character varying precision float with only lateral rows set returning into table having limit offset union "
    "distinct like ilike between copy explain is materialized if exclude include primary partition of inherits to "
    "begin end conflict"
)


def _opens_list(stream: TokenStream, index: int) -> bool:
    """What stands there before brackets is no function: a keyword, or a table with its columns."""
    token, last = stream[index], stream[index - 1]
    if last.is_symbol("."):
        before = index
        while stream[before - 1].is_symbol(".") and stream[before - 2].is_name:
            before -= 2
        last = stream[before - 1]
    return token.is_any(_NO_CALLS) or last.is_word("into", "references", "copy", "with", "recursive", "as", "table")
