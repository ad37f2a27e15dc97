"""Blocked sessions and connections of the last hour, for the sparklines of the page. In memory, of a fixed size."""

from array import array

from pgdoctor.render.web.sparkline import RecentSeries

#: Seconds of a value, which is the highest of its polls; and how many there are: an hour.
SLOT_SECONDS = 30.0
SLOTS = 120

#: In a slot without a successful poll.
_NONE = -1


class RecentHistory:
    """Two rings of 120 integers, 960 bytes in all, whatever happens."""

    def __init__(self) -> None:
        self._blocked = array("i", [_NONE] * SLOTS)
        self._connections = array("i", [_NONE] * SLOTS)
        #: The number of the newest slot.
        self._newest = 0

    def add(self, now: float, blocked: int, connections: int) -> None:
        """Take in a successful poll. `now`: the monotonic clock."""
        self._clear_begun_slots(now)
        place = self._newest % SLOTS
        self._blocked[place] = max(self._blocked[place], blocked)
        self._connections[place] = max(self._connections[place], connections)

    def list_values(self, now: float) -> RecentSeries:
        """The values of the hour before `now`, the oldest first."""
        self._clear_begun_slots(now)
        return RecentSeries(self._order_values(self._blocked), self._order_values(self._connections), SLOT_SECONDS)

    def _clear_begun_slots(self, now: float) -> None:
        """Empty the slots that have begun since."""
        newest = int(now / SLOT_SECONDS)
        for number in range(max(self._newest + 1, newest - SLOTS + 1), newest + 1):
            self._blocked[number % SLOTS] = self._connections[number % SLOTS] = _NONE
        self._newest = max(self._newest, newest)

    def _order_values(self, ring: "array[int]") -> tuple[int | None, ...]:
        begin = (self._newest + 1) % SLOTS
        return tuple(None if value == _NONE else value for value in (*ring[begin:], *ring[:begin]))
