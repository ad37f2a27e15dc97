"""The protocol's own inspector, where npx can fetch it: it lists and calls the tools over both transports."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.clients import TOKEN, serving_http
from tests.scenes import Scene

pytestmark = [pytest.mark.long, pytest.mark.deadline(600)]

#: A version that runs on the Node of stable distributions, and passes headers on.
INSPECTOR = "@modelcontextprotocol/inspector@0.17.5"


@pytest.fixture(scope="module")
def inspector() -> list[str]:
    """The command; skips where there is no npm, or no registry that has it."""
    npx = shutil.which("npx")
    if npx is None:
        pytest.skip("needs npx")
    words = [npx, "--yes", INSPECTOR, "--cli"]
    done = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=500, check=False)
    if done.returncode:
        pytest.skip(f"npx cannot fetch {INSPECTOR}")
    return words


def inspect(words: list[str], *more: str) -> Any:
    done = subprocess.run([*words, *more], env=os.environ, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_inspector_over_stdio(inspector: list[str], scene: Scene) -> None:
    target = [sys.executable, "-m", "pgdoctor", "mcp", "--dsn", scene.dsn]
    listed = inspect(inspector, *target, "--method", "tools/list")
    assert {each["name"] for each in listed["tools"]} >= {"diagnose", "triage", "plan"}
    called = inspect(inspector, *target, "--method", "tools/call", "--tool-name", "diagnose", "--tool-arg", "limit=2")
    assert called["structuredContent"]["blocked_sessions"] == 0


def test_inspector_over_http(inspector: list[str], scene: Scene, tmp_path: Path) -> None:
    with serving_http(tmp_path, "--dsn", scene.dsn) as url:
        about = ["--header", f"Authorization: Bearer {TOKEN}"]
        listed = inspect(inspector, url, "--transport", "http", "--method", "tools/list", *about)
        assert {each["name"] for each in listed["tools"]} >= {"diagnose", "triage", "plan"}
        calling = ["--method", "tools/call", "--tool-name", "diagnose"]
        called = inspect(inspector, url, "--transport", "http", *calling, *about)
        assert called["structuredContent"]["blocked_sessions"] == 0
