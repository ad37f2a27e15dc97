"""`pgdoctor agent`: watch one server, and tell machines and people over HTTP."""

import click

from pgdoctor.cli._options import dsn_option


@click.command()
@click.option("--config", envvar="PGDOCTOR_CONFIG", metavar="FILE", help="The configuration: pgdoctor.toml.")
@dsn_option
@click.option(
    "--listen",
    envvar="PGDOCTOR_LISTEN",
    metavar="HOST:PORT",
    help="Where HTTP is answered. Default: the configuration's, else 127.0.0.1:9899.",
)
def command(config: str | None, dsn: str, listen: str | None) -> int:
    """Poll a server once a second; answer /metrics, /health, /diagnosis and / until SIGTERM. SIGHUP reloads."""
    # Here, not above: help and usage errors need neither the driver nor the HTTP server.
    from pgdoctor.agent.process import run

    return run(dsn, config, listen)
