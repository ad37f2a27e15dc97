"""What the planner is asked about a blocker's search, and what it answered: values, no text of a client's statement."""

import msgspec

#: Scans that find rows by an index, as EXPLAIN calls them.
_BY_INDEX = frozenset({"Index Scan", "Index Only Scan", "Bitmap Heap Scan"})

#: Share of the cost of reading the whole table up to which an index finds rows, and is not itself read as a whole.
_CHEAP = 1 / 3


class ExplainRequest(msgspec.Struct, frozen=True):
    """A search of one table, in a statement of ours. Every value in it is a parameter.

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

    @property
    def reads_all(self) -> bool:
        """It reads the whole table."""
        return bool(self.scans) and set(self.scans) == {"Seq Scan"}

    @property
    def finds_by_index(self) -> bool:
        """An index finds the rows, at a small part of the cost of reading the table."""
        return bool(self.scans) and _BY_INDEX.issuperset(self.scans) and self.cost <= _CHEAP * self.full_cost


def describe_plan(plan: QueryPlan, name: str) -> str:
    """What a plan says of the table `name`; empty where it decides nothing."""
    if plan.silence:
        return f"not confirmed by EXPLAIN: {plan.silence}"
    if plan.reads_all:
        found = "" if plan.rows is None else f" to find about {plan.rows:,.0f} rows"
        return f"EXPLAIN confirms: sequential scan over {name}{found} (generic plan)"
    if plan.finds_by_index:
        return f"no unindexed scan according to EXPLAIN: an index finds its rows in {name} (generic plan)"
    return ""
