"""A scrape that comes again is answered without parsing, with the same bytes, for as long as it may be answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pgdoctor.agent.http.auth import load_access
from pgdoctor.agent.http.http_server import HttpServer
from pgdoctor.agent.http.listen import open_listening_socket
from pgdoctor.agent.http.rejections import RejectionCounter
from pgdoctor.agent.http.repeated_scrapes import RepeatedScrapes
from pgdoctor.agent.http.responses import HEADERS, Pieces
from pgdoctor.config.config import HttpSettings

P = ParamSpec("P")

TOKEN, OTHER_TOKEN = "zq7-token-of-the-test", "zq7-token-of-another"
SCRAPE = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAccept: text/plain\r\n\r\n".encode()


def run_in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Application:
    """An ASGI application that counts its requests, and says for which Accept it was asked."""

    def __init__(self, size: int = 100, status: int = 200) -> None:
        self.requests = 0
        self.size = size
        self.status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        accept = next((value.decode() for name, value in scope["headers"] if name == b"accept"), "")
        await self.respond(accept)(scope, receive, send)

    def respond(self, accept: str) -> Response:
        return Pieces(accept.encode() * self.size, self.status, headers=HEADERS)


def access(folder: Path, token: str = TOKEN):
    path = folder / "token"
    path.write_text(token)
    path.chmod(0o600)
    return load_access(HttpSettings(token_file=str(path)))


@asynccontextmanager
async def serving(
    folder: Path, application: Application, respond: Callable[[str], Response | None] | None = None
) -> AsyncIterator[tuple[HttpServer, int]]:
    listener = open_listening_socket("127.0.0.1:0")
    scrapes = RepeatedScrapes(respond or application.respond)
    server = HttpServer(application, access(folder), RejectionCounter(), scrapes)
    running = asyncio.create_task(server.serve_on(listener))
    yield server, listener.getsockname()[1]
    server.stop()
    await running


async def ask(port: int, request: bytes, pause: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await asyncio.sleep(pause)
    answer = await reader.read()
    writer.close()
    return answer


def without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"date: ")]


@run_in_loop
async def test_repeated_scrape_gets_the_same_answer_without_the_application(tmp_path):
    application = Application()
    async with serving(tmp_path, application) as (_, port):
        answers = [await ask(port, SCRAPE) for _ in range(4)]
        assert application.requests == 1
        assert answers[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert all(without_date(each) == without_date(answers[0]) and b"\r\ndate: " in each for each in answers)
        other = await ask(port, SCRAPE.replace(b"text/plain", b"text/other"))
    assert application.requests == 2
    assert other.endswith(b"text/other" * application.size)


@run_in_loop
async def test_new_access_makes_each_scrape_be_checked_again(tmp_path):
    application = Application()
    async with serving(tmp_path, application) as (server, port):
        for _ in range(2):
            assert (await ask(port, SCRAPE)).startswith(b"HTTP/1.1 200")
        server.use(access(tmp_path, OTHER_TOKEN))
        assert (await ask(port, SCRAPE)).startswith(b"HTTP/1.1 401")
    assert application.requests == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        SCRAPE.replace(TOKEN.encode(), OTHER_TOKEN.encode()),
        SCRAPE.replace(b"/metrics", b"/diagnosis"),
        SCRAPE.replace(b"GET", b"HEAD"),
        SCRAPE + b"GET /",
        SCRAPE * 2,
    ],
    ids=["another token", "another path", "HEAD", "more bytes", "two requests"],
)
@run_in_loop
async def test_other_requests_are_parsed_each_time(tmp_path, request_bytes):
    application = Application()
    async with serving(tmp_path, application) as (_, port):
        await ask(port, SCRAPE)
        first, second = [without_date(await ask(port, request_bytes)) for _ in range(2)]
    assert first == second
    assert application.requests == (1 if OTHER_TOKEN.encode() in request_bytes else 3)


@run_in_loop
async def test_failed_scrape_is_not_repeated_without_the_application(tmp_path):
    application = Application(status=503)
    async with serving(tmp_path, application) as (_, port):
        for _ in range(2):
            assert (await ask(port, SCRAPE)).startswith(b"HTTP/1.1 503")
    assert application.requests == 2


@pytest.mark.parametrize("respond", [lambda _: None, lambda _: 1 / 0], ids=["big page", "fault"])
@run_in_loop
async def test_scrape_without_a_short_answer_goes_to_the_application(tmp_path, respond):
    application = Application()
    async with serving(tmp_path, application, respond) as (_, port):
        for _ in range(3):
            assert (await ask(port, SCRAPE)).startswith(b"HTTP/1.1 200")
    assert application.requests == 3


@run_in_loop
async def test_client_that_reads_late_gets_all_of_a_repeated_answer(tmp_path):
    application = Application(size=2_000_000)
    async with serving(tmp_path, application) as (_, port):
        await ask(port, SCRAPE)
        answers = await asyncio.gather(*(ask(port, SCRAPE, pause=0.2) for _ in range(3)))
    assert application.requests == 1
    assert {len(each.partition(b"\r\n\r\n")[2]) for each in answers} == {20_000_000}
