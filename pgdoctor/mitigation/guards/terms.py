"""The terms of a rule, and of the floor below every rule: whom it frees, how long they waited, how old all of it is."""

from pgdoctor.diagnosis.words import duration
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Heals

#: When this file's guards are asked, before those of a higher one.
ORDER = 30

#: Sessions that do not count and are named.
_MOST_NAMED = 3

#: Waits shorter than so many times deadlock_timeout are the server's to end.
DEADLOCK_TIMEOUTS = 5


class MinBlocked(Guard):
    """The cut releases somebody, and as many as the rule asks for."""

    name = "min_blocked"

    def objection(self, case: Case) -> str | None:
        freed = case.frees
        if case.candidate.frees == 0:
            return "it would free nobody: everybody behind it waits for others too"
        if freed == 0:
            return f"of those whom it would free nobody's wait counts: {self._uncounted(case)}"
        if freed < case.rule.min_blocked:
            left_out = self._uncounted(case)
            but = f" ({left_out})" if left_out else ""
            return f"it would free {freed}{but}, the rule asks for {case.rule.min_blocked}"
        return None

    def value(self, case: Case) -> str:
        left_out = self._uncounted(case)
        but = f"; {left_out}" if left_out else ""
        return f"frees {case.frees} of at least {case.rule.min_blocked}{but}"

    @staticmethod
    def _uncounted(case: Case) -> str:
        """Who does not count, and why: `4711 (mallory): it has no privilege …, and 3 more`."""
        found = [(each, said) for each in case.candidate.frees_at_once if (said := case.objection_to(each))]
        named = ", ".join(f"{each.pid} ({each.usename or '?'}): {said}" for each, said in found[:_MOST_NAMED])
        return f"{named}, and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else named


class MinBlockedShare(Guard):
    """The cut releases as large a share of all client connections as the rule asks for."""

    name = "min_blocked_share"

    def objection(self, case: Case) -> str | None:
        share, least = self._share(case), case.rule.min_blocked_share
        return f"it would free {share:.0%} of all clients, the rule asks for {least:.0%}" if share < least else None

    def value(self, case: Case) -> str:
        return f"frees {self._share(case):.0%} of all clients, at least {case.rule.min_blocked_share:.0%}"

    @staticmethod
    def _share(case: Case) -> float:
        clients = case.candidate.diagnosis.snapshot.server.connections
        return min(case.frees / max(clients, 1), 1.0)


class ActiveWindow(Guard):
    """It is one of the hours in which the rule may act, by the server's clock: while somebody is on call, say."""

    name = "active_window"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        windows = case.rule.active_window
        if windows is None or any(window.includes(case.now) for window in windows):
            return None
        return f"the rule acts {', '.join(windows)} only"

    def value(self, case: Case) -> str:
        return ", ".join(case.rule.active_window or ("at any time",))


class MinWait(Guard):
    """One of those whom it frees has waited long enough, by the server's own record of when the wait began.

    Only its waiting for this very session counts: a lock changes hands, and a wait for the holder before says nothing
    of this one. A session is known to hold a lock since it idles or waits itself, or since an earlier snapshot showed
    it; a wait for a transaction's end is always for one session. A person who names the session (`mitigate --pid`)
    decides that: then waits count from their beginning.
    """

    name = "min_wait"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        waited = case.oldest_wait
        if waited is None:
            return "it is unknown how long they have waited"
        if waited < case.rule.min_wait:
            return f"they have waited {duration(waited)}, the rule asks for {duration(case.rule.min_wait)}"
        if case.lacks_known_hold:
            least, held = duration(case.rule.min_wait), case.known_hold
            if not held:
                return f"they have waited {duration(waited)}, but no earlier snapshot shows that it held the lock"
            what = "hold the lock" if case.candidate.blocker.root else "be in their way"
            return f"it has been known to {what} for {duration(held)}, the rule asks for {least}"
        return None

    def value(self, case: Case) -> str:
        held = "" if case.is_named else f", known to be in their way for {duration(case.known_hold)}"
        return f"{duration(case.oldest_wait)} of at least {duration(case.rule.min_wait)}{held}"


class DeadlockTimeout(Guard):
    """The server has had time to find a deadlock, and to cancel an autovacuum that is in the way, by itself.

    It looks once in each wait, `deadlock_timeout` after its beginning: the whole wait counts, whoever held the lock.
    """

    name = "deadlock_timeout"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        waited, least = case.oldest_wait, self._least(case)
        if case.settings.allow_short_waits or (waited is not None and waited >= least):
            return None
        return f"they have waited {duration(waited)}, {DEADLOCK_TIMEOUTS} times deadlock_timeout is {duration(least)}"

    def value(self, case: Case) -> str:
        return f"{duration(case.oldest_wait)} of at least {duration(self._least(case))}"

    @staticmethod
    def _least(case: Case) -> float:
        return DEADLOCK_TIMEOUTS * case.candidate.diagnosis.snapshot.server.deadlock_timeout


class MinAge(Guard):
    """Its transaction is old enough."""

    name = "min_age"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        age, least = case.candidate.blocker.transaction_seconds, case.rule.min_age
        if least and (age is None or age < least):
            return f"its transaction has been open for {duration(age)}, the rule asks for {duration(least)}"
        return None

    def value(self, case: Case) -> str:
        return f"{duration(case.candidate.blocker.transaction_seconds)} of at least {duration(case.rule.min_age)}"


class MaxAge(Guard):
    """Its transaction is not so old that a person should decide: a night's work, or a job that nobody may break."""

    name = "max_age"

    def objection(self, case: Case) -> str | None:
        age, most = case.candidate.blocker.transaction_seconds, case.rule.max_age
        if age is not None and age > most:
            return f"its transaction has been open for {duration(age)}; above {duration(most)} a person decides"
        return None

    def value(self, case: Case) -> str:
        return f"{duration(case.candidate.blocker.transaction_seconds)} of at most {duration(case.rule.max_age)}"


class MinStateAge(Guard):
    """It has been in its present state for long enough."""

    name = "min_state_age"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        age, least = case.seconds_since(case.session.state_change), case.rule.min_state_age
        if least and (age is None or age < least):
            return f"it has been {case.session.state} for {duration(age)}, the rule asks for {duration(least)}"
        return None

    def value(self, case: Case) -> str:
        age = duration(case.seconds_since(case.session.state_change))
        return f"{age} of at least {duration(case.rule.min_state_age)}"


class MinSessionAge(Guard):
    """It is not a newborn session, which likely is the retry of one that was just ended."""

    name = "min_session_age"
    heals = Heals.TIME

    def objection(self, case: Case) -> str | None:
        age, least = case.seconds_since(case.session.backend_start), case.rule.min_session_age
        if least and (age is None or age < least):
            return f"it has been connected for {duration(age)}, the rule asks for {duration(least)}"
        return None

    def value(self, case: Case) -> str:
        age = duration(case.seconds_since(case.session.backend_start))
        return f"{age} of at least {duration(case.rule.min_session_age)}"


class QueuePolicy(Guard):
    """Of a queued request and whoever is in front of it, the one that `queue_policy` does not mean.

    `self`: the request goes, and whoever is in front of it stays, where a rule allows that. `blockers`: the request
    stays, whoever is in front of it goes. `none`: both stay.
    """

    name = "queue_policy"

    def objection(self, case: Case) -> str | None:
        policy, candidate = case.settings.queue_policy, case.candidate
        if policy != "self" and not candidate.blocker.root and candidate.is_queued_request:
            return f'queue_policy = "{policy}" leaves queued requests alone'
        if policy == "none" and candidate.stands_before_a_queue:
            return 'queue_policy = "none" leaves alone who stands in front of a queued request'
        return None

    def value(self, case: Case) -> str:
        return case.settings.queue_policy
