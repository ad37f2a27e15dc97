"""The agent's role may not see the state, statement and times of some sessions.

Recognised by: rows of `pg_stat_get_activity()` without a `backend_type`.
Do: grant `pg_monitor` to pgdoctor's role; `pgdoctor setup` prints the SQL.
Do not: take a report without blockers for a healthy server: pgdoctor cannot diagnose hidden sessions.
Source: PostgreSQL documentation, "Predefined Roles".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.formatting import format_count
from pgdoctor.model.diagnosis import Finding


class Visibility(FindingCheck):
    name = "visibility"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        hidden = seen.snapshot.server.hidden_sessions
        if hidden:
            yield Finding(
                self.name,
                "warning",
                f"{format_count(hidden, 'session')} of other users or of the server cannot be seen; "
                "causes of blocking may stay unknown",
                "grant pg_monitor to pgdoctor's role (see: pgdoctor setup)",
                {"hidden_sessions": hidden},
            )
