"""Statement texts through reading, redaction, classification and every output."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.model.snapshot import Snapshot
from pgdoctor.sqltext.ddl import ddl_effect
from pgdoctor.sqltext.redact import outline_statement, redact
from pgdoctor.sqltext.statement import read_searches, read_statement
from tests.diagnosis.test_labelled import AE, ALL, AS, IDLE, on_row, on_table, queued
from tests.fuzz.mutating import cut, mutated, random_text
from tests.fuzz.outputs import KEPT, OUTPUTS, forget, fresh, kept
from tests.fuzz.trial import SECRET, Trial
from tests.test_secrets import AROUND, FORMS

NAME = "statements"

#: What an attacker, or a broken client, repeats.
PIECES = (
    *("(", ")", "((", "[", "]", "[1]", ",", ";", "'", "''", '"', "$$", "$a$", "$", "/*", "*/", "--", "\n", "E'", "U&'"),
    *("\\", "+", "-", "*", "::int", "::", ".", "a.", "? ", "$1 ", "=", " and a = 1", " or b like 'x%'", " not"),
    *(" in (",),
    *(" case when a then ", "struct<", "array[", "array<", "row(", "cast(", "exists(", "select "),
    *(" from orders ", "with a as ("),
    *("a || ", "a -> 'b' ", "|/ ", " collate ", " between ", "interval ", "'x',", "1,", " union ", "begin;"),
    *("/**/", "a+"),
    *("alter table orders ", "add column a int, ", "set x = ", "copy t from stdin ", "do $$", "values (1),", '"a",'),
)

SEEDS = (*AROUND, *sorted({each.statement or "" for case in ALL for each in case.snapshot.sessions.values()}))

_SITUATIONS: tuple[Callable[[], Snapshot], ...] = (
    lambda: on_row(**IDLE),
    lambda: on_row(),
    lambda: on_table(AE),
    lambda: on_table(AS, **IDLE),
    lambda: queued(AE),
)

#: Pieces that leave no literal, name or comment open; between spaces nothing of them grows into one.
_CLOSED = (
    *("select", "update orders set v =", "(", ")", "((", ",", ";", "1", "1.5e3", "'x'", "''", '"a b"', "$1"),
    *("a.b", "::int"),
    *("/* a */", "/* /* */ */", "-- x\n", "$$ ' $$", "$q$ -- $q$", "E'\\''", "=", "+", "and", "or", "not"),
    *("in", "like", "[1]"),
    *("where", "from orders", "with a as", "alter table orders add c int default", "begin;", "values"),
    *("\u202e", "\x1b", "é"),
    *("struct<", "case when", "union all", "returning", "lock table orders;", "explain", "do", "comment on table t is"),
)


def planted(rng: random.Random) -> str:
    """A text with the secret inside of a literal or a comment, whatever is around it."""
    around = rng.choice(AROUND)
    form = FORMS[rng.choice([name for name in sorted(FORMS) if name not in ("number", "fraction")])]
    noise = "".join(rng.choice(("", "\\", "'", '"', " ", "\n", "é", "--", "\u202e", "x")) for _ in range(3))
    literal = form(noise + SECRET + rng.choice(("", noise)))
    before = around.partition("{}")[0] if "{}" in around and rng.random() < 0.6 else ""
    pieces = [rng.choice(_CLOSED) for _ in range(rng.choice((0, 1, 3, 3, 10, 10, 100, 1_000)))]
    behind = mutated(rng, rng.choice(SEEDS).replace("{}", "1"), PIECES, 20_000)
    text = " ".join([before, *pieces, "", literal, behind if rng.random() < 0.7 else ""])
    return cut(rng, text) if rng.random() < 0.3 else text


def made(rng: random.Random) -> tuple[str, bool]:
    """A text, and whether the secret is in it."""
    if rng.random() < 0.5:
        return planted(rng), True
    if rng.random() < 0.1:
        return random_text(rng, 2_000), False
    return mutated(rng, rng.choice(SEEDS).replace("{}", rng.choice(("1", "'x'", "$1"))), PIECES), False


@contextmanager
def opened() -> Iterator[Callable[[Trial, random.Random, int], None]]:
    """Tries one text."""
    read_searches("select from orders where a = 1")  # Loads the parser, once.
    diagnose(on_row(**IDLE))

    def attempt(trial: Trial, rng: random.Random, number: int) -> None:
        text, is_planted = made(rng)
        trial.begin(number, text)
        is_cut = rng.random() < 0.3
        for name, reader in (("read", read_statement), ("where", read_searches), ("ddl", ddl_effect)):
            trial.timed(name, fresh(lambda reader=reader: str(reader(text, is_cut))))  # type: ignore[misc]
        for name, work in (("redact", redact), ("outline", outline_statement)):
            shown = trial.timed(name, lambda work=work: work(text))  # type: ignore[misc]
            trial.check_output(name, shown or "", allowed="\t\r" if name == "outline" else "", is_planted=is_planted)
        situation = rng.choice(_SITUATIONS)()
        pid = rng.choice(list(situation.sessions))
        sessions = {**situation.sessions}
        sessions[pid] = replace(sessions[pid], statement=text, truncated=is_cut)
        snapshot = replace(situation, sessions=sessions)

        def judge() -> object:
            forget()
            return diagnose(snapshot)

        seen = trial.timed("diagnose", judge)
        if seen is None:
            return
        for name in rng.sample(list(OUTPUTS), 4):
            shown = trial.timed(name, fresh(lambda name=name: OUTPUTS[name](seen)))  # type: ignore[misc, arg-type]
            trial.check_output(name, shown or "", is_planted=is_planted)
        shown = trial.timed(KEPT, lambda: kept(seen))  # type: ignore[arg-type]
        if is_planted:
            trial.check_output(KEPT, shown or "", is_planted=True)

    yield attempt
