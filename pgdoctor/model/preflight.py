"""What is known of a database before a statement runs there: relations, how they are tied, columns, constraints."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from pgdoctor.model.lock_holders import LockHolders

#: Bytes of a page, in all but hand-made builds of the server.
PAGE_BYTES = 8_192


class RelationFacts(msgspec.Struct, frozen=True):
    """A relation. `rows` below 0: it was never analyzed. `shown`: its name with the schema, quoted where needed."""

    oid: int
    schema: str
    name: str
    shown: str
    kind: str
    persistence: str = "p"
    pages: int = 0
    rows: float = -1.0
    row_type: int = 0
    has_triggers: bool = False

    @property
    def bytes(self) -> int:
        """Its size at the last VACUUM or ANALYZE, in bytes."""
        return self.pages * PAGE_BYTES

    @property
    def is_measured(self) -> bool:
        """Its size is known: it was analyzed or vacuumed once. A partitioned table has none of its own."""
        return self.rows >= 0 or self.kind == "p"


class RelationTie(msgspec.Struct, frozen=True):
    """How two relations belong together; see `preflight_edges.sql` for the kinds."""

    kind: str
    source: int
    target: int
    is_default: bool = False
    is_partition: bool = False
    name: str = ""
    on_delete: str = ""


class ColumnFacts(msgspec.Struct, frozen=True):
    """A column of a table, with what depends on it by OID."""

    table_oid: int
    name: str
    number: int
    type: str
    modifier: int
    is_not_null: bool
    is_identity: bool
    has_not_null_check: bool
    indexes: tuple[int, ...] = ()
    referenced: tuple[int, ...] = ()
    referencing: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()
    views: tuple[int, ...] = ()


class ConstraintFacts(msgspec.Struct, frozen=True):
    """A constraint of a table. `kind` as in `pg_constraint.contype`; an OID of 0: none."""

    table_oid: int
    name: str
    kind: str
    is_valid: bool
    index_oid: int = 0
    referenced_oid: int = 0


class TypeFacts(msgspec.Struct, frozen=True):
    """A type. `relation`: that of a composite type. `is_checked`: a domain that checks its values."""

    name: str
    kind: str
    relation: int
    is_checked: bool
    tables: tuple[int, ...] = ()


class FunctionFacts(msgspec.Struct, frozen=True):
    """All functions of a name."""

    name: str
    is_volatile: bool
    is_builtin: bool


class ObjectFacts(msgspec.Struct, frozen=True):
    """An object that is no relation. `kind`: type, function, schema, role; `classid`: the catalog that has it.

    `schema`: empty where it is in none.
    """

    kind: str
    classid: int
    oid: int
    name: str
    schema: str = ""
    #: Of statistics: their table; 0: it has none.
    relation: int = 0


class ChangedRow(msgspec.Struct, frozen=True):
    """The row of an object in its catalog, and the transaction (its id) that has changed it, which may be over."""

    classid: int
    oid: int
    transaction: int


class Rate(msgspec.Struct, frozen=True):
    """What a table was used for, each a second: scans that began, and rows that changed."""

    scans: float
    changes: float


class Catalog(msgspec.Struct, frozen=True):
    """What was read of the relations that a script names, and of those that are tied to them."""

    #: By name as written, parts joined by dots: the relations that may be meant, those in the search path alone.
    named: Mapping[str, tuple[int, ...]] = {}
    relations: Mapping[int, RelationFacts] = {}
    ties: tuple[RelationTie, ...] = ()
    columns: tuple[ColumnFacts, ...] = ()
    constraints: tuple[ConstraintFacts, ...] = ()
    types: tuple[TypeFacts, ...] = ()
    functions: tuple[FunctionFacts, ...] = ()
    objects: tuple[ObjectFacts, ...] = ()
    #: By table: its valid CHECK constraints, as SQL.
    checks: Mapping[int, tuple[str, ...]] = {}
    #: The schemas that names without one are looked up in; the first of them is the one in which new objects are made.
    path: tuple[str, ...] = ()
    #: Not all that is tied to the relations was read: there is too much of it.
    is_cut: bool = False

    def follow(self, kind: str, oid: int) -> Iterator[int]:
        """The targets of the ties of that kind."""
        return (tie.target for tie in self.ties if tie.kind == kind and tie.source == oid)

    def follow_back(self, kind: str, oid: int) -> Iterator[int]:
        """The sources of the ties of that kind."""
        return (tie.source for tie in self.ties if tie.kind == kind and tie.target == oid)

    def find_column(self, oid: int, name: str) -> ColumnFacts | None:
        """A column of a table by its name."""
        return next((each for each in self.columns if each.table_oid == oid and each.name == name), None)

    def find_constraint(self, oid: int, name: str) -> ConstraintFacts | None:
        """A constraint of a table by its name."""
        return next((each for each in self.constraints if each.table_oid == oid and each.name == name), None)

    def find_objects(self, kind: str, dotted: str) -> Iterator[ObjectFacts]:
        """The objects of a kind that may be meant by a name, which may have a schema in front."""
        schema, _, name = dotted.rpartition(".")
        for each in self.objects:
            if (each.kind, each.name) == (kind, name) and (not schema or each.schema == schema):
                yield each

    def find_type(self, name: str) -> TypeFacts | None:
        """A type by its name without a schema; of several the one that checks its values."""
        found = [each for each in self.types if each.name == name]
        return max(found, key=lambda each: each.is_checked, default=None)

    def find_function(self, name: str) -> FunctionFacts | None:
        """The functions of a name without a schema."""
        return next((each for each in self.functions if each.name == name), None)


class LiveState(msgspec.Struct, frozen=True):
    """What holds locks on the relations of a script now, and how much they are used."""

    holders: LockHolders
    #: PIDs of open transactions with a snapshot, the oldest first.
    transactions: tuple[int, ...] = ()
    changed: tuple[ChangedRow, ...] = ()
    #: By OID; a table that is missing was not measured.
    rates: Mapping[int, Rate] = {}

    @property
    def captured_at(self) -> datetime:
        return self.holders.captured_at
