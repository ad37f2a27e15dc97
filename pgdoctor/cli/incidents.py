"""`pgdoctor incidents`: what was written down: list it, show one, report on one, judge them again."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec.structs import replace

from pgdoctor.cli._groups import Group
from pgdoctor.cli._output import screen_width, wide_option, write_json
from pgdoctor.config import load
from pgdoctor.diagnosis.escape import encode_json
from pgdoctor.diagnosis.past import KIND, Entry, latest, read
from pgdoctor.diagnosis.words import count
from pgdoctor.errors import JournalError, UsageError
from pgdoctor.journal.store import Journal, Record
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.mitigation.written import Duration
from pgdoctor.render.replayed import Replay, replay, replay_text
from pgdoctor.render.story import Kept, Story, incidents_table, story_text, within

F = TypeVar("F", bound=Callable[..., Any])

#: Incidents that are named where somebody asks for one that there is not.
_MOST_NAMED = 5

#: What mitigation writes down of what it does.
_DEEDS = ("intent", "outcome", "opening", "trace")


@click.group(cls=Group)
def command() -> None:
    """List, show, report and replay recorded incidents."""


def journal_options(function: F) -> F:
    """`--config` and `--journal`: where the journal lies."""
    function = click.option(
        "--journal", metavar="FILE", envvar="PGDOCTOR_JOURNAL", help="Journal file. Default: from the configuration."
    )(function)
    return click.option("--config", metavar="FILE", envvar="PGDOCTOR_CONFIG", help="Configuration file of the agent.")(
        function
    )


@command.command("list")
@journal_options
@click.option(
    "--since", default="720h", show_default=True, help="Oldest incident to list, as a duration with a unit: 24h."
)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def list_(config: str | None, journal: str | None, since: str, form: str) -> None:
    """List incidents, oldest first."""
    with _opened(config, journal) as opened:
        found = latest(_entries(opened, since=datetime.now(UTC) - timedelta(seconds=_duration(since))))
    if form == "json":
        write_json(encode_json(found))
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
    with _opened(config, journal) as opened:
        stories = _stories(opened, incident)
    click.echo("\n".join(story_text(story, screen_width(wide=wide)) for story in stories), nl=False)


@command.command("report")
@click.argument("incident", required=False, metavar="[ID]")
@journal_options
def report_(incident: str | None, config: str | None, journal: str | None) -> None:
    """Print a post-mortem report in Markdown.

    ID defaults to the last incident.
    """
    from pgdoctor.render.postmortem import postmortem

    with _opened(config, journal) as opened:
        stories = _stories(opened, incident)
    click.echo("\n".join(postmortem(story, _prevention()) for story in stories), nl=False)


@command.command("replay")
@click.argument("incident", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Replay all incidents.")
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
    settings = load(config).mitigation if config is not None else None
    with _opened(config, journal) as opened:
        named = dict.fromkeys(each.id for each in latest(_entries(opened))) if everything else [incident]
        stories = [story for name in named for story in _stories(opened, name)]
    found = [_replayed(story, look, settings) for story in stories for look in story.looks]
    if form == "json":
        write_json(encode_json(found))
    else:
        click.echo("\n".join(map(replay_text, found)) or "No snapshot was stored.\n", nl=False)
    return int(exit_code and any(each.changes for each in found))


def _opened(config: str | None, journal: str | None) -> Any:
    """The journal, to be closed; it has to be there."""
    from contextlib import closing

    path = Path(journal) if journal is not None else load(config).journal.file
    if not path.exists():
        raise JournalError(f"there is no journal at {path}: the agent creates it; --journal or --config give its path")
    return closing(Journal.open(path))


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError:
        raise UsageError(f"--since {text[:50]!r}: {Duration.allowed}") from None


def _entries(journal: Journal, since: datetime | None = None) -> list[Entry]:
    return _read(journal.records(kinds=(KIND,), since=since))


def _read(records: Sequence[Record]) -> list[Entry]:
    """What can be read of them; that something cannot be is said on stderr. Raises JournalError where nothing can."""
    entries, unread = read(record.body for record in records)
    if unread and not entries:
        raise JournalError("an incident in the journal cannot be read: it is damaged, or of another version")
    if unread:
        left_out = f"{count(unread, 'record')} of incidents left out"
        click.echo(f"pgdoctor: {left_out}: they are damaged, or of another version", err=True)
    return entries


def _stories(journal: Journal, incident: str | None) -> list[Story]:
    """What is known of an incident, None: of the last one; servers may each have one of that id."""
    if incident is None:
        known = latest(_entries(journal))
        if not known:
            raise UsageError(f"there is no incident in {journal.path} yet")
        incident = known[-1].id
    records = journal.records(kinds=(KIND,), subject=incident)
    if not records:
        raise UsageError(_unknown(journal, incident))
    servers = dict.fromkeys(record.server for record in records)
    return [_story(journal, server, [each for each in records if each.server == server]) for server in servers]


def _unknown(journal: Journal, incident: str) -> str:
    known = [each.id for each in latest(_entries(journal))][-_MOST_NAMED:]
    there = f"the latest are {', '.join(known)}" if known else "it has no incidents yet"
    return f"no incident {incident[:50]!r} in {journal.path}: {there}"


def _story(journal: Journal, server: str, records: Sequence[Record]) -> Story:
    from pgdoctor.diagnosis.archive import diagnosed, unpacked

    entries = tuple(_read(records))
    looks = []
    for kept in journal.kept(entries[0].id, server):
        archived = unpacked(kept.body)
        looks.append(Kept(kept.at, archived.blocked, archived.judged, diagnosed(archived)))
    looks.sort(key=lambda look: look.at)
    return _with_deeds(Story(entries, tuple(looks)), journal, server)


def _with_deeds(story: Story, journal: Journal, server: str) -> Story:
    """The story with what mitigation did while it lasted."""
    from pgdoctor.diagnosis.words import name
    from pgdoctor.mitigation.history import Opening
    from pgdoctor.mitigation.records import Intent, Trace, events, history

    since = story.entries[0].started - timedelta(minutes=1)
    told = list(events(journal.records(server, kinds=_DEEDS, since=since)))
    notes = [(each.at, f"mitigation stopped itself: {each.reason}") for each in told if isinstance(each, Opening)]
    notes += [(each.at, each.summary) for each in told if isinstance(each, Trace)]
    for intent in (each for each in told if isinstance(each, Intent) and each.waiting_users):
        users = ", ".join(map(name, intent.waiting_users))
        victim = intent.action.victim
        notes.append((intent.at, f"{intent.action.signal} {victim.pid} was decided by the waits of {users}"))
    return replace(
        story,
        actions=tuple(action for action in history(told).actions if within(story.entries, action.at)),
        notes=tuple(note for note in notes if within(story.entries, note[0])),
    )


def _replayed(story: Story, look: Kept, settings: Mitigation | None) -> Replay:
    found = replay(story.last.id, look.at, look.blocked, look.then, look.now)
    if settings is None:
        return found
    from pgdoctor.diagnosis.cuts import cuts
    from pgdoctor.diagnosis.identity import Identity
    from pgdoctor.mitigation.history import seen_in_polls
    from pgdoctor.mitigation.plan import plan
    from pgdoctor.render.plan import plan_facts

    identities = map(Identity.of, look.now.snapshot.sessions.values())
    history = seen_in_polls(filter(None, identities), settings.min_samples)
    planned = plan(look.now, settings, history)
    facts = plan_facts(planned, settings.mode, (), cuts(look.now.blockers, look.now.graph))
    return replace(found, plan=facts)


def _prevention() -> Mapping[str, str]:
    """By class, what its page says about preventing it, or else about what to do."""
    from pgdoctor.diagnosis.cause import causes
    from pgdoctor.render.manual import parts

    pages = {cause.name: inspect.getmodule(cause) for cause in causes()}
    found = {name: parts((module and module.__doc__) or "") for name, module in pages.items()}
    return {name: said.get("Prevent") or said["Do"] for name, said in found.items()}
