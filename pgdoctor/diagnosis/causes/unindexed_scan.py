"""A running statement that reads a whole large table to find its rows, and keeps its locks meanwhile.

Recognised by: it restricts a table of many rows by columns that no usable index serves. The check covers the first
column of each index, operator classes, collations, casts of the column, partial and expression indexes. If in doubt,
pgdoctor assumes that an index serves. The class does not apply if the statistics show that the statement reads a large
share of the rows. A value in the text is compared with the most common values of its column. Where our role may not
read the statistics, the scan gets no verdict, unless there is an index on the column that cannot be used. A plain index
does not serve a value computed from a column (a cast, a calculation, a function of the server), nor a pattern that
begins with a wildcard. An index on the expression, or on trigrams, would. A condition on all values but some (`state <>
'done'`) counts where nearly all rows have these, because a partial index would serve it. An index on a function of a
column serves no condition on the column itself.
A foreign key may be the cause, too. The statement deletes or changes rows that a large table references by columns
without an index. Then the server searches that table for each row, and no plan shows it. The check has begun if the
session holds the lock that only the check takes (RowShareLock, or RowExclusiveLock for a cascade).
Of a text that the server has cut, complete conditions count, and a list of values that the cut ends.
With `diagnose --explain` the planner confirms the scan, or names an index that finds the rows. The planner is also
asked about the shape of statements with several tables, without their values, and may find a scan that the text does
not show.
A query with LIMIT counts if it has to sort: no index begins with the first column of ORDER BY.
Some scans get no verdict. A range that is open on one side may match many rows. A join may use an index on its join
column. It counts only where the statistics show that few rows of one other table give the values to search for. A query
in IN, ANY or EXISTS is such a join. Of several statements in one text the running one is not known. A foreign key with
an index on some of its columns counts as served, unless the statistics say that these match a large share of the rows.
pgdoctor reads the raw catalogs only: functions such as `pg_get_indexdef()` would wait for the very locks in question.
Do: cancel the statement and create the index (CREATE INDEX CONCURRENTLY), or change the rows in batches.
Do not: rely on the `seq_scan` counters: they do not move before the transaction ends (measured).
Source: PostgreSQL documentation, "Indexes" and "Foreign Keys"; plans and checks measured on 14, 16 and 18.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pgdoctor.diagnosis.blocker import held_locks
from pgdoctor.diagnosis.blocker.blocker_facts import BlockerFacts
from pgdoctor.diagnosis.cause import Cause
from pgdoctor.diagnosis.index_advice.expression_index import is_day_of, write_key
from pgdoctor.diagnosis.index_advice.index_match import LARGE_SHARE, TEXTS, IndexedTable
from pgdoctor.diagnosis.index_advice.missing_index import (
    find_defeated_column,
    index_of_others,
    missing_keys,
    partial_index,
)
from pgdoctor.diagnosis.index_advice.scanned_tables import (
    BIG_TABLE_ROWS,
    CHANGE_LOCK,
    find_joined_tables,
    find_locked_tables,
    find_named_table,
    find_planned_scans,
    find_scanned_tables,
    parts_locked,
)
from pgdoctor.formatting import format_count, format_duration
from pgdoctor.model.query_plan import QueryPlan, describe_plan
from pgdoctor.model.remedy import Classification, Remedy
from pgdoctor.model.snapshot import ForeignKey, Relation
from pgdoctor.sqltext.conditions import Alternative, Filter, Search
from pgdoctor.sqltext.statement import Conditions

_KINDS = ("select", "select_for_update", "insert", "update", "delete", "merge")
_WRITES = ("insert", "update", "delete", "merge")

#: The lock that a foreign key's check takes on the referencing table, by its action.
_CHECK_LOCKS = {"a": "RowShareLock", "r": "RowShareLock"}


#: Partitions whose indexes are written out.
_MOST_PARTS = 8

_CUT = "its text is cut (track_activity_query_size), so conditions behind the cut are not known"


class UnindexedScan(Cause):
    name = "unindexed_scan"
    precedence = 600
    is_signallable = True

    def classify_blocker(self, facts: BlockerFacts) -> Classification | None:
        if not _may_scan(facts):
            return None
        return _by_foreign_key(facts) or _by_condition(facts)


class Claim(NamedTuple):
    """A search for rows that no index serves, as far as the catalogs show."""

    relation: Relation
    table: IndexedTable
    filters: tuple[Filter, ...]
    evidence: tuple[str, ...]
    advice: str
    #: Its rows are looked for by those of another table.
    is_join: bool = False


def find_claim(facts: BlockerFacts) -> Claim | None:
    """The search for its own rows that no index serves; None where another scan, or none, is what holds it up."""
    return _find_claim(facts) if _may_scan(facts) and _by_foreign_key(facts) is None else None


def _may_scan(facts: BlockerFacts) -> bool:
    text = facts.statement
    return facts.is_running and not facts.is_waiting and text.is_one and text.kind in _KINDS


def _by_condition(facts: BlockerFacts) -> Classification | None:
    """It looks for its own rows without an index."""
    found = _find_claim(facts) or next(_claim_planned_scans(facts), None)
    if found is None:
        return None
    plan = facts.snapshot.plans.get(facts.node)
    said = describe_plan(plan, found.relation.name, is_join=found.is_join) if plan is not None else ""
    if plan is not None and (plan.finds_by_index or _is_withdrawn(found, plan)):
        return None
    return _make_verdict(facts, found.relation, [*found.evidence, *([said] if said else [])], found.advice)


def _find_claim(facts: BlockerFacts) -> Claim | None:
    for table, asked in find_scanned_tables(facts):
        filters = asked.filters
        rows, relation = table.unserved_rows(filters, parts_locked(facts)), table.relation
        text = (facts.session.statement if facts.session else None) or ""
        reasons = _find_reasons(table, asked, text) if rows >= BIG_TABLE_ROWS else ()
        for (why, *more), advice in reasons:
            said = (f"reads all of {relation.name}, about {rows:,.0f} rows: {why}", *more)
            if asked.is_cut:
                said = (*said, _CUT)
                advice = f"if nothing behind the cut asks for an indexed column: {advice}"
            return Claim(relation, table, filters, said, advice)
    return next(_by_join(facts), None)


def _by_join(facts: BlockerFacts) -> Iterator[Claim]:
    """It needs only rows that match few rows of another table, and no index finds them."""
    for join in find_joined_tables(facts):
        table, name = join.table, join.table.relation.name
        column = table.format_column(join.column)
        said = f"reads all of {name}, about {table.rows:,.0f} rows: no index on {name} ({column})"
        why = f"it needs only rows that match about {join.found:,.0f} rows of {join.other}"
        yield Claim(table.relation, table, join.filters, (said, why), _index_to_create(table, [column]), is_join=True)


def _is_withdrawn(claim: Claim, plan: QueryPlan) -> bool:
    """The planner finds the rows of a join in another way."""
    return claim.is_join and plan.is_of_shape and not plan.shows_scan(claim.relation.oid)


def _claim_planned_scans(facts: BlockerFacts) -> Iterator[Claim]:
    """The planner reads a big table as a whole for few of its rows, and no index has the columns that tell them."""
    plan = facts.snapshot.plans.get(facts.node)
    for table, scan, key in find_planned_scans(facts, plan.read_as_a_whole if plan is not None else ()):
        name = table.relation.name
        found = scan.joined_rows if scan.joined_by else scan.rows
        said = (
            f"reads all of {name}, about {table.rows:,.0f} rows: no index on {name} ({key})",
            f"EXPLAIN of the statement's shape: sequential scan over {name} to find about {found:,.0f} rows "
            "(generic plan)",
        )
        yield Claim(table.relation, table, (), said, _index_to_create(table, [key]))


#: Why all of a table is read, in sentences, and what to do.
_Reason = tuple[list[str], str]


def _find_reasons(table: IndexedTable, asked: Conditions, text: str) -> Iterator[_Reason]:
    yield from _find_defeated(table, asked.filters)
    yield from _find_missing(table, asked)
    yield from _find_others(table, asked)
    yield from _find_hidden(table, asked.filters, text)


def _find_defeated(table: IndexedTable, filters: Sequence[Filter]) -> Iterator[_Reason]:
    """There is an index, which the type of the value keeps from being used."""
    column = find_defeated_column(table, filters)
    if column is not None:
        yield (
            [
                f"the index on {column.quoted} is of no use, for the column ({column.type}) is cast to the type that "
                "it is compared with"
            ],
            f"compare {column.quoted} with a value of type {column.type}",
        )


def _find_missing(table: IndexedTable, asked: Conditions) -> Iterator[_Reason]:
    """There is no index on its columns."""
    keys = missing_keys(table, asked.filters, asked.sorted_by)
    if keys:
        missing = ", ".join(f"{table.relation.name} ({key})" for key in keys)
        advised = partial_index(table, asked)
        advice = _index_to_create(table, [advised.key], where=advised.where) if advised else ""
        why = [f"no index on {missing}", *_describe_selectivity(table, asked.filters)]
        yield why, advice or _index_to_create(table, keys)


def _find_others(table: IndexedTable, asked: Conditions) -> Iterator[_Reason]:
    """It wants the few rows that have not the value which most rows have."""
    arms = (each.arms[0] for each in asked.filters if len(each.arms) == 1 and each.arms[0].helper == "others")
    for arm in arms:
        share = table.share_of_others(arm.mentions[0])
        if share is not None and share <= LARGE_SHARE:
            column, advised = table.format_column(arm.mentions[0]), index_of_others(table, asked, arm)
            index = _index_to_create(table, [advised.key], where=advised.where)
            yield (
                [
                    f"no index serves its condition on {column} ({arm.obstacle})",
                    f"statistics: about {_format_percent(share)} of the rows have another value of {column}",
                ],
                f"{index}, with the statement's own values in the place of ?",
            )


def _find_hidden(table: IndexedTable, filters: Sequence[Filter], text: str) -> Iterator[_Reason]:
    """The condition is on an expression of a column, which no plain index serves."""
    arms = (each.arms[0] for each in filters if len(each.arms) == 1)
    for arm in (arm for arm in arms if arm.helper and _would_help(arm, table)):
        column = table.format_column(arm.mentions[0])
        lack = f"no index serves its condition on {column} ({arm.obstacle}); how many rows that finds is not known"
        yield [lack], _advise_index(table, arm, text)


def _would_help(arm: Alternative, table: IndexedTable) -> bool:
    """An index of the kind that the condition calls for can be made, and finds few rows for all that is known."""
    if len(arm.mentions) != 1 or arm.helper == "others" or not table.is_selective(Search(arm.mentions[0])):
        return False
    column = table.columns.get(arm.mentions[0])
    kind = column.type if column else ""
    if arm.expression and arm.expression.operators:
        return kind == "jsonb" or (kind == "json" and arm.expression.operators[-1] != "#>")  # No json is equal to one.
    match arm.helper:
        case "trigrams":
            return kind in TEXTS
        case "gin":
            return kind == "jsonb" or kind.startswith("_")  # The types of arrays are called so.
        case "element":
            return kind.startswith("_")
        case "folded":  # What has no case is still found by a plain index.
            return kind in TEXTS and not table.has_plain_index(arm.mentions[0])
        case "equality":
            return table.is_selective(Search(arm.mentions[0], "null"))
        case _:
            return True


def _advise_index(table: IndexedTable, arm: Alternative, text: str) -> str:
    """What would find the rows of a condition that no plain index serves."""
    column = table.format_column(arm.mentions[0])
    match arm.helper:
        case "trigrams":
            index = _index_to_create(table, [f"{column} gin_trgm_ops"], " USING gin")
            return f"CREATE EXTENSION IF NOT EXISTS pg_trgm; {index}"
        case "gin":
            return _index_to_create(table, [column], " USING gin")
        case "element":
            write = f"write {column} @> ARRAY[...] in the place of ANY"
            is_served = table.has_plain_index(arm.mentions[0], "gin")
            return write if is_served else f"{write}, and {_index_to_create(table, [column], ' USING gin')}"
        case "folded":
            index = _index_to_create(table, [f"lower({column})"])
            return f"compare lower({column}) with a value in lower case, and {index}"
        case "equality":
            equal = f"write {column} = in the place of IS NOT DISTINCT FROM"
            is_served = table.has_plain_index(arm.mentions[0])
            return equal if is_served else f"{equal}, and {_index_to_create(table, [column])}"
        case _:
            return _help_for_expression(table, arm, text)


def _help_for_expression(table: IndexedTable, arm: Alternative, text: str) -> str:
    column = table.format_column(arm.mentions[0])
    key = write_key(arm.expression, table, text) if arm.expression else ""
    index = _index_to_create(table, [key]) if key else ""
    if arm.expression and arm.expression.operators:
        is_whole = "?" not in key
        return index if is_whole else f"{index}, with the statement's own key in the place of each ?"
    if arm.expression and is_day_of(arm.expression, table):
        return f"compare {column} itself with the two ends of the day, and {_index_to_create(table, [column])}"
    compare = f"compare {column} itself, or create an index on that very expression"
    return f"{compare}: {index}" if index else compare


def _by_foreign_key(facts: BlockerFacts) -> Classification | None:
    """Rows that reference those it deletes or changes are looked for without an index."""
    found = []
    for parent, key in _find_checks(facts):
        child = facts.snapshot.relations.get(key.table)
        if child is None:
            continue
        table = IndexedTable(child, facts.snapshot)
        rows = table.unserved_rows_of_check(key.columns)
        if rows >= BIG_TABLE_ROWS:
            found.append((rows, parent, key, child, table))
    if not found:
        return None
    rows, parent, key, child, table = max(found, key=lambda each: each[0])
    columns = ", ".join(map(table.format_column, key.columns))
    said = [
        f"each row of {parent.name} that it deletes or changes is looked for in all of {child.name}, about "
        f"{rows:,.0f} rows: no index on {child.name} ({columns}) for the foreign key {key.name}",
        f"the check has begun: it holds {_check_lock(key, facts)} on {child.name}",
    ]
    return _make_verdict(facts, child, said, _index_to_create(table, [columns]))


def _find_checks(facts: BlockerFacts) -> Iterator[tuple[Relation, ForeignKey]]:
    """The foreign keys whose checks have begun, each with the table that it references."""
    text = facts.statement
    target = find_named_table(text.targets[0], find_locked_tables(facts, CHANGE_LOCK)) if text.targets else None
    if target is None or text.kind not in _WRITES:
        return
    # A cascade deletes rows that others reference in turn.
    reached = [target]
    for parent in reached:
        is_deleted = text.kind == "delete"
        for key in parent.referenced_by or ():
            if not is_deleted and set(text.assigned).isdisjoint(key.referenced_columns):
                continue
            if not _has_lock(facts, key.table, _check_lock(key, facts)):
                continue
            yield parent, key
            child = facts.snapshot.relations.get(key.table)
            if is_deleted and key.on_delete == "c" and child is not None and child not in reached:
                reached.append(child)


def _check_lock(key: ForeignKey, facts: BlockerFacts) -> str:
    action = key.on_delete if facts.statement.kind == "delete" else key.on_update
    return _CHECK_LOCKS.get(action, CHANGE_LOCK)


def _has_lock(facts: BlockerFacts, oid: int, mode: str) -> bool:
    return any(
        lock.locktype == "relation" and lock.mode == mode and lock.relation == oid
        for lock in facts.held_locks
        if facts.snapshot.table_of(lock) is not None
    )


def _describe_selectivity(table: IndexedTable, filters: Sequence[Filter]) -> Iterator[str]:
    """What the statistics say of the columns that are asked for, values themselves left out."""
    searches = [search for each in filters for arm in each.arms for search in arm.searches]
    if searches and all(search.operator == "<" for search in searches):
        yield "how many rows its range finds is not known"
    asked = {search.column for search in searches}
    for name in sorted(asked & table.value_shares.keys()):
        share = _format_percent(table.value_shares[name])
        yield f"statistics: about {share} of the rows have the wanted value of {table.format_column(name)}"
    for column in table.columns.values():
        values = table.distinct_values(column)
        if column.name in asked - table.value_shares.keys() and values is not None and values > 1:
            yield f"statistics: about {values:,.0f} different values of {column.quoted}"


def _format_percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}" if share >= 0.00095 else "less than 0.1%"


def _earlier_scans(facts: BlockerFacts, relation: Relation) -> Iterator[str]:
    """What the counters say of all sessions; of this one they say nothing before its transaction ends."""
    gained = facts.snapshot.earlier_scans
    found = [gained[oid] for oid in (relation.oid, *(relation.parts or ())) if oid in gained]
    if found:
        scans, rows = sum(each.count for each in found), sum(each.rows for each in found)
        yield (
            f"reported in the last {format_duration(found[0].seconds)} by all sessions together: "
            f"{format_count(scans, 'sequential scan')} of {relation.name}, {rows:,} rows read"
        )


def _index_to_create(table: IndexedTable, keys: Sequence[str], method: str = "", where: str = "") -> str:
    """The commands, to be run as they stand.

    CONCURRENTLY is refused on a partitioned table. Its index takes over those of its partitions, and reads no row.
    """
    relation, behind = table.relation, f" WHERE {where}" if where else ""
    indexes = [f"{method} ({key}){behind}" for key in keys]
    if relation.kind != "p":
        return "; ".join(f"CREATE INDEX CONCURRENTLY ON {relation.name}{index}" for index in indexes)
    parts = [part.name for part in table.list_partitions() or ()]
    commands = [f"CREATE INDEX CONCURRENTLY ON {part}{index}" for part in parts[:_MOST_PARTS] for index in indexes]
    more = len(parts) - _MOST_PARTS
    last = "; ".join(f"CREATE INDEX ON {relation.name}{index}" for index in indexes)
    return "; ".join([*commands, f"the same on its other {more} partitions; {last}" if more > 0 else last])


def _make_verdict(facts: BlockerFacts, relation: Relation, said: list[str], advice: str) -> Classification:
    if facts.session is not None and facts.session.wait_event == "DataFileRead":
        said.append("it is reading from disk (IO/DataFileRead)")
    said += _earlier_scans(facts, relation)
    where = f"in database {facts.other_database}: " if facts.other_database is not None else ""
    return Classification(
        evidence=(
            *said,
            *held_locks.describe_contested_locks(facts),
            f"has run for {format_duration(facts.state_seconds)}",
        ),
        remedy=Remedy("cancel", f"its work is rolled back; before it runs again: {where}{advice}"),
        relation=relation.name,
    )
