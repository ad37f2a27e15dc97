"""README and manual: complete, up to date with the code, and in sentences that are read at once."""

import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import pgdoctor as package
from pgdoctor.cli.explain import load_manual
from pgdoctor.model.anomaly_signals import SIGNALS
from pgdoctor.model.snapshot import Connections
from pgdoctor.postgres.connection_errors import STATES
from pgdoctor.render.log_report import LogIncidentReport, LogReport, SourceFacts, StatementFacts
from pgdoctor.render.markdown import lay_out_markdown
from pgdoctor.render.report import Report
from pgdoctor.render.triage import TriageFacts
from tests.cli.test_help import ALL
from tests.docs.generating import CHECKOUT, DOCS, GENERATORS, generated, parts_of
from tests.docs.sentences import sentences, words

README = CHECKOUT / "README.md"
PAGES = [README, CHECKOUT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

by_name = pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)


def text(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_readme_has_at_most_130_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130


def test_readme_links_every_page_of_the_manual() -> None:
    linked = re.findall(r"^\| \[(\w+)\]\(pgdoctor/docs/(\w+)\.md\)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(linked) == [(topic, topic) for topic in load_manual()]


@by_name
def test_every_link_leads_to_a_file(file: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", file.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (file.parent / link).exists()]
    assert missing == []


@by_name
def test_every_path_exists(file: Path) -> None:
    paths = re.findall(r"`((?:pgdoctor|tests|docker|sql)/[\w./-]*)`", file.read_text(encoding="utf-8"))
    missing = [path for path in paths if not re.search(r"NAME|FILE", path) and not (CHECKOUT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("topic", load_manual())
def test_page_is_what_the_code_generates(topic: str) -> None:
    assert generated(text(topic)) == text(topic), "run make docs"


def test_every_generator_has_its_page() -> None:
    assert sorted(part for topic in load_manual() for part in parts_of(text(topic))) == sorted(GENERATORS)


@pytest.mark.parametrize("topic", load_manual())
def test_page_begins_with_a_title_and_a_sentence(topic: str) -> None:
    assert re.match(r"# .+\n\n[A-Z][^\n]*[.:]\n", text(topic))


@by_name
def test_no_sentence_has_more_than_30_words(file: Path) -> None:
    assert [each for each in sentences(file.read_text(encoding="utf-8")) if words(each) > 30] == []


@by_name
def test_sentences_have_8_to_15_words_on_average(file: Path) -> None:
    mean = statistics.mean(words(each) for each in sentences(file.read_text(encoding="utf-8")))
    assert 8 <= mean <= 15


def test_sentences_are_distinguished() -> None:
    table = "| a | b |\n|---|---|\n| x | Y z. |\n"
    page = f"# A title\n\nOne `a. b` two. Three (four)?\n\n- Five: six.\n\n```sh\nno code.\n```\n{table}"
    assert list(sentences(page)) == ["One x two.", "Three (four)?", "Five: six.", "Y z."]
    assert words("It is `x`: 2 - 3.") == 5


@pytest.mark.parametrize("words_of_command", [words for words in ALL if words], ids=" ".join)
def test_every_command_is_in_the_manual(words_of_command: tuple[str, ...]) -> None:
    assert f"pgdoctor {' '.join(words_of_command)}" in text("commands")


@pytest.mark.parametrize("state", [state for state in STATES if state != "connected"])
def test_every_state_of_a_connection_has_its_remedy(state: str) -> None:
    assert f"\n| `{state}` |" in text("troubleshooting")


def test_every_room_is_in_the_architecture() -> None:
    package_folder = Path(package.__file__).parent
    rooms = [folder.name for folder in package_folder.iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    assert [room for room in rooms if f"`pgdoctor/{room}`" not in text("architecture")] == []


def test_every_path_in_the_architecture_exists() -> None:
    paths = re.findall(r"`((?:pgdoctor|sql|tests)(?:/[\w.]+)*)`", text("architecture"))
    assert len(paths) > 40
    assert [path for path in paths if not (Path(package.__file__).parent.parent / path).exists()] == []


@pytest.mark.parametrize(
    "question",
    [
        "Where is the cost of a poll bounded?",
        "Where is a lock named?",
        "Where is a guard added?",
        "What happens between a decision and a signal?",
        "Which text does a person see for it?",
    ],
)
def test_first_questions_have_a_file(question: str) -> None:
    assert re.search(rf"^\| {re.escape(question)} \| `pgdoctor/", text("architecture"), re.MULTILINE)


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_signal_is_in_the_manual(signal: str) -> None:
    assert f"`{signal}`" in text("metrics")


def fields(kind: object) -> Iterator[str]:
    """The names of all fields of a JSON object, and of those within it."""
    for inner in get_args(kind):
        yield from fields(inner)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from fields(field.type)


@pytest.mark.parametrize(
    "kind",
    [Report, TriageFacts, LogReport, LogIncidentReport, SourceFacts, StatementFacts],
    ids=lambda kind: kind.__name__,
)
def test_every_json_field_is_in_the_manual(kind: type) -> None:
    named = set(re.findall(r"`(\w+)`", text("json")))
    states = set(msgspec.structs.asdict(Connections()))
    assert set(fields(kind)) - named - states == set()


def test_layout_wraps_prose_and_keeps_code() -> None:
    table = "| a | b |\n|---|---|\n| `c` | d \\| e |\n"
    page = f"# T\n\n{'word ' * 9}\n\n1. {'item ' * 9}\n\n{table}\n```sh\n{'x' * 60}\n```\n"
    assert lay_out_markdown(page, 40).splitlines() == [
        *("T", "=", ""),
        *("word word word word word word word word", "word", ""),
        *("1. item item item item item item item", "   item item", ""),
        *("  `c`: d | e", ""),
        "    " + "x" * 60,
    ]


def test_layout_names_the_command_for_a_page_of_the_manual() -> None:
    assert (
        lay_out_markdown("See [json](json.md) and [x](../y.yml).", 80)
        == "See `pgdoctor explain json` and x (../y.yml)."
    )
