"""What a cause is: one file in `causes/`, found without being listed anywhere.

The strongest cause that recognises a blocker gives its class; the others that do are said as well (`also`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import ClassVar, Literal

import msgspec

from pgdoctor.diagnosis.discovery import find_classes
from pgdoctor.diagnosis.suspect import Suspect

Action = Literal["cancel", "terminate", "none"]


class Remedy(msgspec.Struct, frozen=True):
    """What to do about a blocker: the signal that helps, or none, and why."""

    action: Action
    reason: str
    #: Nobody has to do anything: it will be over by itself, in about a minute at most.
    is_over_soon: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """A cause that was recognised, with the figures that decided it."""

    evidence: tuple[str, ...]
    remedy: Remedy
    #: The table that matters for it; None: nothing better than the table that the waiters are held up on.
    relation: str | None = None
    #: What would have held up fewer people; empty where there is nothing to say.
    advice: str = ""
    #: What the waiters ask for passes from one session to the next: none of them keeps it.
    changes_hands: bool = False
    #: It may give the class. If not, it is only said as well.
    decides: bool = True


class Cause(ABC):
    """A class of blockers. Stateless; its docstring is the page that people read."""

    name: ClassVar[str]
    #: Which of the causes that recognise a blocker gives its class: the one with the lowest. No two are the same.
    #: By the evidence: from 100 on identity, 190 the queue, 200 a lock that others wait for, 400 the session's state,
    #: 500 a lock that it holds, 600 the catalogs, 700 the statement's text; 900 nothing.
    precedence: ClassVar[int]
    #: A rule may signal sessions of this class. Only where the cause says so: a new one is untouchable.
    is_signallable: ClassVar[bool] = False
    #: Why none may, where none may.
    why_untouchable: ClassVar[str] = "there is no evidence that a signal helps"
    #: Worth saying of a blocker whose class is another one.
    tells_more: ClassVar[bool] = True
    #: Tools run it, and say so here and there (see `makers`).
    has_maker: ClassVar[bool] = False

    @abstractmethod
    def judge(self, suspect: Suspect) -> Verdict | None:
        """The verdict, or None where this is not the cause."""


@cache
def causes() -> tuple[Cause, ...]:
    """One of each cause in `causes/`, in the order of their precedence.

    Raises TypeError for one that is not complete, and for two of the same precedence: rules act by class.
    """
    from pgdoctor.diagnosis import causes as folder

    found: dict[int, Cause] = {}
    for cause in (each() for each in find_classes(folder, Cause)):
        other = found.setdefault(cause.precedence, cause)
        if other is not cause:
            raise TypeError(f"causes {other.name} and {cause.name} have the same precedence, {cause.precedence}")
    return tuple(found[precedence] for precedence in sorted(found))


def classes() -> tuple[str, ...]:
    """The names of all classes, in alphabetical order: the closed set of the metrics' `class` label."""
    return tuple(sorted(cause.name for cause in causes()))


@cache
def untouchable() -> Mapping[str, str]:
    """The classes that no rule may signal, each with the reason."""
    return {cause.name: cause.why_untouchable for cause in causes() if not cause.is_signallable}


def may_be_signalled(classification: str) -> bool:
    """Whether its cause says that sessions of this class may be signalled."""
    return any(cause.name == classification and cause.is_signallable for cause in causes())
