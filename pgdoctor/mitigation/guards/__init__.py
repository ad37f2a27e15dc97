"""What speaks against signalling a blocker. One class a guard, found by looking into this folder.

A guard's docstring is what people read about it. A guard that fails counts as an objection.
"""

import sys
from functools import cache

from pgdoctor.diagnosis.discovery import find_classes
from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Verdict, judged


@cache
def guards() -> tuple[Guard, ...]:
    """One of each guard: files by their `ORDER`, then by name; within a file as its classes are written.

    Raises TypeError for a guard that is not complete, or has another one's name: nobody is signalled without it.
    """
    return tuple(guard() for guard in find_classes(sys.modules[__name__], Guard))


def judge(case: Case) -> tuple[Verdict, ...]:
    """What every guard says."""
    return tuple(judged(guard, case) for guard in guards())
