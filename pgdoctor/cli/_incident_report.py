"""`pgdoctor incidents report`: what is attached to a ticket."""

import click

from pgdoctor.cli._incident_journal import journal_options, open_journal, read_stored
from pgdoctor.cli._output import write_json


@click.command("report")
@click.argument("incident", required=False, metavar="[ID]")
@click.option(
    "--format", "form", type=click.Choice(("markdown", "html", "json")), default="markdown", show_default=True
)
@journal_options
def report_(incident: str | None, form: str, config: str | None, journal: str | None) -> None:
    """Print a post-mortem report.

    ID defaults to the last incident. It has the impact, times, timeline, cause, open questions and what would have
    prevented it. The HTML is one file that loads nothing else.
    """
    from pgdoctor.render.incident_report import incident_report_json, make_incident_report
    from pgdoctor.render.incident_story import make_story
    from pgdoctor.topics import read_prevention

    with open_journal(config, journal, incident=incident, details="named") as opened:
        found = read_stored(opened, incident)
    pages, texts = read_prevention(), list[str]()
    for story in map(make_story, found):
        match form:
            case "json":
                write_json(incident_report_json(make_incident_report(story, pages)))
            case "html":
                from pgdoctor.render.web.incident_report_page import render_incident_report

                texts.append(render_incident_report(story, pages))
            case _:
                from pgdoctor.render.postmortem import render_postmortem

                texts.append(render_postmortem(story, pages))
    if texts:
        click.echo("\n".join(texts), nl=False)
