"""The SDK's own client, connected to a real `pgdoctor mcp` over either transport."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from tests.scenes.client import wait_until

TOKEN = "a token of more than sixteen characters".replace(" ", "-")

#: Seconds to wait for an answer, on a busy machine too.
PATIENCE = 90.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pgdoctor", "mcp", *arguments]


@asynccontextmanager
async def over_stdio(*arguments: str, mode: str = "auto") -> AsyncIterator[Client]:
    program, *rest = command(*arguments)
    parameters = StdioServerParameters(command=program, args=rest, env=dict(os.environ))
    with tempfile.TemporaryFile("w+") as errors:
        async with Client(stdio_client(parameters, errlog=errors), mode=mode) as client:
            yield client
        errors.seek(0)
        assert "Traceback" not in errors.read()


@asynccontextmanager
async def over_http(url: str, mode: str = "auto", token: str = TOKEN) -> AsyncIterator[Client]:
    async with (
        create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@contextmanager
def serving_http(folder: Path, *arguments: str) -> Iterator[str]:
    """A server over HTTP on a free port; its URL."""
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    log = folder / "mcp.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command("--http", "127.0.0.1:0", "--token-file", str(token), *arguments),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
        )
        try:
            found = wait_until(lambda: re.search(r"listen=(\S+)", log.read_text()), PATIENCE)
            yield f"http://{found[1]}/mcp"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
    assert "Traceback" not in log.read_text()


class Answer(NamedTuple):
    """What a tool answered: the structured content, and the same as text."""

    facts: Any
    text: str


async def call(client: Client, tool: str, **arguments: Any) -> Answer:
    """Call a tool, which has to answer without an error; the client checks the answer against the tool's schema."""
    result = await client.call_tool(tool, arguments)
    [content] = result.content
    assert not result.is_error, content.text
    assert json.loads(content.text) == result.structured_content
    return Answer(result.structured_content, content.text)


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    """The one line that a tool refuses these arguments with."""
    result = await client.call_tool(tool, arguments)
    [content] = result.content
    assert result.is_error, content.text
    assert "\n" not in content.text
    assert "Traceback" not in content.text
    return str(content.text)


def ask(dsn: str, *work: Callable[[Client], Coroutine[Any, Any, Any]], arguments: tuple[str, ...] = ()) -> list[Any]:
    """What each piece of work returns, one after the other over stdio."""

    async def run() -> list[Any]:
        async with over_stdio("--dsn", dsn, *arguments) as client:
            return [await each(client) for each in work]

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


def untrusted(value: object, marker: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths to all texts with the marker in them; keys count as well."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if marker in key:
                yield (*path, key)
            yield from untrusted(inner, marker, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from untrusted(inner, marker, path)
    elif isinstance(value, str) and marker in value:
        yield path
