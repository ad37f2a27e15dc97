"""What lies between the agent and a server: it falls silent, swallows packets, or something else answers there."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.agent.polling.test_outage import stopped
from tests.scenes.client import wait_until
from tests.standby import promote, standby_of

#: All of it together takes many seconds.
pytestmark = pytest.mark.long

#: Two intervals and the deadline of these agents are 1.4 s; a busy machine takes many times as long.
RIGHT_WITHIN = 20.0


class Wire:
    """Stands in front of a server, and hands everything on; while `cut`, nothing, and no side is notified."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_cut = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                if not self.is_cut:
                    server = socket.create_connection(("127.0.0.1", self._server))
                    self._ends.append(server)
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            # What was in a connection when it was cut never arrives, nor does anything after it.
            while (said := source.recv(65_536)) and not self.is_cut:
                target.sendall(said)
            if not self.is_cut:
                target.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire() -> Iterator[Callable[[int], Wire]]:
    with ExitStack() as stack:

        def lay(port: int) -> Wire:
            laid = Wire(port)
            stack.callback(laid.close)
            return laid

        yield lay


@contextmanager
def swallowing() -> Iterator[int]:
    """A port on which connecting takes for ever: the queue of those who want to is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def through(dsn: str, port: int) -> str:
    return make_conninfo(dsn, host="127.0.0.1", port=port)


def port_of(dsn: str) -> int:
    return int(conninfo_to_dict(dsn)["port"])


def test_a_connection_that_is_open_on_one_side_only(scene, agent, wire):
    between = wire(port_of(scene.dsn))
    watching = agent(through(scene.dsn, between.port))
    watching.wait_for("up", 1)
    between.is_cut = True
    watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
    watching.wait_for('connection_state{state="timeout"}', 1)
    # Those that are opened now are not answered either.
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert watching.metric("up") == 0
        assert watching.get("/health/deep").status_code == 503
        time.sleep(0.1)
    between.is_cut = False
    watching.wait_for("up", 1)
    assert watching.metric("polls_skipped_total") > 0


def test_silent_peer_is_a_timeout(scene, agent, wire):
    between = wire(port_of(scene.dsn))
    between.is_cut = True
    watching = agent(through(scene.dsn, between.port))
    watching.wait_for('connection_state{state="timeout"}', 1, timeout=RIGHT_WITHIN)
    for path in ("/diagnosis", "/health/deep"):
        assert "did not answer within 1 s" in watching.get(path).text
    between.is_cut = False
    watching.wait_for("up", 1)


def test_an_address_that_swallows_everything(agent):
    if sys.platform != "linux":
        pytest.skip("only Linux leaves those unanswered for whom there is no room in the queue")
    with swallowing() as port:
        watching = agent(f"host=127.0.0.1 port={port} user=app dbname=shop")
        watching.wait_for('connection_state{state="timeout"}', 1, timeout=RIGHT_WITHIN)
        attempt = watching.metric("last_poll_timestamp_seconds")
        wait_until(lambda: watching.metric("last_poll_timestamp_seconds") > attempt, 10)
        seconds, status = watching.end()
    assert (seconds < RIGHT_WITHIN, status) == (True, 0)


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"N" + bytes(100_000), b"\xff" * 100, b""])
def test_something_that_is_no_postgres(agent, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, suppress(OSError):
                        client.recv(8)
                        client.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        watching = agent(f"host=127.0.0.1 port={listener.getsockname()[1]} user=app dbname=shop")
        watching.wait_for('connection_state{state="error"}', 1)
        listener.shutdown(socket.SHUT_RDWR)
    # Now no host answers.
    watching.wait_for('connection_state{state="refused"}', 1)


def test_of_several_hosts_one_that_hangs_is_not_the_end_of_it(scene, agent, wire):
    silent = wire(1)
    silent.is_cut = True
    both = make_conninfo(scene.dsn, host="127.0.0.1,127.0.0.1", port=f"{silent.port},{port_of(scene.dsn)}")
    watching = agent(both)
    watching.wait_for("up", 1, timeout=20)


def test_failover_from_a_primary_that_hangs(own_server, agent):
    primary = own_server(max_connections=20)
    with standby_of(primary) as standby:
        hosts = make_conninfo(
            primary.dsn,
            host="127.0.0.1,127.0.0.1",
            port=f"{primary.port},{standby.port}",
            target_session_attrs="read-write",
        )
        watching = agent(hosts)
        watching.wait_for("up", 1)
        with stopped(primary):
            watching.wait_for("up", 0, timeout=RIGHT_WITHIN)
            promote(standby, make_conninfo(primary.dsn, port=standby.port))
            watching.wait_for("up", 1, timeout=20)
