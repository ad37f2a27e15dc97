"""`pgdoctor agent`: watch servers, and tell machines and people over HTTP."""

import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click
import msgspec
from click.core import ParameterSource

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.config.config import AgentSettings, GivenOptions, LogFormat
from pgdoctor.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_WAYS = ("dsn", "dsn_file")

_HELP = {
    "interval": "Time between the starts of two polls, with a unit: 500ms, 15s.",
    "deadline": "Time limit for connecting and for each statement.",
    "wait_threshold": "Shorter waits do not count as blocked.",
    "login_probe_interval": "Time between two logins that show whether clients can log in; 0s: none.",
    "max_server_share": "Share of one core of the server that polls may use: 0.02.",
    "listen": "Listen address for HTTP.",
    "explain": "Confirm unindexed scans by EXPLAIN: true or false.",
    "look_into_databases": "Read the catalogs of other databases while an incident touches them: true or false.",
}


def describe_source(context: click.Context, key: str) -> str:
    """The flag or the environment variable that set an option, for messages."""
    by_flag = context.get_parameter_source(key) is ParameterSource.COMMANDLINE
    return f"--{key.replace('_', '-')}" if by_flag else name_variable(key)


def name_variable(key: str) -> str:
    return f"PGDOCTOR_{key.upper()}"


def agent_options(function: F) -> F:
    """A flag and an environment variable for each key of `[agent]`."""
    for field in reversed(msgspec.structs.fields(AgentSettings)):
        flag = f"--{field.name.replace('_', '-')}"
        about = (
            f"{_HELP.get(field.name, '')} Default: from the configuration, else {str(field.default).lower()}.".strip()
        )
        function = click.option(flag, envvar=name_variable(field.name), metavar="VALUE", help=about)(function)
    return function


@click.command()
@click.option("--config", envvar="PGDOCTOR_CONFIG", metavar="FILE", help="Configuration file (pgdoctor.toml).")
@dsn_option
@database_argument
@click.option(
    "--dsn-file",
    envvar="PGDOCTOR_DSN_FILE",
    metavar="FILE",
    help="File that contains the DSN, instead of --dsn. The agent reads it again at each connection attempt.",
)
@click.option(
    "--log-format",
    envvar="PGDOCTOR_LOG_FORMAT",
    type=click.Choice(get_args(LogFormat)),
    help="Format of log lines on stderr. Default: from the configuration, else json.",
)
@click.option(
    "--enforce",
    envvar="PGDOCTOR_ENFORCE",
    is_flag=True,
    help='Allow signals if the configuration sets mode = "enforce". Without this flag that mode is a dry run.',
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
    """Poll servers; serve metrics, health and the page.

    Runs until SIGTERM or SIGINT. SIGHUP reloads the configuration. Paths: /metrics, /health, /health/deep, /diagnosis
    and /.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # Until the agent has its own handlers: a signal during the start ends it the same way.
        signal.signal(number, lambda *_: sys.exit(0))
    # Here, not above: help and usage errors need neither the driver nor the HTTP server.
    from pgdoctor.agent.polling.reconnector import DsnFile
    from pgdoctor.agent.process import run_agent

    dsn, dsn_file = (options.pop(key) for key in _WAYS)
    if dsn and dsn_file:
        by_flag = [key for key in _WAYS if describe_source(context, key).startswith("--")]
        if len(by_flag) != 1:
            raise UsageError("--dsn and --dsn-file exclude each other")
        dsn_file = dsn_file if by_flag == ["dsn_file"] else None
    given = {
        key: GivenOptions(describe_source(context, key), text) for key, text in options.items() if text is not None
    }
    return run_agent(DsnFile(dsn_file) if dsn_file else dsn or "", config, given, log_format, armed=enforce)
