"""Which lock a statement takes on its table, what that lock blocks, and a form of it that blocks less.

Source: PostgreSQL documentation, "Explicit Locking" and "ALTER TABLE"; `AlterTableGetLockLevel` in tablecmds.c and
`reloptions.c`, where 14 to 18 do not differ for these statements (138 statements measured, 12 to 18).
"""

from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from pgdoctor.model.lock_modes import mode_strength, modes_conflict
from pgdoctor.sqltext import statement, statement_kinds, statement_tables
from pgdoctor.sqltext.lexer import word_set
from pgdoctor.sqltext.shape import ByShape
from pgdoctor.sqltext.statement import Reading
from pgdoctor.sqltext.token_stream import TokenStream

SUE = "ShareUpdateExclusiveLock"
S = "ShareLock"
SRE = "ShareRowExclusiveLock"
E = "ExclusiveLock"
AE = "AccessExclusiveLock"

#: The mode on the table by the kind of statement, where the kind says it all.
_MODES = {
    "truncate": AE,
    "drop_table": AE,
    "drop_index": AE,
    "create_index": S,
    "create_trigger": SRE,
    "create_index_concurrently": SUE,
    "drop_index_concurrently": SUE,
    "reindex_concurrently": SUE,
    "refresh_concurrently": E,
    "refresh": AE,
    "vacuum": SUE,
    "analyze": SUE,
    "vacuum_full": AE,
    "cluster": AE,
    "repack": AE,
    "repack_concurrently": SUE,
    "reindex": S,
}

#: First words of the ALTER TABLE actions that do not take AccessExclusiveLock; the longest match counts. `*` is a name.
_ACTIONS = {
    "validate constraint": SUE,
    "alter * set statistics": SUE,
    "alter column * set statistics": SUE,
    "alter * set (": SUE,
    "alter column * set (": SUE,
    "alter * reset (": SUE,
    "alter column * reset (": SUE,
    "set (": SUE,
    "reset (": SUE,
    "cluster on": SUE,
    "set without cluster": SUE,
    "attach partition": SUE,
    "enable trigger": SRE,
    "disable trigger": SRE,
    "enable replica trigger": SRE,
    "enable always trigger": SRE,
    "add foreign key": SRE,
    "add constraint * foreign key": SRE,
}

#: Storage parameters that take the strongest lock all the same.
_STRONGEST_SETTINGS = word_set("user_catalog_table security_barrier security_invoker check_option")

RETRY = "SET lock_timeout = '3s' before it, and try again"

# What a mode keeps out, the strongest first.
_KEPT_OUT = (
    ("AccessShareLock", "even SELECT"),
    ("RowShareLock", "every write and SELECT ... FOR UPDATE, but not SELECT"),
    ("RowExclusiveLock", "every INSERT, UPDATE and DELETE, but not SELECT"),
    ("ShareUpdateExclusiveLock", "other DDL and VACUUM, but no reader or writer"),
)

#: The form that holds up fewer people, by kind.
_SAFER = {
    "create_index": "CREATE INDEX CONCURRENTLY does not block writers",
    "drop_index": "DROP INDEX CONCURRENTLY waits without keeping readers and writers out",
    "reindex": "REINDEX ... CONCURRENTLY blocks no readers and writers",
    "refresh": "REFRESH MATERIALIZED VIEW CONCURRENTLY does not block readers (it needs a unique index)",
    "vacuum_full": "pg_repack rewrites the table while it is in use",
    "cluster": "pg_repack rewrites the table while it is in use",
    "repack": "REPACK CONCURRENTLY, where the server has it, or pg_repack",
    "truncate": f"TRUNCATE needs the table to itself: {RETRY}; or DELETE in batches",
    "drop_table": f"DROP TABLE needs the table to itself: {RETRY}",
    "create_trigger": f"CREATE TRIGGER keeps writers out only for a moment: {RETRY}",
}

#: Lock modes of the actions of ALTER TABLE, by their first words; `*` is a name. More words come first.
_SAFER_ACTIONS = (
    ("add constraint * foreign key", "ADD ... FOREIGN KEY ... NOT VALID, then VALIDATE CONSTRAINT"),
    ("add foreign key", "ADD ... FOREIGN KEY ... NOT VALID, then VALIDATE CONSTRAINT"),
    ("add constraint * check", "ADD ... CHECK ... NOT VALID, then VALIDATE CONSTRAINT"),
    ("add check", "ADD ... CHECK ... NOT VALID, then VALIDATE CONSTRAINT"),
    ("add constraint * unique", "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT ... USING INDEX"),
    ("add unique", "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT ... USING INDEX"),
    ("add constraint * primary key", "CREATE UNIQUE INDEX CONCURRENTLY, then ADD PRIMARY KEY USING INDEX"),
    ("add primary key", "CREATE UNIQUE INDEX CONCURRENTLY, then ADD PRIMARY KEY USING INDEX"),
    ("alter column * set not null", "CHECK (... IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT, then SET NOT NULL"),
    ("alter * set not null", "CHECK (... IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT, then SET NOT NULL"),
    ("alter column * type", "a new column filled in batches, then swap the names"),
    ("alter * type", "a new column filled in batches, then swap the names"),
    ("alter column * set data type", "a new column filled in batches, then swap the names"),
    ("alter * set data type", "a new column filled in batches, then swap the names"),
    ("detach partition", "DETACH PARTITION ... CONCURRENTLY"),
)


#: Remains of a cancelled statement. REFRESH ... CONCURRENTLY leaves nothing.
_LEFT = dict.fromkeys(
    ("create_index_concurrently", "drop_index_concurrently", "reindex_concurrently"), "an invalid index"
)
_PENDING = "a partition that is half detached (DETACH PARTITION ... FINALIZE)"

#: Texts, of 16 KB at most, that are remembered: each is asked for several times in one diagnosis.
_CACHED = 64


#: Actions of one ALTER TABLE that are read.
_MOST_ACTIONS = 100


class DdlEffect(Struct, frozen=True):
    """What a statement does to its table. `mode` None: its text does not tell. `safer` empty: nothing to say."""

    mode: str | None = None
    is_concurrent: bool = False
    safer: str = ""
    #: Its remains if it is cancelled; empty: none.
    leaves: str = ""


class Part(Struct, frozen=True):
    """One statement of a text: its kind, the relations that it names, and what it does to them."""

    kind: str
    targets: tuple[str, ...]
    effect: DdlEffect
    #: Other relations that CREATE TABLE names and locks, with the mode of the lock.
    parents: tuple[tuple[str, str], ...] = ()

    @property
    def family(self) -> str:
        """One of `kinds.FAMILIES`."""
        return statement_kinds.FAMILY_OF[self.kind]


def ddl_effect(text: str, truncated: bool = False) -> DdlEffect:
    """The lock and the safer form of the most telling statement of a text. Never raises."""
    return _remembered_effect(text, truncated)


def split_parts(text: str, truncated: bool = False) -> tuple[Part, ...]:
    """The statements of a text that do any work, in order. Never raises."""
    return _remembered_parts(text, truncated)


def _read_effect(text: str, truncated: bool) -> DdlEffect:
    reading = statement.most_telling_reading(text, truncated)
    return _find_effect(reading) if reading else DdlEffect()


def _read_parts(text: str, truncated: bool) -> tuple[Part, ...]:
    found = ((reading, reading[1].form.kind) for reading in statement.read_statements(text, truncated))
    return tuple(
        Part(kind, statement_tables.find_targets(*reading), _find_effect(reading), tuple(_find_parents(reading)))
        for reading, kind in found
        if kind not in statement_kinds.SESSION
    )


def _list_names(found: tuple[Part, ...]) -> Iterator[str]:
    return (name for part in found for name in (*part.targets, *(parent for parent, _ in part.parents)))


def _find_effect(reading: Reading) -> DdlEffect:
    kind = reading[1].form.kind
    if kind == "lock":
        return DdlEffect(_named_mode(reading[0]))
    if kind == "alter_table":
        return _find_alter_effect(reading)
    is_concurrent = kind.endswith("_concurrently")
    if kind == "update" and _is_whole(reading):
        return DdlEffect(
            "RowExclusiveLock", safer="UPDATE in batches of some thousand rows, each in its own transaction"
        )
    return DdlEffect(_MODES.get(kind), is_concurrent, _SAFER.get(kind, ""), _LEFT.get(kind, ""))


def _find_parents(reading: Reading) -> Iterator[tuple[str, str]]:
    """The partitioned table, the parents and the referenced tables of CREATE TABLE, with the locks it takes on them."""
    sentence, head = reading
    if head.form.kind != "create_table":
        return
    for index in range(head.behind, len(sentence.tokens)):
        last, token = sentence[index - 1], sentence[index]
        if last.is_word("partition") and token.is_word("of"):
            yield sentence.read_relation(index + 1)[0], AE
        elif token.is_word("references"):
            yield sentence.read_relation(index + 1)[0], SRE
        elif last.is_word("inherits") and token.is_symbol("("):
            yield from ((name, SUE) for name in sentence.read_relations(index + 1))


def name_concurrent_command(text: str, truncated: bool = False) -> str | None:
    """The command of a text that waits for other transactions to end: `DROP INDEX CONCURRENTLY`. Never raises."""
    part = next((each for each in split_parts(text, truncated) if each.effect.is_concurrent), None)
    if part is None:
        return None
    return "DETACH PARTITION CONCURRENTLY" if part.kind == "alter_table" else part.kind.replace("_", " ").upper()


def keeps_out(mode: str) -> str:
    """The statements that a table lock of that mode blocks, in words; empty if it blocks none of note."""
    return next((whom for weakest, whom in _KEPT_OUT if modes_conflict(mode, weakest)), "")


def _named_mode(sentence: TokenStream) -> str | None:
    """The mode that LOCK TABLE names; None where that is cut off."""
    end = sentence.find(0, word_set("mode"))
    if end is None:
        return None if sentence.is_cut else AE
    begin = sentence.find(0, word_set("in"))
    named = [token.value.capitalize() for token in sentence.tokens[(begin or 0) + 1 : end]]
    return f"{''.join(named)}Lock"


def _find_alter_effect(reading: Reading) -> DdlEffect:
    sentence = reading[0]
    actions = list(islice(_find_actions(reading), _MOST_ACTIONS + 1))
    is_cut = sentence.is_cut or len(actions) > _MOST_ACTIONS
    if not actions:
        return DdlEffect()
    modes = [_action_mode(sentence, start) for start in actions]
    strongest = max(modes, key=mode_strength)
    if is_cut and strongest != AE:
        return DdlEffect()
    is_concurrent = any(_detaches_concurrently(sentence, start) for start in actions)
    found = (safer for start in actions for form, safer in _SAFER_ACTIONS if _match_form(sentence, start, form))
    safer = "" if is_concurrent or _says_not_valid(sentence) else next(found, "")
    return DdlEffect(SUE if is_concurrent else strongest, is_concurrent, safer, _PENDING if is_concurrent else "")


def _find_actions(reading: Reading) -> Iterator[int]:
    """The indexes at which the actions of ALTER TABLE begin."""
    sentence, head = reading
    name, behind = sentence.read_relation(head.behind)
    if not name:
        return
    starts = True
    for index in sentence.iterate_level(behind + sentence[behind].is_symbol("*")):
        if starts:
            yield index
        starts = sentence[index].is_symbol(",")


def _action_mode(sentence: TokenStream, start: int) -> str:
    for form, mode in _ACTIONS.items():
        if _match_form(sentence, start, form):
            return AE if _sets_strongest(sentence, start) else mode
    return SUE if _detaches_concurrently(sentence, start) else AE


def _sets_strongest(sentence: TokenStream, start: int) -> bool:
    for index in sentence.iterate_level(start):
        if sentence[index].is_symbol("("):
            inside = range(index, min(sentence.next_index(index), len(sentence.tokens)))
            return any(sentence[each].is_any(_STRONGEST_SETTINGS) for each in inside)
        if sentence[index].is_symbol(","):
            break
    return False


def _detaches_concurrently(sentence: TokenStream, start: int) -> bool:
    if not _match_form(sentence, start, "detach partition"):
        return False
    _, behind = sentence.read_relation(start + 2)
    return sentence[behind].is_word("concurrently", "finalize")


def _match_form(sentence: TokenStream, start: int, form: str) -> bool:
    expected = form.split()
    return sentence[start].is_word(expected[0]) and all(
        token.is_name if word == "*" else token.is_symbol("(") if word == "(" else token.is_word(word)
        for word, token in zip(
            expected, (sentence[index] for index in range(start, start + len(expected))), strict=True
        )
    )


def _says_not_valid(sentence: TokenStream) -> bool:
    return any(
        token.is_word("valid") and last.is_word("not")
        for last, token in zip(sentence.tokens, sentence.tokens[1:], strict=False)
    )


def _is_whole(reading: Reading) -> bool:
    """An UPDATE without WHERE, seen to its end."""
    sentence, head = reading
    return not sentence.is_cut and sentence.find(head.behind, frozenset({"where"})) is None


_remembered_effect = ByShape(_read_effect, _CACHED)
_remembered_parts = ByShape(_read_parts, _CACHED, _list_names)
