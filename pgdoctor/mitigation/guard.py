"""What a guard is: one class in `guards/`, one reason for not signalling."""

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar

import msgspec

from pgdoctor.mitigation.candidate import Case


class ClearedBy(Enum):
    """What may lift an objection while the session stays as it is."""

    NEVER = "nothing"
    TIME = "time"
    BRAKE = "the end of a general stop; it is not an objection to the session"
    PACE = "time; it is not an objection to the session, whose turn comes later"
    RATION = "time; until then no other session is signalled in its place"
    PERSON = "an approval or reset by a person; other sessions may be signalled first"


#: Objections that do not concern the session itself: it still counts as fit, poll after poll.
SOUND = frozenset({ClearedBy.PACE, ClearedBy.RATION, ClearedBy.PERSON})


class Guard(ABC):
    """One reason for not signalling. Stateless; its name is the value of a metric's label."""

    name: ClassVar[str]
    heals: ClassVar[ClearedBy] = ClearedBy.NEVER

    @abstractmethod
    def find_objection(self, case: Case) -> str | None:
        """Why not, with the figures that decided it; None where this guard has nothing to say."""

    @abstractmethod
    def format_value(self, case: Case) -> str:
        """The value that it examined, for the record of a decision, whatever its verdict."""


class GuardVerdict(msgspec.Struct, frozen=True):
    """The verdict of one guard. `objection` None: it has none. `value`: the value that it examined."""

    guard: str
    objection: str | None
    value: str = ""


def ask_guard(guard: Guard, case: Case) -> GuardVerdict:
    """What one guard says; that it failed, where it fails: a guard that cannot judge must not let pass."""
    try:
        return GuardVerdict(guard.name, guard.find_objection(case), guard.format_value(case))
    except Exception as error:  # noqa: BLE001
        return GuardVerdict(guard.name, f"the guard failed with {type(error).__name__}")
