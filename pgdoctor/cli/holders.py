"""`pgdoctor holders`: the sessions that hold or await a given lock, even if none waits."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import DEADLINE, run_coroutine, show_literals_option
from pgdoctor.cli._output import screen_width, wide_option, write_json
from pgdoctor.diagnosis.lock_holders import read_advisory_key
from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.model.lock_holders import LockHolders
from pgdoctor.render.holders import holders_to_json, make_holder_report, render_holders
from pgdoctor.render.lock_table import LockTableReport, lock_table_lines, lock_table_to_json, make_lock_table_report

F = TypeVar("F", bound=Callable[..., Any])

#: The largest PID that a server can have.
_LARGEST_PID = 2**31 - 1


def _check_key(_: click.Context, parameter: click.Parameter, text: str | None) -> AdvisoryKey | None:
    if text is None:
        return None
    key = read_advisory_key(text)
    if key is None:
        raise click.BadParameter("a bigint (42, -1, 0x2a), or two integers (1,2)", param=parameter)
    return key


def _target_argument(function: F) -> F:
    """`[RELATION|PID]`, in front of the database; with `--advisory` the first argument is the database."""

    @wraps(function)
    def shift_arguments(*arguments: Any, **given: Any) -> Any:
        if given["advisory"] is not None and given["target"] is not None:
            given["words"] = (given["target"], *given["words"])
            given["target"] = None
        return function(*arguments, **given)

    decorated: Any = click.argument("target", required=False, metavar="[RELATION|PID]")(shift_arguments)
    return decorated  # type: ignore[no-any-return]


@click.command()
@_target_argument
@dsn_option
@database_argument
@click.option(
    "--advisory", metavar="KEY", callback=_check_key, help="Advisory lock: a bigint (42, -1, 0x2a) or a pair (1,2)."
)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
@show_literals_option
@wide_option
def command(
    dsn: str, target: str | None, advisory: AdvisoryKey | None, form: str, show_literals: bool, wide: bool
) -> None:
    """Show who holds or awaits a lock, even if no session waits.

    RELATION is a table with its indexes and partitions, or an index; PID gives all locks of a session. The server does
    not record when a lock was granted, so the command shows bounds of its age. Without RELATION and PID, the command
    shows how full the lock table is, and the sessions with the most locks.
    """
    if target is None and advisory is None:
        _print_lock_table(run_coroutine(_ask_lock_table(dsn)), form)
        return
    report = make_holder_report(run_coroutine(_fetch_holders(dsn, target, advisory)), show_literals=show_literals)
    if form == "json":
        write_json(holders_to_json(report))
    elif wide or screen_width(wide=wide) is None:
        click.echo(render_holders(report, width=None), nl=False)
    else:
        click.echo(render_holders(report), nl=False)


def _print_lock_table(report: LockTableReport, form: str) -> None:
    if form == "json":
        write_json(lock_table_to_json(report))
    else:
        click.echo("\n".join(lock_table_lines(report)))


async def _ask_lock_table(dsn: str) -> LockTableReport:
    from pgdoctor.postgres.collect import Collector
    from pgdoctor.postgres.connection import Connection
    from pgdoctor.postgres.server_context import fetch_lock_table

    async with await Connection.open(dsn, DEADLINE) as connection:
        gate = await Collector(connection).fetch_gate(wait_threshold=0.0)
        return make_lock_table_report(gate.server, gate.captured_at, await fetch_lock_table(connection))


async def _fetch_holders(dsn: str, target: str | None, advisory: AdvisoryKey | None) -> LockHolders:
    from pgdoctor.postgres.connection import Connection
    from pgdoctor.postgres.lock_holders import advisory_target, fetch_lock_holders, fetch_lock_target, session_target

    async with await Connection.open(dsn, DEADLINE) as connection:
        if advisory is not None:
            return await fetch_lock_holders(connection, advisory_target(advisory))
        assert target is not None
        if target.isascii() and target.isdigit() and int(target) <= _LARGEST_PID:
            return await fetch_lock_holders(connection, session_target(int(target)))
        return await fetch_lock_holders(connection, await fetch_lock_target(connection, target))
