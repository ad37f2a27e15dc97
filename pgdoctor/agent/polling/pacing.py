"""Spreads over time what the agent does at all of its servers, so that no poll is late because many ask at once."""

#: Seconds in which all servers get their turn: to prepare a connection for a full poll, and to read the server context.
_WARM_UP_SECONDS = 10.0
_CONTEXT_SECONDS = 7.5


class PollTurns:
    """Lets work begin at one server after the other, at all of them within `seconds`. One server alone never waits.

    Nothing waits for the end of the work, so a server that hangs holds up no other.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next_at = float("-inf")
        self.servers = 1

    def take(self, now: float) -> bool:
        """Whether work may begin now, on the monotonic clock."""
        if self.servers == 1:
            return True
        if now < self._next_at:
            return False
        self._next_at = now + self._seconds / self.servers
        return True


class Pacing:
    """What all servers of an agent take in turns."""

    def __init__(self) -> None:
        self.warm_ups = PollTurns(_WARM_UP_SECONDS)
        self.context_reads = PollTurns(_CONTEXT_SECONDS)

    def use(self, servers: int) -> None:
        """From now on there are so many servers."""
        self.warm_ups.servers = self.context_reads.servers = max(servers, 1)
