"""The formats of `[[notify]]`: one class a file, found by looking into this folder, and loaded when one is used."""

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache

from pgdoctor.notify.format import Format


@cache
def list_formats() -> Sequence[str]:
    """Their names, `json` first, which is the default."""
    names = sorted(file.name for file in pkgutil.iter_modules(__path__))
    return sorted(names, key=lambda name: name != "json")


@cache
def load_format(name: str) -> Format:
    """The one of a name that `list_formats` has. Raises TypeError where its file has not exactly one."""
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Format) and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} has {len(found)} formats")
    return found[0]()
