"""What can go wrong, as the person at the keyboard sees it.

    PgdoctorError            one clear line, exit status 2
    ├── UsageError           a wrong option or argument
    ├── ConfigError          a wrong key or value in the configuration
    ├── QueryNotFound        a statement that is not in sql/ (our own bug, or a broken installation)
    ├── JournalError         the journal's file cannot be used
    ├── ExportError          a file of exported incidents cannot be read
    └── ServerError          the server could not be asked, exit status 3
        ├── Unreachable      no connection (`state` says how it failed)
        ├── Unsupported      the server is older than we can read
        └── StatementFailed  one statement was refused or took too long (`sqlstate`)

Messages never carry a password or a DSN, and what a server quotes is shown only where it is plainly a name: they go
to terminals, log lines, web pages and files.
"""

import re
from collections.abc import Iterable

#: Where a connection string may begin: a URI with a colon before its @, a password's key, or `user:password@host`. It
#: has no certain end, for a password may hold anything. Each is found in time that is linear in the text.
_PASSWORD = re.compile(r"password\s*+=", re.IGNORECASE)
_WORD = re.compile(r"\S++")
_SCHEME = re.compile(r"[a-z0-9+.-]", re.IGNORECASE)
_NO_USER = "'\"()/:"

#: Text in quotes of any kind, in a message of any language. An apostrophe stands behind a letter.
_QUOTED = re.compile(
    r"""
    (?P<name> \b (?:user|role|database|schema|relation|table|view|function|tablespace|parameter|encoding|method|service
                   |host|host\ name|at|address|socket|file|directory) \s* )?
    (?: "(?:[^"]|"")*+"? | (?<!\w)'(?:[^']|'')*+'? | [»„“«‘‚](?:[^»«“”’]*+[»«“”’])? )
    | \b 0x[0-9a-f]+
    """,
    re.VERBOSE | re.IGNORECASE,
)


def without_connection_string(text: str) -> str:
    """The text up to where a connection string with a password in it may begin."""
    password = _PASSWORD.search(text)
    begins = [password.start()] if password else []
    for word in _WORD.finditer(text):
        begin = min(_find_uri(word[0]), _find_user(word[0]))
        if begin < len(word[0]):
            begins.append(word.start() + begin)
            break
    return f"{text[: min(begins)]}<connection string not shown>" if begins else text


def _find_uri(word: str) -> int:
    """Where a URI with a colon before its @ begins in a word; the word's length where there is none."""
    mark, at = word.find("://"), -1
    while mark >= 0:
        if at < mark:
            at = word.find("@", mark)
            at = len(word) if at < 0 else at
        begin = mark
        while begin and _SCHEME.match(word, begin - 1):
            begin -= 1
        if begin < mark and word.find(":", mark + 3, at) >= 0:
            return begin
        mark = word.find("://", at if begin < mark else mark + 3)
    return len(word)


def _find_user(word: str) -> int:
    """Where `user:password@` begins in a word; the word's length where there is none."""
    end = 0
    for part in re.split(r"(?<=[@/])", word):
        begin, end = end, end + len(part)
        colon = word.find(":", begin, end) if part.endswith("@") else -1
        while colon >= 0:
            user = colon
            while user and word[user - 1] not in _NO_USER:
                user -= 1
            if user < colon:
                return user
            colon = word.find(":", colon + 1, end)
    return len(word)


def without_data(text: str) -> str:
    """What a server or libpq says, with `?` for whatever it quotes and does not plainly call a name."""
    return _QUOTED.sub(lambda found: found.group() if found["name"] else "?", text)


class PgdoctorError(Exception):
    """Base of every error that the caller can correct; its text is one line."""

    exit_status = 2

    def __init__(self, message: str) -> None:
        super().__init__(without_connection_string(message))


class UsageError(PgdoctorError):
    """A wrong option or argument."""


class ConfigError(PgdoctorError):
    """Wrong keys or values in the configuration: names each, its value and what is allowed.

    `mistakes` has them one by one, where they are more than one.
    """

    def __init__(self, message: str, mistakes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.mistakes = tuple(map(without_connection_string, mistakes))


class QueryNotFound(PgdoctorError):
    """A statement that `sql/` does not have for this server version."""


class JournalError(PgdoctorError):
    """The journal's file cannot be read or written: no folder, no rights, a full disk, a foreign file."""


class ExportError(PgdoctorError):
    """A file of exported incidents is cut off, damaged, foreign, too big, or of another version."""


class ServerError(PgdoctorError):
    """The server could not be asked."""

    exit_status = 3
    #: One of `pgdoctor.postgres.connection_errors.STATES`.
    state = "error"

    def __init__(self, message: str, state: str = "error") -> None:
        # The connection string first: without its quotes it would not be known for one.
        super().__init__(without_data(without_connection_string(message)))
        self.state = state


class Unreachable(ServerError):
    """No connection: refused, not authenticated, unknown database, no slot, no answer in time."""


class Unsupported(ServerError):
    """The server is older than the oldest version whose locks can be read exactly."""


class StatementFailed(ServerError):
    """The server refused one statement, or it ran into its own time limit; the connection is still good."""

    def __init__(self, message: str, sqlstate: str | None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
