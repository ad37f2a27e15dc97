"""The relations that a rule's locks are on: a base, and then what belongs to it, such as `table.indexes`."""

from collections.abc import Callable, Iterable, Iterator

from pgdoctor.model.preflight import Catalog
from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.form_match import read_relations
from pgdoctor.preflight.row_changes import find_whole_changes

_STORED = ("r", "m", "t")
_READABLE = ("r", "p", "v", "m", "f", "S")
_Found = Iterator[int]


def find_scope(case: StatementCase, scope: str) -> tuple[int, ...]:
    """The OIDs of a scope, each once; none without a server."""
    if case.catalog is None:
        return ()
    base, *facets = scope.split(".")
    found: Iterable[int] = BASES[base](case, case.catalog)
    for facet in facets:
        found = FACETS[facet](case.catalog, tuple(dict.fromkeys(found)))
    return tuple(oid for oid in dict.fromkeys(found) if oid in case.catalog.relations)


def find_names(case: StatementCase, scope: str) -> tuple[str, ...]:
    """The names of a scope as the statement has them: all that is known of it without a server."""
    named = NAMED.get(scope)
    return tuple(dict.fromkeys(named(case))) if named else ()


def _targets(case: StatementCase, _: Catalog) -> _Found:
    return (facts.oid for name in case.tables for facts in case.find(name))


def _others(case: StatementCase, _: Catalog) -> _Found:
    return (facts.oid for name in _other_names(case) for facts in case.find(name))


def _other_names(case: StatementCase) -> Iterator[str]:
    yield from case.match.names.get("other", ())
    yield from case.named_behind("references")


def _liked(case: StatementCase, _: Catalog) -> _Found:
    return (facts.oid for name in case.named_behind("like") for facts in case.find(name))


def _family(case: StatementCase, catalog: Catalog) -> _Found:
    targets = tuple(_targets(case, catalog))
    return iter(targets) if case.is_only else _with_children(catalog, targets)


def _descendants(case: StatementCase, catalog: Catalog) -> _Found:
    targets = set(_targets(case, catalog))
    return (oid for oid in _family(case, catalog) if oid not in targets)


def _dropped(case: StatementCase, catalog: Catalog) -> _Found:
    """What goes with the tables: their partitions; with CASCADE all children."""
    return _with_children(catalog, tuple(_targets(case, catalog)), only_partitions=not case.has_word("cascade"))


def _truncated(case: StatementCase, catalog: Catalog) -> _Found:
    found = set(_family(case, catalog))
    while case.has_word("cascade"):
        more = {other for oid in found for other in catalog.follow_back("foreign_key", oid)}
        more = set(_with_children(catalog, tuple(more))) - found
        if not more:
            break
        found |= more
    return iter(sorted(found))


def _changed(case: StatementCase, catalog: Catalog) -> _Found:
    """The tables of which every row is changed or locked, with what is behind views and in partitions."""
    named = [facts.oid for name in find_whole_changes(case) for facts in case.find(name)]
    return iter(named) if case.is_only else _with_children(catalog, tuple(_behind_views(catalog, named)))


def _read(case: StatementCase, catalog: Catalog) -> _Found:
    """The relations that the text may name, with what is behind views and in partitions."""
    skipped = set(_targets(case, catalog))
    named = [facts.oid for name in case.mentioned() for facts in case.find(name) if facts.kind in _READABLE]
    found = dict.fromkeys(_with_children(catalog, tuple(_behind_views(catalog, named))))
    return (oid for oid in found if oid not in skipped or oid in named[1:])


def _column(case: StatementCase, catalog: Catalog) -> Iterator[tuple[int, str]]:
    for oid in _family(case, catalog):
        yield oid, case.match.one("column")


def _of_column(field: str) -> Callable[[StatementCase, Catalog], _Found]:
    def find(case: StatementCase, catalog: Catalog) -> _Found:
        for oid, name in _column(case, catalog):
            column = catalog.find_column(oid, name)
            yield from getattr(column, field) if column else ()

    return find


def _referencing_valid(case: StatementCase, catalog: Catalog) -> _Found:
    """The tables whose foreign keys on the column are valid: they are checked again."""
    for oid in _of_column("referencing")(case, catalog):
        keys = (each for each in catalog.constraints if each.table_oid == oid and each.kind == "f" and each.is_valid)
        if any(each.referenced_oid in set(_family(case, catalog)) for each in keys):
            yield oid


def _constraint_index(case: StatementCase, catalog: Catalog) -> _Found:
    name = case.match.one("constraint")
    found = (catalog.find_constraint(oid, name) for oid in _family(case, catalog))
    return (each.index_oid for each in found if each and each.kind in "pux" and each.index_oid)


def _constraint_referenced(case: StatementCase, catalog: Catalog) -> _Found:
    name = case.match.one("constraint")
    found = [catalog.find_constraint(oid, name) for oid in _family(case, catalog)]
    return _with_children(catalog, tuple(each.referenced_oid for each in found if each and each.referenced_oid))


def _named_index(case: StatementCase, _: Catalog) -> _Found:
    return (facts.oid for name in case.match.names.get("index", ()) for facts in case.find(name))


def _key_index(case: StatementCase, catalog: Catalog) -> _Found:
    """The unique index of each referenced table that the key is looked up in: its primary key, unless another fits."""
    for other in _others(case, catalog):
        keys = [each for each in catalog.constraints if each.table_oid == other and each.kind == "p"]
        yield from (each.index_oid for each in keys)


def _type_tables(case: StatementCase, catalog: Catalog) -> _Found:
    found = catalog.find_type(case.match.one("type").rpartition(".")[2])
    return iter(found.tables if found else ())


def _type_relation(case: StatementCase, catalog: Catalog) -> _Found:
    found = catalog.find_type(case.match.one("type").rpartition(".")[2])
    return iter((found.relation,) if found and found.relation else ())


def _default_partition(case: StatementCase, catalog: Catalog) -> _Found:
    return _defaults(catalog, tuple(_targets(case, catalog)))


def _behind_word(word: str) -> Callable[[StatementCase, Catalog], _Found]:
    """The relations of the list behind a word."""

    def find(case: StatementCase, _: Catalog) -> _Found:
        return (facts.oid for name in _listed(case, word) for facts in case.find(name))

    return find


def _listed(case: StatementCase, word: str) -> Iterator[str]:
    stream = case.sentence.stream
    for index in range(case.start, case.end):
        if stream[index].is_word(word) and not stream[index - 1].is_symbol("."):
            behind = index + 1
            behind += stream[behind].is_word("table", "sequence")
            yield from read_relations(stream, behind)[0]


def _with_parts(find: Callable[[StatementCase, Catalog], _Found]) -> Callable[[StatementCase, Catalog], _Found]:
    return lambda case, catalog: _with_children(catalog, tuple(find(case, catalog)))


def _inherited(case: StatementCase, _: Catalog) -> _Found:
    stream = case.sentence.stream
    for index in range(case.start, case.end):
        if stream[index].is_word("inherits") and stream[index + 1].is_symbol("("):
            for name in read_relations(stream, index + 2)[0]:
                yield from (facts.oid for facts in case.find(name))


def _owned(case: StatementCase, _: Catalog) -> _Found:
    """The table of OWNED BY."""
    stream = case.sentence.stream
    for index in range(case.start, case.end):
        if stream[index].is_word("owned") and stream[index + 1].is_word("by"):
            table = stream.read_relation(index + 2)[0].rpartition(".")[0]
            yield from (facts.oid for facts in case.find(table))


def _locked(case: StatementCase, catalog: Catalog) -> _Found:
    """Partitions and children, and what is behind views: LOCK TABLE locks them, and a change of rows reaches them."""
    found = tuple(_behind_views(catalog, _family(case, catalog)))
    return iter(found) if case.is_only else _with_children(catalog, found)


def _waited(case: StatementCase, catalog: Catalog) -> _Found:
    """The relations whose rows a query locks, unless it leaves out those that are locked, or fails on them."""
    return iter(()) if case.has_words("skip", "locked") or case.has_word("nowait") else _read(case, catalog)


def _cascaded(case: StatementCase, catalog: Catalog) -> _Found:
    """The tables of which rows are changed, and those in which rows go or change with them."""
    tables = tuple(_locked(case, catalog))
    yield from tables
    for tie in catalog.ties:
        if tie.kind == "foreign_key" and tie.target in tables and tie.on_delete not in ("a", "r", ""):
            yield from _with_children(catalog, (tie.source,))


def _behind_matview(case: StatementCase, catalog: Catalog) -> _Found:
    bases = [base for oid in _targets(case, catalog) for base in catalog.follow_back("view", oid)]
    return _with_children(catalog, tuple(_behind_views(catalog, (oid for oid in bases if oid in catalog.relations))))


def _column_table(case: StatementCase, _: Catalog) -> _Found:
    return (facts.oid for facts in case.find(case.match.one("path").rpartition(".")[0]))


def _both(case: StatementCase, catalog: Catalog) -> _Found:
    """Both sides of a foreign key."""
    yield from _family(case, catalog)
    yield from _with_children(catalog, tuple(_others(case, catalog)))


def _measured(case: StatementCase, catalog: Catalog) -> _Found:
    names = {name.rpartition(".")[2] for name in case.mentioned()}
    return (tie.source for tie in catalog.ties if tie.kind == "statistics" and tie.name in names)


def _sequence_owner(case: StatementCase, catalog: Catalog) -> _Found:
    return (table for oid in _targets(case, catalog) for table in catalog.follow_back("sequence", oid))


def _read_sequences(case: StatementCase, catalog: Catalog) -> _Found:
    """The sequences that are not known to be left alone: their names stand in literals."""
    if not case.has_word("nextval", "setval"):
        return iter(())
    return (oid for oid, facts in catalog.relations.items() if facts.kind == "S")


def _published(case: StatementCase, catalog: Catalog) -> _Found:
    """The tables of a publication, with children that inherit: partitions are published by their parent alone."""
    for oid in _behind_word("table")(case, catalog):
        yield from (oid,) if catalog.relations[oid].kind == "p" else _with_children(catalog, (oid,))


def _literal_sequences(case: StatementCase, _: Catalog) -> _Found:
    """The sequences whose names stand in literals: `nextval('seq')`."""
    return (facts.oid for name in case.named_in_calls() for facts in case.find(name) if facts.kind == "S")


def _members(case: StatementCase, catalog: Catalog) -> _Found:
    """All relations of the named schemas but indexes, which are those of tables."""
    schemas = case.match.names.get("schemas", ())
    return (oid for oid, facts in catalog.relations.items() if facts.schema in schemas and facts.kind in _READABLE)


def _parents(case: StatementCase, _: Catalog) -> _Found:
    return (facts.oid for name in case.match.names.get("parent", ()) for facts in case.find(name))


BASES: dict[str, Callable[[StatementCase, Catalog], _Found]] = {
    "table": _targets,
    "family": _family,
    "descendants": _descendants,
    "stored": lambda case, catalog: (oid for oid in _family(case, catalog) if catalog.relations[oid].kind in _STORED),
    "dropped": _dropped,
    "truncated": _truncated,
    "other": _others,
    "liked": _liked,
    "read": _read,
    "changed": _changed,
    "default": _default_partition,
    "column_indexes": _of_column("indexes"),
    "column_referenced": _of_column("referenced"),
    "column_referencing": _of_column("referencing"),
    "column_referencing_valid": _referencing_valid,
    "column_sequences": _of_column("sequences"),
    "column_views": _of_column("views"),
    "constraint_index": _constraint_index,
    "constraint_referenced": _constraint_referenced,
    "index": _named_index,
    "key_index": _key_index,
    "type_tables": _type_tables,
    "type_relation": _type_relation,
    "inherited": _inherited,
    "owned": _owned,
    "locked": _locked,
    "cascaded": _cascaded,
    "waited": _waited,
    "behind": _behind_matview,
    "column_table": _column_table,
    "both": _both,
    "measured": _measured,
    "sequence_owner": _sequence_owner,
    "read_sequences": _read_sequences,
    "parent": _parents,
    "members": _members,
    "literal_sequences": _literal_sequences,
    "triggered": _with_parts(_behind_word("on")),
    "ruled": _behind_word("to"),
    "sourced": _behind_word("from"),
    "granted": _behind_word("on"),
    "published": _published,
}

#: The bases that a text alone tells.
NAMED: dict[str, Callable[[StatementCase], Iterable[str]]] = {
    "table": lambda case: case.tables,
    "family": lambda case: case.tables,
    "stored": lambda case: case.tables,
    "dropped": lambda case: case.tables,
    "truncated": lambda case: case.tables,
    "other": _other_names,
    "liked": lambda case: case.named_behind("like"),
    "changed": find_whole_changes,
    "index": lambda case: case.match.names.get("index", ()),
    "parent": lambda case: case.match.names.get("parent", ()),
    "locked": lambda case: case.tables,
    "both": lambda case: (*case.tables, *_other_names(case)),
    "triggered": lambda case: _listed(case, "on"),
    "ruled": lambda case: _listed(case, "to"),
    "sourced": lambda case: _listed(case, "from"),
    "published": lambda case: _listed(case, "table"),
    "column_table": lambda case: (case.match.one("path").rpartition(".")[0],),
    # No text names these, but each is there.
    "type_tables": lambda _: ("(tables with a column of the type)",),
    "index.owner": lambda _: ("(table of the index)",),
    "index.children.owner": lambda _: ("(table of the index)",),
    "sequence_owner": lambda _: ("(table of the sequence)",),
    "members": lambda _: ("(relations of the schema)",),
    "members.stored": lambda _: ("(tables of the schema)",),
    "members.indexes": lambda _: ("(indexes of the schema)",),
}


def _with_children(catalog: Catalog, oids: tuple[int, ...], *, only_partitions: bool = False) -> _Found:
    todo, seen = list(oids), set()
    while todo:
        oid = todo.pop(0)
        if oid in seen:
            continue
        seen.add(oid)
        yield oid
        ties = (tie for tie in catalog.ties if tie.kind == "child" and tie.source == oid)
        todo += [tie.target for tie in ties if tie.is_partition or not only_partitions]


def _behind_views(catalog: Catalog, oids: Iterable[int]) -> _Found:
    todo, seen = list(oids), set()
    while todo:
        oid = todo.pop(0)
        if oid not in seen:
            seen.add(oid)
            yield oid
            if catalog.relations[oid].kind == "v":
                todo += [each for each in catalog.follow_back("view", oid) if each in catalog.relations]


def _views(catalog: Catalog, oids: tuple[int, ...]) -> _Found:
    todo, seen = [view for oid in oids for view in catalog.follow("view", oid)], set()
    while todo:
        oid = todo.pop(0)
        if oid not in seen:
            seen.add(oid)
            yield oid
            todo += catalog.follow("view", oid)


def _cascading(catalog: Catalog, oids: tuple[int, ...]) -> _Found:
    """The tables that a deleted row is looked up in, and those in which rows go with it."""
    todo, seen = list(oids), set(oids)
    while todo:
        oid = todo.pop(0)
        for tie in catalog.ties:
            if tie.kind == "foreign_key" and tie.target == oid and tie.source not in seen:
                seen.add(tie.source)
                yield from _with_children(catalog, (tie.source,))
                if tie.on_delete != "a":
                    todo.append(tie.source)


def _defaults(catalog: Catalog, oids: tuple[int, ...]) -> _Found:
    return (tie.target for tie in catalog.ties if tie.kind == "child" and tie.is_default and tie.source in oids)


def _tied(kind: str) -> Callable[[Catalog, tuple[int, ...]], _Found]:
    return lambda catalog, oids: (each for oid in oids for each in catalog.follow(kind, oid))


def _tied_back(kind: str) -> Callable[[Catalog, tuple[int, ...]], _Found]:
    return lambda catalog, oids: (each for oid in oids for each in catalog.follow_back(kind, oid))


FACETS: dict[str, Callable[[Catalog, tuple[int, ...]], _Found]] = {
    "indexes": _tied("index"),
    "toast": _tied("toast"),
    "stored": lambda catalog, oids: (
        oid for oid in oids if oid in catalog.relations and catalog.relations[oid].kind in _STORED
    ),
    "sequences": _tied("sequence"),
    "attached": lambda catalog, oids: (oid for oid in oids if any(True for _ in catalog.follow_back("child", oid))),
    "statistics": _tied("statistics"),
    "referenced": lambda catalog, oids: (each for each in _tied("foreign_key")(catalog, oids) if each not in oids),
    "referencing": lambda catalog, oids: (
        each for each in _tied_back("foreign_key")(catalog, oids) if each not in oids
    ),
    "cascading": _cascading,
    "children": lambda catalog, oids: (each for each in _with_children(catalog, oids)),
    "views": _views,
    "default": _defaults,
    "parents": lambda catalog, oids: (
        tie.source
        for tie in catalog.ties
        if tie.kind == "child" and tie.is_partition and tie.target in oids and tie.source not in oids
    ),
    "inherited": _tied_back("child"),
    "owner": _tied_back("index"),
}
