"""How often the server may be asked, by what asking costs it: a share of one core, whatever happens on it.

The gate runs at every poll, so that a lost server, the connections and the end of an incident show at once. The full
look waits until it is paid for: what is left of the share after the gate pays for the last look's seconds. The gate
may have half of the share; where even that is not enough, polls are rarer. What stands around the waits is read every
quarter of a minute, or as seldom as a tenth of the share pays for.
"""

import msgspec
from msgspec.structs import replace

#: Of the share, what the gate may have.
_GATES_PART = 0.5

#: Of the share, what reading the surroundings may have, and seconds between two times at least.
_SURVEYS_PART = 0.1
_SURVEY_INTERVAL = 15.0

#: Gates and surveys of which the quickest counts: on a busy machine one measures mostly how long it waited for its
#: turn.
_GATES = 5
_SURVEYS = 3


class Spacing(msgspec.Struct, frozen=True):
    """What asking has cost lately, in seconds of the server, and what follows from it. Clock: monotonic."""

    interval: float
    share: float
    gates: tuple[float, ...] = ()
    look: float = 0.0
    looked_at: float = float("-inf")
    surveys: tuple[float, ...] = ()
    surveyed_at: float = float("-inf")

    def after_gate(self, seconds: float) -> "Spacing":
        """With one more gate."""
        return replace(self, gates=(*self.gates, seconds)[-_GATES:])

    def after_look(self, began: float, seconds: float) -> "Spacing":
        """With one more full look."""
        return replace(self, looked_at=began, look=seconds)

    def after_survey(self, began: float, seconds: float) -> "Spacing":
        """With the surroundings read once more."""
        return replace(self, surveyed_at=began, surveys=(*self.surveys, seconds)[-_SURVEYS:])

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
        return max(self.gate_interval, self._paid_off)

    def may_look(self, now: float) -> bool:
        """The last look is paid for."""
        return self._paid_off <= self.gate_interval or now - self.looked_at >= self._paid_off

    def rested(self, now: float) -> "Spacing":
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
    def _paid_off(self) -> float:
        others = self._gate / self.gate_interval + self._survey / self.survey_interval
        return self.look / (self.share - others)
