"""Protections that name objects which do not exist at the server."""

from pgdoctor.formatting import format_count
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import ClearedBy, Guard

#: When this file's guards are asked, before those of a higher one.
ORDER = 40


class UnresolvedProtectionGuard(Guard):
    """A protection names a role, database or relation that does not exist, so it would protect no session.

    Do: correct or remove the name, and reload (SIGHUP); `pgdoctor config check --dsn DSN` lists all of them. pgdoctor
    looks up relations in the database that it is connected to. `allow_unresolved_protections = true` under
    `[mitigation]` switches this guard off.
    """

    name = "unresolved_protection"
    heals = ClearedBy.BRAKE

    def find_objection(self, case: Case) -> str | None:
        unresolved = case.circumstances.unresolved
        if not unresolved or case.settings.allow_unresolved_protections:
            return None
        more = f", and {format_count(len(unresolved) - 1, 'more protection')}" if len(unresolved) > 1 else ""
        return f"a protection names something that does not exist: {unresolved[0]}{more}"

    def format_value(self, case: Case) -> str:
        return f"{len(case.circumstances.unresolved)} unresolved"
