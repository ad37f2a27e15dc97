"""`pgdoctor agent`: watch one server, and tell machines and people over HTTP."""

from typing import TYPE_CHECKING

import click

from pgdoctor.cli._options import dsn_option

if TYPE_CHECKING:
    from pgdoctor.config import LogFormat


@click.command()
@click.option("--config", envvar="PGDOCTOR_CONFIG", metavar="FILE", help="The configuration: pgdoctor.toml.")
@dsn_option
@click.option(
    "--listen",
    envvar="PGDOCTOR_LISTEN",
    metavar="HOST:PORT",
    help="Where HTTP is answered. Default: the configuration's, else 127.0.0.1:9899.",
)
@click.option(
    "--log-format",
    envvar="PGDOCTOR_LOG_FORMAT",
    type=click.Choice(["json", "text"]),
    help="How lines on stderr are written. Default: the configuration's, else json.",
)
def command(config: str | None, dsn: str, listen: str | None, log_format: "LogFormat | None") -> int:
    """Poll a server once a second; answer /metrics, /health, /diagnosis and / until SIGTERM. SIGHUP reloads."""
    # Here, not above: help and usage errors need neither the driver nor the HTTP server.
    from pgdoctor.agent.process import run

    return run(dsn, config, listen, log_format)
