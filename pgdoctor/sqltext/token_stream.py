"""One statement as tokens with its brackets matched: words of one nesting level, names, lists of names."""

from collections.abc import Iterator

from pgdoctor.sqltext.lexer import Sort, Token, word_set

#: Words that end a FROM list or a WHERE clause. All are reserved: no bare column or alias is called so.
CLAUSE_ENDS = word_set("group having window order limit offset fetch for union intersect except returning")

#: Words that may follow a table's name and are not its alias.
_NO_ALIAS = CLAUSE_ENDS | word_set(
    "set where from using join inner left right full cross natural on tablesample values default select "
    "overriding when with"
)

#: Words that begin no clause behind the word before: IS DISTINCT FROM, WITHIN GROUP.
_PHRASES = frozenset({("distinct", "from"), ("within", "group")})

_NO_TOKEN = Token(Sort.CUT, "", 0, 0)


class TokenStream:
    """The tokens of one statement. `is_cut`: the text ended before the statement did.

    Of what touches the cut, `last_word` is the word, which may be only the beginning of one, and `ends_in_literal` says
    that it is a literal in quotes.
    """

    def __init__(
        self, tokens: list[Token], is_cut: bool, last_word: str = "", *, ends_in_literal: bool = False
    ) -> None:
        self.tokens = tokens
        self.is_cut = is_cut
        self.last_word = last_word
        self.ends_in_literal = ends_in_literal
        self._closers = _match_brackets(tokens)

    def __getitem__(self, index: int) -> Token:
        """The token at an index; outside of the statement one that is nothing."""
        return self.tokens[index] if 0 <= index < len(self.tokens) else _NO_TOKEN

    def next_index(self, index: int) -> int:
        """The next index on the same nesting level."""
        return self._closers.get(index, index) + 1

    def iterate_level(self, start: int) -> Iterator[int]:
        """Indexes from `start` on until its nesting level ends; brackets are passed over."""
        # Every word of a hostile text is passed here, several times.
        tokens, closers, index = self.tokens, self._closers, start
        while index < len(tokens):
            token = tokens[index]
            if token.sort is Sort.SYMBOL and token.value in ")]":
                return
            yield index
            index = closers.get(index, index) + 1

    def find(self, start: int, wanted: frozenset[str], before: frozenset[str] = frozenset()) -> int | None:
        """The first of some words on the level of `start`, unless one of `before` or ON CONFLICT precedes it."""
        told = wanted | before | {"conflict"}
        for index in self.iterate_level(start):
            token = self.tokens[index]
            if token.value not in told or token.sort is not Sort.WORD:
                continue
            last = self[index - 1]
            if last.is_symbol(".") or (last.value, token.value) in _PHRASES:
                continue
            if token.value in wanted:
                return index
            if token.value in before or (token.value == "conflict" and last.is_word("on")):
                return None
        return None

    def read_clause(self, start: int, ends: frozenset[str]) -> list[Token] | None:
        """The tokens from `start` to a word that ends the clause, or to the end of its level; None if that was cut."""
        end = self.find(start, ends)
        if end is None:
            end = max((self.next_index(index) for index in self.iterate_level(start)), default=start)
            if end >= len(self.tokens) and self.is_cut:
                return None
        return self.tokens[start:end]

    def read_relation(self, index: int) -> tuple[str, int]:
        """The relation named at an index, its parts joined by dots, and the index behind it.

        The name is empty where none stands there, or where its end was cut off.
        """
        while self[index].is_word("only", "lateral") or (
            self[index].is_symbol("(") and self[index - 1].is_word("only")
        ):
            index += 1
        parts: list[str] = []
        while self[index].is_name:
            parts.append(self[index].value)
            if not self[index + 1].is_symbol("."):
                return ".".join(parts), index + 1
            index += 2
        return "", index

    def read_relations(self, start: int) -> tuple[str, ...]:
        """A list of relations with commas between them, each with whatever brackets follow its name."""
        found = []
        index = start
        while True:
            name, index = self.read_relation(index)
            if not name:
                break
            found.append(name)
            while self[index].is_symbol("(*)"):
                index = self.next_index(index)
            if not self[index].is_symbol(","):
                break
            index += 1
        return tuple(dict.fromkeys(found))

    def read_alias(self, index: int) -> str:
        """The alias that stands right behind a relation; empty if it has none."""
        index += self[index].is_symbol("*")
        named = self[index].is_word("as")
        token = self[index + named]
        if not token.is_name or (not named and token.is_any(_NO_ALIAS)):
            return ""
        return token.value


def _match_brackets(tokens: list[Token]) -> dict[int, int]:
    """The index of the bracket that closes each opening one; the end where none does."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.is_symbol("(["):
            opened.append(index)
        elif token.is_symbol(")]") and opened:
            found[opened.pop()] = index
    return found | dict.fromkeys(opened, len(tokens))
