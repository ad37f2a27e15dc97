"""`pgdoctor diagnose`: who blocks whom right now, why, and what to do."""

import shutil
import sys
from collections.abc import Callable

import click

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import ask, run, show_literals_option
from pgdoctor.render.report import MOST_WAITS, Report, report, to_json
from pgdoctor.render.table import table
from pgdoctor.render.tree import tree

_FORMATS: dict[str, Callable[[Report], str]] = {
    "tree": lambda facts: tree(facts, shutil.get_terminal_size((100, 24)).columns),
    "table": table,
    "json": lambda facts: to_json(facts).decode() + "\n",
    "markdown": lambda facts: table(facts, "pipe"),
}


@click.command()
@dsn_option
@database_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(tuple(_FORMATS)),
    envvar="PGDOCTOR_FORMAT",
    help="Output format. Default: tree on a terminal, table in a pipe.",
)
@click.option("--exit-code", is_flag=True, help="Exit with status 1 if at least one session is blocked.")
@click.option("--all-waits", is_flag=True, help=f"List all waits, not only the first {MOST_WAITS:,}.")
@click.option(
    "--explain",
    is_flag=True,
    help="Confirm unindexed scans by EXPLAIN (never ANALYZE). Needs SELECT on the tables.",
)
@show_literals_option
def command(dsn: str, form: str | None, exit_code: bool, all_waits: bool, explain: bool, show_literals: bool) -> int:
    """Show who blocks whom, why, and what each signal would free."""
    diagnosis = run(ask(dsn, explains=explain))
    facts = report(diagnosis, show_literals=show_literals, most_waits=None if all_waits else MOST_WAITS)
    form = form or ("tree" if sys.stdout.isatty() else "table")
    click.echo(_FORMATS[form](facts), nl=False)
    return 1 if exit_code and diagnosis.blocked_sessions else 0
