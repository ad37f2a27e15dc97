"""The one reader of `sql/`.

`name.sql` is the statement; `name.pg14.sql` takes its place from server version 14 on, and so forth.
"""

import re
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
def load(name: str, version_num: int = 0) -> LiteralString:
    """The statement `name` in the newest form that a server of `version_num` (as 150018) understands.

    Raises QueryNotFound where there is none.
    """
    majors = [major for major in _variants().get(name, ()) if major * 10_000 <= version_num]
    if not majors:
        raise QueryNotFound(f"statement {name!r} is not in sql/ for server version {version_num}")
    newest = max(majors)
    file = sql_root().joinpath(f"{name}.pg{newest}.sql" if newest else f"{name}.sql")
    # A LiteralString in good conscience: the text ships with the package, it never comes from outside.
    return file.read_text(encoding="utf-8")


@cache
def _variants() -> dict[str, list[int]]:
    """Statement names, each with the major versions from which a form of it holds (0: any)."""
    found: dict[str, list[int]] = {}
    for file in sql_root().iterdir():
        if match := _VARIANT.fullmatch(file.name):
            found.setdefault(match["name"], []).append(int(match["major"] or 0))
    return found
