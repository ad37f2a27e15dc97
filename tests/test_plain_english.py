"""Texts for users, docstrings and comments are plain technical English: wrong words, and the length of short texts."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import pgdoctor
from pgdoctor.cli.explain import declared_metrics
from pgdoctor.render.manual import first_sentence
from tests.docker.shipped import DOCKER, alert_pages, rules
from tests.docs.sentences import sentences, words
from tests.trees import tree_nodes

PACKAGE = Path(pgdoctor.__file__).parent
TESTS = Path(__file__).parent

#: Patterns of wrong words, each with what to write instead.
WRONG = {
    r"\bwho(m)?ever\b": "the sessions, clients or users that are meant",
    r"\b(somebody|anybody|everybody|nobody)\b": "a session, a client, a user, an operator; no session",
    r"\b(waits?|waiting|idle|open|goes on|blocked) since [0-9{]": "for, or has waited",
    r"(?<!`)\bhurts?\b": "blocked",
    r"\b(dear|herd|mend(ed)?|idles|amid|throw-away|of late)\b": "the field's own term",
    r"\b(in peace|makes? room|laid by|spaced out|stands? still|stood still|under way)\b": "the field's own term",
    r"\bspeaks? against\b": "objection",
    r"\b(person|user|operator)'s word\b|\bword of a person\b": "approval",
    r"\b(is|are|was|were|not|been|be) told\b": "notified",
    r"\b(a|an|each|every|last|next|new|fresh|one|two|few|more|worst|full) looks?\b": "poll, snapshot",
    r"\blooks? in a row\b": "polls in a row",
    r"\b(does not lead|it leads|the lead)\b": "leader, leadership",
    r"\b(wanted (is|are)|(is|are) wanted)\b": "expected",
    r"\bwritten down\b": "recorded",
    r"(?<=[.;:(] )(what|who) (is|are|was|were|has|have|had|comes?|goes|waits?|runs|holds|they)\b[^.?]*[.;)]": "a noun",
    r"\bbuil[dt] anew\b|\bmade anew\b": "rebuild",
}

#: Patterns of wrong words in docstrings and comments of the package, and in comments of its SQL.
WRONG_INSIDE = {
    r"(?<!`)\b(who(m)?ever|somebody|anybody|everybody|nobody)\b(?!`)": "the sessions or roles that are meant",
    r"\b(the|a|an|each|every|last|next|first|full|one|two|more|this) looks?\b(?!-)": "poll, snapshot, check",
    r"(?<!`)\bhurts?\b": "blocked",
    r"\b(dear|dearer|herd|idles|amid|throw-away|of late)\b": "the field's own term",
    r"\b(in peace|laid by|spaced out)\b": "the field's own term",
    r"\b(wanted (is|are)|(is|are) wanted|the lead)\b": "expected, chosen, leadership",
    r"(?<!`)\btold\b(?!`)": "reported, notified, shown",
    r"\bwr(itten|ite|ites|ote) down\b": "record",
    r"\bunder way\b": "running, in progress",
    r"\bspeaks? against\b": "objection",
    r"\bstands? in (the|its|their|another session's) way\b|\bin another session's way\b": "blocks",
    r"\bin the way\b": "blocks, conflicts",
    r"\banew\b": "again",
    r"\b(what|who) is (longer|older|wider|damaged|deeper) (is|has|comes|ends|goes|moves)\b": "a noun",
}

#: A name of a test that has a relative clause for a subject, or a word that is wrong in texts.
_WRONG_NAME = re.compile(
    r"test_(h\d+[a-z]?_)?(who|whom|whoever|what|whatever)_"
    r"|_(whoever|nobody|somebody|everybody|anybody|told|anew|dear|under_way|in_peace)(_|$)"
)

#: Texts that may have a wrong word, by a part of them, and why.
ALLOWED = {
    "there is no user `nobody`": "the name of a user",
    "somebody pg_catalog.text": "a variable of a function in SQL",
    "INTO somebody": "a variable of a function in SQL",
    "', somebody;": "a variable of a function in SQL",
}

#: Strings of more than one line that are programs: their user-visible part is collected from its own file.
_PROGRAM = re.compile(r"(;|\{|\bdone)$", re.MULTILINE)

#: A string, so that no `#` in it begins a comment, or a comment. `tokenize` takes ten times as long.
_STRING_OR_COMMENT = re.compile(
    r"""\"{3}(?:[^\\]|\\.)*?"{3}|'{3}(?:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|(?P<comment>\#[^\n]*)""",
    re.DOTALL,
)

_SENTENCE = re.compile(r"[a-zA-Z]{2} [a-zA-Z{]")

#: Words in a headline that is read at a glance.
_MOST_WORDS = 30


class Text(NamedTuple):
    """A text, with its file and what of the file it is."""

    where: str
    text: str


def flat(text: str) -> str:
    """A text in one line, without the marks of a comment."""
    return " ".join(re.sub(r"^\s*(#:?|--)", "", text, flags=re.MULTILINE).split())


def docstrings(path: Path) -> Iterator[str]:
    """Those that are pages of `pgdoctor explain`, and the help of commands."""
    for node in tree_nodes(path):
        if isinstance(node, ast.Module) and path.parent.name in ("causes", "findings"):
            yield ast.get_docstring(node) or ""
        is_guard = isinstance(node, ast.ClassDef) and path.parent.name == "guards"
        is_command = isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(d) for d in node.decorator_list)
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and (is_guard or is_command):
            yield ast.get_docstring(node) or ""


def constants(path: Path) -> Iterator[str]:
    """String constants with a blank in them, `{}` for what an f-string inserts; no docstrings."""
    nodes = tree_nodes(path)
    hidden = {
        id(node.value) for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    } | {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if id(node) in hidden:
            continue
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        if _SENTENCE.search(text) and not ("\n" in text and _PROGRAM.search(text)):
            yield text


@cache
def collect() -> tuple[Text, ...]:
    """All texts that users read."""
    return (*_in_python(), *_in_files())


def _in_python() -> Iterator[Text]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in (*constants(path), *docstrings(path)):
            yield Text(str(path.relative_to(PACKAGE)), flat(text))


def _in_files() -> Iterator[Text]:
    for folder, pattern in (
        (PACKAGE, "config/example.toml"),
        (PACKAGE, "docs/*.md"),
        (PACKAGE, "render/web/*.js"),
        (PACKAGE, "cli/*.sql"),
        (DOCKER, "[!a]*.yml"),
        (DOCKER, "alerts.yml"),
        (DOCKER, "alerts_fast.yml"),
        (DOCKER, "*.sql"),
        (DOCKER.parent, "README.md"),
    ):
        found = sorted(folder.glob(pattern))
        assert found, pattern
        yield from (Text(path.name, flat(path.read_text(encoding="utf-8"))) for path in found)


def collect_internal() -> Iterator[Text]:
    """Docstrings and comments of the package and of the tests, and the comments of its SQL."""
    for folder in (PACKAGE, TESTS):
        for path in sorted(folder.rglob("*.py")):
            # This file has the wrong words themselves.
            if path != Path(__file__):
                yield from (Text(str(path.relative_to(folder.parent)), text) for text in _inner_texts(path))
    for path in sorted((PACKAGE.parent / "sql").rglob("*.sql")):
        comments = [line.partition("--")[2] for line in path.read_text(encoding="utf-8").splitlines()]
        yield Text(path.name, flat("\n".join(comments)))


def _inner_texts(path: Path) -> Iterator[str]:
    for node in tree_nodes(path):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield flat(ast.get_docstring(node) or "")
    found = _STRING_OR_COMMENT.finditer(path.read_text(encoding="utf-8"))
    yield flat("\n".join(filter(None, (each["comment"] for each in found))))


def faults(text: str, wrong: Mapping[str, str] = WRONG) -> Iterator[str]:
    """Each wrong word with the text around it, and what to write."""
    for part in ALLOWED:
        text = text.replace(part, "")
    for pattern, better in wrong.items():
        for found in re.finditer(pattern, text, re.IGNORECASE):
            yield f"…{text[max(found.start() - 40, 0) : found.end() + 20]}…: {better}"


def test_texts_use_the_terms_of_the_field() -> None:
    assert [f"{each.where}: {fault}" for each in collect() for fault in faults(each.text)] == []


def test_docstrings_and_comments_use_the_terms_of_the_field() -> None:
    texts = list(collect_internal())
    assert [f"{each.where}: {fault}" for each in texts for fault in faults(each.text, WRONG_INSIDE)] == []
    # Each kind is collected: a docstring, a comment, a comment of a statement.
    everything = " ".join(each.text for each in texts)
    for part in ("The budget after one more gate statement.", "Of the share, what the gate may take.", "for a lock"):
        assert part in everything


def test_names_of_tests_state_a_behaviour() -> None:
    names = [
        name
        for path in sorted(TESTS.rglob("test_*.py"))
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    ]
    assert len(names) > 2000
    assert [name for name in names if _WRONG_NAME.search(name)] == []


@pytest.mark.parametrize(
    "text",
    [
        "whoever waits",
        "it waits since 3.6 s",
        "Nobody is blocked.",
        "the receiver is left in peace",
        "looks that are too dear",
        "two looks in a row",
        "Off. What is not known is not allowed.",
        "wanted is one line",
    ],
)
def test_wrong_words_are_found(text: str) -> None:
    assert list(faults(text))


@pytest.mark.parametrize(
    "text", ["has waited for 3.6 s", "look at the disk", "find out what has changed since then", "since PostgreSQL 14"]
)
def test_right_words_pass(text: str) -> None:
    assert not list(faults(text))


def test_texts_of_every_kind_are_collected() -> None:
    texts = " ".join(each.text for each in collect())
    for part in (
        "No session is blocked",
        "The kill-switch file exists",
        "Circuit breaker",
        "max_roots",
        "Recognised by:",
    ):
        assert part.lower() in texts.lower(), part


def headlines() -> Iterator[Text]:
    """HELP texts, summaries of alerts, and the first sentence of each cause, finding and alert."""
    for metric in declared_metrics():
        yield from (Text(metric.name, each) for each in sentences(metric.text))
    for rule in rules():
        yield Text(rule["alert"], re.sub(r"\{\{.*?\}\}", "x", rule["annotations"]["summary"]))
    for name, page in alert_pages().items():
        yield Text(name, first_sentence(page))
    for path in sorted((PACKAGE / "diagnosis").glob("*/[a-z]*.py")):
        yield Text(path.name, first_sentence(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""))


def test_headlines_are_short() -> None:
    assert [each for each in headlines() if words(each.text) > _MOST_WORDS] == []
