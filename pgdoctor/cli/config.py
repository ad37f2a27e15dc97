"""`pgdoctor config`: print a configuration file to begin from, and check one."""

import click

from pgdoctor.config import EXAMPLE, load
from pgdoctor.diagnosis.words import count


@click.group()
def command() -> None:
    """Print a configuration file to begin from, or check one."""


@command.command()
def init() -> None:
    """Print a pgdoctor.toml with every key, its default and what it is for."""
    click.echo(EXAMPLE, nl=False)


@command.command()
@click.argument("file", default="pgdoctor.toml", envvar="PGDOCTOR_CONFIG", metavar="[FILE]")
def check(file: str) -> None:
    """Say whether FILE (default: PGDOCTOR_CONFIG, or pgdoctor.toml) is sound; name every mistake in it."""
    config = load(file)
    mitigation = config.mitigation
    rules, protections = count(len(mitigation.rules), "rule"), count(len(mitigation.protect), "protection")
    servers = f"; {count(len(config.servers), 'server')}" if config.servers else ""
    click.echo(f"{file} is sound: mitigation is {mitigation.mode}, with {rules} and {protections}{servers}")
