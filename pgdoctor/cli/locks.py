"""`pgdoctor locks`: the documented blocking-lock query, word for word, as a table."""

from collections.abc import Sequence
from typing import Any

import click
from tabulate import tabulate

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import DEADLINE, run_coroutine, show_literals_option
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import show_statement

#: The query pairs all sessions of a lock with each other: 1,000 waiters make 1,000,000 rows (measured).
MOST_ROWS = 10_000

_STATEMENT_WIDTH = 50


@click.command()
@dsn_option
@database_argument
@show_literals_option
def command(dsn: str, show_literals: bool) -> None:
    """Run the documented blocking-lock query.

    The query is sent exactly as documented. It also lists sessions that hold the same lock without blocking
    each other: use `pgdoctor diagnose` before you act.
    """
    rows = run_coroutine(_fetch_rows(dsn))
    if not rows:
        click.echo("No rows: no session waits for a lock.")
        return
    shown_rows = [[_format_cell(name, value, show_literals) for name, value in row._asdict().items()] for row in rows]
    click.echo(tabulate(shown_rows, headers=rows[0]._fields))
    if len(rows) == MOST_ROWS:
        click.echo(f"(the first {MOST_ROWS:,} rows)")


async def _fetch_rows(dsn: str) -> Sequence[Any]:
    from pgdoctor.postgres.connection import Connection

    async with await Connection.open(dsn, DEADLINE) as connection:
        return await connection.fetch_some("documented_blocking_locks", MOST_ROWS)


def _format_cell(name: str, value: object, show_literals: bool) -> object:
    if name.endswith("_statement"):
        value = show_statement(None if value is None else str(value), show_literals)
    return format_one_line(value, _STATEMENT_WIDTH) if isinstance(value, str) else value
