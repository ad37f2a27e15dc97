"""Manual maintenance: VACUUM, ANALYZE, REINDEX, CLUSTER or REFRESH.

Recognised by: a blocking lock that such a command took or asks for, or such a command that runs now. If the text does
not show the command, the lock does: on a materialized view (REFRESH), or stronger on an index than on its table
(REINDEX). The catalogs show a table that CLUSTER has rewritten. Autovacuum has its own class.
Do: let VACUUM and ANALYZE finish, because they block only DDL. Cancel VACUUM FULL, CLUSTER, REINDEX and REFRESH that
block sessions, unless they are nearly done. Run them at a quiet time, or in their CONCURRENTLY form.
Do not: cancel a command with CONCURRENTLY. It lets readers continue, and REINDEX would leave an invalid index.
Source: PostgreSQL documentation, "Routine Database Maintenance Tasks" and "Progress Reporting".
"""

from pgdoctor.diagnosis.blocker import command_status, held_locks, lock_origin
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.model.remedy import Classification, Remedy
from pgdoctor.sqltext.ddl import SUE


class MaintenanceCommand(Cause):
    name = "maintenance"
    precedence = 510
    is_signallable = True
    has_maker = True

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        session = facts.session
        if session is None or session.backend_type != "client backend":
            return None
        if not lock_origin.blocks_by(facts, "maintenance"):
            return None
        evidence = (*held_locks.describe_contested_locks(facts), *command_status.describe_activity(facts))
        return Classification(evidence, _choose_remedy(facts), advice=command_status.advise_on_command(facts))


def _choose_remedy(facts: BlockerFacts) -> Remedy:
    effect = command_status.statement_effect(facts)
    if effect.leaves:
        harmless = "" if command_status.keeps_out_readers_or_writers(facts) else "it blocks no reader or writer, and "
        return Remedy("none", f"{harmless}a cancel leaves {effect.leaves} behind")
    if effect.is_concurrent and not facts.is_waiting:
        return Remedy("none", "it blocks no readers, and a cancel loses its work so far: let it finish")
    if command_status.is_command_nearly_done(facts):
        return command_status.LET_FINISH
    if all(lock.mode == SUE for lock in facts.blocking_locks) and not facts.is_waiting:
        return Remedy("none", "it holds up only DDL, and has to be done sooner or later: let it finish")
    if facts.is_waiting:
        return Remedy("cancel", "it has only queued: a cancel loses nothing; try it again with lock_timeout set")
    return Remedy("cancel", "only the work so far is lost")
