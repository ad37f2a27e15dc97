"""`pgdoctor incidents replay`: recorded snapshots judged again, and what rules would have done."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from pgdoctor.cli._incident_archive import Details
from pgdoctor.cli._incident_journal import journal_options, open_journal, read_all, read_stored
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.config.config import load_config
from pgdoctor.errors import UsageError
from pgdoctor.escape import encode_json
from pgdoctor.incidents.incident_log import latest_entries
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.rules import Mitigation
from pgdoctor.render.incident_view import IncidentView, KeptSnapshot
from pgdoctor.render.replay_view import ReplayedSnapshot, compare_replay, replay_text

if TYPE_CHECKING:
    from pgdoctor.incidents.export_file import StoredIncident
    from pgdoctor.render.replay_summary import ReplayedIncident, ReplaySummary


@click.command("replay")
@click.argument("incident", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="Replay all incidents; with --config: a table of them.")
@journal_options
@click.option("--against", metavar="FILE", help="Compare with the rules of this configuration; needs --config.")
@click.option("--summary", is_flag=True, help="Show one row an incident, as --all --config does.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option("--exit-code", is_flag=True, help="Exit with status 1 if a verdict differs from the recorded one.")
@wide_option
def replay_(
    incident: str | None,
    everything: bool,
    config: str | None,
    journal: str | None,
    against: str | None,
    summary: bool,
    form: str,
    exit_code: bool,
    wide: bool,
) -> int:
    """Diagnose recorded snapshots again with current code and rules.

    ID defaults to the last incident.

    With --config the output includes the decisions of its rules and guards. They assume that each session was seen
    often enough, that there were no earlier actions and that no brake was on. --all --config prints a table: when the
    rules would have acted, and what that would have saved. The command connects to no server.
    """
    sets = [path for path in (config, against) if path is not None]
    if (against or summary) and config is None:
        raise UsageError(f"--{'against' if against else 'summary'} needs rules: --config FILE")
    if sets and (summary or against or (everything and form == "text")):
        found = _summarise_replay(sets, incident, journal, everything=everything)
        _print_summary(found, form, screen_width(wide=wide))
        return 0
    return _print_snapshots(incident, config, journal, form, everything=everything, exit_code=exit_code)


def _print_snapshots(
    incident: str | None, config: str | None, journal: str | None, form: str, *, everything: bool, exit_code: bool
) -> int:
    from pgdoctor.render.incident_story import make_story

    settings = load_config(config).mitigation if config is not None else None
    details: Details = "all" if everything else "named"
    with open_journal(config, journal, incident=incident, details=details) as opened:
        stories = [make_story(each) for each in _read_named(opened, incident, everything=everything)]
    found = [_replay_snapshot(story, snapshot, settings) for story in stories for snapshot in story.looks]
    if form == "json":
        write_json(encode_json(found))
    else:
        click.echo("\n".join(map(replay_text, found)) or "No snapshot was stored.\n", nl=False)
    return int(exit_code and any(each.changes for each in found))


def _read_named(journal: Journal, incident: str | None, *, everything: bool) -> "list[StoredIncident]":
    if not everything:
        return read_stored(journal, incident)
    names = dict.fromkeys(each.id for each in latest_entries(read_all(journal)))
    return [stored for name in names for stored in read_stored(journal, name)]


def _summarise_replay(
    sets: Sequence[str], incident: str | None, journal: str | None, *, everything: bool
) -> "ReplaySummary":
    from pgdoctor.render.replay_summary import make_replay_summary

    rules = [(Path(path).name, load_config(path).mitigation) for path in sets]
    if len({name for name, _ in rules}) < len(rules):
        rules = [(path, settings) for path, (_, settings) in zip(sets, rules, strict=True)]
    details: Details = "all" if everything else "named"
    with open_journal(sets[0], journal, incident=incident, details=details) as opened:
        found = _read_named(opened, incident, everything=everything)
    return make_replay_summary([_replay_under(each, rules) for each in found])


def _replay_under(stored: "StoredIncident", rules: Sequence[tuple[str, Mitigation]]) -> "ReplayedIncident":
    from pgdoctor.incidents.snapshot_archive import diagnose_again
    from pgdoctor.mitigation.incident_replay import replay_incident
    from pgdoctor.render.replay_summary import list_incident, list_outcome

    last = stored.entries[-1]
    diagnoses = [diagnose_again(each.stored) for each in sorted(stored.snapshots, key=lambda each: each.at)]
    outcomes = [list_outcome(name, replay_incident(diagnoses, settings, last.started)) for name, settings in rules]
    return list_incident(last, len(diagnoses), outcomes)


def _print_summary(summary: "ReplaySummary", form: str, columns: int | None) -> None:
    from pgdoctor.render.replay_summary import replay_summary_lines, replay_summary_to_json

    if form == "json":
        write_json(replay_summary_to_json(summary))
    else:
        write_lines(replay_summary_lines(summary, columns))


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
