"""Statements that may be shown: names and words stay, every value becomes `?`, all comments go.

It fails closed. Ambiguous text (cut text, a quote that a backslash may have escaped) hides the rest of the text; a
text that does not begin like a statement (as a pasted connection string) is not shown at all. No form of comment is
kept: what a library writes there (`controller:...`, `user_id:...`) is its users' data.

Words without quotes are names, and are shown. So are names in double quotes, but for those that stand where only a
value makes sense (`email = "bob"`, from a client that took them for string quotes) or that cannot be a name's.
Names that are no part of a statement (roles, databases, relations, applications, the identifiers of prepared
transactions, the keys of advisory locks) are not redacted anywhere: without them no operator could act.
Source: PostgreSQL documentation, "Lexical Structure".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, islice, pairwise

from pgdoctor.sqltext.lexer import Sort, Token, join_pieces, scan_tokens, stand_in, word_set
from pgdoctor.sqltext.shape import LONGEST_SHAPED, find_shape, names_number
from pgdoctor.sqltext.statement_kinds import CREATE_NOISE, VERBS

#: Length in characters of the longest text that comes back, and how one that was longer ends.
MOST_CHARACTERS = 2_000

#: One more than `statement` reads, so that a text that is cut here counts as cut there too. 16,000 take 150 ms.
_MOST_TOKENS = 4_001
MORE = " …"

HIDDEN_STATEMENT = "<statement not shown: cannot be redacted>"

#: What the server itself shows in the place of a statement.
_NO_STATEMENTS = frozenset(
    {
        HIDDEN_STATEMENT,
        "<insufficient privilege>",
        "<backend information not available>",
        "<command string not enabled>",
        "<FASTPATH> function call",
    }
)

_VALUE = "?"

#: Names have at most 63 bytes (NAMEDATALEN), and parameters at most five digits; longer numbers are something else.
_LONGEST = {Sort.WORD: 63, Sort.NAME: 63, Sort.PARAMETER: 6}

#: One double quote too many makes names of what stands between the real ones: `" = 'secret' and "`.
_NO_NAME = frozenset("'=,;\\@:")

#: Behind these stands a value, or a column that reads as well without its name.
_BEFORE_VALUE = "=<>!~|+-*/%^&#"
_COMPARES = word_set("like ilike similar between default")

#: Behind these the brackets hold values.
_BEFORE_VALUES = word_set("values row in any all")
_CALLS = word_set("call execute")
_QUERY = word_set("select with values table")

_NO_TOKEN = Token(Sort.CUT, "", 0, 0)

#: Behind these nothing is certain.
_ENDLESS = (Sort.DOUBTFUL, Sort.CUT)

#: Quotes of a word processor. To the server they are letters of a name; the client meant a value, with blanks in it.
_LOOK_LIKE_QUOTES = frozenset(
    "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u2039\u203a\u00ab\u00bb\u00b4\uff07\uff02\uff40"
)

# Values need no quotes in a setting (`SET app.token = abc`), and a password whose quotes were forgotten makes a
# mistake that the server shows like any other statement. What is created or altered, and the words before a value:
_HAS_SETTINGS = word_set("role user group database system function procedure routine aggregate")
_HAS_SECRETS = word_set("role user group server subscription foreign")
_BEFORE_SECRET = word_set("password options option connection identified")
_NO_SETTINGS = word_set("transaction constraints role authorization characteristics")


def redact(text: str) -> str:
    """The text without its values, on one line, at most `MOST_CHARACTERS` long. Its own result comes back as it is.

    A thousand sessions send one statement with a thousand values, so the result is kept by the statement's shape.
    """
    if len(text) > LONGEST_SHAPED:
        return redact_alone(text)
    shown = redact_shape(find_shape(text))
    return redact_alone(text) if names_number((shown,)) else shown


def redact_alone(text: str) -> str:
    """As `redact`, of this text alone."""
    return _redact_text(text, lambda _: _VALUE, MOST_CHARACTERS)


redact_shape = lru_cache(maxsize=512)(redact_alone)


def outline_statement(text: str, most: int = 16_384) -> str:
    """The text for who reads it as a statement again: in place of each value one of its kind that says nothing.

    `name LIKE '%bob'` and `name LIKE 'bob%'` are searched in different ways, so of a pattern there is left where its
    first wildcard stands. Where the server has cut it behind a word and not in it, that still shows. This is never
    shown: `redact` makes of it what it makes of the text itself.
    """
    left = _redact_text(text, _stand_in, most)
    return f"{left} " if text[-1:].isspace() and not left.endswith(MORE) else left


def _stand_in(token: Token) -> str:
    return stand_in(token) if token.sort in (Sort.STRING, Sort.NUMBER) else _VALUE


def _redact_text(text: str, value: Callable[[Token], str], most: int) -> str:
    body = text.removesuffix(MORE)
    if body in _NO_STATEMENTS:
        return body
    most_tokens = min(most, _MOST_TOKENS)
    tokens = list(islice(_keep_certain(scan_tokens(body)), most_tokens + 1))
    statements = list(_split_statements(tokens[:most_tokens]))
    if statements and not _is_statement(statements[0]):
        return HIDDEN_STATEMENT
    is_more = body != text or len(tokens) > most_tokens
    shown = _without_quoted_values(_keep_shown(statements, body))
    return _cap_text(join_pieces(shown, partial(_write_token, text=body, value=value)), is_more, most)


def _keep_certain(tokens: Iterable[Token]) -> Iterator[Token]:
    for token in tokens:
        is_quote = token.sort is Sort.WORD and not _LOOK_LIKE_QUOTES.isdisjoint(token.value)
        yield token._replace(sort=Sort.DOUBTFUL, value="") if is_quote else token
        if is_quote or token.sort in _ENDLESS:
            return


def _split_statements(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """The tokens up to each semicolon, wherever it stands: this must hold for text that is no SQL, too."""
    part: list[Token] = []
    for token in tokens:
        part.append(token)
        if token.is_symbol(";"):
            yield part
            part = []
    if part:
        yield part


def _is_statement(statement: Sequence[Token]) -> bool:
    first = next((token for token in statement if not token.is_symbol("(")), None)
    return first is None or first.is_symbol(";") or first.is_any(VERBS)


def _keep_shown(statements: Iterable[list[Token]], text: str) -> Iterator[Token]:
    """The tokens to show; a single one that says nothing stands for each part that is hidden."""
    is_data = False
    for statement in statements:
        if is_data or not _is_statement(statement):
            yield _hide_tokens(statement)
            return
        content = statement[:-1] if statement[-1].is_symbol(";") else statement
        is_data = _takes_data(content) is not None
        end = min(_find_secret(content), _find_data(content, text))
        yield from content[:end]
        if end < len(content):
            yield _hide_tokens(content[end:])
            if is_data:
                return
        yield from statement[len(content) :]


def _without_quoted_values(tokens: Iterable[Token]) -> Iterator[Token]:
    """The tokens, with what stands in double quotes in the place of a value made a value."""
    values: list[bool] = []
    before = (_NO_TOKEN, _NO_TOKEN, _NO_TOKEN)
    verb = _NO_TOKEN
    was_values = False
    for token, following in pairwise(chain(tokens, [_NO_TOKEN])):
        last = before[-1]
        verb = token if last is _NO_TOKEN or last.is_symbol(";") else verb
        if token.is_symbol("("):
            opens = last.is_any(_BEFORE_VALUES) or last.is_symbol(_BEFORE_VALUE) or verb.is_any(_CALLS)
            opens = opens or (was_values and last.is_symbol(",")) or values[-1:] == [True]
            values.append(opens and not following.is_any(_QUERY))
            was_values = False
        elif token.is_symbol(")"):
            was_values = bool(values) and values.pop()
        elif not token.is_symbol(","):
            was_values = False
        is_named = last.is_symbol(".") or following.is_symbol(".(")
        if token.sort is Sort.NAME and not is_named and (values[-1:] == [True] or _is_compared(before)):
            token = token._replace(sort=Sort.STRING, value="")
        yield token
        before = (*before[1:], token)


def _is_compared(before: tuple[Token, Token, Token]) -> bool:
    """Behind these tokens stands what something is compared with, or computed from."""
    first, second, last = before
    if last.is_symbol(_BEFORE_VALUE) or last.is_any(_COMPARES):
        return True
    return (last.is_word("and") and first.is_word("between")) or (last.is_word("from") and second.is_word("distinct"))


def _hide_tokens(tokens: Sequence[Token]) -> Token:
    return Token(Sort.CUT, "", tokens[0].start, tokens[-1].end)


def _takes_data(statement: Sequence[Token]) -> int | None:
    """The index behind COPY ... FROM STDIN; in a pasted dump the rows follow."""
    for index, (token, following) in enumerate(pairwise(statement)):
        if token.is_word("from") and following.is_word("stdin", "stdout"):
            return index + 2
    return None


def _find_data(statement: Sequence[Token], text: str) -> int:
    """Where the rows begin behind the line of COPY; the length of the statement if it has none."""
    start = _takes_data(statement)
    for index in range(start or len(statement), len(statement)):
        between = text[statement[index - 1].end : statement[index].start]
        if "\n" in between or "\r" in between:
            return index
    return len(statement)


def _find_secret(statement: Sequence[Token]) -> int:
    """Where a value begins that may not be a literal; the length of the statement if there is none."""
    verb, *others = statement or [_NO_TOKEN]
    if verb.is_word("set"):
        return _find_setting(statement, 1)
    if not verb.is_word("create", "alter", "import"):
        return len(statement)
    kind = next((token for token in others if not token.is_any(CREATE_NOISE)), _NO_TOKEN)
    for index, token in enumerate(statement):
        if token.is_word("set") and kind.is_any(_HAS_SETTINGS):
            return _find_setting(statement, index + 1)
        if token.is_any(_BEFORE_SECRET) and kind.is_any(_HAS_SECRETS):
            return index + 1
    return len(statement)


def _find_setting(statement: Sequence[Token], index: int) -> int:
    """Where the value of the setting begins whose name is at `index`."""

    def read_token(index: int) -> Token:
        return statement[index] if index < len(statement) else _NO_TOKEN

    index += read_token(index).is_word("session", "local")
    if read_token(index).is_any(_NO_SETTINGS):
        return len(statement)
    # A hidden part is no name any more, and redacting twice has to give the same text.
    index += _is_shown_name(read_token(index))
    while read_token(index).is_symbol(".") and _is_shown_name(read_token(index + 1)):
        index += 2
    return index + (read_token(index).is_symbol("=") or read_token(index).is_word("to"))


def _is_shown_name(token: Token) -> bool:
    return token.is_name and _may_be_shown(token)


def _write_token(token: Token, text: str, value: Callable[[Token], str]) -> str:
    if token.sort is Sort.SYMBOL:
        return token.value
    return text[token.start : token.end] if _may_be_shown(token) else value(token)


def _may_be_shown(token: Token) -> bool:
    """It is a word or a name that looks like one."""
    # Control characters could forge lines of a log, or turn the writing direction.
    if len(token.value) > _LONGEST.get(token.sort, -1) or not token.value.isprintable():
        return False
    return token.sort is not Sort.NAME or (_NO_NAME.isdisjoint(token.value) and _has_letter(token.value))


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _cap_text(written: Iterable[str], is_more: bool, most: int) -> str:
    """The pieces that there is room for, and the mark of a longer text."""
    kept: list[str] = []
    room = most - len(MORE)
    for piece in written:
        room -= len(piece)
        if room < 0:
            is_more = True
            break
        kept.append(piece)
    return "".join(kept).rstrip() + (MORE if is_more and kept else "")
