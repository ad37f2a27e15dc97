"""Judges a script: each statement by the tables, in the transaction that it runs in, and against what is live."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from pgdoctor.model.lock_modes import modes_conflict
from pgdoctor.model.preflight import Catalog
from pgdoctor.preflight.case import Script, StatementCase
from pgdoctor.preflight.dialect import find_dialect
from pgdoctor.preflight.effect import Effect, NeededLock, find_effect, most_work
from pgdoctor.preflight.form_match import Match, match_form
from pgdoctor.preflight.rule import AS, RE
from pgdoctor.preflight.safe_form import write_safe_forms
from pgdoctor.preflight.script import Problem, ScriptPart
from pgdoctor.preflight.script_state import remember
from pgdoctor.preflight.timeouts import Timeouts, follow_settings
from pgdoctor.preflight.work import WORK
from pgdoctor.sqltext.lexer import word_set
from pgdoctor.sqltext.token_stream import TokenStream

#: The newest version that the tables were compared with.
NEWEST = 18

_NO_RULE = "no rule is known for it, so it counts as dangerous"
_TOO_LONG = "it is too long to be read to its end, so it counts as dangerous"

#: Of these the beginning tells what they lock, as long as no function is called behind it.
_TOLD_BY_BEGINNING = word_set("insert values copy")

_NO_MATCH = Match({}, 0)


class Verdict(Enum):
    """What is to be said of a statement, the worst first."""

    UNKNOWN = "unknown"
    FAILS = "fails"
    BLOCKED = "blocked"
    DANGEROUS = "dangerous"
    BRIEF = "brief"
    HARMLESS = "harmless"
    SKIPPED = "skipped"


#: With these a script is not free to run.
STOPPING = (Verdict.UNKNOWN, Verdict.FAILS, Verdict.BLOCKED, Verdict.DANGEROUS)


class Held(NamedTuple):
    """A lock that an earlier statement of the transaction has taken, and its number."""

    lock: NeededLock
    number: int


class Judged(NamedTuple):
    """A statement with its verdict before anything live is known. Numbers count from 1."""

    number: int
    part: ScriptPart
    verdict: Verdict
    effect: Effect
    safe: tuple[str, ...]
    reasons: tuple[str, ...]
    #: Of an explicit or implicit transaction of several statements; None: it commits by itself.
    transaction: int | None
    #: Locks of earlier statements that are still held while it runs.
    held: tuple[Held, ...]
    timeouts: Timeouts
    #: Behind it a transaction is open that the script has begun.
    is_left_open: bool = False


class Settings(NamedTuple):
    """How a script is run, and what counts as small: bytes that are read or written in no time."""

    #: One transaction for all; of one statement alone it makes no difference.
    is_single_transaction: bool = False
    small_bytes: int = 10 << 20


def judge_script(
    parts: Sequence[ScriptPart], catalog: Catalog | None, version: int, settings: Settings | None = None
) -> tuple[Judged, ...]:
    """All statements of a script, judged in their order. `version`: major; `catalog` None: there is no server."""
    settings = settings or Settings()
    if len(parts) == 1:
        settings = settings._replace(is_single_transaction=False)
    return tuple(_Judge(catalog, version, settings).judge(parts))


def mentioned_names(parts: Sequence[ScriptPart]) -> tuple[frozenset[str], frozenset[str]]:
    """All that may be the name of a relation or type, parts joined by dots; and of a function."""
    names: set[str] = set()
    functions: set[str] = set()
    for part in parts:
        if part.problem is None:
            case = _whole(part, None, NEWEST, Script())
            names.update(case.mentioned())
            names.update(case.named_in_calls())
            functions.update(parts[-1] for parts in case.called())
            # A table with its columns looks as a call does.
            functions_as_names = {".".join(parts) for parts in _bracketed(case)}
            names |= functions_as_names
    return frozenset(names), frozenset(functions)


def emptied_schemas(parts: Sequence[ScriptPart]) -> frozenset[str]:
    """The schemas of which statements reach all relations."""
    found: set[str] = set()
    for part in parts:
        stream = part.sentence.stream
        for form in ("drop schema [if exists] {schemas:l} cascade", "reindex [()] schema {schemas:l}"):
            match = match_form(form, stream, 0, len(stream.tokens))
            found.update(match.names.get("schemas", ()) if match else ())
    return frozenset(found)


class _Saved(NamedTuple):
    """What ROLLBACK goes back to: `savepoint` empty: the beginning of the transaction."""

    savepoint: str
    script: Script
    held: int
    timeouts: Timeouts


class _Judge:
    def __init__(self, catalog: Catalog | None, version: int, settings: Settings) -> None:
        self._catalog, self._version, self._settings = catalog, version, settings
        self._script = Script()
        self._transaction: int | None = 1 if settings.is_single_transaction else None
        self._transactions = 1 if settings.is_single_transaction else 0
        self._held: list[Held] = []
        self._timeouts = Timeouts()
        self._saved: list[_Saved] = []
        if settings.is_single_transaction:
            self._save("")

    def judge(self, parts: Sequence[ScriptPart]) -> Iterator[Judged]:
        """Each part with its verdict."""
        for number, part in enumerate(parts, 1):
            if part.problem is Problem.COMMAND:
                yield self._make(number, part, Verdict.SKIPPED, Effect(), (part.problem.value,))
            elif (dialect := find_dialect(part.sentence)) is not None and not self._has_type(dialect.sign):
                why = f"written for {dialect.system} ({dialect.sign}): PostgreSQL would refuse it, or read it otherwise"
                yield self._make(number, part, Verdict.UNKNOWN, Effect(is_known=False), (why,))
            elif part.problem is not None:
                yield self._make(number, part, Verdict.UNKNOWN, Effect(is_known=False), (part.problem.value,))
            else:
                yield self._judge_statement(number, part)

    def _has_type(self, sign: str) -> bool:
        """An extension or a domain brings the type of another system."""
        return self._catalog is not None and self._catalog.find_type(sign.lower()) is not None

    def _judge_statement(self, number: int, part: ScriptPart) -> Judged:
        stream = part.sentence.stream
        if stream.is_cut and (part.calls_late or not stream[0].is_any(_TOLD_BY_BEGINNING)):
            return self._make(number, part, Verdict.UNKNOWN, Effect(is_known=False), (_TOO_LONG,))
        effect = find_effect(_split_actions(_whole(part, self._catalog, self._version, self._script)))
        missing = _find_missing(effect)
        verdict, reasons = self._decide(effect, missing)
        judged = self._make(number, part, verdict, effect, reasons)
        for rule, case in effect.applied:
            remember(rule.leaves, case)
        self._timeouts = follow_settings(self._timeouts, part.sentence, in_transaction=self._transaction is not None)
        self._follow_transaction(number, stream, effect)
        is_open = self._transaction is not None and not self._settings.is_single_transaction
        return judged._replace(is_left_open=is_open)

    def _make(
        self, number: int, part: ScriptPart, verdict: Verdict, effect: Effect, reasons: tuple[str, ...]
    ) -> Judged:
        return Judged(
            number,
            part,
            verdict,
            effect,
            write_safe_forms(effect),
            (*reasons, *effect.notes),
            self._transaction,
            tuple(self._held),
            self._timeouts,
        )

    def _decide(self, effect: Effect, missing: tuple[str, ...]) -> tuple[Verdict, tuple[str, ...]]:
        if not effect.is_known:
            return Verdict.UNKNOWN, (_NO_RULE,)
        if effect.is_unknown:
            return Verdict.UNKNOWN, ()
        if missing:
            return Verdict.UNKNOWN, tuple(f"there is no relation {name}: check its schema, and -d" for name in missing)
        if self._catalog is not None and self._catalog.is_cut and effect.locks:
            return Verdict.UNKNOWN, ("more relations belong to those of the script than are read",)
        if effect.is_alone and self._transaction is not None:
            return Verdict.FAILS, ("it cannot run inside of a transaction",)
        kind = most_work(effect.work)
        large = [work for work in effect.work if not self._is_small(work.oid)]
        blocking = [lock for lock in (*effect.locks, *(held.lock for held in self._held)) if keeps_out(lock)]
        if large and (kind == "rows" or (blocking and WORK[kind].rank > WORK["rows"].rank)):
            return Verdict.DANGEROUS, self._explain_danger(effect)
        if any(keeps_out(lock) for lock in effect.locks):
            return Verdict.BRIEF, ()
        return Verdict.HARMLESS, ()

    def _explain_danger(self, effect: Effect) -> tuple[str, ...]:
        if any(keeps_out(lock) for lock in effect.locks):
            return ()
        numbers = sorted({held.number for held in self._held if keeps_out(held.lock)})
        if not numbers:
            return ()
        return (f"the locks of statement {', '.join(map(str, numbers))} are held meanwhile: commit first",)

    def _is_small(self, oid: int | None) -> bool:
        if self._catalog is None or oid is None:
            return False
        facts = self._catalog.relations[oid]
        return facts.is_measured and facts.bytes <= self._settings.small_bytes

    def _follow_transaction(self, number: int, stream: TokenStream, effect: Effect) -> None:
        first, second = stream[0], stream[1]
        if first.is_word("begin") or (first.is_word("start") and second.is_word("transaction")):
            if self._transaction is None:
                self._begin_transaction()
        elif first.is_word("savepoint") and self._transaction is not None:
            self._save(second.value)
        elif first.is_word("rollback", "abort") and _names_savepoint(stream):
            self._undo(stream.tokens[-1].value)
        elif first.is_word("commit", "end", "rollback", "abort") and not second.is_word("to", "prepared"):
            if first.is_word("rollback", "abort"):
                self._undo("")
            self._transaction, self._held, self._saved = None, [], []
            self._timeouts = self._timeouts.end_transaction()
            if _is_chained(stream):
                self._begin_transaction()
        elif first.is_word("prepare") and second.is_word("transaction"):
            self._transaction, self._saved = None, []
            self._timeouts = self._timeouts.end_transaction()
        elif self._transaction is not None:
            self._held += [Held(lock, number) for lock in effect.locks]

    def _begin_transaction(self) -> None:
        self._transactions += 1
        self._transaction = self._transactions
        self._save("")

    def _save(self, savepoint: str) -> None:
        self._saved.append(_Saved(savepoint, self._script.copy(), len(self._held), self._timeouts))

    def _undo(self, savepoint: str) -> None:
        """Forget what was made, locked and set since; the savepoint itself stays."""
        places = [place for place, each in enumerate(self._saved) if each.savepoint == savepoint]
        if not places:
            return
        saved = self._saved[places[-1]]
        del self._saved[places[-1] + 1 :]
        self._script, self._timeouts = saved.script.copy(), saved.timeouts
        del self._held[saved.held :]


def _names_savepoint(stream: TokenStream) -> bool:
    """ROLLBACK [WORK | TRANSACTION] TO [SAVEPOINT] name."""
    return stream[1].is_word("to") or stream[2].is_word("to")


def _is_chained(stream: TokenStream) -> bool:
    """The statement ends a transaction AND CHAIN: the next one begins with it."""
    return any(
        token.is_word("chain") and not stream[index - 1].is_word("no") for index, token in enumerate(stream.tokens)
    )


def _whole(part: ScriptPart, catalog: Catalog | None, version: int, script: Script) -> StatementCase:
    stream = part.sentence.stream
    start = _skip_explain(stream)
    return StatementCase(part.sentence, _NO_MATCH, start, len(stream.tokens), catalog, version, script)


def _skip_explain(stream: TokenStream) -> int:
    """Behind EXPLAIN, which takes the locks of what it explains; and behind opening brackets of a query."""
    index = 0
    if stream[0].is_word("explain"):
        index = 1
        while stream[index].is_word("analyze", "analyse", "verbose"):
            index += 1
        if stream[index].is_symbol("(") and not stream[index + 1].is_word("select", "with", "values", "table"):
            index = stream.next_index(index)
    return index


def _split_actions(case: StatementCase) -> Iterator[tuple[StatementCase, bool]]:
    """The statement itself; of ALTER TABLE each action, with its table."""
    stream = case.sentence.stream
    match = match_form("alter [foreign] table [if exists] {table:r} ...", stream, case.start, case.end)
    if match is None:
        yield case, False
        return
    table, is_only = match.one("table"), "only" in match.names
    start = match.rest
    for index in stream.iterate_level(match.rest):
        if stream[index].is_symbol(","):
            yield case._replace(start=start, end=index, table=table, is_only=is_only), True
            start = index + 1
    yield case._replace(start=start, table=table, is_only=is_only), True


def _bracketed(case: StatementCase) -> Iterator[tuple[str, ...]]:
    stream = case.sentence.stream
    for index in range(case.start, case.end):
        if stream[index].is_name and stream[index + 1].is_symbol("("):
            parts, before = [stream[index].value], index
            while stream[before - 1].is_symbol(".") and stream[before - 2].is_name:
                before -= 2
                parts.insert(0, stream[before].value)
            yield tuple(parts)


def _find_missing(effect: Effect) -> tuple[str, ...]:
    """Relations that the statement needs and that are not there."""
    missing = []
    creates = any(rule.leaves == "created" for rule, _ in effect.applied)
    for _, case in effect.applied:
        if case.catalog is None or case.has_words("if", "exists") or _may_be_missing(case):
            continue
        wanted = [
            *(() if creates else case.tables),
            *(name for key in ("other", "parent", "index") for name in case.match.names.get(key, ())),
        ]
        wanted += case.named_behind("references")
        missing += [name for name in wanted if not case.is_new(name) and not case.find(name)]
    return tuple(dict.fromkeys(missing))


def _may_be_missing(case: StatementCase) -> bool:
    """ALTER TABLE IF EXISTS, of which the case is an action."""
    before = case.sentence.stream.tokens[: min(case.start, 4)]
    return case.table != "" and any(token.is_word("exists") for token in before)


def keeps_out(lock: NeededLock) -> bool:
    """The lock blocks readers or writers."""
    return modes_conflict(lock.mode, AS) or modes_conflict(lock.mode, RE)
