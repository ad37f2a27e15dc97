"""The agent's endpoints against their OpenAPI description, by schemathesis: thousands of requests, right and wrong."""

import subprocess
import sys

import pytest

from tests.agent.conftest import agent
from tests.packages.tools import find_module, succeed
from tests.scenes.client import wait_until

__all__ = ["agent"]

TOKEN, WEBHOOK_TOKEN = "a-token-of-this-test-0123456789", "another-token-of-this-test-0123"

#: What is held: no failure of the agent, no answer that is not described, no way in without credentials.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,ignored_auth"
)


@pytest.fixture
def described(agent, scene, tmp_path):
    """A running agent with tokens, and its description as a file."""
    find_module("schemathesis", "schemathesis")
    for name, text in (("token", TOKEN), ("webhook", WEBHOOK_TOKEN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    tables = f'[http]\ntoken_file = "{tmp_path / "token"}"\n[webhook]\ntoken_file = "{tmp_path / "webhook"}"\n'
    running = agent(scene.dsn, more=tables)
    file = tmp_path / "openapi.json"
    file.write_text(succeed(sys.executable, "-m", "pgdoctor", "schema", "openapi"))
    wait_for_first_poll(running)
    return running, file


def wait_for_first_poll(running):
    asked = {"Authorization": f"Bearer {TOKEN}"}
    wait_until(lambda: running.get("/diagnosis", **asked).status_code == 200)


@pytest.mark.parametrize(
    ("token", "checks", "only"),
    [
        (TOKEN, f"{CHECKS},unsupported_method", ("--exclude-path", "/webhook")),
        # A GET with a body is refused for its body, before its method is looked at.
        (WEBHOOK_TOKEN, CHECKS, ("--include-path", "/webhook")),
    ],
    ids=["endpoints", "webhook"],
)
def test_schemathesis_finds_no_fault(described, tmp_path, token, checks, only):
    running, file = described
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", file, "--url", f"http://127.0.0.1:{running.port}"),
        *("--header", f"Authorization: Bearer {token}", "--checks", checks, "--max-examples", "50"),
        *("--no-color", "--seed", "1", *only),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert running.get("/health").status_code == 200
