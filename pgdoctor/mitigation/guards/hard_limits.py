"""Hard limits: sessions that are never signalled, in any configuration, because a signal would do harm."""

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.blocker.deafness import explain_deafness
from pgdoctor.diagnosis.blocker.lock_turns import find_turns
from pgdoctor.diagnosis.cause import may_be_signalled, untouchable_classes
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import ClearedBy, Guard
from pgdoctor.mitigation.history import same_victim

#: When this file's guards are asked, before those of a higher one.
ORDER = 10

#: The application_name of pgdoctor's sessions.
OWN_APPLICATION = "pgdoctor"


class NotAClient(Guard):
    """The session is not a client backend. pgdoctor signals only sessions of clients.

    A cancelled apply worker may disable its subscription permanently; a cancelled WAL sender disconnects its standby.
    """

    name = "not_a_client"

    def find_objection(self, case: Case) -> str | None:
        if case.session.backend_type != "client backend":
            return f"it is {case.session.backend_type or 'a process of unknown type'}, not a client's session"
        return None

    def format_value(self, case: Case) -> str:
        return case.session.backend_type or "hidden"


class Untouchable(Guard):
    """The class is not one that pgdoctor may signal; this also holds if the session has changed its class.

    Each cause declares in its own file whether a signal helps; by default its sessions are never signalled.
    """

    name = "untouchable"

    def find_objection(self, case: Case) -> str | None:
        classification = case.candidate.blocker.classification
        if not may_be_signalled(classification):
            return (
                f"{classification} is never signalled: "
                f"{untouchable_classes().get(classification, 'no such class is known')}"
            )
        return None

    def format_value(self, case: Case) -> str:
        return case.candidate.blocker.classification


class Hidden(Guard):
    """A part of the session's identity is hidden from our role, so another session could be hit."""

    name = "hidden"

    def find_objection(self, case: Case) -> str | None:
        if case.candidate.victim is None or case.session.query_start is None:
            return "a part of its identity is hidden from our role, or it has none"
        return None

    def format_value(self, case: Case) -> str:
        return "complete" if case.candidate.victim else "incomplete"


class Own(Guard):
    """The session is this pgdoctor's own, or another pgdoctor's."""

    name = "own_session"

    def find_objection(self, case: Case) -> str | None:
        if case.session.pid == case.candidate.diagnosis.snapshot.server.own_pid:
            return "it is this pgdoctor's own session"
        if case.session.application_name == OWN_APPLICATION:
            return "it is another pgdoctor's session"
        return None

    def format_value(self, case: Case) -> str:
        return case.session.application_name or ""


class SyncRep(Guard):
    """The session commits and waits for a synchronous standby.

    After a cancel the server would report an unreplicated commit as done; after a terminate, a finished commit as
    failed.
    """

    name = "sync_rep"

    def find_objection(self, case: Case) -> str | None:
        if case.session.wait_event == "SyncRep":
            return "it commits and waits for a synchronous standby"
        return None

    def format_value(self, case: Case) -> str:
        return case.session.wait_event or "no wait"


class Ending(Guard):
    """The transaction is just ending; its waiters are released without a signal."""

    name = "ending_transaction"

    def find_objection(self, case: Case) -> str | None:
        if case.session.state == "active" and case.candidate.statement.ends_transaction:
            return "its transaction is just ending"
        return None

    def format_value(self, case: Case) -> str:
        return f"{case.session.state}: {case.candidate.statement.kind}"


class InACycle(Guard):
    """The session is part of a deadlock; the server's deadlock detector resolves it."""

    name = "cycle"

    def find_objection(self, case: Case) -> str | None:
        if case.candidate.blocker.in_cycle:
            return "it is part of a deadlock, which the server resolves"
        return None

    def format_value(self, case: Case) -> str:
        return format_count(len(case.candidate.diagnosis.graph.cycles), "cycle")


class Recovery(Guard):
    """The server is a standby. Recovery conflicts have their own settings there, so no session is signalled."""

    name = "recovery"

    def find_objection(self, case: Case) -> str | None:
        if case.candidate.diagnosis.snapshot.server.in_recovery:
            return "the server is a standby"
        return None

    def format_value(self, case: Case) -> str:
        return "standby" if case.candidate.diagnosis.snapshot.server.in_recovery else "primary"


class VisibilityGuard(Guard):
    """Some sessions are hidden, or some evidence could not be read, so the diagnosis may be wrong."""

    name = "visibility"

    def find_objection(self, case: Case) -> str | None:
        snapshot = case.candidate.diagnosis.snapshot
        if snapshot.server.hidden_sessions:
            return f"{format_count(snapshot.server.hidden_sessions, 'session')} cannot be seen: grant pg_monitor"
        if snapshot.unread:
            return "a part of the evidence could not be read"
        return None

    def format_value(self, case: Case) -> str:
        return f"{format_count(case.candidate.diagnosis.snapshot.server.hidden_sessions, 'session')} hidden"


class NotQueued(Guard):
    """The session waits itself, but not for a strong table lock; only a queued request for one may be signalled."""

    name = "not_queued"

    def find_objection(self, case: Case) -> str | None:
        if not case.candidate.may_be_cut:
            return "it waits itself, and not for a table lock with a queue behind it"
        return None

    def format_value(self, case: Case) -> str:
        return "root" if case.candidate.blocker.root else "queued"


class Concurrently(Guard):
    """The statement is a CONCURRENTLY command: it blocks no reader or writer, and needs cleaning up after an abort."""

    name = "concurrently"

    def find_objection(self, case: Case) -> str | None:
        if case.session.state == "active" and case.candidate.works_concurrently:
            return "a signal would leave an invalid index or a half-detached partition"
        return None

    def format_value(self, case: Case) -> str:
        return case.candidate.statement.kind


class SnapshotWait(Guard):
    """Only a CONCURRENTLY command waits; it waits for each older transaction in turn and blocks no reader or writer."""

    name = "snapshot_wait"

    def find_objection(self, case: Case) -> str | None:
        freed = case.candidate.frees_at_once
        if freed and all(lock.locktype == "virtualxid" for session in freed for lock in session.requests):
            return "only a CONCURRENTLY command waits for it, which blocks no reader or writer"
        return None

    def format_value(self, case: Case) -> str:
        return ", ".join(sorted({lock.locktype for each in case.candidate.frees_at_once for lock in each.requests}))


class Futile(Guard):
    """A cancel would have no effect: the session is idle or mostly idle, waits for its client, or may catch it."""

    name = "futile"

    def find_objection(self, case: Case) -> str | None:
        if case.signal != "cancel" or not case.candidate.is_deaf_to_cancel:
            return None
        if deaf := explain_deafness(case.session):
            return deaf
        return "its statements are short, and its transaction mostly idle: a cancel would come too late"

    def format_value(self, case: Case) -> str:
        where = case.session.wait_event or "nothing"
        return f"{case.signal} of a session that is {case.session.state}, waiting in {where}"


class RecommendationGuard(Guard):
    """The diagnosis recommends no signal: the session is nearly done, or blocks no reader or writer.

    An advisory lock is the exception, if the rule names its class: only its owner knows its purpose. Not while the lock
    changes hands.
    """

    name = "recommendation"

    def find_objection(self, case: Case) -> str | None:
        blocker = case.candidate.blocker
        if blocker.recommendation.action != "none":
            return None
        if case.candidate.classification != "advisory_lock":
            return f"the diagnosis recommends no signal: {blocker.recommendation.reason}"
        diagnosis = case.candidate.diagnosis
        if find_turns(BlockerFacts(blocker.node, diagnosis.snapshot, diagnosis.graph)) is not None:
            return "the advisory lock changes hands: the next in line takes its place"
        return None

    def format_value(self, case: Case) -> str:
        return case.candidate.blocker.recommendation.action


class Tried(Guard):
    """The action was tried before: one cancel for each statement, one terminate for each transaction.

    After a refusal by the server, or if the session did not end, no further signal is sent to it.
    """

    name = "already_tried"

    def find_objection(self, case: Case) -> str | None:
        victim = case.candidate.victim
        for action in case.history.spent:
            # The guard under_way objects while an action is in progress.
            if victim is None or action.outcome in (None, "would_act"):
                continue
            if action.signal == case.signal and same_victim(action.victim, victim, case.signal):
                return f"a {action.signal} was tried, and was {action.outcome.replace('_', ' ')}"
            if not action.victim.same_session(victim):
                continue
            if action.outcome == "not_permitted":
                return "the server does not permit us to signal it"
            if action.outcome == "stuck":
                return "it was terminated before, and has not ended"
        return None

    def format_value(self, case: Case) -> str:
        victim = case.candidate.victim
        tried = [action.signal for action in case.history.spent if action.victim.same_session(victim)]
        return f"tried on this session: {', '.join(tried) or 'nothing'}"


class Announced(Guard):
    """A dry run reports each action once: a cancel for a statement, a terminate for a transaction."""

    name = "already_announced"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        return "this dry run has reported it already" if self._is_announced(case) else None

    def format_value(self, case: Case) -> str:
        return "announced" if self._is_announced(case) else "not yet"

    @staticmethod
    def _is_announced(case: Case) -> bool:
        victim = case.candidate.victim
        if victim is None:
            return False
        done = (*case.history.on_statement(victim), *case.history.on_victim(victim, case.signal))
        return any(each.outcome == "would_act" for each in done)
