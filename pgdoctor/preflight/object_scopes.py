"""The objects that a rule's locks are on besides relations: types, functions, schemas, roles, advisory keys."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from pgdoctor.model.advisory_key import AdvisoryKey
from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.rule import AS, MODES
from pgdoctor.sqltext.lexer import Sort, Token, word_set

#: The OID of `pg_class`, the same on every server.
RELATION_CATALOG = 1259

#: Kinds of `preflight_objects.sql`.
_KINDS = ("type", "function", "schema", "role", "database", "extension", "publication", "statistics")

#: Statements that keep what they use, and the kinds of that.
_DDL = word_set("alter create drop comment grant revoke refresh cluster reindex")
_USED = ("type", "function", "schema", "role", "extension", "database")

_Found = Iterator[tuple[AdvisoryKey, str]]


class NeededObject(NamedTuple):
    """An object that is no relation: a lock on it, or (`mode` empty) a change of its row in its catalog.

    `key`: the catalog's OID, its own, and 0; of an advisory lock its key.
    """

    key: AdvisoryKey
    name: str
    mode: str


def find_objects(objects: str, case: StatementCase) -> Iterator[NeededObject]:
    """The objects of a rule, such as `type E; schema AS`; none without a server, which alone knows them."""
    if case.catalog is None:
        return
    yield from (NeededObject(key, name, AS) for key, name in _find_mentioned(case))
    for part in filter(None, (each.strip() for each in objects.split(";"))):
        scope, mode = part.split()
        for key, name in _SCOPES[scope](case):
            yield NeededObject(key, name, "" if mode == "ROW" else MODES[mode])


def _of_kind(kind: str) -> Callable[[StatementCase], _Found]:
    def find(case: StatementCase) -> _Found:
        names = case.match.names.get(kind) or case.match.names.get(f"{kind}s") or tuple(_names_on_level(case))
        for name in dict.fromkeys(names):
            yield from _look_up(case, kind, name)

    return find


def _look_up(case: StatementCase, kind: str, name: str) -> _Found:
    if case.catalog is not None:
        for each in case.catalog.find_objects(kind, name):
            shown = f"{each.schema}.{each.name}" if each.schema else each.name
            if each.schema != "pg_catalog":
                yield (each.classid, each.oid, 0), f"{kind} {shown}"


def _names_on_level(case: StatementCase) -> Iterator[str]:
    """The names outside of brackets, which hold arguments and options; parts joined by dots."""
    stream, index = case.sentence.stream, case.match.rest or case.start
    while index < case.end:
        if stream[index].is_name:
            name, behind = stream.read_relation(index)
            if name:
                yield name
            index = max(behind, index + 1)
        else:
            index = stream.next_index(index)


def _find_mentioned(case: StatementCase) -> _Found:
    """What DDL uses, made or changed by it or not: none of that may be dropped or moved meanwhile."""
    catalog, first = case.catalog, case.sentence.stream[case.sentence.stream[0].is_word("explain")]
    if catalog is None or not first.is_any(_DDL):
        return
    names = {*case.mentioned(), *(".".join(parts) for parts in case.called())}
    for kind in _USED:
        for name in sorted(names):
            yield from _look_up(case, kind, name)
    relations = (facts for name in sorted(names) for facts in case.find(name))
    made = (name.rpartition(".")[0] for name in chain(*case.match.names.values()))
    for schema in dict.fromkeys((*(facts.schema for facts in relations), *filter(None, made), *catalog.path[:1])):
        yield from _look_up(case, "schema", schema)


def _relations(case: StatementCase) -> _Found:
    """The relations themselves, whose rows in pg_class are changed."""
    for name in (*case.tables, *_names_on_level(case)):
        yield from (((RELATION_CATALOG, facts.oid, 0), facts.shown) for facts in case.find(name))


def _advisory_keys(case: StatementCase) -> _Found:
    """The keys of calls of advisory functions, where they are written as numbers."""
    stream, text = case.sentence.stream, case.sentence.text
    for index in range(case.start, case.end):
        if stream[index].is_name and stream[index].value in ADVISORY and stream[index + 1].is_symbol("("):
            key = read_advisory_key(stream.tokens[index + 2 : stream.next_index(index + 1) - 1], text)
            if key is not None:
                yield key, "advisory key"


#: Functions that wait for an advisory lock. Those of the first set share it.
SHARED = frozenset({"pg_advisory_lock_shared", "pg_advisory_xact_lock_shared"})
ADVISORY = frozenset({"pg_advisory_lock", "pg_advisory_xact_lock"}) | SHARED


def read_advisory_key(arguments: list[Token], text: str) -> AdvisoryKey | None:
    """The key as `pg_locks` has it, of one bigint or two integers; None where it is no number that is written."""
    parts: list[list[Token]] = [[]]
    for token in arguments:
        if token.is_symbol(","):
            parts.append([])
        else:
            parts[-1].append(token)
    numbers = [_read_number(part, text) for part in parts]
    if None in numbers or len(numbers) > 2:
        return None
    first, *second = (number for number in numbers if number is not None)
    if second:
        return first & 0xFFFFFFFF, second[0] & 0xFFFFFFFF, 2
    return (first >> 32) & 0xFFFFFFFF, first & 0xFFFFFFFF, 1


def _read_number(tokens: list[Token], text: str) -> int | None:
    sign = -1 if tokens and tokens[0].is_symbol("-") else 1
    body = tokens[1:] if sign < 0 else tokens
    if len(body) != 1 or body[0].sort is not Sort.NUMBER:
        return None
    written = text[body[0].start : body[0].end]
    return sign * int(written) if written.isascii() and written.isdigit() and len(written) < 20 else None


_SCOPES: dict[str, Callable[[StatementCase], _Found]] = {
    **{kind: _of_kind(kind) for kind in _KINDS},
    "relation": _relations,
    "advisory": _advisory_keys,
}
