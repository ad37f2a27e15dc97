"""Options that several commands share."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from pgdoctor.diagnosis.diagnosis import Diagnosis

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

#: Seconds between the two looks at a row that may be a hot one.
_SECOND_LOOK = 0.3

#: Seconds that connecting, and each statement, may take.
DEADLINE = 10.0


def dsn_option(function: F) -> F:
    """`--dsn`: anything libpq takes; without it its environment applies."""
    return click.option(
        "--dsn",
        envvar="PGDOCTOR_DSN",
        default="",
        metavar="DSN",
        help="URI or key=value pairs, as libpq takes them. Without it PGDOCTOR_DSN and the libpq environment "
        "(PGHOST, PGSERVICE, PGPASSFILE, ...) apply.",
    )(function)


def show_literals_option(function: F) -> F:
    """`--show-literals`: statements as they are, with the data in them."""
    return click.option(
        "--show-literals",
        is_flag=True,
        help="Show statements with their literals and comments; data may be personal.",
    )(function)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end."""
    return asyncio.run(work)


async def ask(dsn: str) -> Diagnosis:
    """The diagnosis of a server, now. Where a row may change hands it takes two looks: one cannot tell."""
    # Here, not above: help and usage errors need no driver, which takes 200 ms to import.
    from pgdoctor.diagnosis.diagnose import diagnose
    from pgdoctor.diagnosis.former_holders import sighting, with_memory, worth_a_second_look
    from pgdoctor.postgres.collect import Collector
    from pgdoctor.postgres.door import Door

    async with await Door.open(dsn, DEADLINE) as door:
        collector = Collector(door)
        diagnosis = diagnose(await collector.snapshot(even_if_quiet=True))
        if not worth_a_second_look(diagnosis):
            return diagnosis
        await asyncio.sleep(_SECOND_LOOK)
        snapshot = await collector.snapshot(even_if_quiet=True)
        return diagnose(with_memory(snapshot, (sighting(diagnosis),)))
