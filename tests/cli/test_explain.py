"""`pgdoctor explain`: every class, finding and guard has its page, in one form."""

import inspect
from pathlib import Path

import pytest

from pgdoctor.diagnosis.cause import all_causes, class_names
from pgdoctor.diagnosis.finding import all_finding_checks, finding_kinds
from pgdoctor.mitigation.guards import all_guards
from pgdoctor.render.manual import PARTS, first_sentence, read_parts, render_manual_page
from pgdoctor.topics import load_manual
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor

_TESTS = Path(__file__).resolve().parent.parent / "diagnosis"


def test_no_page_for_what_does_not_exist():
    complains(pgdoctor("explain", "teapot"), 2, "teapot", "migration", "hot_row", "sync_rep")


@pytest.mark.parametrize("name", ["", "../migration", "x" * 10_000, "mi\ngration", "pgdoctor_", "pgdoctor_teapot"])
def test_odd_names_get_one_line(name):
    complains(pgdoctor("explain", name), 2, "there is no page for")


def test_a_class_shares_its_name_with_no_guard_and_no_finding():
    assert not {*finding_kinds(), *(guard.name for guard in all_guards())} & set(class_names())


def test_page_of_the_manual_shares_its_name_with_no_other_topic():
    assert not {*class_names(), *finding_kinds(), *(guard.name for guard in all_guards())} & set(load_manual())


@pytest.mark.parametrize("topic", load_manual())
def test_page_of_the_manual_is_laid_out_for_a_terminal(topic):
    shown = pgdoctor("explain", topic).stdout
    title = load_manual()[topic].partition("\n")[0].removeprefix("# ")
    assert shown.startswith(f"{title}\n{'=' * len(title)}\n\n")
    prose = [line for line in shown.splitlines() if not line.startswith("    ")]
    assert max(map(len, prose)) <= 100
    assert not [line for line in prose if line.startswith(("|", "```", "<!--", "#"))]


def test_where_a_finding_and_a_guard_share_a_name_both_are_explained():
    shown = pgdoctor("explain", "visibility").stdout
    assert "visibility (finding)\n" in shown
    assert "visibility (guard)\n" in shown


def test_without_a_name_all_are_listed():
    listed = pgdoctor("explain").stdout
    for name in (*load_manual(), *class_names(), *finding_kinds(), *(guard.name for guard in all_guards())):
        assert f"  {name} " in listed
    assert max(map(len, listed.splitlines())) <= 100


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "class") for name in class_names()), ("connection_storm", "finding")]
)
def test_the_page_of_a_class_and_of_a_finding(name, kind):
    shown = pgdoctor("explain", name).stdout
    assert shown.startswith(f"{name} ({kind})\n")
    for part in ("Recognised by", "Do", "Do not", "Source"):
        assert f"\n\n{part}\n    " in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_the_page_of_a_guard():
    shown = pgdoctor("explain", "sync_rep").stdout
    assert shown.startswith("sync_rep (guard)\n")
    assert "synchronous standby" in shown


@pytest.mark.parametrize(
    "name",
    ["pgdoctor_up", "pgdoctor_blocked_sessions", "pgdoctor_actions_total", "pgdoctor_leader", "pgdoctor_build_info"],
)
def test_the_page_of_a_metric(name):
    assert pgdoctor("explain", name).stdout.startswith(f"{name} (metric)\n")


@pytest.mark.parametrize("each", [*all_causes(), *all_finding_checks()], ids=lambda each: each.name)
def test_every_cause_and_finding_is_a_page_in_the_same_form(each):
    module = inspect.getmodule(each)
    found = read_parts(module.__doc__)
    assert each.name == Path(module.__file__).stem
    assert first_sentence(module.__doc__), "it says what it is"
    assert all(found[part] for part in ("Recognised by", "Do", "Do not", "Source"))
    assert list(found)[1:] == [part for part in PARTS if part in found], "in this order"


@pytest.mark.parametrize("cause", all_causes(), ids=lambda cause: cause.name)
def test_every_cause_says_what_it_is_recognised_by(cause):
    assert isinstance(cause.precedence, int)


@pytest.mark.parametrize("each", [*all_causes(), *all_finding_checks()], ids=lambda each: each.name)
def test_every_cause_and_finding_has_its_tests(each):
    assert any(f'"{each.name}"' in file.read_text() for file in _TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("guard", all_guards(), ids=lambda guard: guard.name)
def test_every_guard_says_what_it_is(guard):
    assert type(guard).__doc__


def test_words_within_a_sentence_do_not_begin_a_part():
    assert list(read_parts("A lock.\n\nRecognised by: it.\nDo: end it. Do not: wait.\nSource: Do")) == [
        "",
        "Recognised by",
        "Do",
        "Source",
    ]


def test_a_page_is_wrapped():
    shown = render_manual_page("x", "A. \n\nDo: " + "word " * 100, 50)
    assert max(map(len, shown.splitlines())) <= 50
