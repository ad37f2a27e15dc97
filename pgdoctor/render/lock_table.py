"""How full the server's lock table is, and by whom: as lines for people, and as one JSON object for programs."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from pgdoctor.diagnosis.findings.lock_table_full import describe_fill, describe_lock_holder
from pgdoctor.errors import StatementFailed
from pgdoctor.escape import encode_json
from pgdoctor.model.server_context import LockTable, LockTableHolder
from pgdoctor.model.snapshot import ServerInfo, Snapshot
from pgdoctor.render.plain import format_one_line
from pgdoctor.render.report import ServerFacts, server_facts
from pgdoctor.render.server_name import describe_server

_WIDTH = 400


class LockTableReport(msgspec.Struct, frozen=True):
    """The object of `holders --format json` without a relation, key or PID."""

    schema_version: int
    captured_at: str
    server: ServerFacts
    objects: int
    capacity: int
    #: Weak table locks that found no place in the fast path.
    overflowed: int
    holders: tuple[LockTableHolder, ...]
    summary: str
    lines: tuple[str, ...]


def make_lock_table_report(server: ServerInfo, at: datetime, table: LockTable | None) -> LockTableReport:
    """The report. Raises StatementFailed where the lock table could not be read."""
    if table is None:
        raise StatementFailed("the locks of the server could not be read", None)
    snapshot = Snapshot(at, server)
    return LockTableReport(
        schema_version=1,
        captured_at=at.isoformat(timespec="microseconds"),
        server=server_facts(server),
        objects=table.objects,
        capacity=table.capacity,
        overflowed=table.overflowed,
        holders=table.holders,
        summary=describe_fill(table),
        lines=tuple(describe_lock_holder(each, snapshot) for each in table.holders),
    )


def lock_table_to_json(report: LockTableReport) -> bytes:
    """The report as one JSON object."""
    return encode_json(report)


def lock_table_lines(report: LockTableReport) -> Iterator[str]:
    """The report for a person: how full the table is, and who has the most locks."""
    yield describe_server(report.server)
    yield report.summary
    yield from (f"  {format_one_line(line, _WIDTH)}" for line in report.lines)
