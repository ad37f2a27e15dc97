"""Clients that send garbage, ask for too much, hang, go away or come by the hundred: one line each, and it goes on."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError

from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.mcp.clients import PATIENCE, TOKEN, ask, call, command, over_http, refusal, serving_http
from tests.scenes import Scene
from tests.scenes.client import wait_until

pytestmark = pytest.mark.deadline(240)

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Spoken:
    """A server over stdio, spoken to line by line."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
        )

    def send(self, message: object) -> None:
        self.send_bytes(json.dumps(message).encode() + b"\n")

    def send_bytes(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def greet(self) -> None:
        self.send(INITIALIZE)
        assert self.read()["result"]["serverInfo"]["name"] == "pgdoctor"
        self.send(INITIALIZED)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def end(self) -> tuple[int, str]:
        """The exit status, and what it said on stderr, once its input is closed."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            status = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
        return status, self.process.stderr.read().decode()


@pytest.fixture
def spoken(scene: Scene) -> Iterator[Spoken]:
    opened = Spoken("--dsn", scene.dsn)
    yield opened
    opened.close()


GARBAGE = {
    "no JSON": b"hello?\n",
    "no object": b"[1, 2]\n",
    "no message": b'{"jsonrpc": "2.0", "id": {}}\n',
    "no UTF-8": b"\xff\xfe\n",
    "deep": b"[" * 60_000 + b"\n",
    "long": b'"' + b"x" * 5_000_000 + b'"\n',
    "empty": b"\n",
}


def test_garbage_on_stdio_is_answered_and_the_server_goes_on(spoken: Spoken) -> None:
    spoken.greet()
    for name, line in GARBAGE.items():
        spoken.send_bytes(line)
        error = spoken.read()
        assert (error["id"], error["error"]["code"]) == (None, -32700), name
        assert error["error"]["message"] == "expected one JSON-RPC message a line, of at most 65,536 bytes"
    spoken.send({"jsonrpc": "2.0", "id": 2, "method": "no/such/method", "params": {}})
    assert spoken.read()["error"]["code"] == -32601
    spoken.send({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
    assert spoken.read()["result"]["tools"]
    status, said = spoken.end()
    assert (status, said) == (0, "")


@pytest.mark.long
def test_client_that_takes_no_answers_stops_the_reading_only(spoken: Spoken) -> None:
    """Requests are sent all at once; they are answered once the client reads, and their answers do not pile up."""
    spoken.greet()
    # More bytes than pipes and readers hold.
    count, padding = 500, {"_meta": {"padding": "x" * 10_000}}

    def ask_all() -> None:
        for number in range(count):
            spoken.send({"jsonrpc": "2.0", "id": number + 10, "method": "tools/list", "params": padding})

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(ask_all)
        # Until the pipes are full and nothing moves.
        before = -1
        while not sending.done() and before != (before := resident_kb(spoken.process.pid)):
            time.sleep(1)
        assert not sending.done()
        assert resident_kb(spoken.process.pid) < 250_000
        answered = {spoken.read()["id"] for _ in range(count)}
        sending.result(PATIENCE)
    assert answered == set(range(10, count + 10))
    assert spoken.end()[0] == 0


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_client_that_disconnects_during_a_call_ends_it(spoken: Spoken, scene: Scene) -> None:
    spoken.greet()
    spoken.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "triage"}})
    status, said = spoken.end()
    assert status == 0
    assert "Traceback" not in said
    scene.wait_until(lambda: own_sessions(scene) == 0)


def own_sessions(scene: Scene) -> int:
    count = "select count(*) from pg_stat_activity where application_name = 'pgdoctor' and datname = current_database()"
    row = scene.admin.execute(count).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it(spoken: Spoken, number: signal.Signals) -> None:
    spoken.greet()
    spoken.process.send_signal(number)
    assert spoken.process.wait(PATIENCE) in (0, 130)


def test_wrong_arguments_are_one_line(scene: Scene) -> None:
    async def ask_wrongly(client: Client) -> None:
        assert "<= 20" in await refusal(client, "diagnose", limit=1_000_000)
        assert "Expected `int`" in await refusal(client, "diagnose", limit="all")
        assert "unknown field `server`" in await refusal(client, "diagnose", server="x")
        assert "exactly one of" in await refusal(client, "holders")
        assert "exactly one of" in await refusal(client, "holders", pid=1, relation="t")
        assert "advisory_key is a bigint" in await refusal(client, "holders", advisory_key="x")
        assert "200" in await refusal(client, "holders", relation="x" * 1_000)
        assert "nowhere" in await refusal(client, "holders", relation="nowhere")
        assert "a duration with a unit" in await refusal(client, "incidents", since="yesterday")
        assert "no topic" in await refusal(client, "explain", topic="../../etc/passwd")
        for unknown in ("kill", "propose_signal", "read_log"):
            with pytest.raises(MCPError, match=f"no tool '{unknown}'"):
                await client.call_tool(unknown, {})

    ask(scene.dsn, ask_wrongly)


@pytest.mark.long
def test_server_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    secret = "hunter2-secret"

    async def ask_all(client: Client) -> None:
        for tool, given in (("diagnose", {}), ("triage", {}), ("plan", {}), ("holders", {"pid": 1})):
            said = await refusal(client, tool, **given)
            assert "refused" in said
            assert secret not in said
        await call(client, "explain", topic="migration")

    ask(f"host=127.0.0.1 port=1 user=x password={secret}", ask_all)


@pytest.mark.long
def test_many_calls_at_once_are_answered_or_refused(scene: Scene) -> None:
    most = 0

    async def ask_often(client: Client) -> list[Any]:
        nonlocal most
        calls = [asyncio.ensure_future(client.call_tool("diagnose", {})) for _ in range(60)]
        while not all(each.done() for each in calls):
            most = max(most, own_sessions(scene))
            await asyncio.sleep(0.01)
        return [each.result() for each in calls]

    [results] = ask(scene.dsn, ask_often)
    said = {each.content[0].text for each in results if each.is_error}
    assert said <= {"diagnose: too many calls at once; try again later", "diagnose: no answer within 20 s"}
    assert "diagnose: too many calls at once; try again later" in said
    assert sum(not each.is_error for each in results) >= 4
    # Four at once: the server shows a session for a moment after its client has closed it.
    assert most <= 8


# Over HTTP


@pytest.fixture
def url(scene: Scene, tmp_path: Path) -> Iterator[str]:
    with serving_http(tmp_path, "--dsn", scene.dsn) as serving:
        yield serving


HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}


def post(url: str, body: object, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url, content=content, headers=HEADERS | headers, timeout=PATIENCE)


def test_http_asks_for_the_token_and_refuses_web_pages(url: str) -> None:
    host = url.split("/")[2]
    assert post(url, INITIALIZE).status_code == 200
    for headers, status in (
        ({"Authorization": "Bearer wrong-token-of-many-characters"}, 401),
        ({"Authorization": ""}, 401),
        ({"Host": "evil.example.org"}, 421),
        ({"Host": f"evil.example.org:{host.rpartition(':')[2]}"}, 421),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": f"http://{host}"}, 403),
    ):
        answer = post(url, INITIALIZE, **headers)
        assert answer.status_code == status, headers
        assert answer.json().keys() == {"error"}
        assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = httpx.options(url, headers=HEADERS | {"Origin": "https://evil.example.org"})
    assert preflight.status_code == 403
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        assert httpx.request(method, url, headers=HEADERS).status_code == 405
    assert httpx.post(url.replace("/mcp", "/metrics"), headers=HEADERS).status_code == 404


@pytest.mark.long
def test_garbage_over_http_is_refused_and_the_server_goes_on(url: str) -> None:
    for name, body in GARBAGE.items():
        answer = post(url, body)
        assert 400 <= answer.status_code < 500, name
        assert "Traceback" not in answer.text
    assert post(url, [INITIALIZE] * 3).status_code == 400
    assert post(url, INITIALIZE, **{"MCP-Protocol-Version": "1066-10-14"}).status_code == 400
    assert "mcp-session-id" not in post(url, INITIALIZE).headers

    async def look() -> None:
        async with over_http(url) as client:
            await call(client, "diagnose")

    asyncio.run(asyncio.wait_for(look(), PATIENCE))


@pytest.mark.long
def test_silent_and_many_clients_keep_no_other_from_asking(url: str) -> None:
    host, port = url.split("/")[2].split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(100)]
    for each in silent[:50]:
        each.sendall(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    try:
        # As many sessions as clients: none is kept.
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: post(url, INITIALIZE).status_code, range(200)))
        assert answers == [200] * 200
    finally:
        for each in silent:
            each.close()


@pytest.mark.long
def test_client_that_disconnects_over_http_frees_its_session(url: str, scene: Scene) -> None:
    host, port = url.split("/")[2].split(":")
    body = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "triage"}}).encode()
    lines = [f"{name}: {value}" for name, value in HEADERS.items()]
    head = "\r\n".join(["POST /mcp HTTP/1.1", f"Host: {host}", *lines, f"Content-Length: {len(body)}", "", ""])
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + body)
        wait_until(lambda: own_sessions(scene) == 1, PATIENCE)
    scene.wait_until(lambda: own_sessions(scene) == 0)
    assert post(url, INITIALIZE).status_code == 200


# The command line


def test_wrong_command_lines_are_one_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    for words, said in (
        (("--http", "127.0.0.1:0"), "--http needs a token"),
        (("--http", "0.0.0.0:0"), "--http needs a token"),
        (("--http", "127.0.0.1:0", "--token-file", str(token)), "is open to every user of this machine"),
        (("--http", "nowhere"), "--http: expected HOST:PORT"),
        (("--http", "nowhere:x"), "--http: expected HOST:PORT"),
        (("--http", "127.0.0.1:70000"), "--http: expected HOST:PORT"),
        (("--token-file", str(token)), "--token-file belongs to --http"),
        (("--logs", str(tmp_path / "none")), "No such file"),
        (("--logs", str(token)), "not a folder"),
        (("--server", "a"), "--server needs a configuration"),
    ):
        complains(pgdoctor("mcp", *words), 2, said)
    token.chmod(0o600)
    token.write_text("short")
    complains(pgdoctor("mcp", "--http", "127.0.0.1:0", "--token-file", str(token)), 2, "at least 16 printable")
    token.write_text(TOKEN)
    complains(pgdoctor("mcp", "--http", "192.0.2.1:1", "--token-file", str(token)), 2, "cannot listen on 192.0.2.1:1")
    config = tmp_path / "pgdoctor.toml"
    config.write_text('[[servers]]\nname = "a"\ndsn = "host=a"\n[[servers]]\nname = "b"\ndsn = "host=b"\n')
    complains(pgdoctor("mcp", "--config", str(config)), 2, "choose one of a, b")
