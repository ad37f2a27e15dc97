"""What a cause is: one file in `causes/`, found without being listed anywhere.

The strongest cause that recognises a blocker gives its class; the others that do are said as well (`also`).
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from enum import IntEnum
from functools import cache
from typing import ClassVar, Literal

import msgspec

from pgdoctor.diagnosis.suspect import Suspect

Action = Literal["cancel", "terminate", "none"]


class Strength(IntEnum):
    """What a cause is recognised by, the strongest evidence first."""

    IDENTITY = 1
    CONTESTED_LOCK = 2
    QUEUE = 3
    STATE = 4
    HELD_LOCK = 5
    CATALOG = 6
    STATEMENT = 7
    NOTHING = 8


class Remedy(msgspec.Struct, frozen=True):
    """What to do about a blocker: the signal that helps, or none, and why."""

    action: Action
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """A cause that was recognised, with the figures that decided it."""

    evidence: tuple[str, ...]
    remedy: Remedy
    #: The table that matters for it; None: nothing better than the table that the waiters are held up on.
    relation: str | None = None
    #: What would have held up fewer people; empty where there is nothing to say.
    advice: str = ""


class Cause(ABC):
    """A class of blockers. Stateless; its docstring is the page that people read."""

    name: ClassVar[str]
    strength: ClassVar[Strength]
    #: Worth saying of a blocker whose class is another one.
    tells_more: ClassVar[bool] = True
    #: Tools run it, and say so here and there (see `makers`).
    has_maker: ClassVar[bool] = False

    @abstractmethod
    def judge(self, suspect: Suspect) -> Verdict | None:
        """The verdict, or None where this is not the cause."""


@cache
def causes() -> tuple[Cause, ...]:
    """One of each cause in `causes/`, the strongest first."""
    from pgdoctor.diagnosis import causes as room

    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{module.name}")
    found = [cause() for cause in Cause.__subclasses__()]
    return tuple(sorted(found, key=lambda cause: (cause.strength, cause.name)))


def classes() -> tuple[str, ...]:
    """The names of all classes, in alphabetical order: the closed set of the metrics' `class` label."""
    return tuple(sorted(cause.name for cause in causes()))
