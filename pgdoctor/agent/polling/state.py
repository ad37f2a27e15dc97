"""What the agent knows: one immutable value a poll, which metrics, health, page and /diagnosis read."""

from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
from msgspec.structs import replace

from pgdoctor.diagnosis.cause import class_names
from pgdoctor.formatting import format_address, format_name
from pgdoctor.model.diagnosis import Diagnosis
from pgdoctor.model.snapshot import Login, ServerInfo
from pgdoctor.model.waits import oldest_wait

#: Polls that may be missed before what was found counts as too old.
MISSED_POLLS = 3

#: Seconds at least: a machine that is busy for a moment is no outage, however short the interval.
_PATIENCE = 1.0


class Figures(msgspec.Struct, frozen=True):
    """A diagnosis in numbers: of the sessions that have been blocked for the threshold, and of their blockers.

    Every class is there, with 0 where there is none of it.
    """

    blockers: Mapping[str, int]
    blocked_by_class: Mapping[str, int]
    oldest_transaction: Mapping[str, float]
    blocked_sessions: int = 0
    oldest_wait: float = 0.0
    #: Sessions from the deepest waiter to its root.
    depth: int = 0
    #: Groups of sessions that wait for each other in a circle.
    cycles: int = 0
    #: The class of the root with the widest reach; None where no session waits.
    leading: str | None = None


class ServerState(msgspec.Struct, frozen=True):
    """What the last poll found, or why it found nothing.

    Clock: Unix time; monotonic for `tried_at`, `found_at` and `looked_at`.
    """

    #: One of the connection's STATES; empty before the first attempt has ended.
    connection: str = ""
    #: Why there is no diagnosis, in one line.
    error: str | None = "not polled yet"
    #: As of the last poll.
    server: ServerInfo | None = None
    #: As of the last poll, or of `looked_at` while full polls are less frequent.
    diagnosis: Diagnosis | None = None
    figures: Figures | None = None
    #: Connections and max_connections, of the last poll that succeeded.
    slots: tuple[int, int] | None = None
    #: None: the login probe is switched off, or the server cannot be asked.
    login: Login | None = None
    last_success: float | None = None
    last_attempt: float | None = None
    tried_at: float = 0.0
    found_at: float = 0.0
    looked_at: float = 0.0
    #: The moment of `looked_at` in Unix time; None: there was no full poll yet.
    looked_time: float | None = None
    #: How unusual each signal is; empty before anything is known.
    scores: Mapping[str, float] = {}
    #: Seconds that the server took to answer.
    latency: float = 0.0
    #: Seconds that all of the poll took; while the full poll is running, what it may take.
    duration: float = 0.0

    @property
    def up(self) -> bool:
        """The last poll succeeded."""
        return self.diagnosis is not None

    @property
    def is_blind(self) -> bool:
        """Our role may not see what other sessions do."""
        return self.server is not None and self.server.hidden_sessions > 0

    @property
    def _place(self) -> str:
        server = self.server
        if server is None or server.host is None:
            return ""
        return f"connection to {format_address(server.host, server.port)} as {format_name(server.user)}: "

    def as_of(self, now: float, interval: float, deadline: float) -> "ServerState":
        """This state as it is to be shown at a moment: results are dropped when they are too old.

        A poll that takes longer than the interval is late, not lost; but gate and full poll each have the deadline.
        """
        age = now - self.found_at
        slow = min(MISSED_POLLS * self.duration, interval + 2 * deadline)
        if not self.up or age <= max(MISSED_POLLS * interval, slow, _PATIENCE):
            return self
        return ServerState(
            connection="timeout",
            error=f"{self._place}no answer for {age:.0f} s",
            slots=self.slots,
            last_success=self.last_success,
            last_attempt=self.last_attempt,
            looked_time=self.looked_time,
            tried_at=self.tried_at,
        )


@cache
def _no_figures() -> Figures:
    none = dict.fromkeys(class_names(), 0)
    return Figures(none, none, dict.fromkeys(none, 0.0))


def compute_figures(diagnosis: Diagnosis | None, threshold: float = 0.0) -> Figures:
    """The numbers of a diagnosis, of sessions blocked for `threshold` seconds or more; zeros where there is none."""
    if diagnosis is None or not diagnosis.blockers:
        return _no_figures()
    names = class_names()
    oldest = dict.fromkeys(names, 0.0)
    snapshot, graph = diagnosis.snapshot, diagnosis.graph
    waiters = diagnosis.find_blocked(threshold)
    counted = graph.ahead_of(waiters)
    nodes: dict[str, list[int]] = {name: [] for name in names}
    for blocker in diagnosis.blockers:
        if blocker.node in counted:
            name = blocker.classification
            nodes[name].append(blocker.node)
            oldest[name] = max(oldest[name], blocker.transaction_seconds or 0.0)
    return Figures(
        blockers={name: len(found) for name, found in nodes.items()},
        blocked_by_class={
            name: len(waiters.intersection(graph.iterate_behind(*found))) for name, found in nodes.items()
        },
        oldest_transaction=oldest,
        blocked_sessions=len(waiters),
        oldest_wait=oldest_wait(snapshot, (snapshot.sessions[pid] for pid in waiters)) or 0.0,
        depth=max(map(graph.measure_depth, waiters), default=0),
        cycles=sum(not waiters.isdisjoint(cycle) for cycle in graph.cycles),
        # Blockers come roots first, the widest reach first.
        leading=next((each.classification for each in diagnosis.blockers if each.node in counted), None),
    )


def add_gate(found: Figures, blocked: Sequence[float], waiting: int, threshold: float) -> Figures:
    """The numbers of an earlier diagnosis as of a gate poll, so that the two never contradict each other.

    `blocked`: for how many seconds each waiting statement has been blocked at least. `waiting`: how many sessions the
    gate counts. The classes are those of the diagnosis; where it found no session blocked, they are not known yet.
    """
    longest = max(blocked, default=0.0)
    if not waiting or (not found.blocked_sessions and longest < threshold):
        return compute_figures(None)
    if found.blocked_sessions:
        return replace(found, blocked_sessions=waiting, oldest_wait=longest)
    by_class = {**found.blocked_by_class, "unknown": waiting}
    return replace(found, blocked_by_class=by_class, blocked_sessions=waiting, oldest_wait=longest, leading="unknown")
