"""`pgdoctor incidents`: what was written down: list it, show one, report on one, judge them again."""

import inspect
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import click
from msgspec.structs import replace

from pgdoctor.cli._groups import Group
from pgdoctor.cli._incident_exports import backup, export, import_
from pgdoctor.cli._incident_journal import journal_options, open_journal, read_all, read_stored
from pgdoctor.cli._output import screen_width, wide_option, write_json
from pgdoctor.config.config import load_config
from pgdoctor.errors import UsageError
from pgdoctor.escape import encode_json
from pgdoctor.fields import Duration
from pgdoctor.incidents.incident_log import latest_entries
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.render.incident_view import IncidentView, KeptSnapshot, incidents_table, story_text
from pgdoctor.render.replay_view import ReplayedSnapshot, compare_replay, replay_text


@click.group(cls=Group)
def command() -> None:
    """List, show, report, replay and export recorded incidents."""


for _subcommand in (export, import_, backup):
    command.add_command(_subcommand)


@command.command("list")
@journal_options
@click.option(
    "--since", default="720h", show_default=True, help="Oldest incident to list, as a duration with a unit: 24h."
)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def list_(config: str | None, journal: str | None, since: str, form: str) -> None:
    """List incidents, oldest first."""
    with open_journal(config, journal) as opened:
        found = latest_entries(read_all(opened, since=datetime.now(UTC) - timedelta(seconds=_parse_duration(since))))
    if form == "json":
        write_json(encode_json([replace(each, traces=None) for each in found]))
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
    with open_journal(config, journal) as opened:
        stories = _read_stories(opened, incident)
    click.echo("\n".join(story_text(story, screen_width(wide=wide)) for story in stories), nl=False)


@command.command("report")
@click.argument("incident", required=False, metavar="[ID]")
@journal_options
def report_(incident: str | None, config: str | None, journal: str | None) -> None:
    """Print a post-mortem report in Markdown.

    ID defaults to the last incident.
    """
    from pgdoctor.render.postmortem import render_postmortem

    with open_journal(config, journal) as opened:
        stories = _read_stories(opened, incident)
    click.echo("\n".join(render_postmortem(story, _read_prevention()) for story in stories), nl=False)


@command.command("replay")
@click.argument("incident", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="ReplayedSnapshot all incidents.")
@journal_options
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option("--exit-code", is_flag=True, help="Exit with status 1 if a verdict differs from the recorded one.")
def replay_(
    incident: str | None, everything: bool, config: str | None, journal: str | None, form: str, exit_code: bool
) -> int:
    """Diagnose recorded snapshots again with current code and rules.

    ID defaults to the last incident.

    With --config the output includes the decisions of its rules and guards. They assume that each session was seen
    often enough, that there were no earlier actions and that no brake was on. The command connects to no server.
    """
    settings = load_config(config).mitigation if config is not None else None
    with open_journal(config, journal) as opened:
        named = dict.fromkeys(each.id for each in latest_entries(read_all(opened))) if everything else [incident]
        stories = [story for name in named for story in _read_stories(opened, name)]
    found = [_replay_snapshot(story, snapshot, settings) for story in stories for snapshot in story.looks]
    if form == "json":
        write_json(encode_json(found))
    else:
        click.echo("\n".join(map(replay_text, found)) or "No snapshot was stored.\n", nl=False)
    return int(exit_code and any(each.changes for each in found))


def _parse_duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError:
        raise UsageError(f"--since {text[:50]!r}: {Duration.allowed}") from None


def _read_stories(journal: Journal, incident: str | None) -> list[IncidentView]:
    from pgdoctor.render.incident_story import make_story

    return [make_story(each) for each in read_stored(journal, incident)]


def _replay_snapshot(story: IncidentView, snapshot: KeptSnapshot, settings: Mitigation | None) -> ReplayedSnapshot:
    found = compare_replay(story.last.id, snapshot.at, snapshot.blocked, snapshot.then, snapshot.now)
    if settings is None:
        return found
    from pgdoctor.diagnosis.cuts import find_cuts
    from pgdoctor.mitigation.history import seen_in_polls
    from pgdoctor.mitigation.plan import make_plan
    from pgdoctor.model.identity import Identity
    from pgdoctor.render.plan import plan_facts

    identities = map(Identity.of, snapshot.now.snapshot.sessions.values())
    history = seen_in_polls(filter(None, identities), settings.min_samples)
    planned = make_plan(snapshot.now, settings, history)
    facts = plan_facts(planned, settings.mode, (), find_cuts(snapshot.now.blockers, snapshot.now.graph))
    return replace(found, plan=facts)


def _read_prevention() -> Mapping[str, str]:
    """By class, what its page says about preventing it, or else about what to do."""
    from pgdoctor.diagnosis.cause import all_causes
    from pgdoctor.render.manual import read_parts

    pages = {cause.name: inspect.getmodule(cause) for cause in all_causes()}
    found = {name: read_parts((module and module.__doc__) or "") for name, module in pages.items()}
    return {name: said.get("Prevent") or said["Do"] for name, said in found.items()}
