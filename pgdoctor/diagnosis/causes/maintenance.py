"""Maintenance that somebody started by hand: VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH.

Recognised by: the running statement, or the last one of a transaction that idles and keeps its lock. (Autovacuum is
told apart by its backend type.)
Do: let VACUUM and ANALYZE finish, they block only DDL; cancel VACUUM FULL, CLUSTER, REINDEX and REFRESH where
people wait, unless they are nearly done, and run them in a quiet hour or in their CONCURRENTLY form.
Do not: cancel a CONCURRENTLY form: it lets readers go on, and REINDEX leaves an invalid index behind.
Source: PostgreSQL documentation, "Routine Database Maintenance Tasks" and "Progress Reporting".
"""

from pgdoctor.diagnosis import holding, lock_origin, underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.ddl import SUE
from pgdoctor.diagnosis.suspect import Suspect


class Maintenance(Cause):
    name = "maintenance"
    precedence = 510
    is_signallable = True
    has_maker = True

    def judge(self, suspect: Suspect) -> Verdict | None:
        session = suspect.session
        if session is None or session.backend_type != "client backend":
            return None
        if not lock_origin.blocks_by(suspect, "maintenance"):
            return None
        evidence = (*holding.evidence(suspect), *underway.evidence(suspect))
        return Verdict(evidence, _remedy(suspect), advice=underway.advice(suspect))


def _remedy(suspect: Suspect) -> Remedy:
    effect = underway.effect(suspect)
    if effect.leaves:
        return Remedy("none", f"it blocks no reader or writer, and a cancel leaves {effect.leaves} behind")
    if effect.is_concurrent and not suspect.is_waiting:
        return Remedy("none", "it lets readers go on, and a cancel loses its work so far: let it finish")
    if underway.is_nearly_done(suspect):
        return underway.LET_FINISH
    if all(lock.mode == SUE for lock in suspect.contested) and not suspect.is_waiting:
        return Remedy("none", "it holds up only DDL, and has to be done sooner or later: let it finish")
    if suspect.is_waiting:
        return Remedy("cancel", "it has only queued: a cancel loses nothing; try it again with lock_timeout set")
    return Remedy("cancel", "the work so far is lost; nothing else is")
