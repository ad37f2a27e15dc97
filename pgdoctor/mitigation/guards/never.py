"""What is never signalled, whatever is configured: where a signal does harm, or says nothing to whom it reaches."""

from pgdoctor.diagnosis.cause import may_be_signalled, untouchable
from pgdoctor.diagnosis.words import count
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Heals
from pgdoctor.mitigation.history import same_victim

#: When this file's guards are asked, before those of a higher one.
ORDER = 10

#: What pgdoctor's own sessions call themselves.
OWN_APPLICATION = "pgdoctor"


class NotAClient(Guard):
    """Only sessions of clients are signalled.

    A cancelled apply worker may disable its subscription for good; a cancelled WAL sender drops its standby.
    """

    name = "not_a_client"

    def objection(self, case: Case) -> str | None:
        if case.session.backend_type != "client backend":
            return f"it is {case.session.backend_type or 'of an unknown kind'}, not a client's session"
        return None

    def value(self, case: Case) -> str:
        return case.session.backend_type or "hidden"


class Untouchable(Guard):
    """Only classes whose cause says that a signal helps; also where a rule goes on about a session that changed class.

    A cause says so in its own file; a new one is untouchable.
    """

    name = "untouchable"

    def objection(self, case: Case) -> str | None:
        classification = case.candidate.blocker.classification
        if not may_be_signalled(classification):
            return f"{classification} is never signalled: {untouchable().get(classification, 'no such class is known')}"
        return None

    def value(self, case: Case) -> str:
        return case.candidate.blocker.classification


class Hidden(Guard):
    """A session of which a part is hidden from our role cannot be told from another one."""

    name = "hidden"

    def objection(self, case: Case) -> str | None:
        if case.candidate.victim is None or case.session.query_start is None:
            return "a part of its identity is hidden from our role, or it has none"
        return None

    def value(self, case: Case) -> str:
        return "complete" if case.candidate.victim else "incomplete"


class Own(Guard):
    """Neither this pgdoctor nor another one."""

    name = "own_session"

    def objection(self, case: Case) -> str | None:
        if case.session.pid == case.candidate.diagnosis.snapshot.server.own_pid:
            return "it is this pgdoctor's own session"
        if case.session.application_name == OWN_APPLICATION:
            return "it is another pgdoctor's session"
        return None

    def value(self, case: Case) -> str:
        return case.session.application_name or ""


class SyncRep(Guard):
    """A commit that waits for a synchronous standby.

    Cancelled, it would be reported as done without being replicated; terminated, as failed although it is done.
    """

    name = "sync_rep"

    def objection(self, case: Case) -> str | None:
        if case.session.wait_event == "SyncRep":
            return "it commits, and waits for a synchronous standby"
        return None

    def value(self, case: Case) -> str:
        return case.session.wait_event or "no wait"


class Ending(Guard):
    """A transaction that is just ending frees its waiters by itself."""

    name = "ending_transaction"

    def objection(self, case: Case) -> str | None:
        if case.session.state == "active" and case.candidate.statement.ends_transaction:
            return "its transaction is just ending"
        return None

    def value(self, case: Case) -> str:
        return f"{case.session.state}: {case.candidate.statement.kind}"


class InACycle(Guard):
    """Sessions that wait for each other in a circle: the server's deadlock detector ends it."""

    name = "cycle"

    def objection(self, case: Case) -> str | None:
        if case.candidate.blocker.in_cycle:
            return "it is part of a deadlock, which the server resolves"
        return None

    def value(self, case: Case) -> str:
        return count(len(case.candidate.diagnosis.graph.cycles), "cycle")


class Recovery(Guard):
    """On a standby recovery conflicts have their own settings, and nobody is signalled."""

    name = "recovery"

    def objection(self, case: Case) -> str | None:
        if case.candidate.diagnosis.snapshot.server.in_recovery:
            return "the server is a standby"
        return None

    def value(self, case: Case) -> str:
        return "standby" if case.candidate.diagnosis.snapshot.server.in_recovery else "primary"


class Visibility(Guard):
    """Where sessions are hidden, or evidence could not be read, the picture may be a wrong one."""

    name = "visibility"

    def objection(self, case: Case) -> str | None:
        snapshot = case.candidate.diagnosis.snapshot
        if snapshot.server.hidden_sessions:
            return f"{count(snapshot.server.hidden_sessions, 'session')} cannot be seen: grant pg_monitor"
        if snapshot.unread:
            return "a part of the evidence could not be read"
        return None

    def value(self, case: Case) -> str:
        return f"{count(case.candidate.diagnosis.snapshot.server.hidden_sessions, 'session')} hidden"


class NotQueued(Guard):
    """Of those who wait themselves only a queued request for a strong table lock is worth a signal."""

    name = "not_queued"

    def objection(self, case: Case) -> str | None:
        if not case.candidate.may_be_cut:
            return "it waits itself, and not for a table lock that others queue behind"
        return None

    def value(self, case: Case) -> str:
        return "root" if case.candidate.blocker.root else "queued"


class Concurrently(Guard):
    """CONCURRENTLY commands hold up no reader and no writer; what is broken off has to be tidied up by hand."""

    name = "concurrently"

    def objection(self, case: Case) -> str | None:
        if case.session.state == "active" and case.candidate.works_concurrently:
            return "broken off it would leave an invalid index, or a half-detached partition, behind"
        return None

    def value(self, case: Case) -> str:
        return case.candidate.statement.kind


class SnapshotWait(Guard):
    """Not for the sake of a CONCURRENTLY command: it waits for every older transaction in turn, and is in no hurry."""

    name = "snapshot_wait"

    def objection(self, case: Case) -> str | None:
        freed = case.candidate.frees_at_once
        if freed and all(lock.locktype == "virtualxid" for session in freed for lock in session.requests):
            return "only a CONCURRENTLY command waits for it, and that holds up no reader and no writer"
        return None

    def value(self, case: Case) -> str:
        return ", ".join(sorted({lock.locktype for each in case.candidate.frees_at_once for lock in each.requests}))


class Futile(Guard):
    """A cancel is not sent where it has no effect: idle sessions, and those in the middle of a message."""

    name = "futile"

    def objection(self, case: Case) -> str | None:
        if case.signal == "cancel" and case.candidate.is_deaf_to_cancel:
            where = f"waiting in {case.session.wait_event}" if case.session.state == "active" else case.session.state
            return f"it is {where}: a cancel has no effect"
        return None

    def value(self, case: Case) -> str:
        where = case.session.wait_event or "nothing"
        return f"{case.signal} of a session that is {case.session.state}, waiting in {where}"


class Recommendation(Guard):
    """Where the diagnosis says to leave it alone: what is nearly done, or blocks nobody who reads or writes.

    An advisory lock is the exception, where the rule names its class: only its owner knows what it guards.
    """

    name = "recommendation"

    def objection(self, case: Case) -> str | None:
        blocker = case.candidate.blocker
        if blocker.recommendation.action == "none" and blocker.classification != "advisory_lock":
            return f"the diagnosis is to leave it alone: {blocker.recommendation.reason}"
        return None

    def value(self, case: Case) -> str:
        return case.candidate.blocker.recommendation.action


class Tried(Guard):
    """Each cancel once for a statement, each terminate once for a transaction; after the server has refused, or where
    it stays alive, none for the session."""

    name = "already_tried"

    def objection(self, case: Case) -> str | None:
        victim = case.candidate.victim
        for action in case.history.spent:
            # While it is under way another guard says so.
            if victim is None or action.outcome in (None, "would_act"):
                continue
            if action.signal == case.signal and same_victim(action.victim, victim, case.signal):
                return f"a {action.signal} was tried, and was {action.outcome.replace('_', ' ')}"
            if not action.victim.same_session(victim):
                continue
            if action.outcome == "not_permitted":
                return "the server does not permit us to signal it"
            if action.outcome == "stuck":
                return "it was told to end, and is still there"
        return None

    def value(self, case: Case) -> str:
        victim = case.candidate.victim
        tried = [action.signal for action in case.history.spent if action.victim.same_session(victim)]
        return f"tried on this session: {', '.join(tried) or 'nothing'}"


class Announced(Guard):
    """A dry run says once what it would do: a cancel of a statement, a terminate of a transaction."""

    name = "already_announced"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        return "in this dry run it counts as done" if self._announced(case) else None

    def value(self, case: Case) -> str:
        return "announced" if self._announced(case) else "not yet"

    @staticmethod
    def _announced(case: Case) -> bool:
        victim = case.candidate.victim
        if victim is None:
            return False
        done = (*case.history.on_statement(victim), *case.history.on_victim(victim, case.signal))
        return any(each.outcome == "would_act" for each in done)
