"""Tries so many texts at the entry points, and makes a table of it."""

from collections.abc import Callable, Iterable
from importlib import import_module
from random import Random
from types import ModuleType

from tabulate import tabulate

from tests.fuzz.mutating import generator
from tests.fuzz.trial import Trial

#: The share of each entry point.
SHARES = {
    "statements": 0.30,
    "names": 0.15,
    "http_requests": 0.15,
    "webhooks": 0.15,
    "configurations": 0.17,
    "journals": 0.03,
    "dsns": 0.04,
    "server_logs": 0.01,
}

Attempt = Callable[[Trial, Random, int], None]


def module(name: str) -> ModuleType:
    return import_module(f"tests.fuzz.{name}")


def tried(name: str, count: int, seed: int = 1, first: int = 0) -> Trial:
    """So many texts at one entry point, from the number `first` on."""
    entry = module(name)
    trial = Trial()
    with entry.opened() as attempt:
        for number in range(first, first + count):
            attempt(trial, generator(seed, name, number), number)
    return trial


def summary(trials: Iterable[tuple[str, Trial]]) -> str:
    """A line for each entry point."""
    lines = [
        (module(name).NAME, f"{each.texts:,}", f"{each.slowest * 1000:.1f}", each.slowest_step, len(each.failures))
        for name, each in trials
    ]
    headers = ("entry point", "texts", "slowest ms", "in", "failures")
    return tabulate(lines, headers, colalign=("left", "right", "right", "left", "right"))
