"""Sessions that our role may signal, by the server's own rule: known before a signal is sent."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pgdoctor.postgres.catalog import CatalogReader


class SignalRight(NamedTuple):
    """What holds for the sessions of one role."""

    is_superuser: bool
    #: By itself, or by the functions of `pgdoctor setup --wrapper`.
    may_signal: bool


async def fetch_signal_rights(rows: Iterable[Any], evidence: CatalogReader) -> dict[int, SignalRight]:
    """What holds for the users of the sessions that block others, by role OID; empty where that cannot be read.

    Read again each time: a GRANT, a REVOKE and an ALTER ROLE hold at once.
    """
    rows = list(rows)
    blocking = {pid for row in rows for pid in row.blocker_pids or ()}
    oids = {row.role_oid for row in rows if row.pid in blocking} - {None}
    found = await evidence.answer("signal_rights", role_oids=sorted(oids)) if oids else None
    if not found:
        return {}
    has_wrapper = False
    if any(not (row.may_signal or row.is_superuser) for row in found):
        wrapper = await evidence.answer("wrapper")
        has_wrapper = bool(wrapper and wrapper[0].is_usable)
    return {
        row.role_oid: SignalRight(row.is_superuser, row.may_signal or (has_wrapper and not row.is_superuser))
        for row in found
    }
