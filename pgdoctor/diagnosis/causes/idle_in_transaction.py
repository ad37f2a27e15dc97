"""A transaction that was opened, took locks, and now does nothing.

Recognised by: `state` is `idle in transaction` (or its aborted form), whatever its last statement was; the table
is the one it holds, not the one it last read.
Do: terminate it, and mend the code path that leaves it open. `idle_in_transaction_session_timeout` prevents it.
Do not: cancel it. An idle session does not react to a cancel, which answers "true" all the same.
Source: PostgreSQL documentation, "Client Connection Defaults"; measured on 15 to 18.
"""

from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration


class IdleInTransaction(Cause):
    name = "idle_in_transaction"
    strength = Strength.STATE

    def judge(self, suspect: Suspect) -> Verdict | None:
        session = suspect.session
        if session is None or not session.in_transaction_idle:
            return None
        evidence = [
            f"{session.state} for {duration(suspect.state_seconds)}, "
            f"its transaction open for {duration(suspect.transaction_seconds)}"
        ]
        tables = [lock for lock in suspect.contested if lock.locktype == "relation"] or suspect.strong
        if tables:
            evidence.append(f"holds {suspect.name(tables[0])}")
        elif suspect.table is not None:
            evidence.append(f"holds rows of {suspect.table.name}")
        return Verdict(
            evidence=tuple(evidence),
            remedy=Remedy("terminate", "an idle session does not react to a cancel; its transaction rolls back"),
        )
