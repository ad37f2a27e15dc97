"""`pgdoctor incidents`: what was written down: list it, show one, report on one, judge them again."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec.structs import replace

from pgdoctor.cli._groups import Group
from pgdoctor.cli._output import screen_width, wide_option, write_json
from pgdoctor.config.config import load_config
from pgdoctor.errors import JournalError, UsageError
from pgdoctor.escape import encode_json
from pgdoctor.fields import Duration
from pgdoctor.formatting import format_count
from pgdoctor.incidents.incident_log import KIND, IncidentRecord, latest_entries, read_entries
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.render.incident_view import IncidentView, KeptSnapshot, incidents_table, is_within, story_text
from pgdoctor.render.replay_view import Replay, compare_replay, replay_text

if TYPE_CHECKING:
    from pgdoctor.mitigation.audit_records import Event

F = TypeVar("F", bound=Callable[..., Any])

#: Incidents that are named where somebody asks for one that there is not.
_MOST_NAMED = 5

#: What mitigation writes down of what it does.
_DEEDS = ("intent", "outcome", "opening", "trace", "person_intent", "person_outcome")


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
    with _open_journal(config, journal) as opened:
        found = latest_entries(
            _read_incidents(opened, since=datetime.now(UTC) - timedelta(seconds=_parse_duration(since)))
        )
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
    with _open_journal(config, journal) as opened:
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

    with _open_journal(config, journal) as opened:
        stories = _read_stories(opened, incident)
    click.echo("\n".join(render_postmortem(story, _read_prevention()) for story in stories), nl=False)


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
    settings = load_config(config).mitigation if config is not None else None
    with _open_journal(config, journal) as opened:
        named = dict.fromkeys(each.id for each in latest_entries(_read_incidents(opened))) if everything else [incident]
        stories = [story for name in named for story in _read_stories(opened, name)]
    found = [_replay_snapshot(story, snapshot, settings) for story in stories for snapshot in story.looks]
    if form == "json":
        write_json(encode_json(found))
    else:
        click.echo("\n".join(map(replay_text, found)) or "No snapshot was stored.\n", nl=False)
    return int(exit_code and any(each.changes for each in found))


def _open_journal(config: str | None, journal: str | None) -> Any:
    """The journal, to be closed; it has to be there."""
    from contextlib import closing

    path = Path(journal) if journal is not None else load_config(config).journal.file
    if not path.exists():
        raise JournalError(f"there is no journal at {path}: the agent creates it; --journal or --config give its path")
    return closing(Journal.open(path))


def _parse_duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError:
        raise UsageError(f"--since {text[:50]!r}: {Duration.allowed}") from None


def _read_incidents(journal: Journal, since: datetime | None = None) -> list[IncidentRecord]:
    return _decode_records(journal.records(kinds=(KIND,), since=since))


def _decode_records(records: Sequence[JournalRecord]) -> list[IncidentRecord]:
    """What can be read of them; that something cannot be is said on stderr. Raises JournalError where nothing can."""
    entries, unread = read_entries(record.body for record in records)
    if unread and not entries:
        raise JournalError("an incident in the journal cannot be read: it is damaged, or of another version")
    if unread:
        left_out = f"{format_count(unread, 'record')} of incidents left out"
        click.echo(f"pgdoctor: {left_out}: they are damaged, or of another version", err=True)
    return entries


def _read_stories(journal: Journal, incident: str | None) -> list[IncidentView]:
    """What is known of an incident, None: of the last one; servers may each have one of that id."""
    if incident is None:
        known = latest_entries(_read_incidents(journal))
        if not known:
            raise UsageError(f"there is no incident in {journal.path} yet")
        incident = known[-1].id
    records = journal.records(kinds=(KIND,), subject=incident)
    if not records:
        raise UsageError(_describe_unknown(journal, incident))
    servers = dict.fromkeys(record.server for record in records)
    return [_make_story(journal, server, [each for each in records if each.server == server]) for server in servers]


def _describe_unknown(journal: Journal, incident: str) -> str:
    known = [each.id for each in latest_entries(_read_incidents(journal))][-_MOST_NAMED:]
    there = f"the latest are {', '.join(known)}" if known else "it has no incidents yet"
    return f"no incident {incident[:50]!r} in {journal.path}: {there}"


def _make_story(journal: Journal, server: str, records: Sequence[JournalRecord]) -> IncidentView:
    from pgdoctor.incidents.snapshot_archive import rediagnose, unpack_snapshot

    entries = tuple(_decode_records(records))
    snapshots = []
    for kept in journal.kept(entries[0].id, server):
        archived = unpack_snapshot(kept.body)
        snapshots.append(KeptSnapshot(kept.at, archived.blocked, archived.judged, rediagnose(archived)))
    snapshots.sort(key=lambda snapshot: snapshot.at)
    return _with_deeds(IncidentView(entries, tuple(snapshots)), journal, server)


def _with_deeds(story: IncidentView, journal: Journal, server: str) -> IncidentView:
    """The story with what mitigation did while it lasted."""
    from pgdoctor.formatting import format_name
    from pgdoctor.mitigation.audit_records import Intent, Trace, read_events, replay_history
    from pgdoctor.mitigation.history import Opening

    since = story.entries[0].started - timedelta(minutes=1)
    told = list(read_events(journal.records(server, kinds=_DEEDS, since=since)))
    notes = [(each.at, f"mitigation stopped itself: {each.reason}") for each in told if isinstance(each, Opening)]
    notes += [(each.at, each.summary) for each in told if isinstance(each, Trace)]
    notes += _deeds_of_people(told)
    for intent in (each for each in told if isinstance(each, Intent) and each.waiting_users):
        users = ", ".join(map(format_name, intent.waiting_users))
        victim = intent.action.victim
        notes.append((intent.at, f"{intent.action.signal} {victim.pid} was decided by the waits of {users}"))
    return replace(
        story,
        actions=tuple(action for action in replay_history(told).actions if is_within(story.entries, action.at)),
        notes=tuple(note for note in notes if is_within(story.entries, note[0])),
    )


def _deeds_of_people(told: "Sequence[Event]") -> list[tuple[datetime, str]]:
    """The signals that people sent by hand, each with what came of it."""
    from pgdoctor.mitigation.audit_records import PersonIntent, PersonOutcome

    outcomes = {each.decision: each.outcome for each in told if isinstance(each, PersonOutcome)}
    return [
        (
            each.at,
            f"{each.signal} {each.victim.pid} by {each.by}: "
            f"{outcomes.get(each.decision, 'its outcome is unknown').replace('_', ' ')}",
        )
        for each in told
        if isinstance(each, PersonIntent)
    ]


def _replay_snapshot(story: IncidentView, snapshot: KeptSnapshot, settings: Mitigation | None) -> Replay:
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
