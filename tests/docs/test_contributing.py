"""CONTRIBUTING is true: one of each is added to a copy as it says, and exactly what it says asks for more."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.generating import CHECKOUT

_TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")

#: A new file, the one it is made from, and what is different in it.
_FILES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "pgdoctor/diagnosis/causes/new_moon.py": (
        "pgdoctor/diagnosis/causes/long_query.py",
        {r"class \w+": "class NewMoon", "long_query": "new_moon", r"precedence = \d+": "precedence = 91"},
    ),
    "pgdoctor/diagnosis/findings/eclipse.py": (
        "pgdoctor/diagnosis/findings/deadlock.py",
        {r"\bDeadlockCheck\b": "Eclipse", '"deadlock"': '"eclipse"'},
    ),
    "pgdoctor/mitigation/guards/spring_tide.py": (
        "pgdoctor/mitigation/guards/unresolved.py",
        {r"class \w+": "class SpringTide", '"unresolved_protection"': '"spring_tide"'},
    ),
    "pgdoctor/notify/formats/carrier_pigeon.py": ("pgdoctor/notify/formats/msteams.py", {r"class \w+": "class Pigeon"}),
    "pgdoctor/cli/moonrise.py": ("pgdoctor/cli/locks.py", {}),
}

#: A file that there is, in front of which of its lines, and what is added there.
_LINES = {
    "pgdoctor/agent/metrics.py": (
        r"^    yield (from )?_\w+\(",
        '    yield make_gauge("pgdoctor_moon_phase", "Phase of the moon, 0 to 1.", 1)\n',
    ),
    "docker/alerts.yml": (
        r"\Z",
        """
      # The moon is full.
      #
      # Recognised by: its phase.
      # Do: wait.
      # Source: `pgdoctor explain pgdoctor_up`.
      - alert: PgdoctorFullMoon
        expr: pgdoctor_moon_phase > 0.99
        labels:
          severity: warning
        annotations:
          summary: "{{ $labels.instance }}: the moon is full"
          description: Wait. `pgdoctor triage` says more.
""",
    ),
}

#: What has to be completed for each of them, and the test that asks for it.
_ASKING = {
    "tests/diagnosis/causes/test_new_cause.py": (
        "tests/diagnosis/causes/test_new_cause.py::test_the_order_of_precedence_is_written_down"
    ),
    "tests/diagnosis/test_labelled.py": "tests/diagnosis/test_labelled.py::test_the_table_is_of_use",
    "tests/diagnosis/causes/test_NAME.py": (
        "tests/cli/test_explain.py::test_every_cause_and_finding_has_its_tests[new_moon]"
    ),
    "tests/diagnosis/findings/test_NAME.py": (
        "tests/cli/test_explain.py::test_every_cause_and_finding_has_its_tests[eclipse]"
    ),
    "tests/mitigation/test_every_guard.py": (
        "tests/mitigation/test_every_guard.py::test_each_guard_objects_where_it_should_and_only_there[spring_tide]"
    ),
    "tests/notify/test_every_format.py": "tests/notify/test_every_format.py::test_each_format_has_a_receiver",
    "pgdoctor/docs/notifications.md": (
        "tests/notify/test_every_format.py::test_each_format_is_in_the_manual[carrier_pigeon]"
    ),
    "pgdoctor/docs/concepts.md": "tests/docs/test_manual.py::test_page_is_what_the_code_generates[concepts]",
    "pgdoctor/docs/mitigation.md": "tests/docs/test_manual.py::test_page_is_what_the_code_generates[mitigation]",
    "pgdoctor/docs/metrics.md": "tests/docs/test_manual.py::test_page_is_what_the_code_generates[metrics]",
    "pgdoctor/docs/commands.md": "tests/docs/test_manual.py::test_every_command_is_in_the_manual[moonrise]",
    "docker/alerts_test.yml": "tests/docker/test_alerts.py::test_every_alert_is_tested",
}

_ADDED = """
from click.testing import CliRunner
from pgdoctor.cli import cli
for name, kind in (("new_moon", "class"), ("eclipse", "finding"), ("spring_tide", "guard"),
                   ("PgdoctorFullMoon", "alert"), ("pgdoctor_moon_phase", "metric")):
    shown = CliRunner().invoke(cli, ["explain", name])
    assert shown.stdout.startswith(f"{name} ({kind})"), (shown.output, shown.exception)
from pgdoctor.notify.formats import list_formats, load_format
assert "carrier_pigeon" in list_formats() and load_format("carrier_pigeon").name == "carrier_pigeon"
assert "moonrise" in CliRunner().invoke(cli, ["--help"]).stdout
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The checkout with one of each added, as a contributor has who has only written what it is."""
    for folder in ("pgdoctor", "tests", "sql", "docker"):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / file, tmp_path)
    for added, (source, changes) in _FILES.items():
        text = (CHECKOUT / source).read_text(encoding="utf-8")
        for old, new in changes.items():
            text, number = re.subn(old, new, text)
            assert number, f"{source} has no {old}"
        (tmp_path / added).write_text(text, encoding="utf-8")
    for changed, (place, line) in _LINES.items():
        text = (CHECKOUT / changed).read_text(encoding="utf-8")
        found = re.search(place, text, re.MULTILINE)
        assert found
        (tmp_path / changed).write_text(text[: found.start()] + line + text[found.start() :], encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_of_each_is_found_by_itself(copy: Path) -> None:
    done = run(copy, "-c", _ADDED)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
@pytest.mark.deadline(180)
def test_exactly_the_named_files_ask_for_an_entry(copy: Path) -> None:
    """These are all tests that hold a closed set of what can be added; others are about what is added."""
    asked = sorted({test.partition("[")[0] for test in _ASKING.values()})
    done = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-rf", "--quick", *asked)
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")}
    assert failed == set(_ASKING.values()), done.stdout[-3000:]


@pytest.mark.parametrize("file", [*_ASKING, *_LINES])
def test_each_file_to_complete_is_named(file: str) -> None:
    assert f"- `{file}`" in _TEXT


@pytest.mark.parametrize("folder", sorted({str(Path(file).parent) for file in _FILES}))
def test_each_folder_of_a_new_file_is_named(folder: str) -> None:
    assert re.search(rf"^- `{folder}/(NAME|FILE)\.py`", _TEXT, re.MULTILINE)
