"""`pgdoctor incidents patterns`: what blocks sessions again and again."""

from datetime import UTC, datetime, timedelta

import click

from pgdoctor.cli._incident_journal import journal_options, open_journal, read_all, read_stored
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.errors import UsageError
from pgdoctor.fields import Duration
from pgdoctor.incidents.incident_log import latest_entries


@click.command()
@journal_options
@click.option("--since", default="30d", show_default=True, help="Oldest incident to count, as a duration with a unit.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Show at most this many patterns.")
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)
@wide_option
def patterns(config: str | None, journal: str | None, since: str, limit: int, form: str, wide: bool) -> None:
    """Show what blocks sessions again and again.

    Blocked time of all recorded incidents by class, table, application and statement of the blocker, with the
    statements that waited, and what would end it. The most blocked time comes first.
    """
    from pgdoctor.incidents.patterns import IncidentHistory, find_patterns
    from pgdoctor.render.patterns import make_pattern_report, pattern_lines, patterns_to_json
    from pgdoctor.topics import read_prevention

    began = datetime.now(UTC) - timedelta(seconds=_parse_duration(since))
    with open_journal(config, journal) as opened:
        names = dict.fromkeys(each.id for each in latest_entries(read_all(opened, since=began)))
        stored = [each for name in names for each in read_stored(opened, name)]
    histories = [IncidentHistory(each.entries[-1], tuple(one.stored for one in each.snapshots)) for each in stored]
    report = make_pattern_report(
        find_patterns(histories), incidents=len(histories), since=began, most=limit, prevention=read_prevention()
    )
    if form == "json":
        write_json(patterns_to_json(report))
    else:
        write_lines(pattern_lines(report, screen_width(wide=wide)))


def _parse_duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError:
        raise UsageError(f"--since {text[:50]!r}: {Duration.allowed}") from None
