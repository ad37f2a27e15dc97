"""The form of a statement that blocks fewer clients, as SQL to paste."""

import re

from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.effect import Effect
from pgdoctor.sqltext.lexer import word_set

#: Names that need no quotes.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
#: A name of the statement, and what a name that is made of it has behind.
_PLACE = re.compile(r"\{(\w+)\}(\w*)")

#: Places of names that have no schema in front.
_UNQUALIFIED = ("column", "constraint", "new")

#: Words that are no name without quotes (reserved in 14 to 18).
_RESERVED = word_set(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with
    """
)


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
        if not named:
            return f"<{key}>{found[2]}"
        return quote_name(named + found[2]) if key in _UNQUALIFIED else quote_names(named + found[2])

    return _PLACE.sub(name, template)


def quote_names(dotted: str) -> str:
    """A name with its schema, quoted where it has to be; a character that is not printable is replaced."""
    return ".".join(quote_name(part) for part in dotted.split("."))


def quote_name(name: str) -> str:
    """A name without a schema, quoted where it has to be."""
    if _PLAIN.fullmatch(name) and name not in _RESERVED:
        return name
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name[:63])
    return '"' + shown.replace('"', '""') + '"'
