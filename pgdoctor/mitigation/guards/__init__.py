"""What speaks against signalling a blocker. One class a guard; a new one is found without being listed anywhere.

A guard's docstring is what people read about it. A guard that fails counts as an objection.
"""

from functools import cache

from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Verdict, judged
from pgdoctor.mitigation.guards import brakes, never, pace, protection, terms

#: The files of guards, in the order in which they are asked.
FILES = (never, protection, terms, brakes, pace)


@cache
def guards() -> tuple[Guard, ...]:
    """One of each guard, in the order they stand in their files."""
    names = [file.__name__ for file in FILES]
    found = [guard for guard in Guard.__subclasses__() if guard.__module__ in names]
    return tuple(guard() for guard in sorted(found, key=lambda guard: names.index(guard.__module__)))


def judge(case: Case) -> tuple[Verdict, ...]:
    """What every guard says."""
    return tuple(judged(guard, case) for guard in guards())
