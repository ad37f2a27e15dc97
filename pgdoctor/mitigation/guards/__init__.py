"""What speaks against signalling a blocker. One class a guard, found by looking into this folder.

A guard's docstring is what people read about it. A guard that fails counts as an objection.
"""

import importlib
import math
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from pgdoctor.mitigation.candidate import Case
from pgdoctor.mitigation.guard import Guard, Verdict, judged

#: The place of a file that does not say its `ORDER`: after those that do.
_LAST = math.inf


@cache
def guards() -> tuple[Guard, ...]:
    """One of each guard: files by their `ORDER`, then by name; within a file as its classes are written.

    Raises TypeError for a guard that is not complete, or has another one's name: nobody is signalled without it.
    """
    files = sorted(_import_files(), key=lambda file: (getattr(file, "ORDER", _LAST), file.__name__))
    found = [guard() for file in files for guard in _list_guards(file)]
    names = [getattr(guard, "name", None) for guard in found]
    for guard, name in zip(found, names, strict=True):
        if name is None or names.count(name) > 1:
            raise TypeError(f"{type(guard).__module__}.{type(guard).__name__} needs a name that no other guard has")
    return tuple(found)


def judge(case: Case) -> tuple[Verdict, ...]:
    """What every guard says."""
    return tuple(judged(guard, case) for guard in guards())


def _import_files() -> Iterator[ModuleType]:
    for file in pkgutil.walk_packages(__path__, f"{__name__}."):
        yield importlib.import_module(file.name)


def _list_guards(file: ModuleType) -> Iterator[type[Guard]]:
    """The guards that a file defines. A nameless class with an underscore in front is what several of them share."""
    for variable, value in vars(file).items():
        is_own = isinstance(value, type) and issubclass(value, Guard) and value.__module__ == file.__name__
        if is_own and (hasattr(value, "name") or not variable.startswith("_")):
            yield value
