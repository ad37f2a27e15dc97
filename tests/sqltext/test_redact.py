"""No value of a client's statement is ever shown: planted secrets, cuts at every place, hostile and broken text."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgdoctor.sqltext.redact import HIDDEN_STATEMENT, MORE, MOST_CHARACTERS, redact, redact_alone, redact_shape
from tests.examples import examples

SECRET = "hunter2"

#: Where a secret may stand; each in the form of a literal, or of text that is hidden for its place.
LITERALS = [
    "'hunter2'",
    "'it''s hunter2'",
    "'-- hunter2'",
    "'/* hunter2'",
    "'; hunter2'",
    "'$$ hunter2'",
    "'\" hunter2 \"'",
    "'%hunter2\\d'",
    r"E'it\'s hunter2'",
    r"e'\\' 'hunter2'",
    "E'x'\n'hunter2'",
    "U&'\\0061 hunter2'",
    "U&'a!0061 hunter2' UESCAPE '!'",
    "N'hunter2'",
    "B'hunter2'",
    "X'hunter2'",
    "$$hunter2$$",
    "$a$ $$ ' hunter2 $a$",
    "$größe$hunter2$größe$",
    "DATE 'hunter2'",
    "interval'hunter2'",
    "/* hunter2 */ 1",
    "/* a /* hunter2 */ hunter2 */ 1",
    "1 -- hunter2\n",
    "1 -- hunter2\r",
]

#: Statements around a value.
AROUND = [
    "select {}",
    "select * from t where a = {} and b = 1",
    "insert into t values (1,{},{})",
    "update t set a={}||b where c in({},2)",
    "select a,{}::text, b from t",
    "select 1;select {};select 2",
    "do {}",
    "create function f() returns int language sql as {}",
    "create function f() returns int begin atomic select {}; select {}; end",
    "alter role bob password {} valid until {}",
    "create user mapping for bob server s options (user {}, password {})",
    "create subscription s connection {} publication p",
    "set app.token = {}",
    "alter system set primary_conninfo to {}",
    "comment on table t is {}",
    "notify c, {}",
    "prepare transaction {}",
    "copy t from {} with (delimiter {})",
    "call p({})",
    "execute p({},1)",
    "explain select {}",
    "with a as (select {}) delete from t using a where t.b = {}",
    'select "a b", {} from "T"',
    "({})",
    "frobnicate {}",
    "{}",
]

#: A secret that is no literal.
BARE = [
    "alter role bob password hunter2",
    "create user bob encrypted password hunter2 login",
    "create user mapping for bob server s options (password hunter2)",
    "alter server s options (set password hunter2)",
    "create subscription s connection host=x,password=hunter2",
    "set app.token = hunter2",
    "set session app.token to hunter2, hunter2",
    "set local time zone hunter2",
    "SET a hunter2",
    "alter role bob set app.token = hunter2",
    "alter role bob in database d set app.token to hunter2",
    "alter database d set app.token = hunter2",
    "alter system set app.token = hunter2",
    "create function f() returns int set app.token = hunter2 as 'x'",
    "copy t from stdin;\n1\thunter2\n\\.\nselect 1",
    "COPY t (a) FROM STDIN WITH (FORMAT csv)\n1,hunter2",
    "copy t from stdin\r1\thunter2",
    "copy t from stdin -- rows\n1\thunter2",
    "copy t from stdin; hunter2",
    "begin; copy t from stdin; select hunter2; select 'it",
    "postgres://bob:hunter2@host/db",
    "host=x password=hunter2",
    "hunter2",
    "begin; hunter2",
    "begin; 'x' hunter2",
    '{"password": hunter2}',
    "\\copy t from stdin hunter2",
    "\\password hunter2",
    "select 'a\\' hunter2 ' from t",  # standard_conforming_strings is off
    "select 'a\\' || 'hunter2'",  # ... and on
    "select 1a hunter2",
    "select $1a$x$ $x$hunter2",
    "select 1$a$hunter2$a$",
    "select $a hunter2",
    "select {d hunter2}",
    "select 'hunter2",
    "select E'hunter2\\'",
    "select $$hunter2",
    "select $a$hunter2$b$",
    'select "hunter2',
    "select /* hunter2",
    "select /* /* */ hunter2",
    "select U&'hunter2",
    'select "' + "a" * 63 + 'hunter2"',
    "select " + "a" * 63 + "hunter2",
    'select "hunter2\n"',
    """select a where "b = 'hunter2' and "c = 1""",
    'select "a, hunter2, "b',
    # Double quotes taken for those of a string.
    'select * from t where a = "hunter2"',
    'select * from t where a <> "hunter2" and b',
    'select * from t where a like "hunter2"',
    'select * from t where a in ("x", "hunter2")',
    'select * from t where a = any ("hunter2")',
    'insert into t values ("x", "hunter2"), (f("hunter2"), "hunter2")',
    'select * from t where a between "x" and "hunter2" or b is distinct from "hunter2"',
    'call p("hunter2", f("hunter2")); execute p("hunter2")',
    'update t set a = "hunter2", b = "x" || "hunter2"',
    'update t set (a, b) = ("x", "hunter2")',
    'update t set (a, b) = row ("x", "hunter2")',
    'select a->"hunter2" from t',
    'create table t (a text default "hunter2")',
    'alter table t alter a set default "hunter2", add b text default "hunter2"',
    # The quotes of a word processor or a chat, from which a statement was pasted.
    "select * from t where a = \u2018hunter2\u2019",
    "select * from t where a = \u2018my hunter2 x\u2019 and b = 1",
    "insert into t values (\u201cmy hunter2\u201d)",
    "select * from t where a = \u00b4my hunter2\u00b4",
    'select "hunter2@example.org"',
    'select "postgres://bob:hunter2"',
    'select 1 as "4111 1111 1111 1111"',
    "import foreign schema a from server b into c options (password hunter2)",
    "select hunter2\u200b",
    "select $4111111111111111",
    "select 4111111111111111, 0xhunter2",
]


@pytest.mark.parametrize("text", BARE)
def test_a_secret_outside_of_a_literal_is_hidden(text: str) -> None:
    shown = redact(text)
    assert "hunter" not in shown
    assert "4111" not in shown
    assert redact(shown) == shown


@pytest.mark.parametrize("literal", LITERALS)
def test_a_secret_in_any_literal_is_hidden_wherever_the_text_is_cut(literal: str) -> None:
    for around in AROUND:
        text = around.replace("{}", literal)
        for length in range(len(text) + 1):
            shown = redact(text[:length])
            assert "hunt" not in shown
            assert redact(shown) == shown


@given(st.text(min_size=1), st.sampled_from(AROUND), st.integers(0, 200))
def test_no_text_in_quotes_is_shown(value: str, around: str, length: int) -> None:
    quoted = "'" + value.replace("'", "''") + f"{SECRET}'"
    shown = redact(around.replace("{}", quoted)[: length or None])
    assert "hunt" not in shown


@given(st.integers(), st.sampled_from(AROUND))
@example(17_000_000, "select {}")
def test_no_number_is_shown(value: int, around: str) -> None:
    digits = str(abs(value) + 10_000_000)
    for form in (digits, f"{digits}.5", f".{digits}", f"{digits}e5", f"-{digits}", f"0x{digits}", f"1_{digits}"):
        assert digits not in redact(around.replace("{}", form))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("  -- only a comment", ""),
        (";", ";"),
        ("select 1", "select ?"),
        ("SELECT  a\n\t, b  FROM t", "SELECT a , b FROM t"),
        ("select a /* x */ -- y\n from t", "select a from t"),
        ("select a/**/from t", "select a from t"),
        ("select -5, a-1, .5e3", "select -?, a-?, ?"),
        ("select $1, $2::int", "select $1, $2::int"),
        ("select * from orders_2024 o1 where o1.c2 = 17", "select * from orders_2024 o1 where o1.c2 = ?"),
        ('select "Größe", größe from "T 1"', 'select "Größe", größe from "T 1"'),
        ("select j ? 'k', j->>'k'", "select j ? ?, j->>?"),
        ("select '\\d+' from t", "select ? from t"),
        ("select 'a", "select ?"),
        ('select "a"."id" = "b"."id", "count"(*) from "t" "a"', 'select "a"."id" = "b"."id", "count"(*) from "t" "a"'),
        ('insert into t ("a", "b") values (1, "x")', 'insert into t ("a", "b") values (?, ?)'),
        ('select 1 where a in (select "id" from "b")', 'select ? where a in (select "id" from "b")'),
        ('grant select ("a") on "t" to "bob"', 'grant select ("a") on "t" to "bob"'),
        ("do $$ begin null; end $$ language plpgsql", "do ? language plpgsql"),
        ("alter role bob password 'x' valid until 'y'", "alter role bob password ?"),
        ("create table users (password text)", "create table users (password text)"),
        ("update users set password = 'x' where id = 1", "update users set password = ? where id = ?"),
        ("set search_path = a, b; select 1", "set search_path = ?; select ?"),
        ("set role bob", "set role bob"),
        ("set transaction isolation level serializable", "set transaction isolation level serializable"),
        (
            "set session characteristics as transaction read only",
            "set session characteristics as transaction read only",
        ),
        ("alter table t set (fillfactor = 70)", "alter table t set (fillfactor = ?)"),
        ("alter table t alter a set default b", "alter table t alter a set default b"),
        ("copy t (a, b) from stdin with (format csv)", "copy t (a, b) from stdin with (format csv)"),
        ("copy t from stdin;\n1\tAlice", "copy t from stdin; ?"),
        ("begin; frobnicate", "begin; ?"),
        ("frobnicate; begin", HIDDEN_STATEMENT),
        ("(select 1) union (select 2)", "(select ?) union (select ?)"),
        ("autovacuum: VACUUM public.t (to prevent wraparound)", "autovacuum: VACUUM public.t (to prevent wraparound)"),
        ("<insufficient privilege>", "<insufficient privilege>"),
        ('START_REPLICATION SLOT "s" LOGICAL 0/16B3748', 'START_REPLICATION SLOT "s" LOGICAL ?/?'),
    ],
)
def test_details_show_the_fields_of_a_session(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text", ["select 1,\x1b[2J2", "select a\x00b", "select \u202eabc", "select '\n' \x07", "select \ud800"]
)
def test_nothing_reaches_the_terminal_that_moves_it(text: str) -> None:
    assert redact(text).isprintable()


def test_a_long_text_is_cut_at_a_word() -> None:
    shown = redact("select " + "column_name, " * 1_000)
    assert len(shown) <= MOST_CHARACTERS
    assert shown.endswith(MORE)
    assert set(shown.removesuffix(MORE).removeprefix("select ").rstrip(",").split(", ")) == {"column_name"}
    assert redact(shown) == shown


# Text that is no literal may be SQL, or may be anything.

PIECES = (
    "select set alter create role user function password options connection to copy from stdin begin do ; ( ) , . "
    '= \'\' \' \\ " "" "a" in values between and distinct from call '
    "\\' $$ $a$ $ $1 $1a 1 1. .5 1e5 0x1 1a E' U&' U&\" B' -- /* */ - / * ? : :: { } "
    "größe \u200b \x00 \n \r … <insufficient privilege>"
)
SPLIT = st.lists(st.sampled_from(PIECES.split(" ")))
ANY_TEXT = st.text() | SPLIT.map(" ".join) | SPLIT.map("".join)


@examples(500)
@given(ANY_TEXT)
@example("select " + "+" * 3_000)
@example("select " + '"a",' * 600)
@example("select 1;" * 300 + "set x = 1, 2, 3")
@example("copy t from stdin " + "a " * 1_000)
@example("select 1" + MORE)
@example(HIDDEN_STATEMENT + MORE)
@example(MORE)
def test_any_text_comes_back_short_printable_and_unchanged_by_a_second_time(text: str) -> None:
    shown = redact(text)
    assert len(shown) <= MOST_CHARACTERS
    assert shown.isprintable()
    assert "'" not in shown
    assert redact(shown) == shown


def test_hostile_text_is_done_in_one_pass() -> None:
    """What grows with the square of the text would not end within the minute that a test may take."""
    for piece in (
        "'",
        "''",
        '"',
        "$",
        "$a$",
        "$a",
        "/*",
        "/**/",
        "--\n",
        "'\\",
        "E'\\",
        "U&",
        "(",
        ";",
        "set a=",
        "\n",
    ):
        for before in ("", "select ", "set a = ", "copy t from stdin "):
            assert len(redact(before + piece * (300_000 // len(piece)))) <= MOST_CHARACTERS


def test_shuffled_statements_leak_nothing() -> None:
    """Pieces of real statements in any order are what a broken client sends."""
    words = " ".join(around.replace("{}", "'hunter2'") for around in AROUND).split(" ")
    rng = random.Random(1)
    for _ in range(300):
        rng.shuffle(words)
        shown = redact(" ".join(words))
        assert redact(shown) == shown
        assert "hunter2" not in shown


#: What a statement is made of, and what its shape could take for something else.
PIECES = [
    *AROUND, *LITERALS, "17", "1.5e3", ".5", "$1", "$12a", "x1", "1x", "'", "''", '"', '"a 7 b"', '"7"',
    "\\", r"\7", "E'\\7'",
    "$$", "$7$", "--", "/*", "*/", "\n", " ", ";", ",", "(", ")", "=",
    "copy t from stdin", "99", "'9'", "{}",
]  # fmt: skip


@examples(400)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map(" ".join), st.integers(0, 80))
@example('select "a 7 b", 7', 0)
@example("select $7$ ' $7$, '7'", 0)
@example("select 'a', 'b", 0)
@example("select $a€5$ x $a€6$ hunter2 $a€5$", 0)
@example('select "72 .5 alter role bob password {} valid until {} ( &. "', 0)
def test_result_by_shape_is_that_of_the_text_itself(text: str, length: int) -> None:
    cut = text[: length or None]
    assert redact(cut) == redact_alone(cut)


def test_statements_of_one_shape_are_read_once() -> None:
    redact_shape.cache_clear()
    shown = {
        redact(f"update t set a = {number}, b = 'it''s {number}' where id in ($1, {number}.5)")
        for number in range(10, 100)
    }
    assert shown == {"update t set a = ?, b = ? where id in ($1, ?)"}
    assert redact_shape.cache_info().misses == 1
