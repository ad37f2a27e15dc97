"""All rows of `rules`, found by looking into the folder."""

import importlib
import pkgutil
from functools import cache

from pgdoctor.preflight import rules
from pgdoctor.preflight.rule import LockRule


@cache
def statement_rules() -> tuple[LockRule, ...]:
    """The rows for statements; files in the order of their names, rows in their own."""
    return tuple(rule for module in _modules() for rule in getattr(module, "STATEMENTS", ()))


@cache
def action_rules() -> tuple[LockRule, ...]:
    """The rows for actions of ALTER TABLE."""
    return tuple(rule for module in _modules() for rule in getattr(module, "ACTIONS", ()))


@cache
def _modules() -> tuple[object, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(rules.__path__))
    return tuple(importlib.import_module(f"{rules.__name__}.{name}") for name in names)


@cache
def rules_by_word(is_action: bool) -> dict[str, tuple[LockRule, ...]]:
    """The rows by the first words that a statement may begin with."""
    found: dict[str, list[LockRule]] = {}
    for rule in action_rules() if is_action else statement_rules():
        for word in rule.form.split()[0].split("|"):
            found.setdefault(word, []).append(rule)
    return {word: tuple(rows) for word, rows in found.items()}
