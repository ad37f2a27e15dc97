"""One row that everybody wants: the holder changes all the time, so there is no offender.

Recognised by: two or more sessions queue for the same row, its holder's transaction is young and in motion (it may
idle for a moment between two statements), and an earlier look saw another transaction hold it that is over. Who is
next in that queue, and so holds up those behind, belongs to it.
The same holder throughout is no hot row but that holder's own class.
Do: shorten the transactions that touch the row, or spread the row (a counter in many rows, an insert-only log).
Do not: signal the holder. The next in line takes its place, and retries make the queue longer.
Source: PostgreSQL source, README.tuplock; measured on 14 to 18.
"""

from pgdoctor.diagnosis import underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.snapshot import Relation
from pgdoctor.diagnosis.suspect import LONG_QUEUE, Suspect
from pgdoctor.diagnosis.words import count, duration

_REMEDY = Remedy("none", "whoever is next takes its place: make these transactions shorter")


class HotRow(Cause):
    name = "hot_row"
    precedence = 300
    why_untouchable = "the next in line takes its place"

    def judge(self, suspect: Suspect) -> Verdict | None:
        table = suspect.table
        former = suspect.snapshot.former_holders.get(table.oid) if table is not None else None
        if table is None or not former:
            return None
        if suspect.is_waiting:
            return _in_its_queue(suspect, table)
        if not suspect.is_in_motion or suspect.row_queue < LONG_QUEUE:
            return None
        return Verdict(
            evidence=(
                f"{count(suspect.row_queue, 'session')} queue for a row of {table.name}",
                f"{count(len(former), 'session')} held it just before, in transactions that are over; "
                f"this transaction has been open for {duration(suspect.transaction_seconds)}",
            ),
            remedy=_REMEDY,
        )


def _in_its_queue(suspect: Suspect, table: Relation) -> Verdict | None:
    """It waits for the row as those behind it do, and nothing else holds them up."""
    if suspect.contested_types != {"tuple"}:
        return None
    ahead = (Suspect(root, suspect.snapshot, suspect.graph) for root in suspect.graph.roots_of(suspect.node))
    if not all(root.is_in_motion for root in ahead) or suspect.node in suspect.graph.in_cycle:
        return None
    said = f"waits in line itself for a row of {table.name}, which changes hands all the time"
    return Verdict((said, *underway.waiting(suspect)), _REMEDY)
