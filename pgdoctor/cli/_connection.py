"""Where to connect to, as for psql: `-h -p -U -d -W`, a connection string or a database as argument.

Precedence is libpq's: fields of a connection string on the command line, then `-h -p -U -d`, then `PGDOCTOR_DSN`, then
the service file and `PGHOST` and its like, each field by itself. With another host, or another connection string,
nothing of `PGDOCTOR_DSN` is used, so that its password is sent to no other server; with another user not its password.
"""

import re
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from pgdoctor.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

#: The target that was typed for a group of commands holds for its command, before PGDOCTOR_DSN.
_TYPED = "pgdoctor.cli.typed_target"

_PORTS = re.compile(r"[0-9]+(,[0-9]+)*")


class Typed(NamedTuple):
    """What the command line says of the target. Empty: nothing."""

    host: str = ""
    port: str = ""
    user: str = ""
    #: A database's name, or a connection string.
    database: str = ""
    #: The connection string of `--dsn`.
    dsn: str = ""


def _check_port(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text and not _PORTS.fullmatch(text):
        raise click.BadParameter("a port, or one for each host: 5432,5433", param=parameter)
    return text


_OPTIONS = (
    click.option(
        "--dsn",
        envvar="PGDOCTOR_DSN",
        default="",
        metavar="DSN",
        help="Connection URI or key=value pairs, as for libpq. Default: PGDOCTOR_DSN, then the libpq environment "
        "(PGHOST, PGSERVICE, PGPASSFILE, ...).",
    ),
    click.option("-h", "--host", metavar="HOST", help="Host, address or socket folder of the server, as for psql."),
    click.option("-p", "--port", metavar="PORT", callback=_check_port, help="Port of the server."),
    click.option("-U", "--username", metavar="USER", help="User to connect as."),
    click.option("-d", "--dbname", metavar="DBNAME", help="Database, or a connection string."),
    click.option(
        "-W/-w",
        "--password/--no-password",
        "asks_password",
        default=False,
        help="Ask for a password on the terminal, or never (default).",
    ),
)


def dsn_option(function: F) -> F:
    """The options that say where to connect to; the command gets one connection string, `dsn`."""

    @wraps(function)
    def connect(*arguments: Any, **given: Any) -> Any:
        context = click.get_current_context()
        typed = _take_typed(context, given)
        given["dsn"] = _choose_dsn(context, typed, given["dsn"])
        if given.pop("asks_password"):
            given["dsn"] = _add_password(given["dsn"])
        return function(*arguments, **given)

    decorated: Any = connect
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def database_argument(function: F) -> F:
    """`[DBNAME [USERNAME]]`, as psql takes them: a database, a URI or key=value pairs, and a user."""
    return click.argument("words", nargs=-1, metavar="[DBNAME [USERNAME]]")(function)


def is_connection_string(text: str) -> bool:
    """Whether libpq would read it as one, and not as the name of a database."""
    return text.startswith(("postgresql://", "postgres://")) or "=" in text


def build_dsn(typed: Typed, default: str) -> str:
    """The connection string of what was typed; `default` is that of the environment. Raises UsageError."""
    if typed.dsn and typed.database:
        raise UsageError("give the connection once: by --dsn, by -d, or as an argument")
    if not is_connection_string(typed.database) and "@" in typed.database and ":" in typed.database:
        raise UsageError("a connection URI begins with postgresql:// (what was given is not shown)")
    whole = typed.dsn or (typed.database if is_connection_string(typed.database) else "")
    parts = {"host": typed.host, "port": typed.port, "user": typed.user, "dbname": "" if whole else typed.database}
    parts = {key: value for key, value in parts.items() if value}
    if not parts:
        return whole or default
    if whole:
        return _write_parameters({**parts, **_read_parameters(whole)})
    base = {} if typed.host else _read_parameters(default)
    if "user" in parts and parts["user"] != base.get("user"):
        base.pop("password", None)
    return _write_parameters({**base, **parts})


def _take_typed(context: click.Context, given: dict[str, Any]) -> Typed:
    is_typed = context.get_parameter_source("dsn") is ParameterSource.COMMANDLINE
    host, port, user, database = (given.pop(key) or "" for key in ("host", "port", "username", "dbname"))
    words = list(given.pop("words", ()))
    if words and not database:
        database = words.pop(0)
    if words and not user:
        user = words.pop(0)
    if words:
        raise click.UsageError(f"Got unexpected extra argument ({words[0]})", context)
    return Typed(host, port, user, database, given["dsn"] if is_typed else "")


def _choose_dsn(context: click.Context, typed: Typed, default: str) -> str:
    before: str | None = context.meta.get(_TYPED)
    found = build_dsn(typed, default if before is None else before)
    if any(typed):
        context.meta[_TYPED] = found
    return found


def _add_password(dsn: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("-W needs a terminal: give the password by PGPASSFILE (~/.pgpass), PGSERVICE or PGPASSWORD")
    password = click.prompt("Password", hide_input=True, default="", show_default=False, err=True)
    return _write_parameters({**_read_parameters(dsn), "password": password})


# Here, not above: help and usage errors need no driver, which takes 200 ms to import.


def _read_parameters(dsn: str) -> dict[str, Any]:
    from pgdoctor.postgres.dsn import split_dsn

    return split_dsn(dsn)


def _write_parameters(parameters: dict[str, Any]) -> str:
    from pgdoctor.postgres.conninfo import write_dsn

    return write_dsn(parameters)
