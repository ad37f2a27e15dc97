"""Splits a script into statements as psql does, and says what it cannot read."""

import re
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise

import msgspec

from pgdoctor.preflight.case import Sentence
from pgdoctor.sqltext.lexer import Sort, Token, scan_tokens, word_set
from pgdoctor.sqltext.token_stream import TokenStream

#: Tokens of a statement that are read.
MOST_TOKENS = 4_000

#: Statements of a script that are judged.
MOST_STATEMENTS = 5_000

#: Commands of psql that run no SQL, besides those that list objects (`\d`). Others may run more than is seen.
_KNOWN_COMMANDS = word_set(
    "a cd conninfo copyright echo elif else encoding endif errverbose f getenv h help if l list p print prompt pset q "
    "qecho quit r reset restrict s set setenv t timing unrestrict unset warn x z ?"
)

#: In the arguments of a command: one more command or SQL behind it, and a command of the shell.
_RUNS_MORE = re.compile(r"[\\`]")

_COMMAND = re.compile(r"\\([a-z_?!]*)")
_END_OF_DATA = re.compile(r"^\\\.[ \t]*\r?$", re.MULTILINE)
_LINE_END = re.compile(r"\r?\n|\Z")


class Problem(Enum):
    """Why a part of a script is not judged as a statement."""

    COMMAND = "psql command: left out"
    UNKNOWN_COMMAND = "psql command: the statements that it runs cannot be judged"
    UNREADABLE = "cannot be read: a character that PostgreSQL does not know here"
    UNFINISHED = "cannot be read: a quote or comment has no end"
    UNBALANCED = "cannot be read: brackets do not match"
    VARIABLE = "cannot be read: psql would put a variable there"
    TOO_MANY = "left out: the script has too many statements"


class ScriptPart(msgspec.Struct, frozen=True):
    """A statement, or what is in the place of one. `line` counts from 1; `problem` None: it can be judged."""

    line: int
    sentence: Sentence
    problem: Problem | None = None
    #: Behind the tokens that are read, a name stands in front of brackets: a function may be called.
    calls_late: bool = False
    #: A command of psql, without what follows its name.
    command: str = ""


def split_script(text: str) -> Iterator[ScriptPart]:
    """The parts of a script, in order; costs time in proportion to its length, and never raises."""
    reader = _ScriptReader(text)
    for count, part in enumerate(reader.parts(), 1):
        if count > MOST_STATEMENTS:
            yield ScriptPart(part.line, part.sentence, Problem.TOO_MANY)
            return
        yield part


class _ScriptReader:
    """Goes through the text once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._line, self._counted = 1, 0

    def parts(self) -> Iterator[ScriptPart]:
        """All parts."""
        while self._position < len(self._text):
            yield from self._read_part()

    def _read_part(self) -> Iterator[ScriptPart]:
        draft, bodies = _Draft(), _Bodies()
        for token in scan_tokens(self._text, self._position):
            if token.sort is Sort.DOUBTFUL and self._text[token.start] == "\\":
                yield from self._finish(draft)
                yield self._read_command(token)
                return
            if not (bodies.is_outside(token) and token.is_symbol(";") and draft.depth <= 0):
                draft.take(token)
                continue
            self._position = token.end
            yield from self._finish(draft)
            self._skip_data(draft.tokens)
            return
        self._position = len(self._text)
        if draft.depth > 0:
            draft.problem = draft.problem or Problem.UNBALANCED
        yield from self._finish(draft)

    def _read_command(self, token: Token) -> ScriptPart:
        found = _COMMAND.match(self._text, token.start)
        name = found[1] if found else ""
        self._position = _line_end(self._text, token.start)
        arguments = self._text[token.start + 1 + len(name) : self._position]
        is_known = name in _KNOWN_COMMANDS or name.startswith("d")
        sentence = Sentence(TokenStream([], False), "")
        is_harmless = is_known and not _RUNS_MORE.search(arguments)
        problem = Problem.COMMAND if is_harmless else Problem.UNKNOWN_COMMAND
        return ScriptPart(self._count_lines(token.start), sentence, problem, command=f"\\{name}")

    def _finish(self, draft: "_Draft") -> Iterator[ScriptPart]:
        """The statement that was read, if there is one."""
        if not draft.tokens:
            return
        start, end = draft.tokens[0].start, draft.tokens[-1].end
        shifted = [token._replace(start=token.start - start, end=token.end - start) for token in draft.tokens]
        sentence = Sentence(TokenStream(shifted, draft.is_cut), self._text[start:end])
        problem = draft.problem or _find_problem(draft.tokens, self._text)
        yield ScriptPart(self._count_lines(start), sentence, problem, draft.calls_late)

    def _count_lines(self, place: int) -> int:
        self._line += self._text.count("\n", self._counted, place)
        self._counted = place
        return self._line

    def _skip_data(self, statement: list[Token]) -> None:
        """Behind COPY ... FROM STDIN, the rows up to a line `\\.`."""
        is_copy = (
            statement[:1]
            and statement[0].is_word("copy")
            and any(token.is_word("from") and following.is_word("stdin") for token, following in pairwise(statement))
        )
        if is_copy:
            end = _END_OF_DATA.search(self._text, self._position)
            self._position = end.end() if end else len(self._text)


_NO_TOKEN = Token(Sort.SYMBOL, "", 0, 0)
_UNREADABLE = {Sort.CUT: Problem.UNFINISHED, Sort.DOUBTFUL: Problem.UNREADABLE}


class _Draft:
    """A statement that is being read."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.problem: Problem | None = None
        self.depth = 0
        self.is_cut = False
        self.calls_late = False
        self._last = _NO_TOKEN

    def take(self, token: Token) -> None:
        """Take in one more token."""
        if token.sort is Sort.SYMBOL and token.value in _BRACKETS:
            self.depth += _BRACKETS[token.value]
            if self.depth < 0:
                self.problem, self.depth = self.problem or Problem.UNBALANCED, 0
        if len(self.tokens) < MOST_TOKENS:
            self.tokens.append(token)
        else:
            self.is_cut = True
            self.calls_late = self.calls_late or (self._last.is_name and token.value == "(")
            self.problem = self.problem or _UNREADABLE.get(token.sort)
        self._last = token


_BRACKETS = {"(": 1, "[": 1, ")": -1, "]": -1}


class _Bodies:
    """Follows BEGIN ATOMIC ... END, in which semicolons do not end the statement."""

    def __init__(self) -> None:
        self._depth = 0
        self._before: Token | None = None
        self._first: Token | None = None

    def is_outside(self, token: Token) -> bool:
        """Take one more token in; whether it is outside of a body."""
        before, self._before = self._before, token
        self._first = self._first or token
        if self._first.value != "create":
            return True
        if token.is_word("atomic") and before is not None and before.is_word("begin"):
            self._depth = 1
        elif self._depth and token.is_word("case"):
            self._depth += 1
        elif self._depth and token.is_word("end"):
            self._depth -= 1
        return self._depth == 0


def _find_problem(tokens: list[Token], text: str) -> Problem | None:
    last: Token | None = None
    for token in tokens:
        if token.sort in _UNREADABLE:
            return _UNREADABLE[token.sort]
        if last is not None and last.is_symbol(":") and last.end == token.start:
            is_cast = text[last.start - 1 : last.start] == ":"
            if not is_cast and (token.is_name or token.sort is Sort.STRING):
                return Problem.VARIABLE
        last = token
    return None


def _line_end(text: str, start: int) -> int:
    found = _LINE_END.search(text, start)
    return found.start() if found else len(text)
