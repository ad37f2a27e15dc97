"""`pgdoctor mitigate score`: what rules would have saved in modes observe and dry_run, from the journal."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

import click

from pgdoctor.agent.stored_incidents import IMPORTED, IMPORTED_DEED, read_deed
from pgdoctor.cli._options import config_option, parse_since
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.config.config import load_config
from pgdoctor.errors import JournalError
from pgdoctor.journal.store import Journal, JournalRecord
from pgdoctor.mitigation.audit_records import Intent, read_events
from pgdoctor.mitigation.rehearsal import KIND, read_scores
from pgdoctor.render.score import make_score_report, score_lines, score_to_json


@click.command()
@config_option
@click.option(
    "--since",
    default="30d",
    show_default=True,
    metavar="DURATION",
    help="Oldest action to count, as a duration: 30d, 12h.",
)
@click.option("--server", metavar="ID", help="Count only the server with this system identifier.")
@click.option("--dsn", hidden=True, expose_value=False, help="Ignored: this command does not connect.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
@wide_option
def score(config: str | None, since: str, server: str | None, form: str, wide: bool) -> None:
    """Score the actions that observe and dry_run did not send.

    Each action is judged by what happened without it: how much earlier its waiters would have been released, or whether
    it was needless. Imported incidents count, too. Reads the journal and connects to no server.
    """
    began = parse_since(since)
    settings = load_config(config).journal
    if not settings.file.exists():
        raise JournalError(f"there is no journal at {settings.file}: the agent creates it; --config gives its path")
    with closing(Journal.open(settings.file, settings.max_size)) as journal:
        records = list(_fetch_records(journal, server, began))
    deeds = list(map(read_deed, records))
    scores = sorted(read_scores(each.body for each in deeds if each.kind == KIND), key=lambda each: each.decided_at)
    intents = read_events(each for each in deeds if each.kind == "intent")
    announced = {each.decision for each in intents if isinstance(each, Intent) and each.mode == "dry_run"}
    report = make_score_report(
        scores,
        since=began,
        unscored=len(announced - {each.decision for each in scores}),
        imported=len(_list_imported(records)),
    )
    if form == "json":
        write_json(score_to_json(report))
    else:
        write_lines(score_lines(report, screen_width(wide=wide)))


def _fetch_records(journal: Journal, server: str | None, since: datetime) -> Iterator[JournalRecord]:
    """What was rehearsed or announced: by the agents of this journal, then in incidents that were imported."""
    yield from journal.fetch_records(server, kinds=(KIND, "intent"), since=since)
    name = None if server is None else IMPORTED + server.removeprefix(IMPORTED)
    yield from journal.fetch_records(name, kinds=(IMPORTED_DEED,), since=since)


def _list_imported(records: list[JournalRecord]) -> set[str]:
    """The imported incidents in which actions were rehearsed."""
    found = (each for each in records if each.kind == IMPORTED_DEED)
    return {each.subject for each in found if read_deed(each).kind == KIND}
