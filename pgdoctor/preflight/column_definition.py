"""The definition of a column, as ADD COLUMN and ALTER COLUMN TYPE have it: its type, default and constraints."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pgdoctor.sqltext.lexer import Sort, Token, read_literal, word_set
from pgdoctor.sqltext.token_stream import TokenStream

#: Words that end the type or the default of a column.
_CLAUSES = word_set(
    "constraint not null check default generated unique primary references collate compression storage deferrable "
    "initially no enforced using"
)

#: Types under the names that the server stores.
_STORED_NAMES = {
    "int": "int4", "integer": "int4", "bigint": "int8", "smallint": "int2", "decimal": "numeric", "boolean": "bool",
    "real": "float4", "double precision": "float8", "float": "float8", "character varying": "varchar",
    "char varying": "varchar", "character": "bpchar", "char": "bpchar", "bit varying": "varbit",
    "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
    "time without time zone": "time", "time with time zone": "timetz", "national character varying": "varchar",
}  # fmt: skip

SERIAL = word_set("serial bigserial smallserial serial2 serial4 serial8")


class TypeName(NamedTuple):
    """A type: its name as the server stores it, its modifiers, and whether it is an array."""

    name: str
    modifiers: tuple[int, ...] | None = None
    is_array: bool = False


class ColumnDefinition(NamedTuple):
    """What follows the name of a column. `calls`: names of functions in its default."""

    type: TypeName
    has_default: bool = False
    #: The default is NULL.
    is_null_default: bool = False
    calls: tuple[str, ...] = ()
    is_not_null: bool = False
    has_check: bool = False
    is_unique: bool = False
    is_reference: bool = False
    is_identity: bool = False
    is_stored: bool = False
    is_virtual: bool = False

    @property
    def is_serial(self) -> bool:
        return self.type.name in SERIAL


def read_type(stream: TokenStream, text: str, start: int, end: int) -> tuple[TypeName, int] | None:
    """The type that begins there, and the index behind it; None where it cannot be read."""
    index, modifiers, is_array = start, None, False
    words: list[str] = []
    while index < end:
        token = stream[index]
        if token.is_symbol("("):
            modifiers = _read_modifiers(stream.tokens[index + 1 : stream.next_index(index) - 1], text)
        elif token.is_symbol("[") or token.is_word("array"):
            is_array = True
        elif token.is_symbol("."):
            words = []
        elif token.is_name and not token.is_any(_CLAUSES):
            words.append(token.value)
        else:
            break
        index = stream.next_index(index)
    name = " ".join(words)
    if len(words) > 1 and name not in _STORED_NAMES:
        return None
    return (TypeName(_STORED_NAMES.get(name, name), modifiers, is_array), index) if name else None


def read_column(stream: TokenStream, text: str, start: int, end: int) -> ColumnDefinition | None:
    """The definition that stands there; None where part of it cannot be read."""
    found = read_type(stream, text, start, end)
    if found is None:
        return None
    kind, index = found
    column = ColumnDefinition(kind)
    while index < end:
        step = _read_clause(column, stream, index, end)
        if step is None:
            return None
        column, index = step
    return column


def _read_clause(
    column: ColumnDefinition, stream: TokenStream, index: int, end: int
) -> tuple[ColumnDefinition, int] | None:
    """The column with one more clause, and the index behind that; None where it is not known."""
    token, following = stream[index], stream[index + 1]
    if token.is_word("constraint"):
        return column, index + 2
    if token.is_word("not") and following.is_word("null"):
        return column._replace(is_not_null=True), index + 2
    if token.is_word("not") and following.is_word("deferrable", "valid", "enforced"):
        return column, index + 2
    if token.is_word("null", "deferrable", "enforced"):
        return column, index + 1
    if token.is_word("no", "initially", "compression", "storage"):
        return column, index + 2
    if token.is_word("collate"):
        return column, stream.read_relation(index + 1)[1]
    if token.is_word("check"):
        return column._replace(has_check=True), stream.next_index(index + 1)
    if token.is_word("unique") or (token.is_word("primary") and following.is_word("key")):
        is_key = token.is_word("primary")
        column = column._replace(is_unique=True, is_not_null=column.is_not_null or is_key)
        return column, _skip_index_parameters(stream, index + 1 + is_key, end)
    if token.is_word("references"):
        return column._replace(is_reference=True), _skip_reference(stream, index + 1, end)
    if token.is_word("default"):
        return _read_default(column, stream, index + 1, end)
    if token.is_word("generated"):
        return _read_generated(column, stream, index, end)
    return None


def _read_default(
    column: ColumnDefinition, stream: TokenStream, start: int, end: int
) -> tuple[ColumnDefinition, int] | None:
    index = stream.next_index(start)
    while index < end and not (stream[index].is_any(_CLAUSES)):
        index = stream.next_index(index)
    inside = stream.tokens[start:index]
    if not inside:
        return None
    is_null = len(inside) == 1 and inside[0].is_word("null")
    calls = tuple(
        token.value
        for place, token in enumerate(inside[:-1])
        if token.is_name and inside[place + 1].is_symbol("(") and not token.is_word("array", "cast")
    )
    return column._replace(has_default=True, is_null_default=is_null, calls=calls), index


def _read_generated(
    column: ColumnDefinition, stream: TokenStream, index: int, end: int
) -> tuple[ColumnDefinition, int] | None:
    while index < end and not stream[index].is_word("as"):
        index += 1
    index += 1
    if stream[index].is_word("identity"):
        index += 1
        index = stream.next_index(index) if stream[index].is_symbol("(") else index
        return column._replace(is_identity=True), index
    if not stream[index].is_symbol("("):
        return None
    index = stream.next_index(index)
    is_stored, is_virtual = stream[index].is_word("stored"), stream[index].is_word("virtual")
    return column._replace(is_stored=is_stored, is_virtual=not is_stored), index + (is_stored or is_virtual)


def _skip_index_parameters(stream: TokenStream, index: int, end: int) -> int:
    while index < end and stream[index].is_word("nulls", "not", "distinct", "include", "with", "using", "tablespace"):
        if stream[index].is_word("not") and not stream[index + 1].is_word("distinct"):
            break
        takes_name = stream[index].is_word("using", "tablespace")
        index += 1 + takes_name
        index = stream.next_index(index) if stream[index].is_symbol("(") else index
        index += stream[index].is_word("index")
    return index


def _skip_reference(stream: TokenStream, start: int, end: int) -> int:
    index = stream.read_relation(start)[1]
    if stream[index].is_symbol("("):
        index = stream.next_index(index)
    while index < end and stream[index].is_word("match", "on"):
        if stream[index].is_word("match"):
            index += 2
            continue
        index += 2
        index += 2 if stream[index].is_word("set", "no") else 1
        index = stream.next_index(index) if stream[index].is_symbol("(") else index
    return index


def _read_modifiers(tokens: Sequence[Token], text: str) -> tuple[int, ...] | None:
    numbers = list(_read_numbers(tokens, text))
    return None if None in numbers else tuple(each for each in numbers if each is not None)


def _read_numbers(tokens: Sequence[Token], text: str) -> Iterator[int | None]:
    for token in tokens:
        if token.sort is Sort.NUMBER:
            literal = read_literal(text, token.start)
            yield int(literal) if literal is not None and len(literal) < 10 else None
        elif not token.is_symbol(","):
            yield None
