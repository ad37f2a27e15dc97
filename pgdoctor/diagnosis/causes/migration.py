"""A change of the schema (DDL) that holds a strong lock on a table, or waits for one.

Recognised by: the blocking lock, held or asked for. Locks on other tables, on temporary tables and on tables that the
transaction created do not count. A waiting request counts, because later sessions queue behind it. Its mode shows DDL
inside DO, CALL, EXECUTE, a function or a trigger. If the text is that of another statement, the catalogs distinguish
DDL from LOCK TABLE: DDL replaced rows that define the table.
Do: cancel a request that waits. This frees the sessions behind it at once. Run the change again with `SET lock_timeout
= '3s'` and retries. Let a command finish that is nearly done.
Do not: end the session in front of it first: it may be a report or a backup. Do not cancel CREATE INDEX CONCURRENTLY.
It blocks no reader or writer, it waits for old transactions by design, and it would leave an invalid index.
Source: PostgreSQL documentation, "Explicit Locking", "Building Indexes Concurrently" and "Progress Reporting";
statements and their locks measured on 12 to 18.
"""

from pgdoctor.diagnosis.blocker import command_status, lock_origin
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.model.remedy import Classification, Remedy


class Migration(Cause):
    name = "migration"
    precedence = 520
    is_signallable = True
    has_maker = True

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        # The state of a session that is hidden from our role is not known.
        if facts.session is None or not facts.session.is_visible:
            return None
        if not lock_origin.blocks_by(facts, "ddl"):
            return None
        evidence = (*command_status.describe_locking(facts), *lock_origin.explain_doubt(facts))
        return Classification(evidence, _choose_remedy(facts), advice=command_status.advise_on_command(facts))


def _choose_remedy(facts: BlockerFacts) -> Remedy:
    effect = command_status.statement_effect(facts)
    if effect.is_concurrent:
        harmless = "" if command_status.keeps_out_readers_or_writers(facts) else "it blocks no reader or writer, and "
        return Remedy("none", f"{harmless}a cancel leaves {effect.leaves} behind")
    if command_status.is_command_nearly_done(facts):
        return command_status.LET_FINISH
    if facts.is_waiting and facts.session is not None and facts.session.has_changes:
        if facts.session.queued_at_once:
            return Remedy("cancel", "it queued within its first second: a retry costs no more; set lock_timeout for it")
        return Remedy("cancel", "earlier changes of its transaction roll back too; try it again with lock_timeout set")
    if facts.is_waiting:
        return Remedy("cancel", "it has only queued: a cancel loses nothing; try it again with lock_timeout set")
    return Remedy("cancel", "its work so far is rolled back and will have to be done again")
