"""What can go wrong, as the person at the keyboard sees it.

    PgdoctorError            one clear line, exit status 2
    ├── UsageError           a wrong option or argument
    ├── ConfigError          a wrong key or value in the configuration
    ├── QueryNotFound        a statement that is not in sql/ (our own bug, or a broken installation)
    └── ServerError          the server could not be asked, exit status 3
        ├── Unreachable      no connection (`state` says how it failed)
        ├── Unsupported      the server is older than we can read
        └── StatementFailed  one statement was refused or took too long (`sqlstate`)

Messages never carry a password or a DSN.
"""


class PgdoctorError(Exception):
    """Base of every error that is the caller's to mend; its text is one line."""

    exit_status = 2


class UsageError(PgdoctorError):
    """A wrong option or argument."""


class ConfigError(PgdoctorError):
    """A wrong key or value in the configuration: names the key, the value and what is allowed."""


class QueryNotFound(PgdoctorError):
    """A statement that `sql/` does not have for this server version."""


class ServerError(PgdoctorError):
    """The server could not be asked."""

    exit_status = 3
    #: One of `pgdoctor.postgres.door.STATES`.
    state = "error"

    def __init__(self, message: str, state: str = "error") -> None:
        super().__init__(message)
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
