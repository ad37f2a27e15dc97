"""`pgdoctor diagnose`: who blocks whom right now, why, and what to do."""

import sys

import click

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import databases_option, fetch_diagnosis, from_option, run_coroutine, show_literals_option
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.errors import UsageError
from pgdoctor.render.report import MOST_WAITS, Report, make_report, to_json, without_sql
from pgdoctor.render.table import render_table
from pgdoctor.render.tree import tree_lines

_FORMATS = ("tree", "table", "json", "markdown")


@click.command()
@dsn_option
@database_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
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
@databases_option
@from_option
@show_literals_option
@wide_option
def command(
    dsn: str,
    form: str | None,
    exit_code: bool,
    all_waits: bool,
    explain: bool,
    into_databases: bool,
    file: str | None,
    incident: str | None,
    show_literals: bool,
    wide: bool,
) -> int:
    """Show who blocks whom, why, and what each signal would free.

    With --from the command connects to no server: it shows the recorded snapshot with the most blocked sessions.
    """
    form = form or ("tree" if sys.stdout.isatty() else "table")
    if file is None:
        if incident is not None:
            raise UsageError("--incident needs --from FILE")
        diagnosis = run_coroutine(fetch_diagnosis(dsn, explains=explain, into_databases=into_databases))
    else:
        from pgdoctor.cli._recorded import read_worst

        diagnosis, origin = read_worst(file, incident)
        if form != "json":
            click.echo(f"{origin}\n")
    facts = make_report(diagnosis, show_literals=show_literals, most_waits=None if all_waits else MOST_WAITS)
    _print_report(facts if file is None else without_sql(facts), form, screen_width(wide=wide))
    return 1 if exit_code and diagnosis.blocked_sessions else 0


def _print_report(facts: Report, form: str, width: int | None) -> None:
    match form:
        case "tree":
            write_lines(tree_lines(facts, width))
        case "table":
            click.echo(render_table(facts, width), nl=False)
        case "markdown":
            # Here, not above: it takes a library that measures text, 30 ms to import.
            from pgdoctor.render.markdown_report import render_markdown

            click.echo(render_markdown(facts), nl=False)
        case "json":
            write_json(to_json(facts))
