"""What one statement does by the tables: its locks, its work, what it waits for."""

from collections.abc import Iterator
from typing import NamedTuple

from pgdoctor.model.lock_modes import MODES, modes_conflict
from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.conditions import CONDITIONS
from pgdoctor.preflight.form_match import match_form
from pgdoctor.preflight.object_scopes import NeededObject, find_objects
from pgdoctor.preflight.rule import MODES as SHORT
from pgdoctor.preflight.rule import LockRule
from pgdoctor.preflight.rule_tables import rules_by_word
from pgdoctor.preflight.scopes import find_names, find_scope
from pgdoctor.preflight.work import WORK


class NeededLock(NamedTuple):
    """A lock that a statement takes. `oid` None: the name is all that is known."""

    oid: int | None
    name: str
    mode: str


class NeededWork(NamedTuple):
    """Work on a relation, one of `work.WORK`."""

    oid: int | None
    name: str
    kind: str


class Effect(NamedTuple):
    """What a statement does. `is_known` False: no row of the tables fits it."""

    is_known: bool = True
    locks: tuple[NeededLock, ...] = ()
    objects: tuple[NeededObject, ...] = ()
    #: Relations of which it changes or locks rows.
    rows: tuple[tuple[int | None, str], ...] = ()
    work: tuple[NeededWork, ...] = ()
    waits: tuple[tuple[str, int | None, str], ...] = ()
    safe: tuple[tuple[str, StatementCase], ...] = ()
    notes: tuple[str, ...] = ()
    is_alone: bool = False
    is_at_most: bool = False
    #: A part of it may do anything.
    is_unknown: bool = False
    #: Rows that fit, with what they were asked about.
    applied: tuple[tuple[LockRule, StatementCase], ...] = ()


def find_effect(cases: "Iterator[tuple[StatementCase, bool]]") -> Effect:
    """The effect of all parts of a statement together: one part, or each action of ALTER TABLE."""
    found: list[tuple[LockRule, StatementCase]] = []
    for case, is_action in cases:
        rows = list(_fitting_rows(case, is_action))
        if not rows or rows[-1][0].goes_on:
            return Effect(is_known=False)
        found += rows
    return _add_up(found) if found else Effect(is_known=False)


def _fitting_rows(case: StatementCase, is_action: bool) -> Iterator[tuple[LockRule, StatementCase]]:
    first = case.sentence.stream[case.start]
    word = first.value if first.is_name else ""
    for rule in rules_by_word(is_action).get(word, ()):
        if not rule.since <= case.version <= rule.until:
            continue
        match = match_form(rule.form, case.sentence.stream, case.start, case.end)
        if match is None:
            continue
        matched = case._replace(match=match, is_only=case.is_only or "only" in match.names)
        if all(_holds(matched, name) for name in rule.when.split()):
            yield rule, matched
            if not rule.goes_on:
                return


def _holds(case: StatementCase, name: str) -> bool:
    """Whether a condition holds; not known counts as yes."""
    return CONDITIONS[name](case) is not False


def _add_up(rows: list[tuple[LockRule, StatementCase]]) -> Effect:
    locks = [lock for rule, case in rows for lock in _find_locks(rule, case)]
    return Effect(
        locks=tuple(keep_strongest([*locks, *_raise_toast_locks(locks, rows)])),
        objects=tuple(dict.fromkeys(each for rule, case in rows for each in find_objects(rule.objects, case))),
        rows=tuple(
            dict.fromkeys(each for rule, case in rows if rule.rows for each in _find_relations(case, rule.rows))
        ),
        work=tuple(dict.fromkeys(work for rule, case in rows for work in _find_work(rule, case))),
        waits=tuple(
            dict.fromkeys((rule.waits, *target) for rule, case in rows if rule.waits for target in _find_waited(case))
        ),
        safe=tuple((rule.safe, case) for rule, case in rows if rule.safe),
        notes=tuple(dict.fromkeys(rule.note for rule, _ in rows if rule.note)),
        is_alone=any(rule.is_alone for rule, _ in rows),
        is_at_most=any(rule.is_at_most for rule, _ in rows) or any(case.catalog is None for _, case in rows),
        is_unknown=any(rule.work == "unknown" for rule, _ in rows),
        applied=tuple(rows),
    )


def _raise_toast_locks(locks: list[NeededLock], rows: list[tuple[LockRule, StatementCase]]) -> Iterator[NeededLock]:
    """Of ALTER TABLE with several actions the strongest lock of all of them is on the table and its TOAST table."""
    catalog = rows[0][1].catalog
    if catalog is None or not rows[0][1].table:
        return
    modes = {lock.oid: lock.mode for lock in sorted(locks, key=lambda lock: MODES.index(lock.mode))}
    for oid, mode in modes.items():
        toast = next(catalog.follow("toast", oid), None) if oid is not None else None
        if toast is not None and toast in modes:
            yield NeededLock(toast, catalog.relations[toast].shown, mode)


def keep_strongest(locks: list[NeededLock]) -> Iterator[NeededLock]:
    """Each relation once with each mode that blocks something which no other mode of it does."""
    by_relation: dict[tuple[int | None, str], list[str]] = {}
    for lock in locks:
        modes = by_relation.setdefault((lock.oid, lock.name if lock.oid is None else ""), [])
        if lock.mode not in modes:
            modes.append(lock.mode)
    names = {lock.oid: lock.name for lock in locks}
    for (oid, name), modes in by_relation.items():
        for mode in telling_modes(modes):
            yield NeededLock(oid, name if oid is None else names[oid], mode)


def telling_modes(modes: list[str]) -> list[str]:
    """The modes without those that block nothing that another one of them does not."""
    blocked = {mode: {other for other in MODES if modes_conflict(mode, other)} for mode in modes}
    return [mode for mode in modes if not any(blocked[mode] < blocked[other] for other in modes)]


def _find_locks(rule: LockRule, case: StatementCase) -> Iterator[NeededLock]:
    for part in filter(None, (each.strip() for each in rule.locks.split(";"))):
        scope, mode = part.split()
        yield from (NeededLock(oid, name, SHORT[mode]) for oid, name in _find_relations(case, scope))


def _find_work(rule: LockRule, case: StatementCase) -> Iterator[NeededWork]:
    if rule.work in ("instant", "unknown"):
        return
    for oid, name in _find_relations(case, rule.works_on):
        facts = case.catalog.relations.get(oid) if case.catalog and oid is not None else None
        # A partitioned table has no rows of its own.
        if facts is None or facts.kind in ("r", "m", "t", "i"):
            yield NeededWork(oid, name, rule.work)


def _find_waited(case: StatementCase) -> Iterator[tuple[int | None, str]]:
    for scope in ("table", "index.owner", "index"):
        found = list(_find_relations(case, scope))
        if found:
            yield from found
            return


def _find_relations(case: StatementCase, scope: str) -> Iterator[tuple[int | None, str]]:
    """The relations of a scope that were there before the script, by OID where there is a server."""
    if case.catalog is None:
        yield from ((None, name) for name in find_names(case, scope) if name and not case.is_new(name))
        return
    for oid in find_scope(case, scope):
        yield oid, case.catalog.relations[oid].shown


def most_work(work: tuple[NeededWork, ...]) -> str:
    """The kind of work of which there is the most."""
    return max((each.kind for each in work), key=lambda kind: WORK[kind].rank, default="instant")
