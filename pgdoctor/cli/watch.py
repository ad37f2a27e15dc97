"""`pgdoctor watch`: who blocks whom, live in a terminal."""

import shutil

import click

from pgdoctor.cli._options import ask, dsn_option, run
from pgdoctor.config import load
from pgdoctor.mitigation.written import Duration
from pgdoctor.render.report import report
from pgdoctor.render.tree import tree

#: Seconds; a person does not see more, and the server would.
_SHORTEST_INTERVAL = 0.2


def _interval(context: click.Context, parameter: click.Parameter, text: str) -> Duration:  # noqa: ARG001
    """The seconds between two looks."""
    try:
        interval = Duration.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if interval < _SHORTEST_INTERVAL:
        raise click.BadParameter("at least 200ms")
    return interval


@click.command()
@dsn_option
@click.option(
    "--interval",
    default="1s",
    show_default=True,
    callback=_interval,
    metavar="DURATION",
    help="From one look to the next, with a unit: 500ms, 5s.",
)
@click.option(
    "--config",
    metavar="FILE",
    envvar="PGDOCTOR_CONFIG",
    help="The pgdoctor.toml with the rules that c and k go by; without it nobody can be signalled.",
)
def command(dsn: str, interval: Duration, config: str | None) -> None:
    """Show who blocks whom, live: sort, freeze, look at one session, and cancel or terminate it under the rules.

    Keys: ? lists them, q quits. Where there is no terminal to draw on (a pipe, TERM=dumb) it shows one look and ends.
    """
    load(config)
    # Here, not above: help and usage errors need neither the driver nor a terminal.
    from pgdoctor.cli._terminal import can_draw

    if not can_draw():
        click.echo(tree(report(run(ask(dsn))), shutil.get_terminal_size((100, 24)).columns), nl=False)
        return
    from pgdoctor.cli._live import watch

    run(watch(dsn, interval))
