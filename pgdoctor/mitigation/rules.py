"""What the operator allows: the `[mitigation]` table as values.

Conditions of a rule are AND. The first rule whose conditions all hold decides. An unknown value satisfies nothing:
neither an allowed name, nor the absence of a protected one.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, get_args

import msgspec

from pgdoctor.diagnosis.cause import may_be_signalled
from pgdoctor.fields import Duration, Name, Network, Qualified, Window
from pgdoctor.mitigation.match import KEYS, Subject, find_protected_name, matches_key
from pgdoctor.model.snapshot import Session
from pgdoctor.statement_pattern import StatementPattern

Mode = Literal["off", "observe", "dry_run", "enforce"]
RuleAction = Literal["cancel", "terminate", "cancel_then_terminate"]
QueuePolicy = Literal["self", "blockers", "none"]

#: A client session's `state`, as `pg_stat_activity` writes it.
State = Literal["active", "idle", "idle in transaction", "idle in transaction (aborted)", "fastpath function call"]
STATES: tuple[str, ...] = get_args(State)

#: Columns that a rule can protect by names of its own.
WHO = ("usename", "datname", "application_name")

#: A moment with its offset from UTC, on the server's clock.
Moment = Annotated[
    datetime, msgspec.Meta(tz=True, description='a moment with its offset: "2026-05-22T23:10:00+02:00", or ending in Z')
]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Limit = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Names = tuple[str, ...]


class Protect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sessions that are never signalled, whatever the rules say: any one of the values is enough."""

    usename: Names | None = None
    datname: Names | None = None
    application_name: Names | None = None
    state: tuple[State, ...] | None = None
    #: Roles that the session's user is a member of, directly or not.
    member_of: Names | None = None
    client_addr: tuple[Network, ...] | None = None
    #: Relations that it holds or asks for a lock on; a mere read counts if a session waits for it.
    relation: tuple[Qualified, ...] | None = None
    #: Found anywhere in its current or last statement.
    statement: tuple[StatementPattern, ...] | None = None

    def find_objection(self, subject: Subject) -> str | None:
        """Why this session is protected, or cannot be shown not to be; None where it is not."""
        said = (find_protected_name(key, wanted, subject) for key, wanted in rule_conditions(self))
        return next((each for each in said if each), None)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"classification": "class"}):
    """One kind of blocker that may be signalled, and when."""

    name: Name
    classification: str | Names
    action: RuleAction
    #: Sessions that the cut releases.
    min_blocked: Count = 1
    #: The same as a share of all client connections.
    min_blocked_share: Share = 0.0
    #: Only waits of these users, and of members of these roles, count; None: those of users with the privilege.
    waiter_usename: Names | None = None
    waiter_member_of: Names | None = None
    #: How long the longest of them has waited.
    min_wait: Duration = Duration(15)
    #: Age of the blocker's transaction: at least; and above `max_age` a person decides.
    min_age: Duration = Duration(0)
    max_age: Duration = Duration(6 * 3600)
    #: Time in its present state.
    min_state_age: Duration = Duration(0)
    #: Age of the session: one that was just opened is likely a retry.
    min_session_age: Duration = Duration(10)
    #: When it may act, such as while an operator is on call; None: at any time.
    active_window: tuple[Window, ...] | None = None
    #: How long a cancel has to show its effect before the rule goes on to terminate.
    grace: Duration | None = None
    #: Allowed values; None: any.
    usename: Names | None = None
    datname: Names | None = None
    application_name: Names | None = None
    state: tuple[State, ...] | None = None
    member_of: Names | None = None
    client_addr: tuple[Network, ...] | None = None
    relation: tuple[Qualified, ...] | None = None
    statement: tuple[StatementPattern, ...] | None = None
    #: Names that this rule's classes are never touched for, even where a later rule would.
    protected_usename: Names | None = None
    protected_datname: Names | None = None
    protected_application_name: Names | None = None
    #: A person has to agree to each action; None: as `[mitigation]` says.
    require_approval: bool | None = None
    approval_ttl: Duration | None = None

    @property
    def classes(self) -> Names:
        """The classes it is about."""
        return (self.classification,) if isinstance(self.classification, str) else self.classification

    @property
    def names_waiters(self) -> bool:
        """Whether it says itself whose waits count, so that their privileges are not asked for."""
        return self.waiter_usename is not None or self.waiter_member_of is not None

    def counts_wait(self, waiter: Session) -> bool:
        """Whether a wait of this session counts; of an unknown user it does not where the rule names users."""
        if self.waiter_usename is not None and waiter.usename not in self.waiter_usename:
            return False
        return self.waiter_member_of is None or not set(self.waiter_member_of).isdisjoint(waiter.roles or ())

    def is_about(self, classification: str, subject: Subject) -> bool:
        """Whether it speaks of this class, which may be signalled, and allows this session."""
        return (
            classification in self.classes
            and may_be_signalled(classification)
            and not self._names_relations_elsewhere(subject)
            and all(matches_key(key, allowed, subject) is True for key, allowed in rule_conditions(self))
        )

    def _names_relations_elsewhere(self, subject: Subject) -> bool:
        """Its relations are those of the connected database, unless it names databases; this session is in another."""
        return self.relation is not None and self.datname is None and subject.is_elsewhere

    def find_protection(self, subject: Subject) -> str | None:
        """Why its protected names forbid it, or None."""
        for column in WHO:
            names: Names | None = getattr(self, f"protected_{column}")
            if names and (said := find_protected_name(column, names, subject)):
                return said
        return None


class Breaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[mitigation.breaker]` table: what makes it stop until a person resets it."""

    #: Blockers in a row whose signals released no session.
    open_after_ineffective: Count = 2
    #: Signals in a row that the server refused, or did not answer.
    open_after_errors: Count = 3
    #: How often the same may come back within the window, this time included.
    recurrence: Count = 3
    recurrence_window: Duration = Duration(30 * 60)
    #: Waiters or connections grow by half within a minute after an action.
    open_on_worsening: bool = True


class Mitigation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[mitigation]` table."""

    mode: Mode = "off"
    #: From then on `enforce` is no more than a dry run.
    armed_until: Moment | None = None
    #: While it exists no session is signalled.
    kill_switch_file: str | None = None
    #: A queued request for a strong lock: signal it, or the session in front of it, or none.
    queue_policy: QueuePolicy = "self"
    #: After the agent's start: time for polls before the first action.
    startup_grace: Duration = Duration(30)
    #: The greatest age of a snapshot that is acted upon.
    max_sample_age: Duration = Duration(2)
    #: After an action: time for the released sessions to run before the next one.
    cooldown: Duration = Duration(15)
    max_actions_per_interval: Annotated[int, msgspec.Meta(ge=0, le=1)] = 1
    max_actions_per_5m: Limit = 3
    max_actions_per_hour: Limit = 10
    max_terminates_per_hour: Limit = 5
    #: Of the same class, relation or statement, user and application.
    max_per_fingerprint_per_hour: Limit = 2
    #: More independent incidents than this are not a matter of single sessions.
    max_roots: Count = 5
    #: The limit for the share of client connections that are blocked; beyond it one action, then an operator.
    max_blocked_fraction: Share = 0.8
    #: Polls in a row in which one session, unchanged, was found fit to be signalled.
    min_samples: Count = 3
    require_approval: bool = False
    #: How long an approval holds.
    approval_ttl: Duration = Duration(60)
    #: Backups, interactive tools, and members of the role `pgdoctor_protected`.
    protect_defaults: bool = True
    #: Signals go on while a protection names a role, database or relation that the server does not have.
    allow_unresolved_protections: bool = False
    #: An agent may act as a superuser, to which the server refuses nothing.
    allow_superuser: bool = False
    #: For rehearsals: waits below the floor, at which the server may still be looking for deadlocks.
    allow_short_waits: bool = False
    breaker: Breaker = Breaker()
    protect: tuple[Protect, ...] = ()
    rules: tuple[Rule, ...] = ()


def rule_conditions(entry: Protect | Rule) -> Iterator[tuple[str, Names]]:
    """What an entry says of sessions: the keys that it has, with their values."""
    for key in KEYS:
        wanted: Names | None = getattr(entry, key)
        if wanted is not None:
            yield key, wanted
