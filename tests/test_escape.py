"""Text of clients loses what receivers read as markup, and stays legible."""

import pytest

from pgdoctor.escape import defuse_markup, defuse_name


@pytest.mark.parametrize(
    "text",
    [
        *("<!channel>", "@here", "<@U123>", "*bold*", "_italic_", "__bold__", "~gone~", "`code`", "[a](b)", "![a](b)"),
        *(
            "<b>",
            "&lt;",
            "https://evil.example",
            "HTTP://EVIL",
            "www.evil.example",
            "mailto:a@b",
            "javascript:alert(1)",
        ),
        *("a|b", "# heading", "{{ a }}", "{% a %}", "${jndi:ldap://a}", "<at>a</at>", "\\*a", "#channel"),
    ],
)
def test_markup_is_no_markup_any_more(text: str) -> None:
    shown = defuse_markup(text)
    assert shown != text
    assert len(shown) >= len(text)
    assert not set("<>@*`[]|#\\&") & set(shown)
    for each in ("://", "www.", "mailto:", "javascript:", "{{", "{%", "${", " _", "_ "):
        assert each not in f" {shown} ".lower()


@pytest.mark.parametrize(
    "text",
    [
        "update public.orders set v = ? where id = ?",
        "shop: 1 session blocked, longest wait 41 s, root 10 (idle_in_transaction)",
        "2026-05-22T23:09:00+00:00",
        "wwwdata",
        "terminate 10; this frees 3 sessions at once",
    ],
)
def test_usual_text_stays_as_it_is(text: str) -> None:
    assert defuse_markup(text) == text


def test_free_name_is_no_address_without_a_scheme() -> None:
    assert defuse_name("see evil.example") == "see evil［.］example"
    assert defuse_name("psql 16.2") == "psql 16.2"
