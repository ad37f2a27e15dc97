"""The lexer against the rules of Postgres's own, and against text that wants to take its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.sqltext.lexer import Sort, Token, join_pieces, scan_tokens

NAMES = {
    Sort.WORD: "w",
    Sort.NAME: "n",
    Sort.STRING: "s",
    Sort.NUMBER: "0",
    Sort.PARAMETER: "$",
    Sort.DOUBTFUL: "?",
    Sort.CUT: "!",
}


def sorts(text: str) -> str:
    """One character a token; symbols stand for themselves."""
    return "".join(NAMES.get(token.sort, token.value) for token in scan_tokens(text))


# What is in here must never show up outside of a literal, whatever the form.
@pytest.mark.parametrize(
    "text",
    [
        "'it''s -- no comment /* nor this */ $$ \"'",
        r"E'it\'s'",
        r"e'a\\'",
        "U&'d\\0061t'",
        "B'0101'",
        "x'1F'",
        "N'a'",
        "$$it's$$",
        "$tag$ $$ $other$ $tag$",
        "$größe$ x $größe$",
        r"'\d+ and a backslash that escapes no quote'",
        r"'two at the end \\'",
    ],
)
def test_a_literal_is_one_token(text: str) -> None:
    assert sorts(text) == "s"
    assert sorts(f"a={text},b") == "w=s,w"


@pytest.mark.parametrize("text", ["1", "1.", "1.5", ".5", "1e5", "1.5e-3", "0x1F", "0o17", "0b11", "1_000", "1_0.5_0"])
def test_a_number_is_one_token(text: str) -> None:
    assert sorts(text) == "0"
    assert sorts(f"a+{text}-b") == "w+0-w"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a$b$c", "w"),  # a name with dollars, no quote
        ("$1,$2", "$,$"),  # two parameters, no quote
        ("x$1", "w"),
        ("1..10", "0.0"),
        ("t.a", "w.w"),
        ("a.5", "w0"),
        ("e 'a'", "ws"),
        ('"a""b"c', "nw"),
        ('U&"d\\0061t"', "n"),
        ("a--b\n-c", "w-w"),
        ("a--b\r-c", "w-w"),
        ("a/*b/*c*/d*/e", "ww"),
        ("a/ *b", "w/*w"),
        ("+/**/-", "+-"),
        ("''''", "s"),
        ("a\x00b\x01c", "www"),
        ("größe ﬁ", "ww"),
    ],
)
def test_similar_sessions_are_not_of_the_class(text: str, expected: str) -> None:
    assert sorts(text) == expected


@pytest.mark.parametrize("text", ["'a", "'a''", r"E'a\'", "E'a\\", '"a', "$$a", "$a$b$A$", "/* a", "/* /* */", "B'0"])
def test_unterminated_text_takes_the_rest(text: str) -> None:
    assert sorts(f"x, {text}") == "w,!"


@pytest.mark.parametrize(
    "text",
    [
        r"'a\' b '",  # the end depends on standard_conforming_strings
        "1a",  # two tokens until version 14, an error since
        "1$a$b$a$",
        "$1a",
        "$a b",
        "\\.",
        "{d}",
    ],
)
def test_ambiguous_text_is_doubtful(text: str) -> None:
    assert sorts(f"x, {text}").startswith("w,?")


def test_words_are_folded_as_the_server_folds_them() -> None:
    kelvin = "\u212a"  # lower() makes a plain k of it
    values = [token.value for token in scan_tokens(f'Orders ÄÖ LOC{kelvin} "Orders"')]
    assert values == ["orders", "ÄÖ", f"loc{kelvin}", "Orders"]


def test_of_a_number_only_whether_it_is_whole_is_known() -> None:
    values = [token.value for token in scan_tokens("42 1_000 0xEE 4.2 .5 4e2")]
    assert values == ["", "", "", ".", ".", "."]


def test_of_a_literal_only_its_wildcard_is_known() -> None:
    values = [token.value for token in scan_tokens("'%secret' '^secret' E'_secret' $$%secret$$ 'secret%' '%_%' '' 42")]
    assert values == ["%x", "^x", "_x", "%x", "x%", "%", "", ""]


def test_tokens_are_written_with_one_space_where_there_was_any() -> None:
    def written(token: Token) -> str:
        return token.value or "?"

    assert "".join(join_pieces(scan_tokens("a  /* b */ ,'c'\n\n--d\n= 1"), written)) == "a ,? = ?"


@given(st.text())
def test_tokens_of_any_text_follow_each_other_and_cover_it(text: str) -> None:
    end = 0
    for token in scan_tokens(text):
        assert end <= token.start < token.end <= len(text)
        end = token.end


HOSTILE = [
    "'",
    "''",
    '"',
    "$",
    "$a$",
    "$a",
    "/*",
    "*/",
    "/**/",
    "--",
    "\\",
    "'\\",
    "'\\'",
    "E'\\",
    "1.",
    "1_",
    "1e",
    "U&",
    "(",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_is_read_in_one_pass(piece: str) -> None:
    """Work that grows with the square of the text would not end within the minute that a test may take."""
    assert sum(token.end - token.start for token in scan_tokens(piece * (300_000 // len(piece)))) <= 300_000
