"""What a cause is: one file in `causes/`, found without being listed anywhere.

The strongest cause that recognises a blocker gives its class; the others that do are said as well (`also`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import ClassVar

from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.discovery import find_classes
from pgdoctor.model.remedy import Classification


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
    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        """The verdict, or None where this is not the cause."""


@cache
def all_causes() -> tuple[Cause, ...]:
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


def class_names() -> tuple[str, ...]:
    """The names of all classes, in alphabetical order: the closed set of the metrics' `class` label."""
    return tuple(sorted(cause.name for cause in all_causes()))


@cache
def untouchable_classes() -> Mapping[str, str]:
    """The classes that no rule may signal, each with the reason."""
    return {cause.name: cause.why_untouchable for cause in all_causes() if not cause.is_signallable}


def may_be_signalled(classification: str) -> bool:
    """Whether its cause says that sessions of this class may be signalled."""
    return any(cause.name == classification and cause.is_signallable for cause in all_causes())
