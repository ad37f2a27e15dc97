"""What the planner is asked about a blocker's search, and what it answered: values, no text of a client's statement."""

import msgspec

#: Scans that find rows by an index, as EXPLAIN calls them.
_BY_INDEX = frozenset({"Index Scan", "Index Only Scan", "Bitmap Heap Scan"})

#: Share of the cost of reading the whole table up to which an index finds rows, and is not itself read as a whole.
_CHEAP = 1 / 3


class PlannedTable(msgspec.Struct, frozen=True):
    """A table of a search: its OID, and as it must be written; its alias in the search."""

    oid: int
    name: str
    alias: str


class ExplainRequest(msgspec.Struct, frozen=True):
    """A search in a statement of ours, of one table or of all that a statement joins. Every value is a parameter.

    Taken from the other session's statement are only the columns, by the names that the catalog has for them, and
    how each is searched.
    """

    #: The table, by OID and as it must be written.
    oid: int
    table: str
    #: The columns by their bare names.
    columns: tuple[str, ...]
    condition: str
    parameters: int
    #: The planner's usual cost for reading all of the table.
    full_cost: float
    #: All that the statement asks of the table is asked here too.
    is_whole: bool = True
    #: Searches for given values only: how many rows a range or a pattern finds no generic plan knows.
    is_for_values: bool = True
    #: The whole search and all its tables, where there are several of them.
    search: str = ""
    tables: tuple[PlannedTable, ...] = ()

    @property
    def planned(self) -> tuple[PlannedTable, ...]:
        """The tables that are planned with."""
        return self.tables or (PlannedTable(self.oid, self.table, ""),)

    @property
    def statement(self) -> str:
        """What is to be planned."""
        return self.search or f"SELECT 1 FROM {self.table} WHERE {self.condition}"  # noqa: S608 - names are the server's.


class PlannedScan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A table that a plan reads as a whole, and the rows that it wants of them.

    `columns`: those by which it chooses rows, for values. `joined_by`: the one by which it is joined to `other_rows`
    rows, so that `joined_rows` are found; empty where it is not joined by one equality.
    """

    table: int
    columns: tuple[str, ...]
    rows: float
    joined_by: str = ""
    other_rows: float = 0.0
    joined_rows: float = 0.0


class QueryPlan(msgspec.Struct, frozen=True, gc=False):
    """The generic plan of a search, or why there is none (`silence`, in words)."""

    #: The OID of the table that is searched.
    table: int
    #: How it and its partitions are read, in EXPLAIN's words.
    scans: tuple[str, ...] = ()
    cost: float = 0.0
    full_cost: float = 0.0
    #: Rows that the planner expects to find; None where it cannot know.
    rows: float | None = None
    silence: str = ""
    #: Of a search of several tables: those that are read as a whole.
    read_as_a_whole: tuple[PlannedScan, ...] = ()
    #: It is the plan of a whole statement's shape.
    is_of_shape: bool = False

    def shows_scan(self, table: int) -> bool:
        """The plan of a shape reads this table as a whole."""
        return any(scan.table == table for scan in self.read_as_a_whole)

    @property
    def reads_all(self) -> bool:
        """It reads the whole table."""
        return bool(self.scans) and set(self.scans) == {"Seq Scan"}

    @property
    def finds_by_index(self) -> bool:
        """An index finds the rows, at a small part of the cost of reading the table."""
        return bool(self.scans) and _BY_INDEX.issuperset(self.scans) and self.cost <= _CHEAP * self.full_cost


def describe_plan(plan: QueryPlan, name: str, *, is_join: bool = False) -> str:
    """What the plan of a search says of the table `name`; empty where it decides nothing."""
    if plan.silence:
        return f"not confirmed by EXPLAIN: {plan.silence}"
    if is_join and plan.is_of_shape:
        return f"EXPLAIN confirms: sequential scan over {name} (generic plan)"
    if plan.reads_all:
        found = "" if plan.rows is None else f" to find about {plan.rows:,.0f} rows"
        return f"EXPLAIN confirms: sequential scan over {name}{found} (generic plan)"
    if plan.finds_by_index:
        return f"no unindexed scan according to EXPLAIN: an index finds its rows in {name} (generic plan)"
    return ""
