"""What is to be done is never cut, at any width, in any encoding; a pipe and a file get whole lines."""

import io
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from pgdoctor.cli._output import accept_any_encoding
from tests.cli.on_terminal import on_terminal
from tests.forked import pgdoctor
from tests.scenes import Client, Scene

LONG = "a_table_whose_name_is_as_long_as_names_are_and_not_one_letter_"


def cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def unwrapped(text: str) -> str:
    """The words of a text, however they were broken and whatever stood in front of each line."""
    return re.sub(r"[\s│├└─]+", "", text)


@pytest.fixture
def migration(scene: Scene) -> Scene:
    """An idle transaction that blocks an ALTER TABLE, with a crowd behind it; all names are long, or wide."""
    scene.admin.execute(f"create table {LONG} (id int)")
    scene.client(f"select from {LONG}", application_name="レポート作成" * 3)
    scene.client().block(f"alter table {LONG} add column note text")
    for _ in range(4):
        scene.client(application_name="商店").block(f"select id, '{'x' * 300}' from {LONG}")
    return scene


@pytest.mark.deadline(180)
def test_no_line_is_too_wide_and_nothing_to_do_is_cut(migration: Scene) -> None:
    whole = pgdoctor("diagnose", "--format", "tree", migration.dsn).stdout
    for columns in (40, 57, 80, 200):
        has_it_all(on_terminal("diagnose", migration.dsn, columns=columns, NO_COLOR="1"), whole, columns)


def has_it_all(shown: str, whole: str, columns: int) -> None:
    assert max(map(cells, shown.splitlines())) <= columns
    assert max(map(len, whole.splitlines())) > 120
    assert "…" not in whole
    for line in whole.splitlines():
        if "→" in line or "costs" in line or "│    " in line:
            words = re.sub(r"\d[\d.,]* (s|min)\b( \d+ s\b)?( at (least|most))?", "\0", line)
            for part in filter(None, re.split(r"  +|, |; |\0", words.strip("│ →"))):
                assert unwrapped(part) in unwrapped(shown), part


def test_only_statements_of_waiters_are_cut(migration: Scene) -> None:
    for line in on_terminal("diagnose", migration.dsn, columns=80, NO_COLOR="1").splitlines():
        assert "…" not in line or "select id" in line or "alter table" in line
    assert "…" not in on_terminal("diagnose", "--wide", migration.dsn, columns=80, NO_COLOR="1")
    assert "…" in on_terminal("diagnose", "--format", "table", migration.dsn, columns=80, NO_COLOR="1")


def test_forty_roots_of_one_kind_are_a_group(scene: Scene) -> None:
    scene.admin.execute("create table orders (id int primary key, v int)")
    scene.admin.execute("insert into orders select each, 0 from generate_series(1, 40) each")
    holders = [
        scene.client(f"update orders set v = 1 where id = {each}", application_name="shop") for each in range(1, 41)
    ]
    for each in range(1, 41):
        scene.client(application_name="web").block(f"update orders set v = 2 where id = {each}")
    shown = on_terminal("diagnose", scene.dsn, columns=100, NO_COLOR="1")
    assert len(shown.splitlines()) < 60
    assert "and 39 more like this idle_in_transaction on public.orders" in shown
    assert "39 × postgres" in shown
    assert all(str(holder.pid) in shown for holder in holders)


@pytest.mark.deadline(180)
def test_colours_are_on_a_terminal_only_and_can_be_refused(holder: Client, waiter: Client, scene: Scene) -> None:
    for command in ("diagnose", "triage"):
        assert "\x1b[31m" in on_terminal(command, scene.dsn, columns=80)
        assert "\x1b" not in on_terminal(command, scene.dsn, columns=80, NO_COLOR="1")
        assert "\x1b" not in pgdoctor(command, scene.dsn).stdout
    assert "\x1b" not in on_terminal("diagnose", scene.dsn, columns=80, TERM="dumb")


@pytest.mark.deadline(180)
@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.long),
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        pytest.param({"LC_ALL": "en_US.ISO-8859-1"}, marks=pytest.mark.long),
    ],
)
def test_no_encoding_ends_a_command(scene: Scene, tmp_path: Path, environment: dict[str, str]) -> None:
    scene.admin.execute('create table "商店 Zürich" (id int)')
    scene.client('lock table "商店 Zürich"')
    scene.client().block('select from "商店 Zürich"')
    for command in (("diagnose", "--format", "tree"), ("diagnose", "--format", "markdown"), ("triage",)):
        assert _written(tmp_path / "out", (*command, "--dsn", scene.dsn), environment), command
    json = _written(tmp_path / "out", ("diagnose", "--format", "json", scene.dsn), environment)
    assert "商店 Zürich" in json.decode("utf-8")


def test_our_own_characters_are_readable_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    accept_any_encoding()
    sys.stdout.write("│ → terminate 1 … Zürich 商店\n└─")
    sys.stdout.flush()
    assert raw.getvalue().decode("latin-1") == "| > terminate 1 ~ Zürich ??\n`-"


def _written(file: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> bytes:
    """What a command writes to a file."""
    with file.open("wb") as output:
        command = [sys.executable, "-m", "pgdoctor", *arguments]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, b""), done
    return file.read_bytes()


@pytest.mark.parametrize(
    ("pager", "form"), [("less -F", "tree"), ("cat", "table"), ("jq -e .waits_total", "json"), ("head -1", "markdown")]
)
def test_a_pipe_gets_whole_lines(holder: Client, waiter: Client, scene: Scene, pager: str, form: str) -> None:
    if shutil.which(pager.split()[0]) is None:
        pytest.skip(f"{pager.split()[0]} is not there")
    line = f"set -o pipefail; {sys.executable} -m pgdoctor diagnose --format {form} '{scene.dsn}' | {pager}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "words", ["explain", "explain mitigation", "config init", "setup --wrapper", "demo --help", "--help"]
)
def test_a_reader_that_has_seen_enough_is_no_error(words: str) -> None:
    """Status 1 would say that a session is blocked."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "pgdoctor", *words.split()], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_diagnosis_that_is_not_read_is_no_error(scene: Scene) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "pgdoctor", "diagnose", "--format", "tree", scene.dsn],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
