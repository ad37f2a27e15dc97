"""Clients that are slow, greedy or no HTTP clients at all: those that ask properly are answered within a second."""

import asyncio
import contextlib
import http.client
import os
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest

from pgdoctor.agent.http.app import Pieces
from pgdoctor.agent.http.auth import load_access
from pgdoctor.agent.http.connection_limiter import MOST_PLACES, most_slots
from pgdoctor.agent.http.http_server import HttpServer
from pgdoctor.agent.http.listen import open_listening_socket
from pgdoctor.agent.http.rejections import RejectionCounter
from pgdoctor.config.config import HttpSettings
from tests.agent.conftest import NOBODY
from tests.agent.running import PROMPT, SOON, RunningAgent, series
from tests.scenes.client import wait_until

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

#: Connections that an agent holds at most, and what else it has open.
MOST = MOST_PLACES + 40

#: More connections than it has places; the test's own process, too, may open as many.
MANY = MOST_PLACES + 50
most_slots()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def refused(agent: RunningAgent, reason: str) -> float:
    return agent.metric(f'http_refused_total{{reason="{reason}"}}')


def first_line(connection: socket.socket) -> str:
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(4096).decode("latin-1").partition("\r\n")[0]
    return "reset"


@contextmanager
def slow_clients(port: int, number: int, said: bytes = b"GET /metrics HTTP/1.1\r\nHost: x\r\n") -> Iterator[None]:
    """Connections that have asked for half of something."""
    with ExitStack() as stack:
        for _ in range(number):
            client = stack.enter_context(connect(port))
            with contextlib.suppress(OSError):
                client.sendall(said)
        yield


class Watcher:
    """Asks again and again, each time with a connection of its own."""

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._port = port
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def answers(self) -> int:
        return len(self.seconds)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            for path in ("/metrics", "/health"):
                began = time.monotonic()
                try:
                    assert status(self._port, path) == 200
                    self.seconds.append(time.monotonic() - began)
                except (AssertionError, OSError, http.client.HTTPException) as error:
                    self.failed.append(f"{path}: {error!r}")

    def was_served(self) -> None:
        assert self.failed == []
        # Not the slowest: this machine may be busy with other things than the agent.
        assert sorted(self.seconds)[self.answers * 9 // 10] < PROMPT


def status(port: int, path: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        client.request("GET", path)
        answer = client.getresponse()
        assert answer.read()
        return answer.status


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", "413"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", "413"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "413"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", "413"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n\r\n", "413"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "405"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", "431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 5_000 + b"\r\n", "431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "404"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", "400"),
    ],
)
def test_malformed_request_is_refused_at_once(lone_agent, head, code):
    with connect(lone_agent.port) as client:
        client.sendall(head)
        answer = first_line(client)
        # A big head may come in two parts, and the connection be closed with the second one unread.
        assert answer.split()[1:2] == [code] or (len(head) > 16_384 and answer in ("HTTP/1.1 400 Bad Request", "reset"))
        if code != "405":
            client.settimeout(2)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(4096):
                    pass


def test_a_burst_of_clients_that_are_slow_to_ask_is_answered_all_the_same(agent):
    watching = agent(NOBODY)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(watching.port)) for _ in range(800)]
        wait_until(lambda: psutil.Process(watching.pid).num_fds() > 800)
        for client in clients:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert {first_line(client) for client in clients} == {"HTTP/1.1 200 OK"}
    assert refused(watching, "crowded") == 0


def test_it_takes_as_many_file_descriptors_as_it_may_have():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
        assert most_slots() == MOST_PLACES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_slow_clients_are_closed_for_clients_that_ask(agent):
    watching = agent(NOBODY)
    with slow_clients(watching.port, MANY), Watcher(watching.port) as watcher:
        wait_until(lambda: watcher.answers > 10)
        assert psutil.Process(watching.pid).num_fds() < MOST
    watcher.was_served()
    assert refused(watching, "crowded") >= MANY - MOST_PLACES
    assert watching.end()[0] < SOON


def test_requests_that_do_not_wait_for_an_answer_are_answered_once(agent):
    watching = agent(NOBODY)
    before = psutil.Process(watching.pid).memory_info().rss
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000
    with slow_clients(watching.port, 270, ask), Watcher(watching.port) as watcher:
        wait_until(lambda: watcher.answers > 10)
    watcher.was_served()
    assert psutil.Process(watching.pid).memory_info().rss - before < 64e6


def test_clients_that_do_not_read_a_big_answer_are_closed_and_share_one_copy():
    asyncio.run(answer_who_does_not_read())


async def answer_who_does_not_read() -> None:
    answer = Pieces(b"x" * 20_000_000)
    refusals, listener = RejectionCounter(), open_listening_socket("127.0.0.1:0")
    port = listener.getsockname()[1]
    server = HttpServer(answer, load_access(HttpSettings()), refusals)
    serving = asyncio.create_task(server.serve_on(listener))
    before = psutil.Process().memory_info().rss
    with ExitStack() as stack:
        for _ in range(MANY):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", port))
            await asyncio.sleep(0.001)
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(0.5)
        # Three pieces of 64 KB each, and not 20 MB.
        assert psutil.Process().memory_info().rss - before < 400e6
        async with httpx.AsyncClient(timeout=20) as reader:
            assert len((await reader.get(f"http://127.0.0.1:{port}/")).content) == 20_000_000
    assert refusals.counts["crowded"] >= 20
    server.stop()
    await serving


def test_a_connection_takes_one_request(lone_agent):
    with connect(lone_agent.port) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(4096):
                answer += part
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_answer_in_progress_is_finished_at_the_end(agent):
    watching = agent(NOBODY)
    with connect(watching.port) as late:
        late.sendall(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
        with slow_clients(watching.port, 100):
            seconds, status = watching.end()
        assert first_line(late) == "HTTP/1.1 404 Not Found"
    assert (seconds < SOON, status) == (True, 0)


def test_without_file_descriptors_it_neither_dies_nor_spins(agent):
    watching = agent(NOBODY)
    process = psutil.Process(watching.pid)
    most = process.num_fds() + 20
    resource.prlimit(watching.pid, resource.RLIMIT_NOFILE, (most, most))
    with slow_clients(watching.port, 200):
        began, used = time.monotonic(), sum(process.cpu_times()[:2])
        time.sleep(1.5)
        share = (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - began)
        assert share < 0.8
        assert status(watching.port, "/metrics") == 200
    wait_until(lambda: refused(watching, "descriptors") > 0)
    assert watching.running
    assert len(watching.lines) < 20


def test_five_hundred_clients_that_send_a_byte_now_and_then(agent):
    watching = agent(NOBODY)
    clients = [connect(watching.port) for _ in range(500)]
    with Watcher(watching.port) as watcher:
        end = time.monotonic() + 8
        while time.monotonic() < end:
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"G")
            time.sleep(0.5)
    watcher.was_served()
    # However they trickle: none of them has been let in for longer than its time.
    assert psutil.Process(watching.pid).num_fds() < 40
    assert refused(watching, "slow") + refused(watching, "crowded") + refused(watching, "malformed") >= 500
    assert len(watching.lines) < 20
    for client in clients:
        client.close()


def random_bytes(port: int) -> None:
    with connect(port) as client:
        client.sendall(os.urandom(random.randint(1, 2_000)))


def one_line_for_ever(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET /" + b"a" * 30_000)


def half_closed(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        client.shutdown(socket.SHUT_WR)


def reset(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET /diagnosis HTTP/1.1\r\nHost: x\r\n\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(port: int) -> None:
    connect(port).close()


def pipelined(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 20 + b"nonsense\r\n\r\n")


def upgrade(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")


def tls_hello(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(505))


def http2(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))


GARBAGE = (random_bytes, one_line_for_ever, half_closed, reset, silent, pipelined, upgrade, tls_hello, http2)


@pytest.mark.deadline(180)
def test_ten_thousand_requests_of_garbage(agent):
    watching = agent(NOBODY)
    process = psutil.Process(watching.pid)
    throw_garbage(watching.port, 500)
    wait_until(lambda: process.num_fds() < 40)
    memory = process.memory_info().rss
    with Watcher(watching.port) as watcher:
        throw_garbage(watching.port, 10_000)
    watcher.was_served()
    wait_until(lambda: process.num_fds() < 40)
    assert process.memory_info().rss - memory < 20e6
    assert len(watching.lines) < 20
    page = watching.get("/metrics").text
    assert series(page)['pgdoctor_http_refused_total{reason="malformed"}'] > 1_000


def throw_garbage(port: int, number: int) -> None:
    def throw(share: int) -> None:
        for _ in range(share):
            with contextlib.suppress(OSError):
                random.choice(GARBAGE)(port)
            # Some hundred a second: what is asked here is not how much work two busy cores can do.
            time.sleep(0.003)

    throwers = [threading.Thread(target=throw, args=(number // 2,)) for _ in range(2)]
    for each in throwers:
        each.start()
    for each in throwers:
        each.join()
