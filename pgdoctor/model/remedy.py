"""What a cause says of a blocker: the evidence, and what to do."""

from typing import Literal

import msgspec

Action = Literal["cancel", "terminate", "none"]


class Remedy(msgspec.Struct, frozen=True):
    """What to do about a blocker: the signal that helps, or none, and why."""

    action: Action
    reason: str
    #: No action is needed: it will be over by itself, in about a minute at most.
    is_over_soon: bool = False


class Classification(msgspec.Struct, frozen=True):
    """A cause that was recognised, with the figures that decided it."""

    evidence: tuple[str, ...]
    remedy: Remedy
    #: The table that matters for it; None: nothing better than the table that the waiters are held up on.
    relation: str | None = None
    #: What would have held up fewer people; empty where there is nothing to say.
    advice: str = ""
    #: What the waiters ask for passes from one session to the next: none of them keeps it.
    changes_hands: bool = False
    #: It is true of the session for a moment only, as of all sessions of such a kind.
    is_momentary: bool = False
    #: It may give the class. If not, it is only said as well.
    decides: bool = True
