"""Guards: reasons not to signal a blocker. One class a guard, found by looking into this folder.

A guard's docstring is its page of `pgdoctor explain`. A guard that fails counts as an objection.
"""

import sys
from functools import cache

from pgdoctor.diagnosis.discovery import find_classes
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, GuardVerdict, ask_guard


@cache
def all_guards() -> tuple[Guard, ...]:
    """One of each guard: files by their `ORDER`, then by name; within a file as its classes are written.

    Raises TypeError for an incomplete guard or a duplicate name; then no session is signalled.
    """
    return tuple(guard() for guard in find_classes(sys.modules[__name__], Guard))


def ask_guards(case: Case) -> tuple[GuardVerdict, ...]:
    """The verdicts of all guards."""
    return tuple(ask_guard(guard, case) for guard in all_guards())
