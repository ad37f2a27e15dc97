"""`pgdoctor triage`: the answer of the first five minutes, on one screen."""

import click

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import DEADLINE, databases_option, run_coroutine
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.diagnosis.triage import Triage, triage
from pgdoctor.escape import encode_json
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.render.triage import triage_facts, triage_lines


@click.command()
@dsn_option
@database_argument
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option("--exit-code", is_flag=True, help="Exit with status 1 if clients are affected.")
@databases_option
@wide_option
def command(dsn: str, form: str, exit_code: bool, into_databases: bool, wide: bool) -> int:
    """Summarise the first five minutes of an incident.

    The summary says whether clients are affected, since when, what has changed, which layer is at fault and what to do
    next. The command observes the server for two seconds.
    """
    found, diagnosis = run_coroutine(_observe_server(dsn, into_databases))
    facts = triage_facts(found, diagnosis)
    if form == "json":
        write_json(encode_json(facts))
    else:
        write_lines(triage_lines(facts, screen_width(wide=wide)))
    return int(exit_code and bool(found.hurt))


async def _observe_server(dsn: str, into_databases: bool) -> tuple[Triage, Diagnosis]:
    from pgdoctor.postgres.activity_sampling import observe_briefly
    from pgdoctor.postgres.connection import Connection

    async with await Connection.open(dsn, DEADLINE) as connection:
        connection.looks_into_databases = into_databases
        diagnosis, glimpses = await observe_briefly(connection)
    return triage(diagnosis, glimpses), diagnosis
