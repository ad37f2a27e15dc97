"""`pgdoctor record`: incidents to a file, without an agent."""

from datetime import UTC, datetime

import click

from pgdoctor import __version__
from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._incident_files import STDIO, check_free, write_bytes
from pgdoctor.cli._options import databases_option, run_coroutine
from pgdoctor.cli._poll_time import parse_poll_time
from pgdoctor.fields import Duration
from pgdoctor.formatting import format_count, format_duration, format_size
from pgdoctor.incidents.export_file import encode_export


@click.command()
@dsn_option
@database_argument
@click.option(
    "--for", "length", default="10m", show_default=True, callback=parse_poll_time, metavar="DURATION",
    help="How long to record, with a unit: 90s, 1h.",
)  # fmt: skip
@click.option("--out", metavar="FILE", required=True, help="File to write. `-` is standard output.")
@click.option(
    "--interval", default="1s", show_default=True, callback=parse_poll_time, metavar="DURATION",
    help="Time between polls, with a unit: 500ms, 5s.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing file.")
@databases_option
def command(dsn: str, length: Duration, out: str, interval: Duration, force: bool, into_databases: bool) -> None:
    """Record lock incidents to a file, without an agent.

    The command polls as an agent does, sends no signal and ends after the given time. Ctrl-C ends it earlier and
    still writes the file. The file has no literal of a statement. Read it with diagnose --from, watch --from or
    incidents import. It works on a standby, too.
    """
    from pgdoctor.cli._recording import record_server

    check_free(out, force=force)
    click.echo(f"pgdoctor: recording for {format_duration(length)}; Ctrl-C ends it and writes {out}", err=True)
    found = run_coroutine(record_server(dsn, length, interval, into_databases=into_databases))
    body = encode_export(found.incidents, __version__, datetime.now(UTC), found.quiet)
    write_bytes(out, body, force=force)
    snapshots = sum(len(each.snapshots) for each in found.incidents) + len(found.quiet)
    what = format_count(len(found.incidents), "incident") if found.incidents else "no session was blocked"
    if out != STDIO:
        click.echo(f"{out}: {what}, {format_count(snapshots, 'snapshot')}, {format_size(len(body))}")
