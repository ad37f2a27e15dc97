"""H79b: requests that come in parts are answered, and connections that are given up cost nothing."""

import contextlib
import socket
import ssl
import time

import psutil
import pytest
import trustme

from pgdoctor.agent.http.auth import MOST_HEAD_BYTES
from pgdoctor.agent.http.incomplete_requests import is_complete
from tests.agent.conftest import NOBODY
from tests.scenes.client import wait_until

HALF, REST = b"GET /health HTTP/1.1\r\nHo", b"st: localhost\r\n\r\n"
HELLO = b"\x16\x03\x01\x00\x03abc"


@pytest.mark.parametrize("sent", [HALF + REST, b"GET / HTTP/1.0\n\n", b"x" * MOST_HEAD_BYTES, b"\x00", HELLO])
def test_complete_or_hopeless_bytes_go_to_http(sent):
    assert is_complete(sent, is_tls=False)


@pytest.mark.parametrize("sent", [b"G", HALF, (HALF + REST)[:-1]])
def test_part_of_a_head_does_not_go_to_http(sent):
    assert not is_complete(sent, is_tls=False)


@pytest.mark.parametrize("sent", [HELLO, HELLO + b"more", HALF, b"\x80", b"\x16" * MOST_HEAD_BYTES])
def test_complete_or_hopeless_bytes_go_to_tls(sent):
    assert is_complete(sent, is_tls=True)


@pytest.mark.parametrize("size", range(1, len(HELLO)))
def test_part_of_a_hello_does_not_go_to_tls(size):
    assert not is_complete(HELLO[:size], is_tls=True)


def test_request_in_single_bytes_is_answered(lone_agent):
    with socket.create_connection(("127.0.0.1", lone_agent.port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HALF + REST:
            client.send(bytes([byte]))
            time.sleep(0.002)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_half_closed_half_requests_are_closed_at_once(lone_agent):
    before = lone_agent.metric('http_refused_total{reason="slow"}')
    for said in (b"", HALF):
        with socket.create_connection(("127.0.0.1", lone_agent.port), timeout=10) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            # An end or a reset: there is no answer to half a request.
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(4096) == b""
    assert lone_agent.metric('http_refused_total{reason="slow"}') == before


@pytest.mark.long
def test_half_requests_cost_no_cpu_and_end_after_their_time(lone_agent):
    process = psutil.Process(lone_agent.pid)
    before = process.num_fds()
    slow = lone_agent.metric('http_refused_total{reason="slow"}')
    clients = [socket.create_connection(("127.0.0.1", lone_agent.port), timeout=10) for _ in range(20)]
    for client in clients:
        client.sendall(HALF)
    wait_until(lambda: process.num_fds() >= before + 20)
    began, used = time.monotonic(), sum(process.cpu_times()[:2])
    wait_until(lambda: lone_agent.metric('http_refused_total{reason="slow"}') == slow + 20, 30)
    assert sum(process.cpu_times()[:2]) - used < 0.5 * (time.monotonic() - began)
    for client in clients:
        client.close()


@pytest.mark.long
def test_tls_hello_in_single_bytes_is_answered(agent, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)
    watching = agent(NOBODY, more=f'[http]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n')
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = trust.wrap_bio(came, goes, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    with socket.create_connection(("127.0.0.1", watching.port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in goes.read():
            client.send(bytes([byte]))
        came.write(client.recv(16_384))
        # The server's first message: without the whole hello there is none.
        assert session.version() or came.pending > 0
