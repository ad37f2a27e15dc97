"""Options that several commands share."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from pgdoctor.errors import UsageError
from pgdoctor.model.diagnosis import Diagnosis

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Seconds that connecting, and each statement, may take.
DEADLINE = 10.0


def config_option(function: F) -> F:
    """`--config`: the file with the rules, and with where the journal lies."""
    return click.option(
        "--config", metavar="FILE", envvar="PGDOCTOR_CONFIG", help="Configuration file with the mitigation rules."
    )(function)


def parse_since(text: str) -> datetime:
    """The moment that a `--since` means, by this machine's clock. Raises UsageError."""
    # Here, not above: most commands have no such option, and it loads the engine of patterns.
    from pgdoctor.fields import Duration

    try:
        return datetime.now(UTC) - timedelta(seconds=Duration.parse(text))
    except ValueError:
        raise UsageError(f"--since {text[:50]!r}: {Duration.allowed}") from None


def parse_log_time(option: str, text: str | None) -> datetime | None:
    """A moment of a log: a time, in UTC unless it has an offset, or so long ago. Raises UsageError."""
    if text is None:
        return None
    with suppress(ValueError):
        at = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    try:
        return parse_since(text)
    except UsageError:
        raise UsageError(
            f"{option} {text[:50]!r}: a time such as '2026-11-30 03:00' (UTC), or a duration before now, such as 2h"
        ) from None


def show_literals_option(function: F) -> F:
    """`--show-literals`: statements as they are, with the data in them."""
    return click.option(
        "--show-literals",
        is_flag=True,
        help="Show statements with literals and comments. They may contain personal data.",
    )(function)


def databases_option(function: F) -> F:
    """`--look-into-databases`: whether other databases than the connected one are read, too."""
    return click.option(
        "--look-into-databases",
        "into_databases",
        type=bool,
        default=True,
        show_default="true",
        metavar="VALUE",
        envvar="PGDOCTOR_LOOK_INTO_DATABASES",
        help="Read the catalogs of other databases that the incident touches: true or false.",
    )(function)


def from_option(function: F) -> F:
    """`--from` and `--incident`: a file of exported incidents in place of a server."""
    function = click.option("--incident", metavar="ID", help="With --from: an incident of several in the file.")(
        function
    )
    return click.option(
        "--from", "file", metavar="FILE", help="File of pgdoctor incidents export or pgdoctor record. `-`: stdin."
    )(function)


def run_coroutine(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end."""
    return asyncio.run(work)


async def fetch_diagnosis(dsn: str, *, explains: bool = False, into_databases: bool = True) -> Diagnosis:
    """The diagnosis of a server, now; with `explains` its planner is asked too.

    `into_databases`: the catalogs of other databases that an incident touches are read, too.
    """
    # Here, not above: help and usage errors need no driver, which takes 200 ms to import.
    from pgdoctor.postgres.collect import Collector
    from pgdoctor.postgres.connection import Connection
    from pgdoctor.postgres.server_watch import ServerWatch

    async with await Connection.open(dsn, DEADLINE) as connection:
        connection.looks_into_databases = into_databases
        return await ServerWatch(Collector(connection, explains=explains)).diagnose_with_context()
