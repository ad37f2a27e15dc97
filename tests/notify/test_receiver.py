"""One receiver after the other that does not do as it should, on a real socket."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from msgspec.structs import replace

from pgdoctor.fields import Duration
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.format import Outgoing
from pgdoctor.notify.receiver import OUTCOMES, Receiver
from pgdoctor.notify.settings import Recipient
from tests.notify.receiving import BAD, Manner, Receiving, answer, hang, nobody, redirect, slam

TOKEN = "token-of-the-test-zq7"

#: Seconds: for what has to happen at last.
PATIENCE = 20.0


def settings(**given: Any) -> Recipient:
    usual = {
        "url": "unused",
        "timeout": Duration(0.3),
        "first_pause": Duration(0.1),
        "max_pause": Duration(0.1),
        "breaker_pause": Duration(0.1),
    }
    return Recipient(name="oncall", **{**usual, **given})


class Told:
    """A receiver that runs, and what became of what it was offered."""

    def __init__(self, receiver: Receiver, outcomes: dict[str, int]) -> None:
        self.receiver = receiver
        self.outcomes = outcomes

    def offer(self, *numbers: int) -> None:
        for number in numbers:
            self.receiver.queue_alert(f"incident-{number}", Outgoing(b'{"number": %d}' % number))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def settled(self, **outcomes: int) -> None:
        """Wait until nothing is left to deliver; return the outcomes."""
        await self.until(lambda: self.receiver.waiting == 0)
        assert self.outcomes == dict.fromkeys(OUTCOMES, 0) | outcomes


@asynccontextmanager
async def telling(url: str, token: str | None = None, **given: Any) -> AsyncIterator[Told]:
    outcomes = dict.fromkeys(OUTCOMES, 0)
    receiver = Receiver(settings(**given), Endpoint(url, token), outcomes)
    receiver.start()
    try:
        yield Told(receiver, outcomes)
    finally:
        receiver.stop()


def run(*manners: Manner, **given: Any) -> Callable[[Callable[[Told, Receiving], Any]], None]:
    """Run a test of one receiver with these manners."""

    def runs(test: Callable[[Told, Receiving], Any]) -> None:
        async def whole() -> None:
            with Receiving(*manners) as there:
                async with telling(there.url, TOKEN, **given) as told:
                    await test(told, there)

        asyncio.run(whole())

    return runs


def test_request_has_the_fields_of_the_contract() -> None:
    @run(answer(200))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.settled(delivered=1)
        [head] = there.heads
        assert head.startswith("POST /hook/very-secret-path?key=k1 HTTP/1.1\r\n")
        for line in (
            f"Host: 127.0.0.1:{there.port}",
            "Content-Type: application/json",
            f"Authorization: Bearer {TOKEN}",
        ):
            assert line in head.split("\r\n")
        assert there.bodies == [{"number": 1}]


def test_all_of_it_in_its_order() -> None:
    @run(answer(500), answer(204), answer(503), answer(503), answer(202))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(*range(5))
        await told.settled(delivered=5)
        assert list(dict.fromkeys(body["number"] for body in there.bodies)) == [0, 1, 2, 3, 4]
        assert [body["number"] for body in there.bodies][:3] == [0, 0, 1]


@pytest.mark.parametrize("manner", BAD, ids=lambda manner: manner.__name__)
def test_one_that_misbehaves_is_reported_once_it_behaves(manner: Manner) -> None:
    @run(manner, manner, answer(200))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.settled(delivered=1)
        assert len(there.bodies) == 3


@pytest.mark.parametrize("manner", [*BAD, answer(500), answer(408), answer(429)])
def test_one_that_always_misbehaves_is_given_up(manner: Manner) -> None:
    @run(manner, attempts=2)
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.settled(failed=1)
        assert len(there.bodies) == 2


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 410, 413, 422])
def test_an_answer_that_stays_the_same_is_final(status: int) -> None:
    @run(answer(status))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.settled(refused=1)
        assert len(there.bodies) == 1


def test_a_redirect_is_not_followed() -> None:
    with Receiving(answer(200)) as elsewhere:

        @run(redirect(elsewhere.url))
        async def _(told: Told, there: Receiving) -> None:
            told.offer(1)
            await told.settled(refused=1)

        assert elsewhere.heads == []


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiving(answer(200)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)

        @run(answer(200))
        async def _(told: Told, there: Receiving) -> None:
            told.offer(1)
            await told.settled(delivered=1)

        assert proxy.heads == []


def test_missing_user_is_reported() -> None:
    async def whole() -> None:
        async with telling(nobody(), attempts=3) as told:
            told.offer(1)
            await told.settled(failed=1)

    asyncio.run(whole())


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    @run(answer(429, Retry_After="1"), answer(200))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.settled(delivered=1)
        first, second = there.times
        assert second - first >= 1.0


def test_outdated_event_is_not_delivered() -> None:
    @run(hang, max_age=Duration(0.2))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1, 2)
        await told.settled(expired=2)
        assert {body["number"] for body in there.bodies} == {1}


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    @run(hang, answer(200), queue=3, timeout=Duration(1))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(0)
        await told.until(lambda: there.bodies)
        told.offer(1, 2, 3, 4, 5)
        assert told.receiver.waiting == 4
        assert told.outcomes["dropped"] == 2
        await told.settled(dropped=2, delivered=4)
        assert [body["number"] for body in there.bodies] == [0, 0, 3, 4, 5]


def test_the_circuit_opens_and_closes_by_itself() -> None:
    @run(*[answer(500)] * 4, answer(200), breaker_pause=Duration(1))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.until(lambda: told.receiver.circuit.opened_at is not None)
        assert len(there.bodies) == 4
        await told.settled(delivered=1)
        assert told.receiver.circuit.opened_at is None
        assert there.times[4] - there.times[3] >= 1.0


def test_an_hour_of_500_costs_few_calls() -> None:
    """Left alone: at most one call a pause once it is open."""

    @run(answer(500), breaker_pause=Duration(0.2), attempts=1_000)
    async def _(told: Told, there: Receiving) -> None:
        told.offer(*range(50))
        await told.until(lambda: len(there.times) >= 8)
        pauses = [later - earlier for earlier, later in zip(there.times[3:], there.times[4:], strict=False)]
        assert min(pauses) >= 0.2


def test_a_new_address_is_taken_at_once() -> None:
    with Receiving(answer(200)) as better:

        @run(answer(500), breaker_pause=Duration(3600))
        async def _(told: Told, there: Receiving) -> None:
            told.offer(1, 2)
            await told.until(lambda: told.receiver.circuit.opened_at is not None)
            told.receiver.reconfigure(told.receiver.settings, Endpoint(better.url))
            await told.settled(delivered=2)
            assert [body["number"] for body in better.bodies] == [1, 2]


def test_bodies_of_another_format_are_dropped_and_a_new_routing_key_counts_at_once() -> None:
    @run(hang, answer(202), timeout=Duration(3600))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1, 2)
        await told.until(lambda: there.bodies)
        pager = replace(told.receiver.settings, format="pagerduty")
        told.receiver.reconfigure(pager, Endpoint(there.url, None, "old"))
        assert told.outcomes["dropped"] == 2
        told.receiver.stop()
        told.offer(3)
        told.receiver.reconfigure(pager, Endpoint(there.url, None, "new"))
        await told.settled(dropped=2, delivered=1)
        assert there.bodies[-1] == {"routing_key": "new", "number": 3}


def test_the_same_settings_again_change_nothing() -> None:
    @run(hang, answer(200), timeout=Duration(0.5))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1)
        await told.until(lambda: there.bodies)
        told.receiver.reconfigure(told.receiver.settings, told.receiver.address)
        await told.settled(delivered=1)
        assert len(there.bodies) == 2


def test_its_end_takes_no_time() -> None:
    @run(hang, timeout=Duration(3600))
    async def _(told: Told, there: Receiving) -> None:
        told.offer(1, 2)
        await told.until(lambda: there.bodies)
        async with asyncio.timeout(1):
            told.receiver.stop()
            assert told.receiver._task is not None
            await asyncio.wait({told.receiver._task})
        assert told.receiver.waiting == 2


@pytest.fixture
def authority(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that the system trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def served(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_tls(authority: trustme.CA) -> None:
    async def whole() -> None:
        with Receiving(answer(200), tls=served(authority, "127.0.0.1")) as there:
            async with telling(there.url) as told:
                told.offer(1)
                await told.settled(delivered=1)

    asyncio.run(whole())


@pytest.mark.parametrize("names", ["another.example.org", None])
def test_a_certificate_that_is_not_trusted(authority: trustme.CA, caplog: Any, names: str | None) -> None:
    """That of another host, or of an authority that is unknown: nothing is sent."""
    tls = served(authority, names) if names else served(trustme.CA(), "127.0.0.1")

    async def whole() -> None:
        with Receiving(answer(200), tls=tls) as there:
            async with telling(there.url, TOKEN, attempts=2) as told:
                told.offer(1)
                await told.settled(failed=1)
            assert there.heads == []

    asyncio.run(whole())
    assert {record.reason for record in caplog.records} == {"its certificate is not trusted"}


def test_no_line_says_where_or_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pgdoctor")

    @run(slam, answer(302), answer(404), *[answer(500)] * 9, attempts=4, queue=1)
    async def _(told: Told, there: Receiving) -> None:
        for number in range(4):
            told.offer(number, number)
            await told.until(lambda: told.receiver.waiting == 0)

    said = [str(vars(record)) for record in caplog.records]
    assert {record.getMessage() for record in caplog.records} >= {
        "notification not delivered yet",
        "notification not delivered",
    }
    assert all("'host': '127.0.0.1'" in line for line in said if "notification not delivered" in line)
    assert not [line for line in said if "very-secret-path" in line or "k1" in line or TOKEN in line]
