"""The diagnosis: who blocks, why, how many stand behind, and what to do. Plain values."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from pgdoctor.model.lazy import lazy
from pgdoctor.model.remedy import Remedy
from pgdoctor.model.snapshot import Session, Snapshot
from pgdoctor.model.wait_graph import Node, WaitGraph
from pgdoctor.model.waits import long_waiters


class Blocker(msgspec.Struct, frozen=True):
    """A session, or a prepared transaction (`pid` None, `gid` set), that others wait for."""

    node: Node
    pid: int | None
    gid: str | None
    #: None for a prepared transaction.
    session: Session | None
    #: One of the classes of the interface.
    classification: str
    also: tuple[str, ...]
    root: bool
    in_cycle: bool
    relation: str | None
    directly_blocked: int
    #: Sessions that stand behind it directly or through others.
    blocked_sessions: int
    transaction_seconds: float | None
    #: The longest wait among its direct waiters; None where no wait has a known beginning.
    oldest_wait_seconds: float | None
    #: It is certain which sessions its end releases: all of them wait for whole tables, whose holders are known.
    is_exact: bool
    evidence: tuple[str, ...]
    recommendation: Remedy
    #: What would have held up fewer people; empty where there is nothing to say.
    advice: str = ""
    #: The migration tool that it belongs to, where that shows.
    maker: str | None = None
    #: Why the server refuses our role the recommended signal, and what to do instead; None where it would not.
    not_permitted: str | None = None
    #: Waiters that its end may not release: other sessions may hold the row too, and the server shows one at a time.
    uncertain_waiters: frozenset[Node] = frozenset()
    #: Those others, by PID.
    may_hold_too: tuple[int, ...] = ()
    #: That in a sentence; None: no other session may hold its rows.
    release_uncertain: str | None = None
    #: Its end by itself may release no session: all releases are uncertain.
    may_free_nobody: bool = False
    #: What its waiters ask for passes from one session to the next.
    changes_hands: bool = False
    #: Since when one of its direct waiters has been blocked: with certainty, and at the earliest.
    blocked_since: datetime | None = None
    blocked_since_earliest: datetime | None = None


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong beside locks, or that could not be seen. `severity` is info, warning or critical."""

    kind: str
    severity: str
    summary: str
    advice: str
    #: The figures that decided it, by name.
    numbers: Mapping[str, float] = {}
    #: Who or what it is about, a line each.
    evidence: tuple[str, ...] = ()


class Diagnosis(msgspec.Struct, frozen=True, dict=True):
    """All that can be said of one snapshot. Blockers: roots first, the widest reach first."""

    snapshot: Snapshot
    graph: WaitGraph
    blockers: tuple[Blocker, ...]
    findings: tuple[Finding, ...]

    @property
    def captured_at(self) -> datetime:
        """The server's clock at the snapshot."""
        return self.snapshot.captured_at

    @property
    def blocked_sessions(self) -> int:
        """How many sessions wait for another one."""
        return len(self.graph.waiters)

    @lazy
    def incident_users(self) -> tuple[tuple[frozenset[Node], frozenset[str | None]], ...]:
        """The sessions of each independent incident, and their users; None: one is not known."""
        sessions = self.snapshot.sessions
        return tuple(
            (incident, frozenset(sessions[node].usename if node in sessions else None for node in incident))
            for incident in self.graph.incident_members
        )

    @lazy
    def incidents_of_one_user(self) -> Mapping[str, int]:
        """How many incidents a user has in which it blocks only itself."""
        alone = (next(iter(users)) for _, users in self.incident_users if len(users) == 1)
        return Counter(user for user in alone if user is not None)

    def locate_blocker(self, blocker: Blocker) -> str | None:
        """Its relation; with its database, where that is not the connected one: `billing: public.orders`."""
        database = blocker.session.datname if blocker.session else None
        is_elsewhere = database is not None and self.snapshot.server.database not in (None, database)
        return f"{database}: {blocker.relation}" if blocker.relation and is_elsewhere else blocker.relation

    def find_blocked(self, least_seconds: float) -> frozenset[Node]:
        """The sessions that have been blocked for so long; where a lock changes hands, the whole queue for it.

        There no wait lasts, and all move together: one statement in the queue that is old enough counts for all.
        """
        slow = (node for node in self._moving_roots() if self._is_slow(node, least_seconds))
        return long_waiters(self.snapshot, self.graph, least_seconds).union(self.graph.iterate_behind(*slow))

    def find_moving(self) -> frozenset[Node]:
        """The sessions in the queues for locks that change hands: they have been blocked for longer than they wait."""
        return frozenset(self.graph.iterate_behind(*self._moving_roots()))

    def _moving_roots(self) -> Iterator[Node]:
        return (blocker.node for blocker in self.blockers if blocker.root and blocker.changes_hands)

    def _is_slow(self, root: Node, least_seconds: float) -> bool:
        """One of the statements behind it may have been blocked for so long."""
        sessions = (self.snapshot.sessions[node] for node in self.graph.iterate_behind(root))
        return any((self.snapshot.blocked_bounds[each.pid].most or 0.0) >= least_seconds for each in sessions)
