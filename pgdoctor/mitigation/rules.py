"""What the operator allows: the `[mitigation]` table as values, and what makes no sense in it.

Conditions of a rule are AND. The first rule decides whose conditions all hold. What is unknown satisfies nothing:
neither an allowed name, nor the absence of a protected one.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple, Self

import msgspec

from pgdoctor.diagnosis.cause import classes
from pgdoctor.diagnosis.snapshot import Session

Mode = Literal["off", "observe", "dry_run", "enforce"]
RuleAction = Literal["cancel", "terminate", "cancel_then_terminate"]

#: Columns of `pg_stat_activity` that rules and protections look at.
WHO = ("usename", "datname", "application_name")

#: Classes that no rule may act on, each with what a signal would do.
UNTOUCHABLE = {
    "autovacuum": "the server cancels an ordinary one by itself, and the other kind prevents wraparound",
    "backup": "a night without a backup is worse than a late migration",
    "hot_row": "the next in line takes its place",
    "prepared_transaction": "it has no session to signal",
    "replication": "signalling replication does more harm than the wait",
    "unknown": "doubt means no action",
}

#: How a duration is written, in words.
DURATION = 'a duration with a unit, at most a year: "500ms", "15s", "2m" or "6h"'

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,6})?)(?P<unit>ms|s|m|h)")
_LONGEST = 366 * 24 * 3600.0
_SHORTEST_GRACE = 1.0


class Duration(float):
    """Seconds; written with a unit, for Postgres reads a bare number as milliseconds and most tools as seconds."""

    @classmethod
    def parse(cls, text: object) -> Self:
        """`"500ms"`, `"15s"`, `"2m"`, `"6h"`. Raises ValueError for everything else, bare numbers too."""
        match = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if match is None or (seconds := float(match["number"]) * _UNITS[match["unit"]]) > _LONGEST:
            raise ValueError(DURATION)
        return cls(seconds)

    def __str__(self) -> str:
        """The shortest way to write it."""
        for unit in ("h", "m", "s"):
            if self >= _UNITS[unit] and self % _UNITS[unit] == 0:
                return f"{self / _UNITS[unit]:.0f}{unit}"
        return f"{self * 1000:.0f}ms" if self % 1 else f"{float(self):.0f}s"


#: A moment with its offset from UTC, on the server's clock.
Moment = Annotated[
    datetime, msgspec.Meta(tz=True, description='a moment with its offset: "2026-05-22T23:10:00+02:00", or ending in Z')
]

#: It becomes the value of a metric's label.
Name = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,64}\Z", description="up to 64 characters of a-z, 0-9, _ and -")
]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Names = tuple[str, ...]


class Protect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sessions that are never signalled, whatever the rules say: any one of the names is enough."""

    usename: Names | None = None
    datname: Names | None = None
    application_name: Names | None = None

    def objection(self, session: Session) -> str | None:
        """Why this session is protected, or cannot be shown not to be; None where it is not."""
        return _protection(session, {column: getattr(self, column) for column in WHO})


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"classification": "class"}):
    """One kind of blocker that may be signalled, and when."""

    name: Name
    classification: str | Names
    action: RuleAction
    #: Sessions that the cut releases.
    min_blocked: Count = 1
    #: How long the longest of them has waited.
    min_wait: Duration = Duration(15)
    #: Age of the blocker's transaction.
    min_age: Duration = Duration(0)
    #: How long a cancel has to show its effect before the rule goes on to terminate.
    grace: Duration | None = None
    #: Allowed names; None: any.
    usename: Names | None = None
    datname: Names | None = None
    application_name: Names | None = None
    #: Names that this rule's classes are never touched for, even where a later rule would.
    protected_usename: Names | None = None
    protected_datname: Names | None = None
    protected_application_name: Names | None = None

    @property
    def classes(self) -> Names:
        """The classes it is about."""
        return (self.classification,) if isinstance(self.classification, str) else self.classification

    def is_about(self, classification: str, session: Session) -> bool:
        """Whether it speaks of this class and allows this session's names."""
        return classification in self.classes and all(
            allowed is None or getattr(session, column) in allowed for column, allowed in self._allowed()
        )

    def protects(self, session: Session) -> str | None:
        """Why its protected names forbid it, or None."""
        return _protection(session, {column: getattr(self, f"protected_{column}") for column in WHO})

    def hides(self, later: "Rule") -> bool:
        """Whether nothing that the later rule matches is left for it."""
        return (
            set(later.classes) <= set(self.classes)
            and all(
                allowed is None or ((theirs := getattr(later, column)) is not None and set(theirs) <= set(allowed))
                for column, allowed in self._allowed()
            )
            and self.min_blocked <= later.min_blocked
            and self.min_wait <= later.min_wait
            and self.min_age <= later.min_age
        )

    def _allowed(self) -> Iterator[tuple[str, Names | None]]:
        return ((column, getattr(self, column)) for column in WHO)


class Mitigation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[mitigation]` table."""

    mode: Mode = "off"
    #: From then on `enforce` is no more than a dry run.
    armed_until: Moment | None = None
    #: After an action: time for the released sessions to run before the next one.
    cooldown: Duration = Duration(15)
    max_actions_per_hour: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10
    #: Looks in a row in which the same session, unchanged, was found fit to be signalled.
    min_samples: Count = 3
    protect: tuple[Protect, ...] = ()
    rules: tuple[Rule, ...] = ()


class Mistake(NamedTuple):
    """What is wrong with one key; `value` None: that the key is missing."""

    key: str
    value: object
    allowed: str


def mistakes(settings: Mitigation) -> Iterator[Mistake]:
    """What is well formed and makes no sense."""
    for place, entry in enumerate(settings.protect):
        yield from _mistaken_protection(f"protect[{place}]", entry)
    for place, rule in enumerate(settings.rules):
        found = list(_mistaken_rule(f"rules[{place}]", rule))
        yield from found or _unreachable(f"rules[{place}]", rule, settings.rules[:place])


def _protection(session: Session, protected: dict[str, Names | None]) -> str | None:
    for column, names in protected.items():
        if not names:
            continue
        value = getattr(session, column)
        if value is None:
            return f"its {column} is unknown, so it may be protected"
        if value in names:
            return f"{column} {value} is protected"
    return None


def _mistaken_protection(where: str, entry: Protect) -> Iterator[Mistake]:
    if all(getattr(entry, column) is None for column in WHO):
        yield Mistake(where, {}, f"at least one of {', '.join(WHO)}: an entry without any would protect nobody")
    yield from _empty_lists(where, entry, WHO)


def _mistaken_rule(where: str, rule: Rule) -> Iterator[Mistake]:
    yield from _empty_lists(where, rule, [*WHO, *(f"protected_{column}" for column in WHO)])
    known = classes()
    if not rule.classes:
        yield Mistake(f"{where}.class", [], f"one or more of {', '.join(known)}")
    for name in rule.classes:
        if name not in known:
            yield Mistake(f"{where}.class", name, f"one of {', '.join(known)}")
        elif name in UNTOUCHABLE:
            yield Mistake(f"{where}.class", name, f"no action is ever taken on it: {UNTOUCHABLE[name]}")
    if rule.action != "terminate" and "idle_in_transaction" in rule.classes:
        why = 'for class idle_in_transaction only "terminate": a cancel has no effect on an idle session'
        yield Mistake(f"{where}.action", rule.action, why)
    if rule.action == "cancel_then_terminate" and rule.grace is None:
        yield Mistake(f"{where}.grace", None, 'action "cancel_then_terminate" needs it, such as grace = "10s"')
    elif rule.grace is not None and rule.grace < _SHORTEST_GRACE:
        yield Mistake(f"{where}.grace", str(rule.grace), "at least 1s: a rollback takes its time")
    if rule.action != "cancel_then_terminate" and rule.grace is not None:
        yield Mistake(f"{where}.grace", str(rule.grace), 'only with action "cancel_then_terminate"')


def _empty_lists(where: str, entry: Protect | Rule, columns: Sequence[str]) -> Iterator[Mistake]:
    for column in columns:
        if getattr(entry, column) == ():
            yield Mistake(f"{where}.{column}", [], "at least one name; leave the key out to say nothing about it")


def _unreachable(where: str, rule: Rule, earlier: Sequence[Rule]) -> Iterator[Mistake]:
    for other in earlier:
        if other.name == rule.name:
            yield Mistake(f"{where}.name", rule.name, "a name that no other rule has")
        elif other.hides(rule):
            why = f"nothing is left for it: the earlier rule {other.name!r} decides whatever it matches"
            yield Mistake(where, rule.name, why)
