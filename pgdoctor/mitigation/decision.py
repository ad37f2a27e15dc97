"""What was decided about one blocker, with all that decided it. Pure."""

from collections.abc import Set
from typing import Literal

import msgspec

from pgdoctor.mitigation.guard import SOUND, ClearedBy, GuardVerdict
from pgdoctor.mitigation.guards import all_guards
from pgdoctor.mitigation.guards.rate_limits import ApprovalGuard
from pgdoctor.mitigation.history import Signal, WaiterKey, decision_id
from pgdoctor.mitigation.rules import Rule
from pgdoctor.model.identity import Identity
from pgdoctor.model.wait_graph import Node

#: Reasons that are not a guard's: no rule speaks of it; a request behind it is the cheaper cut; another goes first.
NO_RULE = "no_rule"
CHEAPER = "cheaper_cut"
TURN = "turn"

_HEALS = {
    NO_RULE: ClearedBy.NEVER,
    **{guard.name: guard.heals for guard in all_guards()},
    CHEAPER: ClearedBy.TIME,
    TURN: ClearedBy.PACE,
}

#: Every possible objection to an action: the closed set of the metrics' `reason` label.
REASONS = tuple(_HEALS)

#: The state of a blocker before any action on it; later states are those of its actions.
State = Literal["observed", "suppressed", "candidate", "pending_approval", "eligible"]


class Decision(msgspec.Struct, frozen=True):
    """What was decided about one blocker, with all that decided it."""

    node: Node
    pid: int | None
    prepared_gid: str | None
    classification: str
    relation: str | None
    root: bool
    usename: str | None
    datname: str | None
    application_name: str | None
    evidence: tuple[str, ...]
    transaction_seconds: float | None
    oldest_wait_seconds: float | None
    verdicts: tuple[GuardVerdict, ...]
    notes: tuple[str, ...] = ()
    #: None where no rule speaks of it.
    rule: Rule | None = None
    signal: Signal | None = None
    victim: Identity | None = None
    #: What stays the same when the same comes back.
    fingerprint: str = ""
    #: How many sessions it would release; for a root those who follow in turn as well.
    frees: int = 0
    #: Those it would release at once: on them success is judged.
    waiters: tuple[WaiterKey, ...] = ()
    #: Those that would follow in turn, where the rule asks for a number or a share of released sessions.
    counted_in_turn: tuple[int, ...] = ()

    #: The users whose waits decided, by name; and by what PIDs the server knows those waits, the longest first.
    waiting_users: tuple[str, ...] = ()
    waiting_pids: tuple[int, ...] = ()

    #: Those it would release have waited for long enough, but it is not known yet to have held them up for as long.
    lacks_known_hold: bool = False

    @property
    def objections(self) -> tuple[GuardVerdict, ...]:
        """Every objection to it."""
        return tuple(verdict for verdict in self.verdicts if verdict.objection is not None)

    @property
    def approved(self) -> bool:
        """Every guard was asked, and none objects."""
        asked = {verdict.guard for verdict in self.verdicts}
        return self.victim is not None and asked >= _HEALS.keys() and not self.objections

    @property
    def fit(self) -> bool:
        """The only objection is that it may not be its turn yet."""
        return self._blocked_only({ClearedBy.PACE})

    @property
    def sound(self) -> bool:
        """No guard objects to the session itself: at most its turn, a budget or an approval is missing."""
        return self._blocked_only(SOUND)

    @property
    def keeps_its_turn(self) -> bool:
        """No session behind it may come before it."""
        return self._blocked_only({ClearedBy.PACE, ClearedBy.RATION})

    @property
    def pending(self) -> bool:
        """Time will bring it about, and the end of what stops all of it."""
        return self._blocked_only({ClearedBy.PACE, ClearedBy.RATION, ClearedBy.TIME, ClearedBy.BRAKE})

    @property
    def awaits_known_hold(self) -> bool:
        """Nothing is missing but snapshots that show how long it holds the lock, and its turn."""
        return self.lacks_known_hold and self._blocked_only({ClearedBy.PACE, ClearedBy.TIME})

    @property
    def may_come(self) -> bool:
        """Only these objections, or a missing approval."""
        return self._blocked_only({*SOUND, ClearedBy.TIME, ClearedBy.BRAKE})

    @property
    def lasting(self) -> frozenset[str]:
        """The objections that do not pass by themselves; none while one has to be waited for that only time lifts."""
        healing = {each.guard: _HEALS[each.guard] for each in self.objections}
        if self.pending and ClearedBy.TIME in healing.values():
            return frozenset()
        return frozenset(guard for guard, heals in healing.items() if heals not in (ClearedBy.PACE, ClearedBy.TIME))

    @property
    def id(self) -> str | None:
        """What people call it, to agree to it; None where there is nothing to agree to."""
        return decision_id(self.victim, self.signal) if self.victim and self.signal else None

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.rule is None:
            return "observed"
        if self.approved:
            return "eligible"
        if [verdict.guard for verdict in self.objections] == [ApprovalGuard.name]:
            return "pending_approval"
        return "candidate" if self.may_come else "suppressed"

    def _blocked_only(self, heals: Set[ClearedBy]) -> bool:
        return self.victim is not None and all(_HEALS[verdict.guard] in heals for verdict in self.objections)
