"""A statement that is still running and holds locks that others wait for.

Recognised by: the session is active and waits for no other session, and no blocking lock is that of DDL, LOCK TABLE or
maintenance. CREATE TABLE AS and CREATE MATERIALIZED VIEW belong here: they only read the table.
Do: cancel the statement if it can be repeated, and look at its plan. Let a COPY finish that is nearly done.
Do not: terminate the session first: a cancel keeps the connection. There are two exceptions. A session that waits for
its client does not react to a cancel. A cancel comes too late where a transaction runs many short statements.
Source: PostgreSQL documentation, "Server Signaling Functions".
"""

from pgdoctor.diagnosis import holding, underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.known_hold import KnownHold
from pgdoctor.diagnosis.scans import open_ranges
from pgdoctor.diagnosis.suspect import BRIEFLY, YOUNG, Suspect
from pgdoctor.diagnosis.words import duration


class LongQuery(Cause):
    name = "long_query"
    precedence = 700
    is_signallable = True
    tells_more = False

    def judge(self, suspect: Suspect) -> Verdict | None:
        session = suspect.session
        if session is None or not suspect.is_running or suspect.is_waiting or not session.statement:
            return None
        if suspect.statement.kind == "unknown":
            return None
        evidence = [f"its statement has run for {duration(suspect.state_seconds)}"]
        evidence += underway.progress_evidence(suspect)
        evidence += holding.evidence(suspect)
        evidence += open_ranges(suspect)
        return Verdict(tuple(evidence), _remedy(suspect), advice=underway.advice(suspect))


def _is_one_of_many(suspect: Suspect) -> bool:
    """Its statement has just begun, and others have waited for its transaction for much longer."""
    ran, age = suspect.statement_seconds, suspect.transaction_seconds
    if ran is None or ran >= BRIEFLY or age is None or age < YOUNG:
        return False
    return (KnownHold(suspect.node, suspect.snapshot).seconds(suspect.witnesses) or 0.0) >= YOUNG


def _remedy(suspect: Suspect) -> Remedy:
    if underway.is_nearly_done(suspect):
        return underway.LET_FINISH
    if _is_one_of_many(suspect):
        return Remedy("terminate", "they have waited since before this short statement: a cancel would come too late")
    return Remedy("cancel", "the statement is rolled back; its connection stays")
