"""Finds classes by looking into a folder: what lies there is in force, and listed nowhere."""

import importlib
import math
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

#: The place of a file that does not say its `ORDER`: after those that do.
_LAST = math.inf


def find_classes(folder: ModuleType, base: type) -> list[type[Any]]:
    """The classes of this base below a package: files by their `ORDER`, then by name; within a file as written.

    Raises TypeError for one without a name, and for two of the same name.
    """
    files = [
        importlib.import_module(file.name) for file in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}.")
    ]
    files.sort(key=lambda file: (getattr(file, "ORDER", _LAST), file.__name__))
    found = [each for file in files for each in _list_defined(file, base)]
    names = [getattr(each, "name", None) for each in found]
    for each, name in zip(found, names, strict=True):
        if name is None or names.count(name) > 1:
            raise TypeError(f"{each.__module__}.{each.__name__} has the name of another {base.__name__.lower()}")
    return found


def _list_defined(file: ModuleType, base: type) -> Iterator[type[Any]]:
    """What a file itself defines. A nameless class with an underscore in front is what several of them share."""
    for variable, value in vars(file).items():
        is_own = isinstance(value, type) and issubclass(value, base) and value.__module__ == file.__name__
        if is_own and (hasattr(value, "name") or not variable.startswith("_")):
            yield value
