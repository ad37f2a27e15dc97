"""The median of some values."""

from collections.abc import Iterable


def compute_median(values: Iterable[float]) -> float:
    """The median of at least one value; of an even number of them, the mean of the middle two.

    Not `statistics.median`: importing that module takes a megabyte.
    """
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
