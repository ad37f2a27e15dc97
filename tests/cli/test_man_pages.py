"""Pages for man, and shell completion: both of every command."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pgdoctor.cli._man_pages import man_pages
from tests.cli.test_help import ALL
from tests.forked import pgdoctor

PAGES = dict(man_pages())


def test_every_command_has_a_page() -> None:
    assert set(PAGES) == {"-".join(("pgdoctor", *words)) + ".1" for words in ALL}
    for name, page in PAGES.items():
        assert page.startswith(f'.TH "{name[:-2].upper()}" "1"')
        assert all(
            f".SH {section}" in page for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS")
        )
        # A line that begins with a dot or an apostrophe is a macro.
        assert all(re.match(r"[.'](TH|SH|PP|TP|B)\b", line) for line in page.splitlines() if line[:1] in (".", "'"))
    assert r"\-\-exit\-code" in PAGES["pgdoctor-diagnose.1"]


@pytest.mark.skipif(shutil.which("mandoc") is None and shutil.which("groff") is None, reason="needs mandoc or groff")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_well_formed(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(PAGES[name])
    lint = (
        ["mandoc", "-T", "lint", "-W", "error"] if shutil.which("mandoc") else ["groff", "-man", "-ww", "-z", "-Tutf8"]
    )
    checked = subprocess.run([*lint, str(file)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, ""), checked


@pytest.mark.parametrize(
    ("typed", "place", "offered"),
    [("pgdoctor dia", 1, "diagnose"), ("pgdoctor diagnose --form", 2, "--format"),
     ("pgdoctor diagnose --format ma", 3, "markdown"), ("pgdoctor mitigate dis", 2, "disarm")],
)  # fmt: skip
def test_the_shell_completes(typed: str, place: int, offered: str) -> None:
    done = pgdoctor(_PGDOCTOR_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(place))
    assert f"plain,{offered}" in done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_gets_completions(shell: str) -> None:
    told = pgdoctor(_PGDOCTOR_COMPLETE=f"{shell}_source")
    assert "_PGDOCTOR_COMPLETE" in told.stdout, told
