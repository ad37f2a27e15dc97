"""The check of commit messages that `make hooks` puts in place."""

import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parent.parent / ".ci" / "commit-msg"


def check(message: str, folder: Path) -> tuple[int, str]:
    file = folder / "message"
    file.write_text(message, encoding="utf-8")
    done = subprocess.run([CHECK, file], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "a subject is missing"),
        ("# only comments\n\n# of git\n", "a subject is missing"),
        ("x" * 73, "begins|73 characters"),
        ("A" * 73, "the subject has 73 characters; at most 72 are allowed"),
        ("Fixes the lock", "the subject is not imperative: Fixes"),
        ("mend the lock", "the subject begins with a small letter"),
        ("Mend the lock.", "the subject ends with a full stop"),
        ("Mend the lock\nIt was broken.", "an empty line is missing between subject and body"),
    ],
)
def test_bad_message_is_refused_with_the_reason(message: str, reason: str, tmp_path: Path) -> None:
    status, said = check(message, tmp_path)
    assert status == 1
    assert any(each in said for each in reason.split("|"))


@pytest.mark.parametrize(
    "message",
    [
        "Mend the lock",
        "M" + "é" * 71,
        "# a comment of git\nMend the lock\n\nIt was broken, and the reason is long enough for a body of its own.\n",
        "Merge branch 'main'",
    ],
)
def test_good_message_passes(message: str, tmp_path: Path) -> None:
    assert check(message, tmp_path) == (0, "")
