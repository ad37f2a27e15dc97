"""`pgdoctor preflight`: what a script would lock and wait for, before it runs."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from pgdoctor.cli._connection import database_argument, dsn_option
from pgdoctor.cli._options import DEADLINE, run_coroutine, show_literals_option
from pgdoctor.cli._output import screen_width, wide_option, write_json
from pgdoctor.cli._script_file import ScriptText, read_script
from pgdoctor.errors import UsageError
from pgdoctor.preflight.judge import NEWEST, Judged, Settings, emptied_schemas, judge_script, keeps_out, mentioned_names
from pgdoctor.preflight.migration_file import MigrationFile, read_migration
from pgdoctor.preflight.obstacles import changed_rows, needed_keys, needed_oids
from pgdoctor.preflight.script import ScriptPart, split_script
from pgdoctor.render.preflight import Limits, PreflightReport, make_preflight_report, preflight_to_json
from pgdoctor.render.preflight_text import render_preflight

if TYPE_CHECKING:
    from pgdoctor.postgres.connection import Connection

#: Makes the report of a moment.
Reader = Callable[[], Coroutine[Any, Any, PreflightReport]]

#: Seconds for which the use of tables is measured, and between two reads of --watch.
_MEASURED = 1.0
_INTERVAL = 1.0


def _duration(_: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    from pgdoctor.fields import Duration

    if text is None:
        return None
    try:
        return float(Duration.parse(text))
    except ValueError:
        raise click.BadParameter(Duration.allowed, param=parameter) from None


def _size(_: click.Context, parameter: click.Parameter, text: str) -> int:
    from pgdoctor.fields import Size

    if text == "0":
        return 0
    try:
        return int(Size.parse(text))
    except ValueError:
        raise click.BadParameter(Size.allowed, param=parameter) from None


@click.command(short_help="Show what a script would lock, and what blocks it now.")
@click.argument("script", metavar="FILE|STATEMENT")
@dsn_option
@database_argument
@click.option("--offline", is_flag=True, help="Ask no server: judge by the text alone.")
@click.option(
    "--server-version",
    type=click.IntRange(14, 18),
    metavar="MAJOR",
    help="With --offline: the version to judge for, 14 to 18.  [default: 18]",
)
@click.option(
    "--single-transaction", "-1", is_flag=True, help="The script runs as one transaction, as with psql -1 or a tool."
)
@click.option(
    "--max-blocker-age",
    metavar="TIME",
    callback=_duration,
    help="Accept blockers whose transaction is younger, such as 5s.",
)
@click.option(
    "--small",
    metavar="SIZE",
    default="10MB",
    show_default=True,
    callback=_size,
    help="Scans and rewrites of tables up to this size count as instant.",
)
@click.option("--allow-dangerous", is_flag=True, help="Exit with 0 even if a statement blocks clients while it runs.")
@click.option("--watch", is_flag=True, help="Wait until no session blocks the script.")
@click.option(
    "--timeout", metavar="TIME", callback=_duration, help="With --watch: give up after this time, such as 5m."
)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
@show_literals_option
@wide_option
def command(
    dsn: str,
    script: str,
    offline: bool,
    server_version: int | None,
    single_transaction: bool,
    max_blocker_age: float | None,
    small: int,
    allow_dangerous: bool,
    watch: bool,
    timeout: float | None,
    form: str,
    show_literals: bool,
    wide: bool,
) -> None:
    """Show what a script would lock, and which sessions block it now; never run it.

    FILE is a script of SQL, `-` standard input; anything else is the statement itself. Exit status: 0 free to run,
    1 a statement would block or cannot be judged, 2 wrong usage, 3 no server.
    """
    if offline and (watch or max_blocker_age is not None):
        raise UsageError("--offline sees no session: --watch and --max-blocker-age need a server")
    if server_version is not None and not offline:
        raise UsageError("--server-version is for --offline: a server says its own version")
    if timeout is not None and not watch:
        raise UsageError("--timeout is for --watch")
    text = read_script(script)
    migration = read_migration(text.text) if text.is_file else MigrationFile(text.text)
    text = text._replace(text=migration.text)
    limits = Limits(max_blocker_age, small, allow_dangerous)
    # psql -c sends several statements as one transaction.
    settings = Settings(single_transaction or migration.has_transaction or not text.is_file, small)
    notes = tuple(_describe_migration(migration))

    if offline:
        report = _judge_offline(text, settings, limits, server_version, show_literals, notes)
    else:
        report = run_coroutine(_ask(dsn, text, settings, limits, show_literals, notes, watch=watch, patience=timeout))
    if form == "json":
        write_json(preflight_to_json(report))
    else:
        is_wide = wide or screen_width(wide=wide) is None
        click.echo(render_preflight(report, width=None) if is_wide else render_preflight(report), nl=False)
    if report.would_block:
        raise click.exceptions.Exit(1)


def _judge_offline(
    text: ScriptText,
    settings: Settings,
    limits: Limits,
    version: int | None,
    show_literals: bool,
    notes: tuple[str, ...],
) -> PreflightReport:
    version = version or NEWEST
    return make_preflight_report(
        judge_script(tuple(split_script(text.text)), None, version, settings),
        None,
        None,
        source=text.name,
        version=version,
        limits=limits,
        notes=(
            *notes,
            "not known without a server: sizes, indexes, partitions and foreign keys of the tables, the types of "
            "columns, and sessions that block",
        ),
        show_literals=show_literals,
    )


async def _ask(
    dsn: str,
    text: ScriptText,
    settings: Settings,
    limits: Limits,
    show_literals: bool,
    notes: tuple[str, ...],
    *,
    watch: bool,
    patience: float | None,
) -> PreflightReport:
    """The report on a server, now; with `watch` once no session blocks, waiting does not help, or time is up."""
    # Here, not above: help and usage errors need no driver, which takes 200 ms to import.
    from pgdoctor.postgres.connection import Connection

    ends = None if patience is None else time.monotonic() + patience
    async with await Connection.open(dsn, DEADLINE) as connection:
        read = await _prepare(connection, text, settings, limits, show_literals, notes)
        while True:
            report = await read()
            is_over = ends is not None and time.monotonic() + _INTERVAL > ends
            if not (watch and report.would_block and report.waiting_helps) or is_over:
                return report
            await asyncio.sleep(_INTERVAL)


async def _prepare(
    connection: "Connection",
    text: ScriptText,
    settings: Settings,
    limits: Limits,
    show_literals: bool,
    notes: tuple[str, ...],
) -> Reader:
    """Catalogs are read once, and the use of tables is measured once."""
    from pgdoctor.postgres.preflight import fetch_catalog, fetch_live_state, measure_rates

    parts = tuple(split_script(text.text))
    names, functions = mentioned_names(parts)
    catalog = await fetch_catalog(
        connection,
        names,
        functions,
        path=find_search_path(parts),
        with_checks="attach" in text.text.lower(),
        schemas=emptied_schemas(parts),
    )
    version = connection.version_num // 10_000
    judged = judge_script(parts, catalog, version, settings)
    oids = needed_oids(judged)
    rates = await measure_rates(connection, oids, _MEASURED) if any(_is_strong(each) for each in judged) else {}
    if catalog.is_cut:
        notes = (*notes, "not known: more relations belong to those of the script than are read")

    async def read() -> PreflightReport:
        return make_preflight_report(
            judged,
            catalog,
            await fetch_live_state(connection, catalog, oids, rates, needed_keys(judged), changed_rows(judged)),
            source=text.name,
            version=version,
            limits=limits,
            notes=notes,
            show_literals=show_literals,
        )

    return read


def _describe_migration(migration: MigrationFile) -> Iterator[str]:
    if not migration.tool:
        return
    kind = "one transaction" if migration.has_transaction else "no transaction of the tool"
    yield f"read as a migration of {migration.tool}: {kind}"
    if migration.left_out:
        yield f"left out: the way back, from line {migration.left_out} on"


def _is_strong(judged: Judged) -> bool:
    return any(keeps_out(lock) for lock in judged.effect.locks)


def find_search_path(parts: Sequence[ScriptPart]) -> tuple[str, ...] | None:
    """The search path that the script sets first; None: it sets none."""
    for part in parts:
        stream = part.sentence.stream
        index = 1 + stream[1].is_word("session", "local")
        if stream[0].is_word("set") and stream[index].is_word("search_path"):
            values = (token for token in stream.tokens[index + 2 :] if not token.is_symbol(","))
            return tuple(part.sentence.text[token.start : token.end].strip("'\"") for token in values)
    return None
