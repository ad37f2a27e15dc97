"""Markdown reads well raw, and whatever stands in a name shows as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.render.markdown_report import render_markdown
from pgdoctor.render.markdown_text import escape_markdown, format_code
from tests.render.test_tree import seen, session

FACTS = seen(session(1, usename="app_user", statement="select * from a_b"), session(2, 1), session(3, 1))


def test_nothing_of_an_ordinary_report_is_escaped() -> None:
    assert "\\_" not in render_markdown(FACTS)
    assert "`select * from a_b`" in render_markdown(FACTS)
    assert '`app_user@shop "checkout"`' in render_markdown(FACTS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("idle_in_transaction on public.order_items", "idle_in_transaction on public.order_items"),
        ("_emphasis_ and __strong__", r"\_emphasis\_ and \_\_strong\_\_"),
        ("<script> & &lt; [a](b) *x* `y` | \\", r"\<script\> & \&lt; \[a\](b) \*x\* \`y\` \| \\"),
        ("# heading", r"\# heading"),
        ("12. item", r"12\. item"),
        ("- item", r"\- item"),
        ("12 s", "12 s"),
    ],
)
def test_a_sentence_shows_as_it_is(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a_b", "`a_b`"), ("a`b``c", "```a`b``c```"), ("`a`", "`` `a` ``"), ("a|b", r"`a\|b`"), (r"a\|b", r"a\\\|b"),
     ("", "`?`"), (None, "`?`"), ("  ", "  ")],
)  # fmt: skip
def test_a_name_is_a_code_span(text: str | None, shown: str) -> None:
    assert format_code(text) == shown


@given(st.text())
def test_a_code_span_does_not_end_early(text: str) -> None:
    found = format_code(text)
    assert found.isprintable()
    if found.startswith("`") and found.endswith("`"):
        fence = len(found) - len(found.lstrip("`"))
        assert "`" * fence not in found[fence:-fence]


# A name of a backup program changes the class, and with it the number of lines.
@given(st.text().filter(lambda text: "pg_" not in text.lower()))
def test_hostile_names_add_no_line_and_no_heading(text: str) -> None:
    facts = seen(session(1, usename=text, application_name=text, datname=text, statement=text), session(2, 1))
    drawn, usual = render_markdown(facts), render_markdown(seen(session(1), session(2, 1)))
    assert abs(drawn.count("\n") - usual.count("\n")) <= 1
    assert [line for line in drawn.splitlines() if line.startswith("## ")] == [
        line for line in usual.splitlines() if line.startswith("## ")
    ]
