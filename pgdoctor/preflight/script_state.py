"""What a statement leaves for those that follow it in the script."""

from collections.abc import Callable, Sequence

from pgdoctor.preflight.case import StatementCase
from pgdoctor.sqltext.lexer import Token


def remember(leaves: str, case: StatementCase) -> None:
    """Take in what a row of the tables says that its statement has made."""
    if leaves:
        _MAKERS[leaves](case)


def _note_created(case: StatementCase) -> None:
    # With IF NOT EXISTS it may be an old one, with rows: without a server that is not known.
    if case.catalog is None and case.has_words("if", "not"):
        return
    case.script.created.update(name for name in case.tables if not case.find(name))


def _note_renamed(case: StatementCase) -> None:
    for old in case.tables:
        new = case.match.one("new")
        schema = old.rpartition(".")[0]
        new = f"{schema}.{new}" if schema else new
        if case.is_new(old):
            case.script.created.add(new)
        else:
            case.script.renamed[new] = case.script.renamed.get(old, old)


def _note_constraint(case: StatementCase) -> None:
    name = case.match.one("constraint")
    column = _not_null_column(case)
    is_valid = not case.has_words("not", "valid")
    for table in case.tables:
        case.script.checks[table, name] = column
        if is_valid and column:
            case.script.not_null.add((table, column))


def _not_null_column(case: StatementCase) -> str:
    """The column of `CHECK (column IS NOT NULL)`; empty for any other constraint."""
    words = [token for token in case.tokens if not token.is_symbol("()")]
    for place, token in enumerate(words):
        if token.is_word("check"):
            behind = words[place + 1 : place + 5]
            said = [each.value for each in behind[1:]]
            return behind[0].value if said == ["is", "not", "null"] and _ends_check(words, place + 5) else ""
    return ""


def _ends_check(words: Sequence[Token], place: int) -> bool:
    return place >= len(words) or words[place].is_word("not", "no")


def _note_valid(case: StatementCase) -> None:
    for table in case.tables:
        column = case.script.checks.get((table, case.match.one("constraint")))
        if column:
            case.script.not_null.add((table, column))


def _note_column(case: StatementCase) -> None:
    case.script.columns.update((table, case.match.one("column")) for table in case.tables)


_MAKERS: dict[str, Callable[[StatementCase], None]] = {
    "created": _note_created,
    "renamed": _note_renamed,
    "constraint": _note_constraint,
    "valid": _note_valid,
    "column": _note_column,
}
