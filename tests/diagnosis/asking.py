"""What a statement asks of the table that it reads first."""

from pgdoctor.sqltext.statement import Conditions, read_searches


def conditions(text: str, truncated: bool = False) -> Conditions:
    """The first of its searches; nothing is known where it makes none."""
    return next(iter(read_searches(text, truncated)), Conditions())
