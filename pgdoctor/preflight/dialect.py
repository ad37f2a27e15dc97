"""Finds statements that are written for another database system: PostgreSQL refuses them, or reads them otherwise."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pgdoctor.preflight.case import Sentence
from pgdoctor.sqltext.lexer import Sort, word_set
from pgdoctor.sqltext.token_stream import TokenStream

#: Words that only one system knows in DDL, with the way in which they are shown.
_WORDS = {
    "auto_increment": "MySQL",
    "tinyint": "MySQL or SQL Server",
    "mediumint": "MySQL",
    "mediumtext": "MySQL",
    "longtext": "MySQL",
    "datetime": "MySQL or SQL Server",
    "nvarchar": "SQL Server",
    "uniqueidentifier": "SQL Server",
    "datetime2": "SQL Server",
    "nonclustered": "SQL Server",
    "varchar2": "Oracle",
    "nvarchar2": "Oracle",
    "clob": "Oracle",
    "autoincrement": "SQLite",
}

#: Statements in which such a word is a type or an option, and no name of a column.
_DDL = word_set("create alter")

#: Before a word that is a name itself: a type or an option stands behind one.
_NAMING = word_set("column rename to as table index constraint by add drop alter set only exists type")


class Dialect(NamedTuple):
    """The system that a statement is written for, and what says so."""

    system: str
    sign: str


def find_dialect(sentence: Sentence) -> Dialect | None:
    """The other system, if the statement has a sign of one."""
    for find in _SIGNS:
        found = find(sentence)
        if found is not None:
            return found
    return None


def _find_backticks(sentence: Sentence) -> Dialect | None:
    is_there = any(
        token.sort is Sort.DOUBTFUL or token.is_symbol("`")
        for token in sentence.stream.tokens
        if sentence.text[token.start : token.start + 1] == "`"
    )
    return Dialect("MySQL", "backticks") if is_there else None


def _find_engine(sentence: Sentence) -> Dialect | None:
    for index, token in _ddl_words(sentence.stream):
        if token == "engine" and sentence.stream[index + 1].is_symbol("="):
            return Dialect("MySQL", "ENGINE=")
    return None


def _find_brackets(sentence: Sentence) -> Dialect | None:
    """`[dbo]`: a name in square brackets where no array is indexed."""
    stream = sentence.stream
    for index, token in enumerate(stream.tokens):
        before = stream[index - 1] if index else None
        opens = token.is_symbol("[") and stream[index + 1].is_name and stream[index + 2].is_symbol("]")
        if opens and (before is None or before.is_symbol("(.") or before.is_any(_BEFORE_NAMES)):
            return Dialect("SQL Server", "names in square brackets")
    return None


_BEFORE_NAMES = word_set("table column into from update on exists join index add references view")


def _find_batch(sentence: Sentence) -> Dialect | None:
    """`GO` in a line of its own, and the commands that clients of MySQL and Oracle know."""
    stream = sentence.stream
    for token in stream.tokens:
        if token.is_word("go") and _is_alone(sentence.text, token.start, token.end):
            return Dialect("SQL Server", "GO")
    if stream[0].is_word("delimiter"):
        return Dialect("MySQL", "DELIMITER")
    return None


def _is_alone(text: str, start: int, end: int) -> bool:
    before, behind = text[:start].rpartition("\n")[2], text[end:].partition("\n")[0]
    return not before.strip() and not behind.strip()


def _find_words(sentence: Sentence) -> Dialect | None:
    stream = sentence.stream
    for index, word in _ddl_words(stream):
        before = stream[index - 1]
        is_behind_name = before.is_symbol(")") or (before.is_name and not before.is_any(_NAMING))
        if word in _WORDS and is_behind_name and not stream[index + 1].is_symbol("."):
            return Dialect(_WORDS[word], word.upper())
    return None


def _find_identity(sentence: Sentence) -> Dialect | None:
    stream = sentence.stream
    for index, word in _ddl_words(stream):
        if word == "identity" and stream[index + 1].is_symbol("(") and not stream[index - 1].is_word("as"):
            return Dialect("SQL Server", "IDENTITY()")
    return None


def _find_modify(sentence: Sentence) -> Dialect | None:
    """`ALTER TABLE name MODIFY`, `ALTER TABLE name CHANGE`."""
    stream = sentence.stream
    if stream[0].is_word("alter") and stream[1].is_word("table"):
        behind = stream.read_relation(2)[1]
        if stream[behind].is_word("modify"):
            return Dialect("MySQL or Oracle", "MODIFY")
        if stream[behind].is_word("change"):
            return Dialect("MySQL", "CHANGE")
    return None


def _ddl_words(stream: TokenStream) -> Iterator[tuple[int, str]]:
    if stream[0].is_any(_DDL):
        yield from ((index, token.value) for index, token in enumerate(stream.tokens) if token.sort is Sort.WORD)


_SIGNS: tuple[Callable[[Sentence], Dialect | None], ...] = (
    _find_backticks,
    _find_engine,
    _find_brackets,
    _find_batch,
    _find_words,
    _find_identity,
    _find_modify,
)
