"""How often the server is polled, by the server time that polls take: a share of one core over a minute.

The gate runs at every poll, so that a lost server, the connections and the end of an incident show at once. It may
take half of the share; above that, polls become less frequent. Where it takes more than 3 % of the share to count all
sessions, they are counted less frequently, and only waiters are read in between. A full poll runs as soon as the rest
of the share has paid for the one before. The server context is read every 15 s, logins that wait are counted every
3 s; each becomes less frequent above a tenth of the share. A twentieth is kept in reserve, so that an expensive full
poll does not delay the next one.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

#: Of the share, what the gate may take.
_GATES_PART = 0.5

#: Of the share, what counting all sessions may take.
_COUNTS_PART = 0.03

#: Of the share, what reading the server context may take, and the least seconds between two reads.
_SURVEYS_PART = 0.1
_SURVEY_INTERVAL = 15.0

#: Of the share, what counting the logins that wait may take, and the least seconds between two counts.
_LOGINS_PART = 0.1
_LOGINS_INTERVAL = 3.0

#: Of the share, the reserve for full polls, and the seconds over which the share holds.
_RESERVE = 0.05
_KEPT_OVER = 60.0

#: Bytes of rows up to which only the statements of a full poll determine its cost.
_FEW_BYTES = 16_384

#: Of so many measurements the quickest counts: on a busy machine the others contain time spent waiting for a CPU.
_GATES = 5
_FULL_POLLS = 5
_SURVEYS = 3

#: Measurements that are needed before a cost makes anything less frequent. The first one on a cold server may take a
#: hundred times as long as the next: it alone would put off the second poll for a minute.
_FEWEST = 3


class PollCost(msgspec.Struct, frozen=True):
    """The cost of one full poll: its seconds, and the bytes of its rows."""

    seconds: float
    size: int

    def would_take(self, size: int) -> float:
        """At most so many seconds for a full poll of `size` bytes: in proportion for a larger one, else as measured."""
        return self.seconds * max(1.0, size / max(self.size, _FEW_BYTES))


class PollBudget(msgspec.Struct, frozen=True):
    """The recent cost of polls in server seconds, and the intervals that follow from it. Clock: monotonic."""

    interval: float
    share: float
    gates: tuple[float, ...] = ()
    full_polls: tuple[PollCost, ...] = ()
    #: The cost charged for the last full poll.
    full_poll_seconds: float = 0.0
    #: Server seconds that were still unpaid when it ended.
    owed: float = 0.0
    full_poll_at: float = float("-inf")
    surveys: tuple[float, ...] = ()
    surveyed_at: float = float("-inf")
    login_checks: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    counted_at: float = float("-inf")
    logins_checked_at: float = float("-inf")

    def after_gate(self, seconds: float) -> "PollBudget":
        """The budget after one more gate statement."""
        return replace(self, gates=(*self.gates, seconds)[-_GATES:])

    def after_full_poll(self, began: float, seconds: float, size: int | None = None) -> "PollBudget":
        """The budget after one more full poll. `size`: bytes of its rows; None: it failed, all its time is charged."""
        if size is None:
            return self._charge_poll(began, seconds)
        costs = (*self.full_polls, PollCost(seconds, size))[-_FULL_POLLS:]
        return replace(self._charge_poll(began, min(cost.would_take(size) for cost in costs)), full_polls=costs)

    def _charge_poll(self, began: float, seconds: float) -> "PollBudget":
        return replace(self, full_poll_at=began, full_poll_seconds=seconds, owed=self._seconds_owed(began) + seconds)

    def after_context_read(self, began: float, seconds: float) -> "PollBudget":
        """The budget after one more read of the server context."""
        return replace(self, surveyed_at=began, surveys=(*self.surveys, seconds)[-_SURVEYS:])

    def after_login_check(self, began: float, seconds: float) -> "PollBudget":
        """The budget after one more count of waiting logins."""
        return replace(self, logins_checked_at=began, login_checks=(*self.login_checks, seconds)[-_SURVEYS:])

    def after_count(self, began: float, seconds: float) -> "PollBudget":
        """With one more gate that has counted all sessions."""
        return replace(self, counted_at=began, counts=(*self.counts, seconds)[-_SURVEYS:])

    def may_count(self, now: float) -> bool:
        """Counting all sessions is cheap, or the last time is paid for."""
        return self.count_interval <= self.interval or now - self.counted_at >= self.count_interval

    def may_check_logins(self, now: float) -> bool:
        """The next count of waiting logins is due, and the last one is paid for."""
        return now - self.logins_checked_at >= self._logins_interval

    def may_read_context(self, now: float) -> bool:
        """The next read of the server context is due, and the last one is paid for."""
        return now - self.surveyed_at >= self.survey_interval

    @property
    def gate_interval(self) -> float:
        """Seconds from one poll to the next."""
        return max(self.interval, self._gate / (self.share * _GATES_PART))

    @property
    def full_poll_interval(self) -> float:
        """Seconds from one full poll to the next while sessions wait."""
        return max(self.gate_interval, self.full_poll_seconds / self._full_poll_rate)

    def may_poll_fully(self, now: float) -> bool:
        """Full polls fit into the budget, or the unpaid cost fits into the reserve."""
        reserve = self.share * _RESERVE * _KEPT_OVER
        return self.full_poll_seconds <= self._full_poll_rate * self.gate_interval or self._seconds_owed(now) <= reserve

    def without_paid_poll(self, now: float) -> "PollBudget":
        """The budget without the last full poll once that is paid for: it delays nothing any more."""
        return replace(self, full_poll_seconds=0.0) if self.full_poll_seconds and self.may_poll_fully(now) else self

    @property
    def _gate(self) -> float:
        return _find_usual(self.gates)

    @property
    def _count(self) -> float:
        return _find_usual(self.counts)

    @property
    def count_interval(self) -> float:
        """Seconds from one count of all sessions to the next; shorter than a poll's: at each poll."""
        return self._count / (self.share * _COUNTS_PART)

    @property
    def _survey(self) -> float:
        return _find_usual(self.surveys)

    @property
    def survey_interval(self) -> float:
        """Seconds from one read of the server context to the next."""
        return max(_SURVEY_INTERVAL, self._survey / (self.share * _SURVEYS_PART))

    @property
    def _login_check(self) -> float:
        return _find_usual(self.login_checks)

    @property
    def _logins_interval(self) -> float:
        return max(_LOGINS_INTERVAL, self._login_check / (self.share * _LOGINS_PART))

    def _seconds_owed(self, now: float) -> float:
        return max(self.owed - self._full_poll_rate * (now - self.full_poll_at), 0.0) if self.owed else 0.0

    @property
    def _full_poll_rate(self) -> float:
        """Server seconds that full polls may take in each second."""
        others = self._gate / self.gate_interval + self._survey / self.survey_interval
        others += self._login_check / self._logins_interval
        if self.count_interval > self.gate_interval:
            others += self._count / self.count_interval
        return self.share * (1 - _RESERVE) - others


def _find_usual(seconds: Sequence[float]) -> float:
    """What something costs as a rule; 0 while that is not known."""
    return min(seconds) if len(seconds) >= _FEWEST else 0.0
