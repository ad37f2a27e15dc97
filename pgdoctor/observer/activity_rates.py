"""Transactions per second and deadlocks, from one reading of the activity to the next."""

from collections import deque
from datetime import datetime

import msgspec

from pgdoctor.model.activity import Activity, ActivityRates, DatabaseCounters

#: Seconds over which transactions are counted: a session reports its own once a second.
_WINDOW = 5.0
_SHORTEST = 1.0


class ActivityRateObserver:
    """Remembers the readings of the last seconds. Another connection needs another one."""

    def __init__(self) -> None:
        self._before: Activity | None = None
        #: When, and how many transactions of others were counted by then.
        self._totals: deque[tuple[datetime, int]] = deque()
        self._transactions = self._deadlocks = 0
        #: Of our own session, which the server has not counted yet: it does so once in a while, many at a time.
        self._own_uncounted = 0

    def observe(self, activity: Activity) -> ActivityRates:
        """The rates as of this reading, without our own transactions."""
        if self._before is not None:
            self._add_counters(self._before, activity)
        self._before = msgspec.structs.replace(activity, sessions=())
        now = activity.captured_at
        self._totals.append((now, self._transactions))
        while len(self._totals) > 2 and (now - self._totals[0][0]).total_seconds() > _WINDOW:
            self._totals.popleft()
        began, earlier = self._totals[0]
        seconds = (now - began).total_seconds()
        known = (self._transactions - earlier) / seconds if seconds >= _SHORTEST else None
        return ActivityRates(known, self._deadlocks)

    def _add_counters(self, before: Activity, now: Activity) -> None:
        counted = _subtract_counters(before, now)
        self._own_uncounted += now.own_transactions - before.own_transactions
        own = min(counted.transactions, self._own_uncounted)
        self._own_uncounted -= own
        self._transactions += counted.transactions - own
        self._deadlocks += counted.deadlocks


def _subtract_counters(before: Activity, now: Activity) -> DatabaseCounters:
    """What databases that are in both readings have counted in between; one whose statistics were reset counts 0."""
    transactions = deadlocks = 0
    for oid, counters in now.counters.items():
        earlier = before.counters.get(oid, counters)
        transactions += max(counters.transactions - earlier.transactions, 0)
        deadlocks += max(counters.deadlocks - earlier.deadlocks, 0)
    return DatabaseCounters(transactions, deadlocks)
