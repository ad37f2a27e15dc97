"""TLS: served, renewed at SIGHUP, kept where the new files are broken, and never a delay for clients that ask."""

import contextlib
import signal
import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from pgdoctor.agent.http.auth import load_access
from pgdoctor.agent.http.connection_limiter import MOST_PLACES, MOST_TLS_PLACES
from pgdoctor.config.config import HttpSettings
from pgdoctor.errors import ConfigError
from tests.agent.conftest import NOBODY
from tests.agent.running import PROMPT, SOON, RunningAgent, series
from tests.scenes.client import wait_until


class Authority:
    """Issues certificates, and trusts them."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self._authority = trustme.CA()
        self.trust = ssl.create_default_context()
        self._authority.configure_trust(self.trust)
        self.renew()

    def renew(self) -> None:
        issued = self._authority.issue_cert("127.0.0.1")
        self.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.key.chmod(0o600)

    @property
    def table(self) -> str:
        return f'[http]\ntls_certificate = "{self.certificate}"\ntls_key = "{self.key}"\n'

    @property
    def http(self) -> HttpSettings:
        return HttpSettings(tls_certificate=str(self.certificate), tls_key=str(self.key))

    def get(self, agent: RunningAgent, path: str) -> httpx.Response:
        return httpx.get(f"https://127.0.0.1:{agent.port}{path}", verify=self.trust, timeout=5)

    def serial(self, agent: RunningAgent) -> str:
        """Of the certificate that the agent shows now."""
        plain = socket.create_connection(("127.0.0.1", agent.port), timeout=5)
        with self.trust.wrap_socket(plain, server_hostname="127.0.0.1") as client:
            return client.getpeercert()["serialNumber"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_renewed_files_are_taken_at_sighup_and_broken_ones_are_not(agent, authority):
    watching = agent(NOBODY, more=authority.table)
    first = authority.serial(watching)
    page = authority.get(watching, "/metrics")
    assert series(page.text)["pgdoctor_up"] == 0
    authority.renew()
    assert authority.serial(watching) == first
    watching.send(signal.SIGHUP)
    wait_until(lambda: authority.serial(watching) != first)
    second = authority.serial(watching)
    authority.certificate.write_text("broken")
    watching.send(signal.SIGHUP)
    wait_until(lambda: "http.tls_certificate" in str(watching.lines))
    assert authority.serial(watching) == second
    assert series(authority.get(watching, "/metrics").text)["pgdoctor_config_reload_success"] == 0
    assert watching.end()[0] < SOON


def test_client_without_tls_is_refused_and_counted(agent, authority):
    watching = agent(NOBODY, more=authority.table)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{watching.port}/metrics", timeout=5)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", watching.port), timeout=5) as plain:
        old.wrap_socket(plain)
    wait_until(
        lambda: series(authority.get(watching, "/metrics").text)['pgdoctor_http_refused_total{reason="tls"}'] == 2
    )


def test_handshakes_that_do_not_end_are_not_in_the_way(agent, authority):
    watching = agent(NOBODY, more=authority.table)
    with ExitStack() as stack:
        for number in range(300):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", watching.port), timeout=5))
            with contextlib.suppress(OSError):
                client.sendall(b"\x16\x03\x01\x02\x00" if number % 2 else b"")
        for path in ("/metrics", "/health"):
            began = time.monotonic()
            assert authority.get(watching, path).status_code == 200
            assert time.monotonic() - began < PROMPT
        assert psutil.Process(watching.pid).num_fds() < MOST_PLACES + 40
    assert watching.end()[0] < SOON


@pytest.mark.long
def test_crowd_with_tls_takes_at_most_100_mb_until_it_goes(agent, authority):
    watching = agent(NOBODY, more=authority.table)
    process = psutil.Process(watching.pid)
    before = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(MOST_TLS_PLACES + 50):
            plain = socket.create_connection(("127.0.0.1", watching.port), timeout=5)
            client = stack.enter_context(authority.trust.wrap_socket(plain, server_hostname="127.0.0.1"))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1)
        assert process.memory_info().rss - before < 100e6
        assert process.num_fds() < MOST_TLS_PLACES + 40
    # Each goes with a reset, for it has not read all of its answer.
    wait_until(lambda: process.memory_info().rss - before < 15e6, 10)


def test_a_key_that_does_not_fit(authority):
    other = trustme.CA().issue_cert("127.0.0.1")
    authority.key.write_bytes(other.private_key_pem.bytes())
    refused(authority, "not a certificate and its unencrypted key")


def test_a_key_for_all_to_read(authority):
    authority.key.chmod(0o644)
    refused(authority, "chmod o=")


def test_no_certificate(authority):
    authority.certificate.unlink()
    refused(authority, "http.tls_certificate", "No such file")


def test_an_empty_key(authority):
    authority.key.write_text("")
    authority.key.chmod(0o600)
    refused(authority, "not a certificate and its unencrypted key")


def refused(authority: Authority, *words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_access(authority.http)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
