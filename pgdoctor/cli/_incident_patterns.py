"""`pgdoctor incidents patterns`: recurring blockers."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from pgdoctor.cli._incident_archive import fetch_shares, find_archive
from pgdoctor.cli._incident_journal import journal_options, open_journal, read_all, read_stored
from pgdoctor.cli._options import parse_since, run_coroutine
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.incidents.incident_log import latest_entries

if TYPE_CHECKING:
    from pgdoctor.incidents.blocking_patterns import BlockerShare
    from pgdoctor.incidents.incident_log import IncidentRecord


@click.command()
@journal_options
@click.option("--since", default="30d", show_default=True, help="Oldest incident to count, as a duration with a unit.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Show at most this many patterns.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@wide_option
def patterns(config: str | None, journal: str | None, since: str, limit: int, form: str, wide: bool) -> None:
    """Show recurring blockers.

    Blocked time of all recorded incidents by class, table, application and statement of the blocker, with the
    statements that waited, and what would end it. The most blocked time comes first.
    """
    from pgdoctor.incidents.blocking_patterns import add_up_shares
    from pgdoctor.render.blocking_patterns import make_pattern_report, pattern_lines, patterns_to_json
    from pgdoctor.topics import read_prevention

    began = parse_since(since)
    archive = find_archive()
    shares = (
        _share_out_journal(config, journal, began) if archive is None else run_coroutine(fetch_shares(archive, began))
    )
    report = make_pattern_report(
        add_up_shares(shares),
        incidents=len({(last.server, last.id, last.started) for last, _ in shares}),
        since=began,
        most=limit,
        prevention=read_prevention(),
    )
    if form == "json":
        write_json(patterns_to_json(report))
    else:
        write_lines(pattern_lines(report, screen_width(wide=wide)))


def _share_out_journal(
    config: str | None, journal: str | None, since: datetime
) -> "list[tuple[IncidentRecord, BlockerShare]]":
    from pgdoctor.incidents.blocking_patterns import IncidentHistory, share_out

    with open_journal(config, journal) as opened:
        names = dict.fromkeys(each.id for each in latest_entries(read_all(opened, since=since)))
        stored = [each for name in names for each in read_stored(opened, name)]
    histories = [IncidentHistory(each.entries[-1], tuple(one.stored for one in each.snapshots)) for each in stored]
    return [(history.last, share) for history in histories for share in share_out(history)]
