"""A protection in the configuration names a role, database or relation that does not exist at the server.

Recognised by: pgdoctor looks up the names in `[[mitigation.protect]]` and in `protected_usename` and
`protected_datname` of rules: at the start, at each reload, every half minute, and before each signal. Only an agent
with rules reports this finding.
Do: correct or remove the name, then reload; `pgdoctor config check --dsn DSN` lists all. Until then no session is
signalled, unless `allow_unresolved_protections = true`.
Do not: protect a group by `usename`: no session has a group as its user. `member_of` protects its members.
Source: PostgreSQL documentation, pg_roles, pg_database and pg_class. Relations are looked up in the database that
pgdoctor is connected to.
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.model.diagnosis import Finding


class UnresolvedProtection(FindingCheck):
    """Found by mitigation, which alone knows the configuration."""

    name = "unresolved_protection"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:  # noqa: ARG002
        return iter(())
