"""The roles, databases and relations that protections and rules name, and those that a server does not know."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Literal, NamedTuple

from pgdoctor.fields import Qualified
from pgdoctor.formatting import format_count
from pgdoctor.mitigation.rules import Mitigation, Protect, Rule
from pgdoctor.model.diagnosis import Finding

Kind = Literal["usename", "member_of", "datname", "relation"]

#: Kinds of relations, as in `pg_class`, that no protection can be about: a lock on them counts as one on their table.
_INDEXES = ("i", "I")


#: Names in one finding.
_MOST_NOTED = 20


class NameInUse(NamedTuple):
    """A name in the configuration, and the key that it stands at."""

    key: str
    kind: Kind
    name: str


def protected_names(settings: Mitigation) -> tuple[NameInUse, ...]:
    """The names that keep sessions from being signalled."""
    found: list[NameInUse] = []
    for place, entry in enumerate(settings.protect):
        found += _names_in(f"protect[{place}]", entry)
    for place, rule in enumerate(settings.rules):
        for kind in _WHO:
            names: tuple[str, ...] = getattr(rule, f"protected_{kind}") or ()
            found += [NameInUse(f"rules[{place}].protected_{kind}", kind, name) for name in names]
    return tuple(found)


def allowed_names(settings: Mitigation) -> tuple[NameInUse, ...]:
    """The names that rules are limited to: where there is no such thing, the rule does nothing."""
    return tuple(name for place, rule in enumerate(settings.rules) for name in _names_in(f"rules[{place}]", rule))


def unresolved_notes(unresolved: Sequence[str], settings: Mitigation) -> tuple[Finding, ...]:
    """The finding that these names mean nothing at the server; none where there are none."""
    if not unresolved:
        return ()
    consequence = (
        "they have no effect" if settings.allow_unresolved_protections else "until then no session is signalled"
    )
    summary = f"{format_count(len(unresolved), 'protection')} of the configuration could not be resolved at this server"
    advice = f"correct the names and reload; {consequence}"
    return (Finding("unresolved_protection", "warning", summary, advice, evidence=tuple(unresolved[:_MOST_NOTED])),)


_WHO: tuple[Literal["usename", "datname"], ...] = ("usename", "datname")
_KINDS: tuple[Kind, ...] = ("usename", "member_of", "datname", "relation")


def _names_in(where: str, entry: Protect | Rule) -> Iterator[NameInUse]:
    for kind in _KINDS:
        names: tuple[str, ...] = getattr(entry, kind) or ()
        for name in names:
            yield NameInUse(f"{where}.{kind}", kind, name)


def find_unresolved(
    names: Iterable[NameInUse],
    roles: Mapping[str, bool],
    databases: Set[str],
    relations: Mapping[str, str],
    where: str,
) -> tuple[str, ...]:
    """Which names mean nothing at a server, in words.

    `roles`: whether each may log in. `relations`: the kind of each, as in `pg_class`. `where`: the databases in which
    they were looked for.
    """
    kinds = {str(Qualified.parse(name)): kind for name, kind in relations.items()}
    said = ((each, _find_reason(each, roles, databases, kinds, where)) for each in names)
    return tuple(f"mitigation.{each.key} {_quote_name(each)}: {reason}" for each, reason in said if reason)


def _find_reason(
    name: NameInUse, roles: Mapping[str, bool], databases: Set[str], relations: Mapping[str, str], where: str
) -> str | None:
    match name.kind:
        case "usename" | "member_of" if name.name not in roles:
            return "there is no such role"
        case "usename" if not roles[name.name]:
            return "this role cannot log in, so it has no sessions; use member_of for its members"
        case "datname" if name.name not in databases:
            return "there is no such database"
        case "relation" if name.name not in relations:
            return f"there is no such relation in {where}"
        case "relation" if relations[name.name] in _INDEXES:
            return "this is an index; name its table"
    return None


def _quote_name(name: NameInUse) -> str:
    return name.name if name.kind == "relation" else f'"{name.name}"'
