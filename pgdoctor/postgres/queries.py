"""The one reader of `sql/` and its folders.

`name.sql` is the statement; `name.pg14.sql` takes its place from server version 14 on, and so forth.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import LiteralString

from pgdoctor.errors import QueryNotFound

_VARIANT = re.compile(r"(?P<name>\w+)(?:\.pg(?P<major>\d+))?\.sql")


def sql_root() -> Traversable:
    """The folder of SQL files: inside the package in a wheel, beside it in a checkout."""
    packaged = files("pgdoctor").joinpath("sql")
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "sql"


@cache
def load_sql(name: str, version_num: int = 0) -> LiteralString:
    """The statement `name` in the newest form that a server of `version_num` (as 150018) understands.

    Raises QueryNotFound where there is none.
    """
    majors = [major for major in _find_variants().get(name, ()) if major * 10_000 <= version_num]
    if not majors:
        raise QueryNotFound(f"statement {name!r} is not in sql/ for server version {version_num}")
    # A LiteralString in good conscience: the text ships with the package, it never comes from outside.
    return _find_variants()[name][max(majors)].read_text(encoding="utf-8")


def sql_files(folder: Traversable | None = None) -> Iterator[Traversable]:
    """Every file of `sql/` and its folders."""
    for each in (folder or sql_root()).iterdir():
        if each.is_dir():
            yield from sql_files(each)
        else:
            yield each


@cache
def _find_variants() -> dict[str, dict[int, Traversable]]:
    """Files by statement name, each by the major version from which its form holds (0: any)."""
    found: dict[str, dict[int, Traversable]] = {}
    for file in sql_files():
        if match := _VARIANT.fullmatch(file.name):
            found.setdefault(match["name"], {})[int(match["major"] or 0)] = file
    return found
