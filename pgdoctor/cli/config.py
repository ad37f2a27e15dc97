"""`pgdoctor config`: print a configuration file to begin from, check one, and send a test notification."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from pgdoctor.cli import print_error
from pgdoctor.cli._groups import Group
from pgdoctor.cli._options import DEADLINE, run_coroutine
from pgdoctor.config.config import EXAMPLE, load_config
from pgdoctor.config.exposed_secrets import find_exposed_secrets
from pgdoctor.config.validation import join_lines
from pgdoctor.errors import ConfigError, UsageError
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.protected_names import allowed_names, protected_names
from pgdoctor.mitigation.rule_sentences import describe_protection, describe_rule, find_dangers
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.notify.settings import Recipient


@click.group(cls=Group)
def command() -> None:
    """Print an example configuration, or check and test one."""


@command.command()
def init() -> None:
    """Print a pgdoctor.toml with all keys and defaults."""
    click.echo(EXAMPLE, nl=False)


@command.command()
@click.argument("file", default="pgdoctor.toml", envvar="PGDOCTOR_CONFIG", metavar="[FILE]")
@click.option("--dsn", metavar="DSN", help="Look up the names in FILE at this server and in its database.")
def check(file: str, dsn: str | None) -> int:
    """Check a configuration file and name every mistake.

    FILE defaults to PGDOCTOR_CONFIG, then pgdoctor.toml. Dangerous settings are warnings on stderr.

    Files named in it may belong to another machine. A file that cannot be used here is a warning, not a mistake.
    """
    # Here, not above: no other command needs TLS.
    from pgdoctor.agent.start_checks import unusable_files

    try:
        config = load_config(file)
    except ConfigError as error:
        for mistake in error.mistakes or [str(error)]:
            print_error(mistake)
        return error.exit_status
    mitigation = config.mitigation
    rules, protections = (
        format_count(len(mitigation.rules), "rule"),
        format_count(len(mitigation.protect), "protection"),
    )
    servers = f"; {format_count(len(config.servers), 'server')}" if config.servers else ""
    click.echo(f"{file} is valid: mitigation is {mitigation.mode}, with {rules} and {protections}{servers}")
    for sentence in (*map(describe_rule, mitigation.rules), *map(describe_protection, mitigation.protect)):
        click.echo(join_lines(sentence))
    for problem in unusable_files(config):
        print_error(f"an agent on this machine could not start with it: {problem}")
    for problem in run_coroutine(_find_broken_templates(config.notify)):
        print_error(problem)
    for danger in (*find_dangers(mitigation, datetime.now(UTC)), *find_exposed_secrets(config)):
        print_error(join_lines(f"warning: {danger}"))
    for unresolved in run_coroutine(_fetch_unresolved(dsn, mitigation)) if dsn is not None else ():
        print_error(join_lines(f"warning: {unresolved}"))
    return 0


@command.command("test-notify", short_help="Send a test notification to one receiver.")
@click.argument("name", metavar="NAME")
@click.argument("file", default="pgdoctor.toml", envvar="PGDOCTOR_CONFIG", metavar="[FILE]")
@click.option("--show", is_flag=True, help="Print what would be sent, without secrets, and send nothing.")
def test_notify(name: str, file: str, show: bool) -> int:
    """Send one test notification to the receiver NAME of [[notify]].

    FILE defaults to PGDOCTOR_CONFIG, then pgdoctor.toml. The exit status is 0 if the receiver took it, 3 if not.
    """
    # Here, not above: no other command sends.
    from pgdoctor.notify.endpoint_files import read_endpoint
    from pgdoctor.notify.send_once import send_test

    config = load_config(file)
    names = [each.name for each in config.notify]
    if name not in names:
        raise UsageError(f"no receiver {name} in {file}: {', '.join(names) or 'it has no [[notify]]'}")
    place = names.index(name)
    recipient, external_url = config.notify[place], config.http.external_url
    if show:
        return run_coroutine(_show_test(recipient, place, external_url))
    endpoint = read_endpoint(recipient, place)
    was_taken, answer = run_coroutine(send_test(recipient, endpoint, external_url))
    outcome = "delivered" if was_taken else "not delivered"
    line = f"{name} ({recipient.format}, {endpoint.host}): {outcome}: {answer}"
    if not was_taken:
        print_error(line)
        return 3
    click.echo(line)
    return 0


async def _find_broken_templates(recipients: Sequence[Recipient]) -> list[str]:
    """What is wrong with templates that can be read, one line each."""
    found = []
    for place, recipient in enumerate(recipients):
        if recipient.template_file is None:
            continue
        # Here, not above: it starts processes.
        from pgdoctor.notify.endpoint_files import read_endpoint
        from pgdoctor.notify.send_once import show_test

        try:
            read_endpoint(recipient, place)
            _ = [body async for body in show_test(recipient, place, None)]
        except ConfigError:
            continue
        except ValueError as error:
            found.append(f"notify[{place}].template_file: {join_lines(str(error))}")
    return found


async def _show_test(recipient: Recipient, place: int, external_url: str | None) -> int:
    from pgdoctor.notify.send_once import show_test

    try:
        async for body in show_test(recipient, place, external_url):
            click.echo(body)
    except ValueError as error:
        print_error(f"{recipient.name} ({recipient.format}): {error}")
        return 3
    return 0


async def _fetch_unresolved(dsn: str, settings: Mitigation) -> tuple[str, ...]:
    """What rules and protections name and the server does not have."""
    # Here, not above: no other command needs the driver.
    from pgdoctor.enforcement.agent_state import fetch_unresolved
    from pgdoctor.postgres.connection import Connection
    from pgdoctor.postgres.relations_elsewhere import RelationFinder

    async with await Connection.open(dsn, DEADLINE) as connection:
        names = (*protected_names(settings), *allowed_names(settings))
        return await fetch_unresolved(connection, names, RelationFinder(patience=DEADLINE))
