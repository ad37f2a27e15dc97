"""The form of a statement that blocks fewer clients, as SQL to paste."""

import re

from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.effect import Effect

#: Names that need no quotes.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_PLACE = re.compile(r"\{(\w+)\}")


def write_safe_forms(effect: Effect) -> tuple[str, ...]:
    """The safe forms of all parts of a statement, each once."""
    return tuple(dict.fromkeys(_fill(template, case) for template, case in effect.safe))


def _fill(template: str, case: StatementCase) -> str:
    def name(found: re.Match[str]) -> str:
        key = found[1]
        named = case.match.one(key)
        if key in ("table", "index") and not named:
            named = next(iter(case.tables), "")
        if key == "other" and not named:
            named = next(case.named_behind("references"), "")
        return quote_names(named) if named else f"<{key}>"

    return _PLACE.sub(name, template)


def quote_names(dotted: str) -> str:
    """A name with its schema, quoted where it has to be; a character that is not printable is replaced."""
    return ".".join(_quote(part) for part in dotted.split("."))


def _quote(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name[:63])
    return '"' + shown.replace('"', '""') + '"'
