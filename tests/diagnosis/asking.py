"""What a statement asks of the table that it reads first."""

from pgdoctor.diagnosis.statement import Conditions, searches


def conditions(text: str, truncated: bool = False) -> Conditions:
    """The first of its searches; nothing is known where it makes none."""
    return next(iter(searches(text, truncated)), Conditions())
