"""The SDK is loaded by `pgdoctor mcp` alone; without it that command says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pgdoctor.cli import cli

#: What comes with the extra, and with nothing else.
HEAVY = ("mcp", "mcp_types", "pydantic", "opentelemetry", "jwt", "sse_starlette", "httpx2")

_RUN = """
import runpy, sys
sys.argv = ["pgdoctor", *sys.argv[1:]]
try:
    runpy.run_module("pgdoctor", run_name="__main__")
finally:
    print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & set(%r)), file=sys.stderr)
"""


def loaded(*words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _RUN % (HEAVY,), *words], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    [line] = [each for each in done.stderr.decode().splitlines() if each.startswith("loaded:")]
    return line.split()[1:]


#: Each command, up to where it asks for what is not there.
COMMANDS = [
    ("diagnose", "--dsn", "host=127.0.0.1 port=1"),
    ("mitigate", "--dsn", "host=127.0.0.1 port=1"),
    ("mitigate", "proposals", "--dsn", "host=127.0.0.1 port=1"),
    ("mitigate", "approve", "p-1", "--yes", "--dsn", "host=127.0.0.1 port=1"),
    ("terminate", "1", "--yes", "--dsn", "host=127.0.0.1 port=1"),
    ("incidents", "list"),
    ("explain", "mcp"),
    ("schema", "mcp_diagnose"),
    ("mcp", "--help"),
    ("--help",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_does_not_load_it(words: tuple[str, ...]) -> None:
    assert loaded(*words) == []


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(cli.list_commands(None))))  # type: ignore[arg-type]
def test_no_command_loads_it_before_it_runs(name: str) -> None:
    assert loaded(name, "--no-such-option") == []


@pytest.mark.long
def test_agent_does_not_load_it() -> None:
    source = "import sys, pgdoctor.agent.process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert not {each.partition(".")[0] for each in done.stdout.split()} & set(HEAVY)


def test_without_the_extra_the_command_says_so(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-m", "pgdoctor", "mcp"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pgdoctor: the extra mcp is not installed: pip install 'pgdoctor[mcp]'\n"
