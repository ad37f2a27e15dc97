"""Protections that cannot protect: they name what the server does not have."""

from pgdoctor.diagnosis.words import count
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Heals

#: When this file's guards are asked, before those of a higher one.
ORDER = 40


class UnresolvedProtection(Guard):
    """Every role, database and relation that a protection names is there; a misspelt name would protect nobody.

    Do: correct the name, or take it out, and reload (SIGHUP); `pgdoctor config check --dsn DSN` lists them all.
    Relations are looked up in the database that pgdoctor is connected to. `allow_unresolved_protections = true`
    under `[mitigation]` goes on without.
    """

    name = "unresolved_protection"
    heals = Heals.BRAKE

    def objection(self, case: Case) -> str | None:
        unresolved = case.circumstances.unresolved
        if not unresolved or case.settings.allow_unresolved_protections:
            return None
        more = f", and {count(len(unresolved) - 1, 'more protection')}" if len(unresolved) > 1 else ""
        return f"a protection names what is not there: {unresolved[0]}{more}"

    def value(self, case: Case) -> str:
        return f"{len(case.circumstances.unresolved)} unresolved"
