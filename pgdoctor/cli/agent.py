"""`pgdoctor agent`: watch servers, and tell machines and people over HTTP."""

import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click
import msgspec
from click.core import ParameterSource

from pgdoctor.cli._options import dsn_option
from pgdoctor.config import Agent, Given, LogFormat
from pgdoctor.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_WAYS = ("dsn", "dsn_file")

_HELP = {
    "interval": "From the beginning of one poll to that of the next, with a unit: 500ms, 15s.",
    "deadline": "What connecting, and each statement, may take.",
    "wait_threshold": "Who has waited for less is no incident.",
    "max_server_share": "Of one core of the server, what polls may take of it: 0.02.",
    "listen": "Where HTTP is answered.",
    "explain": "Have the planner confirm unindexed scans: true or false.",
}


def source(context: click.Context, key: str) -> str:
    """How somebody gave an option, for a message about it."""
    by_flag = context.get_parameter_source(key) is ParameterSource.COMMANDLINE
    return f"--{key.replace('_', '-')}" if by_flag else variable(key)


def variable(key: str) -> str:
    return f"PGDOCTOR_{key.upper()}"


def agent_options(function: F) -> F:
    """A flag and an environment variable for each key of `[agent]`."""
    for field in reversed(msgspec.structs.fields(Agent)):
        flag = f"--{field.name.replace('_', '-')}"
        about = f"{_HELP.get(field.name, '')} Default: the configuration's, else {str(field.default).lower()}.".strip()
        function = click.option(flag, envvar=variable(field.name), metavar="VALUE", help=about)(function)
    return function


@click.command()
@click.option("--config", envvar="PGDOCTOR_CONFIG", metavar="FILE", help="The configuration: pgdoctor.toml.")
@dsn_option
@click.option(
    "--dsn-file",
    envvar="PGDOCTOR_DSN_FILE",
    metavar="FILE",
    help="A file with the DSN, instead of --dsn; read at every attempt to connect, so that it may change.",
)
@click.option(
    "--log-format",
    envvar="PGDOCTOR_LOG_FORMAT",
    type=click.Choice(get_args(LogFormat)),
    help="How lines on stderr are written. Default: the configuration's, else json.",
)
@click.option(
    "--enforce",
    envvar="PGDOCTOR_ENFORCE",
    is_flag=True,
    help='Signal sessions where the configuration says mode = "enforce", which without this is a dry run.',
)
@agent_options
@click.pass_context
def command(
    context: click.Context,
    /,
    config: str | None,
    log_format: LogFormat | None,
    enforce: bool,
    **options: str | None,
) -> int:
    """Poll servers once a second; answer /metrics, /health, /diagnosis and / until SIGTERM. SIGHUP reloads."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until the agent has a hand of its own for them: whoever stops it while it starts gets the same end.
        signal.signal(number, lambda *_: sys.exit(0))
    # Here, not above: help and usage errors need neither the driver nor the HTTP server.
    from pgdoctor.agent.connection import DsnFile
    from pgdoctor.agent.process import run

    dsn, dsn_file = (options.pop(key) for key in _WAYS)
    if dsn and dsn_file:
        by_flag = [key for key in _WAYS if source(context, key).startswith("--")]
        if len(by_flag) != 1:
            raise UsageError("a DSN and a file with one are given: leave one of --dsn and --dsn-file out")
        dsn_file = dsn_file if by_flag == ["dsn_file"] else None
    given = {key: Given(source(context, key), text) for key, text in options.items() if text is not None}
    return run(DsnFile(dsn_file) if dsn_file else dsn or "", config, given, log_format, armed=enforce)
