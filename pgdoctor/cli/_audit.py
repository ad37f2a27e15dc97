"""`pgdoctor mitigate audit`: what was intended, what came of it, and who pulled which brake, from the journal."""

import click

from pgdoctor.cli._options import config_option, parse_since
from pgdoctor.cli._output import write_json
from pgdoctor.config.config import load_config
from pgdoctor.mitigation import audit_records
from pgdoctor.render.audit import AuditEntry, entries_json, entries_table


@click.command()
@config_option
@click.option(
    "--since",
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="Oldest record to show, as a duration with a unit.",
)
@click.option("--server", metavar="ID", help="Show only the server with this system identifier.")
@click.option("--dsn", hidden=True, expose_value=False, help="Ignored: this command does not connect.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def audit(config: str | None, since: str, server: str | None, form: str) -> None:
    """Show recorded actions and brakes.

    Reads the journal and connects to no server. --format json prints one object a line.
    """
    from pgdoctor.journal.store import Journal

    began = parse_since(since)
    settings = load_config(config).journal
    journal = Journal.open(settings.file, settings.max_size)
    try:
        found = journal.fetch_records(server, kinds=audit_records.KINDS, since=began)
    finally:
        journal.close()
    entries = [
        AuditEntry(record.id, record.server, record.at, record.kind, event)
        for record, event in zip(found, audit_records.read_events(found), strict=True)
    ]
    if form == "table":
        click.echo(entries_table(entries), nl=False)
        return
    for line in entries_json(entries):
        write_json(line)
