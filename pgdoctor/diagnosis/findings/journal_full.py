"""The agent's own journal fills up: soon incidents are deleted before their time, or nobody is signalled any more.

Recognised by: its file is used to more than four fifths of `[journal] max_size`; it is a warning where decisions and
what people said, which make no room for anything, fill half of it, and critical where they fill nine tenths.
Do: raise `[journal] max_size`, or lower `[journal] keep`; see `pgdoctor incidents list` for whose incidents come all
the time. Near the limit snapshots go first, the oldest and those that tell least, then records of incidents.
Do not: delete the file while mitigation is armed: budgets and the breaker are in it. Where it is full of decisions
nothing more can be written down, and so nobody is signalled (`pgdoctor explain audit`).
Source: SQLite documentation, "PRAGMA max_page_count" and "PRAGMA journal_size_limit".
"""

from collections.abc import Iterator

from pgdoctor.diagnosis.diagnosis import Note
from pgdoctor.diagnosis.finding import Finding, Seen

_NEARLY = 0.8
_LASTING_MUCH, _LASTING_MOST = 0.5, 0.9


class JournalFull(Finding):
    name = "journal_full"

    def notes(self, seen: Seen) -> Iterator[Note]:
        journal = seen.snapshot.journal
        if journal is None or not journal.limit:
            return
        used, lasting = journal.used / journal.limit, journal.lasting / journal.limit
        facts = {"used_bytes": journal.used, "lasting_bytes": journal.lasting, "limit_bytes": journal.limit}
        advice = "raise [journal] max_size, or lower [journal] keep"
        if lasting >= _LASTING_MUCH:
            severity = "critical" if lasting >= _LASTING_MOST else "warning"
            said = f"decisions fill {lasting:.0%} of the journal: when it is full nobody is signalled"
            yield Note(self.name, severity, said, advice, facts)
        elif used >= _NEARLY:
            said = f"the journal is {used:.0%} full: near its limit the oldest snapshots are deleted before their time"
            yield Note(self.name, "info", said, advice, facts)
