"""A statement that is still running and holds locks that others wait for.

Recognised by: the session is active and waits for no other session, and no blocking lock is that of DDL, LOCK TABLE or
maintenance. CREATE TABLE AS and CREATE MATERIALIZED VIEW belong here: they only read the table.
Do: cancel the statement if it can be repeated, and look at its plan. Let a COPY finish that is nearly done.
Do not: terminate the session first: a cancel keeps the connection. There are two exceptions. A session that waits for
its client does not react to a cancel. A cancel comes too late where a transaction runs many short statements.
Source: PostgreSQL documentation, "Server Signaling Functions".
"""

from pgdoctor.diagnosis.blocker import command_status, held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BRIEFLY, YOUNG, BlockerFacts
from pgdoctor.diagnosis.blocker.known_hold import KnownHold
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.diagnosis.index_advice.scanned_tables import describe_open_ranges, unreadable_statistics
from pgdoctor.formatting import format_duration
from pgdoctor.model.remedy import Classification, Remedy


class LongQuery(Cause):
    name = "long_query"
    precedence = 700
    is_signallable = True
    tells_more = False

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        session = facts.session
        if session is None or not facts.is_running or facts.is_waiting or not session.statement:
            return None
        if facts.statement.kind == "unknown":
            return None
        evidence = [f"its statement has run for {format_duration(facts.state_seconds)}"]
        evidence += command_status.progress_evidence(facts)
        evidence += held_locks.describe_contested_locks(facts)
        evidence += describe_open_ranges(facts)
        if facts.statement.is_one:
            evidence += unreadable_statistics(facts)
        return Classification(tuple(evidence), _choose_remedy(facts), advice=command_status.advise_on_command(facts))


def _is_one_of_many(facts: BlockerFacts) -> bool:
    """Its statement has just begun, and others have waited for its transaction for much longer."""
    ran, age = facts.statement_seconds, facts.transaction_seconds
    if ran is None or ran >= BRIEFLY or age is None or age < YOUNG:
        return False
    return (KnownHold(facts.node, facts.snapshot).measure_seconds(facts.sampled_waiters) or 0.0) >= YOUNG


def _choose_remedy(facts: BlockerFacts) -> Remedy:
    if command_status.is_command_nearly_done(facts):
        return command_status.LET_FINISH
    if _is_one_of_many(facts):
        return Remedy("terminate", "they have waited since before this short statement: a cancel would come too late")
    return Remedy("cancel", "the statement is rolled back; its connection stays")
