"""How often the server is polled, by the server time that polls take: a share of one core over a minute.

The gate runs at every poll, so that a lost server, the connections and the end of an incident show at once. It may
take half of the share; above that, polls become less frequent. A full poll runs as soon as the rest of the share has
paid for the one before. The server context is read every 15 s, logins that wait are counted every 3 s; each becomes
less frequent above a tenth of the share. A twentieth is kept in reserve, so that an expensive full poll does not delay
the next one.
"""

import msgspec
from msgspec.structs import replace

#: Of the share, what the gate may take.
_GATES_PART = 0.5

#: Of the share, what reading the server context may take, and the least seconds between two reads.
_SURVEYS_PART = 0.1
_SURVEY_INTERVAL = 15.0

#: Of the share, what counting the logins that wait may take, and the least seconds between two counts.
_LOGINS_PART = 0.1
_LOGINS_INTERVAL = 3.0

#: Of the share, the reserve for full polls, and the seconds over which the share holds.
_RESERVE = 0.05
_KEPT_OVER = 60.0

#: Bytes of rows up to which a look costs what its statements cost.
_FEW_BYTES = 16_384

#: Gates, looks and surveys of which the quickest counts: on a busy machine one measures mostly how long it waited for
#: its turn.
_GATES = 5
_LOOKS = 5
_SURVEYS = 3


class PollCost(msgspec.Struct, frozen=True):
    """One full look: its seconds, and the bytes of its rows."""

    seconds: float
    size: int

    def would_take(self, size: int) -> float:
        """Seconds at most for one of another size: a bigger one is dearer by as much, a smaller one as dear."""
        return self.seconds * max(1.0, size / max(self.size, _FEW_BYTES))


class PollBudget(msgspec.Struct, frozen=True):
    """What asking has cost lately, in seconds of the server, and what follows from it. Clock: monotonic."""

    interval: float
    share: float
    gates: tuple[float, ...] = ()
    looks: tuple[PollCost, ...] = ()
    #: What the last one is charged with.
    look: float = 0.0
    #: What was not paid for after it.
    owed: float = 0.0
    looked_at: float = float("-inf")
    surveys: tuple[float, ...] = ()
    surveyed_at: float = float("-inf")
    login_checks: tuple[float, ...] = ()
    logins_checked_at: float = float("-inf")

    def after_gate(self, seconds: float) -> "PollBudget":
        """With one more gate."""
        return replace(self, gates=(*self.gates, seconds)[-_GATES:])

    def after_look(self, began: float, seconds: float, size: int | None = None) -> "PollBudget":
        """With one more full look. `size`: bytes of its rows; None: it failed, and is charged with all that it took."""
        if size is None:
            return self._charge_poll(began, seconds)
        looks = (*self.looks, PollCost(seconds, size))[-_LOOKS:]
        return replace(self._charge_poll(began, min(each.would_take(size) for each in looks)), looks=looks)

    def _charge_poll(self, began: float, seconds: float) -> "PollBudget":
        return replace(self, looked_at=began, look=seconds, owed=self._seconds_owed(began) + seconds)

    def after_survey(self, began: float, seconds: float) -> "PollBudget":
        """With the surroundings read once more."""
        return replace(self, surveyed_at=began, surveys=(*self.surveys, seconds)[-_SURVEYS:])

    def after_login_check(self, began: float, seconds: float) -> "PollBudget":
        """With one more look for logins that wait."""
        return replace(self, logins_checked_at=began, login_checks=(*self.login_checks, seconds)[-_SURVEYS:])

    def may_check_logins(self, now: float) -> bool:
        """It is time to look for logins that wait, and the last time is paid for."""
        return now - self.logins_checked_at >= self._logins_interval

    def may_survey(self, now: float) -> bool:
        """It is time to read the surroundings, and the last time is paid for."""
        return now - self.surveyed_at >= self.survey_interval

    @property
    def gate_interval(self) -> float:
        """Seconds from one poll to the next."""
        return max(self.interval, self._gate / (self.share * _GATES_PART))

    @property
    def look_interval(self) -> float:
        """Seconds from one full look to the next, as long as there is something to look at."""
        return max(self.gate_interval, self.look / self._looks_rate)

    def may_look(self, now: float) -> bool:
        """Looks are cheap, or all but what was laid by is paid for."""
        laid_by = self.share * _RESERVE * _KEPT_OVER
        return self.look <= self._looks_rate * self.gate_interval or self._seconds_owed(now) <= laid_by

    def rested(self, now: float) -> "PollBudget":
        """Without the last look once it is paid for: whatever it cost, it holds nothing up any more."""
        return replace(self, look=0.0) if self.look and self.may_look(now) else self

    @property
    def _gate(self) -> float:
        return min(self.gates, default=0.0)

    @property
    def _survey(self) -> float:
        return min(self.surveys, default=0.0)

    @property
    def survey_interval(self) -> float:
        """Seconds from one reading of the surroundings to the next."""
        return max(_SURVEY_INTERVAL, self._survey / (self.share * _SURVEYS_PART))

    @property
    def _login_check(self) -> float:
        return min(self.login_checks, default=0.0)

    @property
    def _logins_interval(self) -> float:
        return max(_LOGINS_INTERVAL, self._login_check / (self.share * _LOGINS_PART))

    def _seconds_owed(self, now: float) -> float:
        return max(self.owed - self._looks_rate * (now - self.looked_at), 0.0) if self.owed else 0.0

    @property
    def _looks_rate(self) -> float:
        """Seconds of the server that full looks may take in a second."""
        others = self._gate / self.gate_interval + self._survey / self.survey_interval
        others += self._login_check / self._logins_interval
        return self.share * (1 - _RESERVE) - others
