"""`pgdoctor config`: print a configuration file to begin from, and check one."""

import click

from pgdoctor.cli import complain
from pgdoctor.config import EXAMPLE, load
from pgdoctor.diagnosis.words import count
from pgdoctor.errors import ConfigError


@click.group()
def command() -> None:
    """Print an example configuration, or check a file."""


@command.command()
def init() -> None:
    """Print a pgdoctor.toml with all keys and defaults."""
    click.echo(EXAMPLE, nl=False)


@command.command()
@click.argument("file", default="pgdoctor.toml", envvar="PGDOCTOR_CONFIG", metavar="[FILE]")
def check(file: str) -> int:
    """Check a configuration file and name every mistake.

    FILE defaults to PGDOCTOR_CONFIG, then pgdoctor.toml.

    Files named in it may belong to another machine. A file that cannot be used here is a warning, not a mistake.
    """
    # Here, not above: nobody else needs TLS.
    from pgdoctor.agent.readiness import unusable_files

    try:
        config = load(file)
    except ConfigError as error:
        for mistake in error.mistakes or [str(error)]:
            complain(mistake)
        return error.exit_status
    mitigation = config.mitigation
    rules, protections = count(len(mitigation.rules), "rule"), count(len(mitigation.protect), "protection")
    servers = f"; {count(len(config.servers), 'server')}" if config.servers else ""
    click.echo(f"{file} is sound: mitigation is {mitigation.mode}, with {rules} and {protections}{servers}")
    for problem in unusable_files(config):
        complain(f"on this machine an agent could not start with it: {problem}")
    return 0
