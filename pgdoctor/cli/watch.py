"""`pgdoctor watch`: who blocks whom, live in a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from tempfile import TemporaryFile

import click

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import config_option, fetch_diagnosis, from_option, run_coroutine
from pgdoctor.cli._output import screen_width
from pgdoctor.cli._poll_time import parse_poll_time
from pgdoctor.config.config import Config, load_config
from pgdoctor.errors import UsageError
from pgdoctor.fields import Duration
from pgdoctor.render.report import make_report, without_sql
from pgdoctor.render.tree import render_tree


@click.command()
@dsn_option
@database_argument
@config_option
@click.option(
    "--interval",
    default="1s",
    show_default=True,
    callback=parse_poll_time,
    metavar="DURATION",
    help="Time between polls, with a unit: 500ms, 5s.",
)
@click.option("--read-only", is_flag=True, help="Send no signal: the keys c and k are off.")
@from_option
def command(
    dsn: str, interval: Duration, config: str | None, read_only: bool, file: str | None, incident: str | None
) -> None:
    """Show who blocks whom, live.

    Keys: ? lists all keys, q quits. Sort, freeze, open one session, cancel or terminate it after a confirmation.
    Without a terminal (a pipe, TERM=dumb) the command prints one poll and ends. With --from it connects to no server:
    the arrow keys step through the snapshots of a recorded incident.
    """
    if file is not None:
        _play_back(file, incident)
        return
    if incident is not None:
        raise UsageError("--incident needs --from FILE")
    settings = load_config(config)
    # Here, not above: help and usage errors need neither the driver nor a terminal.
    from pgdoctor.cli._terminal import can_draw

    if not can_draw():
        click.echo(
            render_tree(
                make_report(run_coroutine(fetch_diagnosis(dsn, into_databases=settings.agent.look_into_databases))),
                screen_width(),
            ),
            nl=False,
        )
        return
    with _log_kept():
        done = run_coroutine(_watch_server(dsn, interval, settings, read_only=read_only))
    # The actions stay in the terminal after the screen is gone.
    for line in done:
        click.echo(line)


def _play_back(file: str, incident: str | None) -> None:
    """Step through a recording; without a terminal print its worst snapshot. Raises ExportError or UsageError."""
    from pgdoctor.cli._playback import Playback
    from pgdoctor.cli._recorded import read_recording, read_worst
    from pgdoctor.cli._terminal import Terminal, can_draw

    if not can_draw():
        diagnosis, origin = read_worst(file, incident)
        click.echo(f"{origin}\n\n{render_tree(without_sql(make_report(diagnosis)), screen_width())}", nl=False)
        return
    recording = read_recording(file, incident)

    async def play() -> None:
        with Terminal() as terminal:
            await Playback(terminal, recording).run()

    run_coroutine(play())


async def _watch_server(dsn: str, interval: float, settings: Config, *, read_only: bool) -> list[str]:
    """Show the server until the operator quits. Returns a line for each action. Raises ServerError."""
    from pgdoctor.cli._terminal import Terminal
    from pgdoctor.cli._watch_actions import WatchActions
    from pgdoctor.cli._watch_loop import WatchLoop

    cutting = WatchActions(dsn, settings, read_only=read_only)
    with Terminal() as terminal:
        live = WatchLoop(
            terminal, dsn, interval, cutting.ask, cutting.act, into_databases=settings.agent.look_into_databases
        )
        await live.run()
    await live.settle()
    return live.done


@contextmanager
def _log_kept() -> Iterator[None]:
    """Tell on stderr what is logged, but not in the middle of a screen, which it would tear: when that is gone."""
    from pgdoctor.agent.log import install_logging

    if not sys.stderr.isatty():
        install_logging()
        yield
        return
    with TemporaryFile("w+") as file:
        with redirect_stderr(file):
            install_logging()
        try:
            yield
        finally:
            file.seek(0)
            click.echo(file.read(), err=True, nl=False)
