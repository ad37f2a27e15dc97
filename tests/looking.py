"""Looking at a scene the way a person does: one diagnosis, now."""

import asyncio
from collections.abc import Mapping

import msgspec

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.postgres.collect import Collector
from pgdoctor.postgres.connection import Connection
from pgdoctor.render.report import BlockerReport, Report, make_report


def snapshot(dsn: str, *, explains: bool = False) -> Snapshot:
    """What is read from the server now, through a connection of its own."""

    async def ask() -> Snapshot:
        async with await Connection.open(dsn, 5.0) as door:
            return await Collector(door, explains=explains).fetch_snapshot(even_if_quiet=True)

    return asyncio.run(ask())


def look(dsn: str, former_holders: Mapping[int, frozenset[int]] | None = None) -> Report:
    """The report of the server as it is now, with what earlier polls remember."""
    seen = snapshot(dsn)
    return make_report(diagnose(msgspec.structs.replace(seen, former_holders=former_holders or {})))


def blocker(dsn: str, pid: int | None) -> BlockerReport:
    """What is said of one blocker; `pid` None: the only prepared transaction."""
    [found] = [each for each in look(dsn).blockers if each.pid == pid]
    return found


def said(facts: BlockerReport) -> str:
    """Its evidence as one text."""
    return "; ".join(facts.evidence)
