"""One row that everybody wants: the holder changes all the time, so there is no offender.

Recognised by: two or more sessions queue for the same row (`tuple` locks), and an earlier poll saw another
holder of that table's row. The same holder throughout is no hot row but that holder's own class.
Do: shorten the transactions that touch the row, or spread the row (a counter in many rows, an insert-only log).
Do not: signal the holder. The next in line takes its place, and retries make the queue longer.
Source: PostgreSQL source, README.tuplock; measured on 15 to 18.
"""

from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import count

#: Sessions in the queue for the row, besides the one whose turn is next.
_QUEUE = 2


class HotRow(Cause):
    name = "hot_row"
    strength = Strength.QUEUE

    def judge(self, suspect: Suspect) -> Verdict | None:
        table = suspect.table
        if table is None or not suspect.is_running or "transactionid" not in suspect.contested_types:
            return None
        former = suspect.snapshot.former_holders.get(table.oid, frozenset()) - {suspect.node}
        queue = suspect.graph.blocked(suspect.node) - suspect.graph.directly_blocked(suspect.node)
        if not former or queue < _QUEUE:
            return None
        return Verdict(
            evidence=(
                f"{count(queue, 'session')} queue for a row of {table.name}",
                f"{count(len(former), 'other session')} held it in the polls before",
            ),
            remedy=Remedy("none", "whoever is next takes its place: make these transactions shorter"),
        )
