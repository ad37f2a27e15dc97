"""One row that everybody wants: the holder changes all the time, so there is no offender.

Recognised by: two or more sessions queue for the same row, its holder's transaction is young and in motion (it may
idle for a moment between two statements), and an earlier look saw another transaction hold it that is over.
The same holder throughout is no hot row but that holder's own class.
Do: shorten the transactions that touch the row, or spread the row (a counter in many rows, an insert-only log).
Do not: signal the holder. The next in line takes its place, and retries make the queue longer.
Source: PostgreSQL source, README.tuplock; measured on 14 to 18.
"""

from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.suspect import LONG_QUEUE, Suspect
from pgdoctor.diagnosis.words import count, duration


class HotRow(Cause):
    name = "hot_row"
    strength = Strength.QUEUE

    def judge(self, suspect: Suspect) -> Verdict | None:
        if not suspect.is_in_motion or suspect.row_queue < LONG_QUEUE:
            return None
        table = suspect.table
        if table is None:
            return None
        former = suspect.snapshot.former_holders.get(table.oid)
        if not former:
            return None
        return Verdict(
            evidence=(
                f"{count(suspect.row_queue, 'session')} queue for a row of {table.name}",
                f"{count(len(former), 'session')} held it just before, in transactions that are over; "
                f"this transaction is open for {duration(suspect.transaction_seconds)}",
            ),
            remedy=Remedy("none", "whoever is next takes its place: make these transactions shorter"),
        )
