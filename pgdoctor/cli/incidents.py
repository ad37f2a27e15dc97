"""`pgdoctor incidents`: what was recorded: list it, show one, report on one, judge them again."""

import click
from msgspec.structs import replace

from pgdoctor.cli._groups import Group
from pgdoctor.cli._incident_archive import ArchiveChoice
from pgdoctor.cli._incident_exports import backup, export, import_
from pgdoctor.cli._incident_journal import journal_options, open_journal, read_all, read_stored
from pgdoctor.cli._incident_patterns import patterns
from pgdoctor.cli._incident_replay import replay_
from pgdoctor.cli._incident_report import report_
from pgdoctor.cli._options import parse_since
from pgdoctor.cli._output import screen_width, wide_option, write_json
from pgdoctor.escape import encode_json
from pgdoctor.incidents.incident_log import latest_entries
from pgdoctor.journal.store import Journal
from pgdoctor.render.incident_view import IncidentView, incidents_table, story_text


@click.group(cls=Group)
@click.option("--archive", metavar="DSN", envvar="PGDOCTOR_ARCHIVE", help="Read the archive of many agents instead.")
@click.pass_context
def command(context: click.Context, archive: str | None) -> None:
    """List, show, report, replay and export recorded incidents."""
    context.obj = ArchiveChoice(archive)


for _subcommand in (report_, replay_, patterns, export, import_, backup):
    command.add_command(_subcommand)


@command.command("list")
@journal_options
@click.option(
    "--since", default="720h", show_default=True, help="Oldest incident to list, as a duration with a unit: 24h."
)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def list_(config: str | None, journal: str | None, since: str, form: str) -> None:
    """List incidents, oldest first."""
    began = parse_since(since)
    with open_journal(config, journal, since=began) as opened:
        found = latest_entries(read_all(opened, since=began))
    if form == "json":
        write_json(encode_json([replace(each, traces=None, course=()) for each in found]))
    elif found:
        click.echo(incidents_table(found), nl=False)
    else:
        click.echo(f"No incident within {since} in {opened.path}.")


@command.command()
@click.argument("incident", required=False, metavar="[ID]")
@journal_options
@wide_option
def show(incident: str | None, config: str | None, journal: str | None, wide: bool) -> None:
    """Show events, actions and trees of an incident.

    ID defaults to the last incident. One tree is shown for each recorded snapshot.
    """
    with open_journal(config, journal, incident=incident, details="named") as opened:
        stories = _read_stories(opened, incident)
    click.echo("\n".join(story_text(story, screen_width(wide=wide)) for story in stories), nl=False)


def _read_stories(journal: Journal, incident: str | None) -> list[IncidentView]:
    from pgdoctor.render.incident_story import make_story

    return [make_story(each) for each in read_stored(journal, incident)]
