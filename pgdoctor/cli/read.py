"""`pgdoctor read`: incidents from a server's log."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime

import click

from pgdoctor.cli._log_files import LogFile, open_logs, shown_name
from pgdoctor.cli._options import parse_log_time, show_literals_option
from pgdoctor.cli._output import screen_width, wide_option, write_json, write_lines
from pgdoctor.errors import UsageError
from pgdoctor.formatting import format_count
from pgdoctor.render.log_report import LogSource
from pgdoctor.serverlog.incident_assembler import Assembler, Outcome
from pgdoctor.serverlog.languages import find_language
from pgdoctor.serverlog.period import Period
from pgdoctor.serverlog.reading import find_unknown_zone, last_time
from pgdoctor.serverlog.scanner import Scanner
from pgdoctor.serverlog.stderr_log import StderrLog

_FORMATS = ("text", "markdown", "html", "json")

#: Rows by their kind, in words.
_VIEWS = {
    "locks": "pg_locks",
    "activity": "pg_stat_activity",
    "both": "pg_locks and pg_stat_activity",
    "pairs": "the blocking-lock query",
}

#: Blocks of a file in which its language is looked for.
_MOST_TRIED = 128


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES")
@click.option(
    "--prefix", metavar="TEMPLATE", help="log_line_prefix of the server, such as '%m [%p] %u@%d '. Default: detected."
)
@click.option("--since", metavar="TIME", help="Ignore earlier entries: '2026-11-30 03:00', or 2h (before now).")
@click.option("--until", metavar="TIME", help="Ignore later entries.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True, help="Output format.")
@click.option(
    "--top", metavar="N", type=click.IntRange(min=0), default=10, show_default=True, help="Worst incidents in full."
)
@show_literals_option
@wide_option
def command(
    files: tuple[str, ...],
    prefix: str | None,
    since: str | None,
    until: str | None,
    form: str,
    top: int,
    show_literals: bool,
    wide: bool,
) -> None:
    """Read lock incidents from the log of a server.

    FILES are logs of stderr, csvlog or jsonlog, as they are or compressed; `-` is standard input. Several files are
    read in the order of their times. The server logs waits with log_lock_waits = on. Saved rows of pg_locks,
    pg_stat_activity or the blocking-lock query are read, too. The command connects to no server.
    """
    from pgdoctor.render.log_report import log_report_json, make_log_report
    from pgdoctor.render.log_text import log_lines
    from pgdoctor.serverlog.judgement import judge_incident
    from pgdoctor.serverlog.row_incident import add_rows

    period = Period(parse_log_time("--since", since), parse_log_time("--until", until))
    with ExitStack() as stack:
        logs, notes = open_logs(files, prefix, stack)
        outcome, source = _read_all(logs, notes, period)
        tables = [table for log in logs for table in log.tables]
    judged = [judge_incident(each) for each in outcome.incidents]
    if tables:
        outcome, judged = add_rows(outcome, judged, tables)
    report, incidents = make_log_report(outcome, judged, source, show_literals=show_literals)
    match form:
        case "json":
            write_json(log_report_json(report))
        case "markdown":
            from pgdoctor.render.log_markdown import log_markdown

            click.echo(log_markdown(report, incidents, top), nl=False)
        case "html":
            from pgdoctor.render.log_page import log_page

            click.echo(log_page(report, incidents, top), nl=False)
        case _:
            write_lines(log_lines(report, incidents, top, screen_width(wide=wide)))


def _read_all(logs: list[LogFile], notes: list[str], period: Period) -> tuple[Outcome, LogSource]:
    """What came of all files, one after the other; notes are added to the list."""
    scanner: Scanner | None = None
    assembler, last = Assembler(), None
    for log in logs:
        if log.format is None:
            continue
        if scanner is None:
            assembler.follower = scanner = Scanner(log.format)
        scanner.switch_file(log.format)
        if period.until is not None and log.begins is not None and log.begins > period.until:
            continue
        last = _read_file(log, scanner, assembler, notes, period) or last
    outcome = assembler.finish(period.cut_end(last))
    if outcome.dropped:
        notes.append(f"{format_count(outcome.dropped, 'wait')} left out: too many sessions waited at the same time")
    formats = [log.format for log in logs if log.format is not None]
    prefixes = [each.prefix.template for each in formats if isinstance(each, StderrLog)]
    source = LogSource(
        tuple(shown_name(log.name) for log in logs),
        tuple(dict.fromkeys([*(each.name for each in formats), *_describe_rows(logs)])),
        tuple(dict.fromkeys(prefixes)),
        sum(log.size for log in logs),
        period.cut_begin(min((log.begins for log in logs if log.begins is not None), default=None)),
        period.cut_end(last),
        tuple(notes),
    )
    return outcome, source


def _read_file(
    log: LogFile, scanner: Scanner, assembler: Assembler, notes: list[str], period: Period
) -> datetime | None:
    """The time of the last line of a file. Raises UsageError where its messages are not English."""
    for place, block in enumerate(log.read_blocks()):
        if place < _MOST_TRIED and (language := find_language(block)) is not None:
            raise UsageError(
                f"{shown_name(log.name)}: its messages are in {language}, and only English ones are read: "
                "set lc_messages = 'C' on the server"
            )
        for event in scanner.scan_block(block):
            if period.contains(event):
                assembler.add_event(event)
    for event in scanner.finish():
        if period.contains(event):
            assembler.add_event(event)
    notes += _describe_doubts(log, scanner)
    return last_time(log.format, scanner.last_lines()) if log.format is not None else None


def _describe_rows(logs: list[LogFile]) -> Iterator[str]:
    return (f"rows of {_VIEWS[table.kind]}" for log in logs for table in log.tables)


def _describe_doubts(log: LogFile, scanner: Scanner) -> Iterator[str]:
    name = shown_name(log.name)
    if log.damage:
        yield log.damage
    if scanner.long_lines:
        yield f"{name}: {format_count(scanner.long_lines, 'line')} longer than 1 MB left out"
    if (zone := find_unknown_zone(log.first)) is not None:
        yield f"{name}: the offset of the time zone {zone} is not known: its times are taken for UTC"
