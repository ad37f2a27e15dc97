"""Lines for people: one line each, whatever is in the values."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.agent.log import Lines, format_text_line, record_fields
from tests.agent.test_log import record


@pytest.mark.parametrize(
    "value", ["a\nb", "a\r\nb", "\x1b[2J\x1b[31m", "\x9b2J", "\u2028", "\u202egnp.exe", "\x00", "\x7f"]
)
def test_no_value_can_look_like_another_line(value):
    said = format_text_line(record_fields(record(application_name=value))).decode()
    assert said.isprintable()
    assert value not in said


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_every_line_is_one_printable_line(values):
    assert format_text_line(values).decode().isprintable()


def test_a_line_is_read_from_left_to_right():
    said = format_text_line(record_fields(record(pid=4711, outcome="released", why="it waits", to=None))).decode()
    _, _, rest = said.partition(" ")
    assert rest == 'info pgdoctor.test polled pid=4711 outcome=released why="it waits" to=null'


def test_a_quote_does_not_end_a_value():
    said = format_text_line(record_fields(record(application_name='x" outcome="released'))).decode()
    assert said.endswith(r'application_name="x\" outcome=\"released"')


def test_dropped_lines_are_one_line_too():
    read_end, write_end = os.pipe()
    handler = Lines(write_end, "text", per_second=1)
    for _ in range(2050):
        handler.emit(record())
    handler.tell_dropped()
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        first, second = pipe.read().splitlines()
    assert first.endswith("info pgdoctor.test polled")
    assert second == 'dropped_logs=2049 reason="Rate-limit threshold breached"'
