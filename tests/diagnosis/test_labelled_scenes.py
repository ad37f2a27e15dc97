"""The labelled scenes, each of them staged and looked at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgdoctor.demo.throwaway_server import ThrowawayServer
from pgdoctor.diagnosis.cause import class_names
from tests.diagnosis.labelled_scenes import SCENES, Staged, differs, fresh_server, verdict

#: All of it together takes many seconds, and autovacuum has its own time.
pytestmark = [pytest.mark.long, pytest.mark.deadline(400)]


@pytest.fixture(scope="module")
def own(bindir: Path) -> Iterator[ThrowawayServer]:
    """A server with autovacuum in a hurry and logical replication."""
    with fresh_server(bindir) as server:
        yield server


@pytest.fixture
def spoiled(bindir: Path) -> Iterator[ThrowawayServer]:
    """One for a single scene."""
    with fresh_server(bindir) as server:
        yield server


def find_server(staged: Staged) -> str:
    """The fixture with its server."""
    if staged.spoils_server:
        return "spoiled"
    return "own" if staged.needs_own else "server"


def marked(each: Staged) -> Any:
    return pytest.param(each, id=each.name, marks=[pytest.mark.xfail(reason=each.wrong)] if each.wrong else [])


@pytest.mark.parametrize("staged", [marked(each) for each in SCENES])
def test_the_verdict_is_the_label(staged: Staged, request: pytest.FixtureRequest) -> None:
    assert differs(staged, verdict(staged, request.getfixturevalue(find_server(staged)))) == ""


def test_the_table_is_of_use() -> None:
    assert len(SCENES) >= 150
    assert len({each.name for each in SCENES}) == len(SCENES)
    assert {each.classification for each in SCENES} == set(class_names())
