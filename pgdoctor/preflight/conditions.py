"""The conditions that rows of the tables name: true where the statement is the more dangerous one.

None: not known. The judge takes that for true, and rows with the worse effect come first.
"""

from collections.abc import Callable
from itertools import pairwise

from pgdoctor.model.preflight import Catalog
from pgdoctor.preflight.bounds import implies_bounds, read_bounds
from pgdoctor.preflight.case import StatementCase
from pgdoctor.preflight.column_definition import ColumnDefinition, read_column, read_type
from pgdoctor.preflight.object_scopes import read_advisory_key
from pgdoctor.preflight.row_changes import find_whole_changes
from pgdoctor.preflight.type_change import changes_order, needs_rewrite, read_modifier
from pgdoctor.sqltext.lexer import word_set

#: Functions of the server that give the same value in one statement. Without a server no others are trusted.
STABLE = word_set(
    "now transaction_timestamp statement_timestamp current_date current_timestamp current_time localtime "
    "localtimestamp coalesce nullif greatest least lower upper md5 to_timestamp make_date make_timestamp make_interval "
    "concat format abs round floor ceil length left right substring substr trim btrim jsonb_build_object "
    "jsonb_build_array json_build_object to_jsonb to_json array_fill date_trunc timezone current_setting "
    "pg_catalog.now version current_database current_schema numrange int4range int8range tstzrange daterange"
)

#: Functions of the server that a migration calls and that lock no table.
HARMLESS = STABLE | word_set(
    "count sum min max avg nextval setval currval lastval set_config gen_random_uuid random clock_timestamp "
    "uuid_generate_v4 uuidv4 uuidv7 generate_series unnest array_agg string_agg jsonb_agg row_number rank "
    "pg_get_serial_sequence to_regclass replace regexp_replace split_part to_char to_date to_number cast extract "
    "date_part age array_length array_append cardinality char_length initcap ltrim rtrim lpad rpad encode decode "
    "jsonb_set sign sqrt power mod pg_sleep exists"
)

#: Functions of the server that may wait for, or hold up, other sessions.
_RISKY = (
    "pg_advisory", "pg_try_advisory", "lo_", "dblink", "pg_terminate", "pg_cancel", "pg_switch", "pg_reload",
    "pg_promote", "query_to_", "table_to_", "cursor_to_", "schema_to_", "database_to_", "pg_logical", "ts_stat",
    "pg_create_", "pg_drop_", "pg_replication", "brin_", "gin_clean", "pg_prewarm",
)  # fmt: skip


def _column(case: StatementCase) -> ColumnDefinition | None:
    return read_column(case.sentence.stream, case.sentence.text, case.match.rest, case.end)


def _unreadable_column(case: StatementCase) -> bool:
    return _column(case) is None


def _rewrites_new_column(case: StatementCase) -> bool | None:
    column = _column(case)
    if column is None:
        return None
    if column.is_stored or column.is_identity or column.is_serial or _is_checked_domain(case, column):
        return True
    return any(_is_volatile(case, name) for name in column.calls)


def _scans_new_column(case: StatementCase) -> bool | None:
    column = _column(case)
    if column is None:
        return None
    has_value = column.has_default and not column.is_null_default
    return (
        column.has_check
        or (column.is_not_null and not has_value and not column.is_virtual)
        or (column.is_not_null and column.is_virtual)
    )


def _is_checked_domain(case: StatementCase, column: ColumnDefinition) -> bool:
    found = case.catalog.find_type(column.type.name) if case.catalog else None
    return found is not None and found.is_checked


def _is_volatile(case: StatementCase, name: str) -> bool:
    found = case.catalog.find_function(name) if case.catalog else None
    if found is not None:
        return found.is_volatile
    return name not in STABLE


def _adds_index(case: StatementCase) -> bool | None:
    column = _column(case)
    return None if column is None else column.is_unique


def _adds_reference(case: StatementCase) -> bool | None:
    column = _column(case)
    return None if column is None else column.is_reference


def _changes_form(case: StatementCase) -> bool | None:
    """The new type of the column has another stored form, or its values are to be checked."""
    stream, text = case.sentence.stream, case.sentence.text
    found = read_type(stream, text, case.match.rest, case.end)
    if found is None:
        return None
    new, behind = found
    if stream[behind].is_word("collate"):
        return True
    if stream[behind].is_word("using") and not _is_plain_using(case, behind + 1):
        return True
    if behind < case.end and not stream[behind].is_word("using"):
        return None
    if case.catalog is None:
        return None
    columns = [
        case.catalog.find_column(facts.oid, case.match.one("column"))
        for name in case.tables
        for facts in case.find(name)
    ]
    if not columns or None in columns:
        return None
    return any(
        column is not None and needs_rewrite(column.type, read_modifier(column.type, column.modifier), new)
        for column in columns
    )


def _is_plain_using(case: StatementCase, start: int) -> bool:
    """USING names the column, at most with a cast to the new type."""
    stream, text = case.sentence.stream, case.sentence.text
    if not (stream[start].is_name and stream[start].value == case.match.one("column")):
        return False
    if start + 1 >= case.end:
        return True
    if not (stream[start + 1].is_symbol(":") and stream[start + 2].is_symbol(":")):
        return False
    cast = read_type(stream, text, start + 3, case.end)
    declared = read_type(stream, text, case.match.rest, case.end)
    return cast is not None and cast[1] >= case.end and declared is not None and cast[0] == declared[0]


def _may_be_null(case: StatementCase) -> bool | None:
    """Rows may have no value in the column, as far as the server knows: they are to be read."""
    column = case.match.one("column")
    if any((name, column) in case.script.not_null for name in case.tables):
        return False
    if case.catalog is None:
        return None
    found = [case.catalog.find_column(facts.oid, column) for name in case.tables for facts in case.find(name)]
    if not found or None in found:
        return None
    return any(each is not None and not (each.is_not_null or each.has_not_null_check) for each in found)


def _validates(case: StatementCase) -> bool:
    return not case.has_words("not", "valid") and not case.has_words("not", "enforced")


def _kind_is(kinds: str) -> Callable[[StatementCase], bool | None]:
    def check(case: StatementCase) -> bool | None:
        found = case.constraint_kinds()
        if found:
            return any(kind in kinds for kind in found.values())
        name = case.match.one("constraint")
        if any((table, name) in case.script.checks for table in case.tables):
            return "c" in kinds
        return None

    return check


def _constraint_is_invalid(case: StatementCase) -> bool | None:
    if case.catalog is None:
        return None
    name = case.match.one("constraint")
    found = [case.catalog.find_constraint(facts.oid, name) for table in case.tables for facts in case.find(table)]
    if not found or None in found:
        return None
    return any(each is not None and not each.is_valid for each in found)


def _key_may_be_null(case: StatementCase) -> bool | None:
    """A column of the index may be null: PRIMARY KEY USING INDEX reads the table."""
    if case.catalog is None:
        return None
    index = {facts.oid for facts in case.find(case.match.one("index"))}
    tables = {facts.oid for name in case.tables for facts in case.find(name)}
    columns = [each for each in case.catalog.columns if each.table_oid in tables and index & set(each.indexes)]
    if not columns:
        return None
    return any(not (each.is_not_null or each.has_not_null_check) for each in columns)


def _has_strong_setting(case: StatementCase) -> bool:
    return case.has_word("user_catalog_table", "security_barrier", "security_invoker", "check_option")


def _replaces(case: StatementCase) -> bool:
    """CREATE OR REPLACE of something that is there."""
    return case.has_words("or", "replace") and (case.catalog is None or any(case.find(name) for name in case.tables))


def _calls_unknown(case: StatementCase) -> bool:
    """A function is called that may do anything."""
    return any(_is_unknown_call(case, parts) for parts in case.called())


def _is_unknown_call(case: StatementCase, parts: tuple[str, ...]) -> bool:
    name = parts[-1]
    if name.startswith(_RISKY):
        return True
    found = case.catalog.find_function(name) if case.catalog else None
    if found is not None:
        return not found.is_builtin and name not in HARMLESS
    return name not in HARMLESS or (len(parts) > 1 and parts[0] != "pg_catalog")


def _knows_advisory_key(case: StatementCase) -> bool:
    stream, start = case.sentence.stream, case.start + 1
    arguments = stream.tokens[start + 2 : stream.next_index(start + 1) - 1]
    # Without a server the sessions that hold it are not known.
    return case.catalog is not None and read_advisory_key(arguments, case.sentence.text) is not None


#: What may stand behind the ON of GRANT and REVOKE, besides tables.
_GRANTED = word_set(
    "all function procedure routine schema database type domain language foreign large tablespace parameter"
)


def _granted_on(case: StatementCase) -> str:
    """The word behind ON, empty where it is a table's name or there is no ON."""
    for token, following in pairwise(case.tokens):
        if token.is_word("on"):
            return following.value if following.is_any(_GRANTED) else "table"
    return ""


def _is_on(*words: str) -> Callable[[StatementCase], bool]:
    return lambda case: _granted_on(case) in words


def _scans_attached(case: StatementCase) -> bool | None:
    """A partition is read when it is attached, unless a CHECK of it implies the bounds."""
    names = case.match.names.get("other", ())
    if case.catalog is None:
        return None
    found = [facts for name in names for facts in case.find(name)]
    bounds = read_bounds(case)
    return not found or not all(
        any(implies_bounds(check, bounds) for check in case.catalog.checks.get(facts.oid, ())) for facts in found
    )


def _lacks_index(case: StatementCase) -> bool | None:
    """The partition lacks an index of its new parent, as far as columns tell: it is built."""
    if case.catalog is None:
        return None
    wanted = {index for name in case.tables for facts in case.find(name) for index in _indexed(case.catalog, facts.oid)}
    others = [facts for name in case.match.names.get("other", ()) for facts in case.find(name)]
    return not others or any(not wanted <= _indexed(case.catalog, facts.oid) for facts in others)


def _indexed(catalog: Catalog, oid: int) -> set[frozenset[str]]:
    """The sets of columns that a table has an index of."""
    return {
        frozenset(each.name for each in catalog.columns if each.table_oid == oid and index in each.indexes)
        for index in catalog.follow("index", oid)
    }


def _rebuilds_indexes(case: StatementCase) -> bool:
    """The column has an index, and the new type sorts by another operator class."""
    found = read_type(case.sentence.stream, case.sentence.text, case.match.rest, case.end)
    if found is None or case.catalog is None:
        return True
    columns = (
        case.catalog.find_column(facts.oid, case.match.one("column"))
        for name in case.tables
        for facts in case.find(name)
    )
    return any(
        column is not None and bool(column.indexes) and changes_order(column.type, found[0].name) for column in columns
    )


def _is_composite(case: StatementCase) -> bool | None:
    if case.catalog is None:
        return None
    found = case.catalog.find_type(case.match.one("type").rpartition(".")[2])
    return found is not None and found.kind == "c"


def _is_concurrent(case: StatementCase) -> bool:
    """REINDEX (CONCURRENTLY), which may be said to be false."""
    return any(
        token.is_word("concurrently") and not following.is_word("false", "off") and following.value != "0"
        for token, following in pairwise(case.tokens)
    )


def _crosses_zones(case: StatementCase) -> bool:
    """From a time with a zone to one without, or back."""
    found = read_type(case.sentence.stream, case.sentence.text, case.match.rest, case.end)
    zones = {"timestamp", "timestamptz"}
    if found is None or case.catalog is None or found[0].name not in zones or found[1] < case.end:
        return False
    columns = (
        case.catalog.find_column(facts.oid, case.match.one("column"))
        for name in case.tables
        for facts in case.find(name)
    )
    return all(column is not None and column.type in zones for column in columns)


CONDITIONS: dict[str, Callable[[StatementCase], bool | None]] = {
    "unreadable_column": _unreadable_column,
    "rewrites_new_column": _rewrites_new_column,
    "scans_new_column": _scans_new_column,
    "adds_index": _adds_index,
    "adds_reference": _adds_reference,
    "changes_form": _changes_form,
    "may_be_null": _may_be_null,
    "validates": _validates,
    "is_foreign_key": _kind_is("f"),
    "is_index_constraint": _kind_is("pux"),
    "is_check": _kind_is("c"),
    "constraint_is_invalid": _constraint_is_invalid,
    "key_may_be_null": _key_may_be_null,
    "has_strong_setting": _has_strong_setting,
    "replaces": _replaces,
    "calls_unknown": _calls_unknown,
    "has_where": lambda case: case.has_word("where"),
    "changes_every_row": lambda case: any(find_whole_changes(case)),
    "cascades": lambda case: case.has_word("cascade"),
    "has_reference": lambda case: case.has_word("references"),
    "restarts_identity": lambda case: case.has_words("restart", "identity"),
    "is_on_tables": _is_on("table"),
    "is_on_nothing": _is_on(""),
    "is_on_schema": _is_on("schema"),
    "is_on_database": _is_on("database"),
    "is_on_function": _is_on("function", "procedure", "routine"),
    "is_on_type": _is_on("type", "domain"),
    "lacks_index": _lacks_index,
    "crosses_zones": _crosses_zones,
    "rebuilds_indexes": _rebuilds_indexes,
    "is_composite": _is_composite,
    "scans_attached": _scans_attached,
    "is_concurrent": _is_concurrent,
    "is_full": lambda case: any(
        token.is_word("full") and not following.is_word("false", "off") for token, following in pairwise(case.tokens)
    ),
    "changes_rows": lambda case: (
        case.has_word("insert", "delete", "merge")
        or any(token.is_word("update") and not last.is_word("for", "key") for last, token in pairwise(case.tokens))
    ),
    "knows_advisory_key": _knows_advisory_key,
    "draws_number": lambda case: case.has_word("nextval", "setval", "currval"),
    "includes_defaults": lambda case: case.has_words("including", "all") or case.has_words("including", "defaults"),
    "may_update": lambda case: case.has_words("do", "update"),
    "selects_into": lambda case: case.has_word("into"),
    "has_no_data": lambda case: case.has_words("no", "data"),
    "locks_rows": lambda case: any(case.has_words("for", word) for word in ("update", "no", "share", "key")),
}
