"""Tables of many cases of one kind that take long: `make test` runs a few of each, `make test-long` the others."""

from collections.abc import Mapping
from typing import Any

import pytest


def thin_cases(cases: Mapping[str, Any], *, every: int = 4) -> list[Any]:
    """Return parameters with their names as IDs; all but the first of each `every` are marked long."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            id=name,
            marks=[pytest.mark.long] if number % every else [],
        )
        for number, (name, case) in enumerate(cases.items())
    ]
