"""What an error may say: names, never a connection string or data that a server quotes."""

import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgdoctor.errors import ConfigError, PgdoctorError, StatementFailed, Unreachable, without_connection_string
from tests.examples import examples


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('invalid input syntax for type integer: "hunter2"', "invalid input syntax for type integer: ?"),
        ('syntax error at or near "hunter2"', "syntax error at or near ?"),
        ("value 'hunter2' of a kind", "value ? of a kind"),
        ("value 'it''s hunter2' of a kind", "value ? of a kind"),
        ('unterminated "hunter2', "unterminated ?"),
        ("“hunter2” und »hunter2« und „hunter2“", "? und ? und ?"),
        ('invalid byte sequence for encoding "UTF8": 0xff 0xfe', 'invalid byte sequence for encoding "UTF8": ? ?'),
        ('password authentication failed for user "app"', 'password authentication failed for user "app"'),
        ('database "shop" does not exist', 'database "shop" does not exist'),
        ('no pg_hba.conf entry for host "::1", user "a b"', 'no pg_hba.conf entry for host "::1", user "a b"'),
        ("failed to resolve host 'h': not known", "failed to resolve host 'h': not known"),
        ("it is the server's, don't", "it is the server's, don't"),
        ("canceling statement due to lock timeout", "canceling statement due to lock timeout"),
    ],
)
def test_of_what_a_server_quotes_only_names_are_shown(said: str, shown: str) -> None:
    assert str(Unreachable(said)) == shown
    assert str(StatementFailed(said, "22P02")) == shown


@examples(500)
@given(
    st.sampled_from([Unreachable, ConfigError]),
    st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"])),
)
@example(Unreachable, "'")
@example(Unreachable, '"')
def test_a_connection_string_is_never_said(kind: type[PgdoctorError], password: str) -> None:
    escaped = msgspec.json.encode(password).decode()[1:-1]
    for dsn in (f"postgresql://app:{escaped}hunter2@h/d", f"host=h password={escaped}hunter2", "app:hunter2@h"):
        for text in (dsn, f"no such command '{dsn}'.", f"{dsn}: cannot be read"):
            assert "hunter2" not in str(kind(text))


@pytest.mark.parametrize(
    "piece", ["a", "a.", "a:", "a@", "a://", "://", ":@", '":@', "password ", "/:@", "1,", "»", "x.a:", "a://@"]
)
def test_h54_no_message_takes_long_to_hide_a_password_in(piece: str) -> None:
    """64 kB of `a.` took 26 s: the search began again at each letter."""
    text = piece * (65_536 // len(piece))
    began = time.process_time()
    without_connection_string(text)
    assert time.process_time() - began < 0.5
