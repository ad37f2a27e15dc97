"""The change log: by release and kind, in lines that are read at once; and the version it is about."""

import re
from datetime import date
from itertools import pairwise

import pytest

from pgdoctor import __version__
from tests.docker.shipped import container, documents
from tests.docs.generating import CHECKOUT
from tests.docs.sentences import words

_KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]

_TEXT = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
_, *_RELEASES = re.split(r"^## ", _TEXT, flags=re.MULTILINE)
_LINES = [line for line in _TEXT.splitlines() if line.startswith("- ")]


def test_unreleased_changes_come_first() -> None:
    assert _RELEASES[0].startswith("[Unreleased]\n")


@pytest.mark.parametrize("release", _RELEASES[1:], ids=lambda release: release.partition("\n")[0])
def test_release_has_a_version_and_a_day(release: str) -> None:
    heading = re.match(r"\[(\d+\.\d+\.\d+)\] - (\S+)\n", release)
    assert heading
    date.fromisoformat(heading[2])


@pytest.mark.parametrize("release", _RELEASES, ids=lambda release: release.partition("\n")[0])
def test_changes_of_a_release_are_sorted_by_kind(release: str) -> None:
    kinds = re.findall(r"^### (.*)$", release, re.MULTILINE)
    assert kinds == [kind for kind in _KINDS if kind in kinds]


def test_change_is_one_line_of_at_most_25_words() -> None:
    too_long = [line for line in _LINES if words(re.sub(r"`[^`]+`", "x", line)) > 25]
    assert too_long == []
    between = [line for line in _TEXT.splitlines() if line.startswith((" ", "\t", "* "))]
    assert between == []


def test_change_is_reported_once() -> None:
    assert sorted(_LINES) == sorted(set(_LINES))


def test_newest_release_is_the_version_of_the_package() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", _TEXT, re.MULTILINE)
    assert versions[0] == __version__
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert all(newer > older for newer, older in pairwise(numbers))


def test_manifest_of_kubernetes_runs_this_version() -> None:
    (pod,) = [each["spec"]["template"]["spec"] for each in documents("kubernetes.yml") if each["kind"] == "StatefulSet"]
    assert container(pod, "pgdoctor")["image"] == f"pgdoctor:{__version__}"
