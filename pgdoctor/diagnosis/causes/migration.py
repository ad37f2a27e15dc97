"""A change of the schema (DDL) that holds, or waits for, a strong lock on a table.

Recognised by: a strong table lock held by a transaction that has changed something, or a running DDL statement. Where
its text is that of another statement, the catalogs tell DDL from LOCK TABLE: rows of them that it has replaced.
A waiting one blocks as well: everybody who comes after it queues behind its request.
Do: cancel a waiting one, which frees everybody behind it at once and loses nothing; run it again with
`SET lock_timeout = '3s'` and retries, after ending what it waited for. Let one finish that is nearly done.
Do not: end the session in front of it first (it may be a report or a backup); do not cancel CREATE INDEX
CONCURRENTLY, which blocks nobody who reads or writes and leaves an invalid index behind; that it waits for old
transactions to end is a part of its work.
Source: PostgreSQL documentation, "Explicit Locking", "Building Indexes Concurrently" and "Progress Reporting";
statements and their locks measured on 12 to 18.
"""

from pgdoctor.diagnosis import lock_origin, underway
from pgdoctor.diagnosis.cause import Cause, Remedy, Verdict
from pgdoctor.diagnosis.suspect import Suspect


class Migration(Cause):
    name = "migration"
    precedence = 520
    is_signallable = True
    has_maker = True

    def judge(self, suspect: Suspect) -> Verdict | None:
        # Whether it works or idles is not known of a session that is hidden from us.
        if suspect.session is None or not suspect.session.is_visible:
            return None
        if not lock_origin.blocks_by(suspect, "ddl"):
            return None
        evidence = (*underway.locking(suspect), *lock_origin.explain_doubt(suspect))
        return Verdict(evidence, _remedy(suspect), advice=underway.advice(suspect))


def _remedy(suspect: Suspect) -> Remedy:
    effect = underway.effect(suspect)
    if effect.is_concurrent:
        return Remedy("none", f"it blocks no reader or writer, and broken off it leaves {effect.leaves} behind")
    if underway.is_nearly_done(suspect):
        return underway.LET_FINISH
    if suspect.is_waiting and suspect.session is not None and suspect.session.has_changes:
        return Remedy("cancel", "what its transaction did before is taken back too; try it again with lock_timeout set")
    if suspect.is_waiting:
        return Remedy("cancel", "it has only queued: a cancel loses nothing; try it again with lock_timeout set")
    return Remedy("cancel", "its work so far is rolled back and will have to be done again")
