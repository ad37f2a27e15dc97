"""Conditions of a rule, and general minimums: released sessions, their wait times, ages."""

from pgdoctor.formatting import format_duration
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import ClearedBy, Guard

#: When this file's guards are asked, before those of a higher one.
ORDER = 30

#: Named sessions whose waits do not count; the others are only counted.
_MOST_NAMED = 3

#: Multiple of deadlock_timeout that the server has to resolve a wait by itself.
DEADLOCK_TIMEOUTS = 5


class MinBlocked(Guard):
    """The signal would release fewer sessions than the rule requires."""

    name = "min_blocked"

    def find_objection(self, case: Case) -> str | None:
        freed = case.frees
        if case.candidate.frees == 0:
            return "it would free no session: all of its waiters wait for other sessions too"
        if freed == 0:
            return f"no wait of the sessions that it would free counts: {self._describe_uncounted(case)}"
        if freed < case.rule.min_blocked:
            left_out = self._describe_uncounted(case)
            but = f" ({left_out})" if left_out else ""
            return f"it would free {freed}{but}; the rule requires {case.rule.min_blocked}"
        return None

    def format_value(self, case: Case) -> str:
        left_out = self._describe_uncounted(case)
        but = f"; {left_out}" if left_out else ""
        return f"frees {case.frees} of at least {case.rule.min_blocked}{but}"

    @staticmethod
    def _describe_uncounted(case: Case) -> str:
        """Who does not count, and why: `4711 (mallory): it has no privilege …, and 3 more`."""
        found = [(each, said) for each in case.candidate.frees_at_once if (said := case.objection_to(each))]
        named = ", ".join(f"{each.pid} ({each.usename or '?'}): {said}" for each, said in found[:_MOST_NAMED])
        return f"{named}, and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else named


class MinBlockedShare(Guard):
    """The signal would release a smaller share of all client connections than the rule requires."""

    name = "min_blocked_share"

    def find_objection(self, case: Case) -> str | None:
        share, least = self._freed_share(case), case.rule.min_blocked_share
        return f"it would free {share:.0%} of all clients; the rule requires {least:.0%}" if share < least else None

    def format_value(self, case: Case) -> str:
        return f"frees {self._freed_share(case):.0%} of all clients, at least {case.rule.min_blocked_share:.0%}"

    @staticmethod
    def _freed_share(case: Case) -> float:
        clients = case.candidate.diagnosis.snapshot.server.connections
        return min(case.frees / max(clients, 1), 1.0)


class ActiveWindow(Guard):
    """The time is outside the hours in which the rule may act, by the server's clock."""

    name = "active_window"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        windows = case.rule.active_window
        if windows is None or any(window.includes_moment(case.now) for window in windows):
            return None
        return f"the rule acts only {', '.join(windows)}"

    def format_value(self, case: Case) -> str:
        return ", ".join(case.rule.active_window or ("at any time",))


class MinWait(Guard):
    """No released session has waited long enough for this blocker, by the server's own record of the start of the wait.

    Only the wait for this very session counts: a lock can change hands, and a wait for the former holder does not
    count. A session certainly holds a lock since it became idle or waits itself, or since an earlier snapshot showed
    the hold. A wait for the end of a transaction is always for one session. If an operator names the session (`mitigate
    --pid`), waits count from their start.
    """

    name = "min_wait"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        waited = case.oldest_wait
        if waited is None:
            return "the wait times of its waiters are unknown"
        if waited < case.rule.min_wait:
            return (
                f"the longest wait is {format_duration(waited)}; the "
                f"rule requires {format_duration(case.rule.min_wait)}"
            )
        if case.lacks_known_hold:
            least, held = format_duration(case.rule.min_wait), case.known_hold
            if not held:
                return (
                    f"the longest wait is {format_duration(waited)}, but "
                    "no earlier snapshot shows that it held the lock"
                )
            what = "hold the lock" if case.candidate.blocker.root else "block them"
            return f"it has been known to {what} for {format_duration(held)}; the rule requires {least}"
        return None

    def format_value(self, case: Case) -> str:
        held = "" if case.is_named else f", known to block them for {format_duration(case.known_hold)}"
        return f"{format_duration(case.oldest_wait)} of at least {format_duration(case.rule.min_wait)}{held}"


class DeadlockTimeout(Guard):
    """The server has not had enough time to find a deadlock, or to cancel a blocking autovacuum.

    It checks once in each wait, `deadlock_timeout` after the start. So the whole wait counts, for any holder of the
    lock.
    """

    name = "deadlock_timeout"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        waited, least = case.oldest_wait, self._least_wait(case)
        if case.settings.allow_short_waits or (waited is not None and waited >= least):
            return None
        return (
            f"the longest wait is {format_duration(waited)}; {DEADLOCK_TIMEOUTS} "
            f"times deadlock_timeout is {format_duration(least)}"
        )

    def format_value(self, case: Case) -> str:
        return f"{format_duration(case.oldest_wait)} of at least {format_duration(self._least_wait(case))}"

    @staticmethod
    def _least_wait(case: Case) -> float:
        return DEADLOCK_TIMEOUTS * case.candidate.diagnosis.snapshot.server.deadlock_timeout


class MinAge(Guard):
    """The transaction is too young for the rule."""

    name = "min_age"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        age, least = case.candidate.blocker.transaction_seconds, case.rule.min_age
        if least and (age is None or age < least):
            return (
                f"its transaction has been open for {format_duration(age)}; the rule requires {format_duration(least)}"
            )
        return None

    def format_value(self, case: Case) -> str:
        return (
            f"{format_duration(case.candidate.blocker.transaction_seconds)}"
            f" of at least {format_duration(case.rule.min_age)}"
        )


class MaxAge(Guard):
    """The transaction is so old that a person should decide: it may be a long job that must not be interrupted."""

    name = "max_age"

    def find_objection(self, case: Case) -> str | None:
        age, most = case.candidate.blocker.transaction_seconds, case.rule.max_age
        if age is not None and age > most:
            return (
                f"its transaction has been open for {format_duration(age)}; "
                f"above {format_duration(most)} a person decides"
            )
        return None

    def format_value(self, case: Case) -> str:
        return (
            f"{format_duration(case.candidate.blocker.transaction_seconds)}"
            f" of at most {format_duration(case.rule.max_age)}"
        )


class MinStateAge(Guard):
    """The session has not been in its present state for long enough."""

    name = "min_state_age"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        age, least = case.seconds_since(case.session.state_change), case.rule.min_state_age
        if least and (age is None or age < least):
            return (
                f"it has been {case.session.state} for {format_duration(age)}; "
                f"the rule requires {format_duration(least)}"
            )
        return None

    def format_value(self, case: Case) -> str:
        age = format_duration(case.seconds_since(case.session.state_change))
        return f"{age} of at least {format_duration(case.rule.min_state_age)}"


class MinSessionAge(Guard):
    """The session is new; it is probably the retry of a terminated one."""

    name = "min_session_age"
    heals = ClearedBy.TIME

    def find_objection(self, case: Case) -> str | None:
        age, least = case.seconds_since(case.session.backend_start), case.rule.min_session_age
        if least and (age is None or age < least):
            return f"it has been connected for {format_duration(age)}; the rule requires {format_duration(least)}"
        return None

    def format_value(self, case: Case) -> str:
        age = format_duration(case.seconds_since(case.session.backend_start))
        return f"{age} of at least {format_duration(case.rule.min_session_age)}"


class QueuePolicy(Guard):
    """The key `queue_policy` excludes this session: a queued request, or a session in front of one.

    `self`: the request is signalled; sessions in front of it are not, if a rule allows the signal to the request.
    `blockers`: sessions in front of the request are signalled, and the request is not. `none`: neither is signalled.
    Of several sessions in front, none is signalled under `blockers`: the end of one releases no session, and guards
    judge each signal alone, so that the second could be refused after the first was sent.
    """

    name = "queue_policy"

    def find_objection(self, case: Case) -> str | None:
        policy, candidate = case.settings.queue_policy, case.candidate
        if policy != "self" and not candidate.blocker.root and candidate.is_queued_request:
            return f'queue_policy = "{policy}" leaves queued requests alone'
        if policy == "none" and candidate.stands_before_a_queue:
            return 'queue_policy = "none" leaves sessions in front of a queued request alone'
        return None

    def format_value(self, case: Case) -> str:
        return case.settings.queue_policy
