"""A running statement that reads a whole big table to find its rows, holding the locks it takes on the way.

Recognised by: it restricts a table of many rows by columns that no usable index begins with. Read from the raw
catalogs, for functions such as `pg_get_indexdef()` would wait behind the very locks that are being explained.
Do: cancel it, create the index (CREATE INDEX CONCURRENTLY), or change the rows in batches.
Do not: conclude it from `seq_scan` counters: they stand still until the transaction ends (measured).
Source: PostgreSQL documentation, "Indexes"; predicates measured on 15 and 18.
"""

from pgdoctor.diagnosis.cause import Cause, Remedy, Strength, Verdict
from pgdoctor.diagnosis.predicate import Arm, Filter
from pgdoctor.diagnosis.snapshot import Index, Relation
from pgdoctor.diagnosis.suspect import Suspect
from pgdoctor.diagnosis.words import duration

#: Rows from which on reading the whole table matters.
BIG_TABLE_ROWS = 10_000

_KINDS = ("select", "select_for_update", "update", "delete", "merge")


class UnindexedScan(Cause):
    name = "unindexed_scan"
    strength = Strength.CATALOG

    def judge(self, suspect: Suspect) -> Verdict | None:
        text = suspect.statement
        if not suspect.is_running or suspect.is_waiting or text.kind not in _KINDS:
            return None
        asked = suspect.conditions
        # With a join an index on the joined column may serve, whatever the conditions say.
        if not asked.filters_known or asked.is_joined:
            return None
        table = _scanned_table(suspect)
        if table is None or table.indexes is None or table.live_rows < BIG_TABLE_ROWS:
            return None
        if any(_is_served(restriction, table.indexes) for restriction in asked.filters):
            return None
        wanted = next((columns for each in asked.filters if (columns := _indexable(each))), None)
        if wanted is None:
            return None
        missing = ", ".join(f"{table.name} ({column})" for column in wanted)
        return Verdict(
            evidence=(
                f"reads all of {table.name}, about {table.live_rows:,.0f} rows: no index on {missing}",
                f"has run for {duration(suspect.state_seconds)}",
            ),
            remedy=Remedy(
                "cancel",
                f"its work is rolled back; before it runs again: CREATE INDEX CONCURRENTLY ON {missing}",
            ),
            relation=table.name,
        )


def _scanned_table(suspect: Suspect) -> Relation | None:
    """The table that the statement reads, among those its session has locked; None if that is not just one."""
    snapshot = suspect.snapshot
    locked = {
        table.oid: table
        for lock in suspect.held
        if lock.locktype == "relation" and (table := snapshot.table_of(lock)) is not None and not table.is_system
    }
    name = suspect.conditions.scanned.rpartition(".")[2]
    found = [table for table in locked.values() if table.name.rpartition(".")[2].strip('"') == name]
    return found[0] if len(found) == 1 else None


def _is_served(restriction: Filter, indexes: tuple[Index, ...]) -> bool:
    """An index may find the rows of this condition: every arm of it has one, or one that we cannot judge."""
    return bool(restriction.arms) and all(_is_arm_served(arm, indexes) for arm in restriction.arms)


def _is_arm_served(arm: Arm, indexes: tuple[Index, ...]) -> bool:
    usable = [index for index in indexes if index.is_usable and index.key_columns]
    if arm.obstacle:
        # An index on an expression, or of a kind that serves more than comparisons: not for us to judge.
        return any(
            index.key_columns[0] is None or (index.method != "btree" and set(arm.mentions) & set(index.key_columns))
            for index in usable
        )
    return any(index.key_columns[0] in arm.columns for index in usable)


def _indexable(restriction: Filter) -> tuple[str, ...]:
    """The columns to index for this condition, one for each arm; none where an arm could not use one."""
    if any(arm.obstacle or not arm.columns for arm in restriction.arms):
        return ()
    return tuple(dict.fromkeys(arm.columns[0] for arm in restriction.arms))
