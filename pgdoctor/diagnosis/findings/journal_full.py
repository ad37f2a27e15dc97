"""The agent's journal is nearly full: the agent deletes incidents early, or can no longer send signals.

Recognised by: the file is larger than four fifths of `[journal] max_size`. The severity is warning if permanent records
(decisions and operators' commands) fill half of it, and critical if they fill nine tenths.
Do: raise `[journal] max_size`, or lower `[journal] keep`. `pgdoctor incidents list` shows the most frequent incidents.
Near the limit the agent deletes snapshots first, starting with the oldest and smallest, then records of incidents.
Do not: delete the file while mitigation is armed: it contains the budgets and the state of the breaker. In a journal
that is full of decisions nothing can be recorded, so no session is signalled (`pgdoctor explain audit`).
Source: SQLite documentation, "PRAGMA max_page_count" and "PRAGMA journal_size_limit".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.finding import CheckInput, FindingCheck
from pgdoctor.model.diagnosis import Finding

_NEARLY = 0.8
_LASTING_MUCH, _LASTING_MOST = 0.5, 0.9


class JournalFull(FindingCheck):
    name = "journal_full"

    def find_findings(self, seen: CheckInput) -> Iterator[Finding]:
        journal = seen.snapshot.journal
        if journal is None or not journal.limit:
            return
        used, lasting = journal.used / journal.limit, journal.lasting / journal.limit
        facts = {"used_bytes": journal.used, "lasting_bytes": journal.lasting, "limit_bytes": journal.limit}
        advice = "raise [journal] max_size, or lower [journal] keep"
        if lasting >= _LASTING_MUCH:
            severity = "critical" if lasting >= _LASTING_MOST else "warning"
            said = f"decisions fill {lasting:.0%} of the journal: when it is full, no session is signalled"
            yield Finding(self.name, severity, said, advice, facts)
        elif used >= _NEARLY:
            said = f"the journal is {used:.0%} full: near its limit the oldest snapshots are deleted early"
            yield Finding(self.name, "info", said, advice, facts)
