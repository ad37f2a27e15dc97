"""Which receiver gets which event, under which name; and the files that addresses and tokens come from."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.errors import ConfigError
from pgdoctor.incidents.incident import Incident, IncidentEvent
from pgdoctor.notify import notifier as module
from pgdoctor.notify.endpoint import Endpoint
from pgdoctor.notify.notifier import Notifier, resolve_recipients
from pgdoctor.notify.settings import Recipient
from pgdoctor.render.outbound_alert import describe_event
from tests.building import NOW, snapshot
from tests.notify.receiving import Receiving, answer

STARTED = IncidentEvent("started", Incident("1", NOW, ("migration",), 1), NOW)


def told(server: str | None, **settings: Any) -> dict[str, Any]:
    """What a receiver gets to know of an incident."""

    async def whole(url: str, bodies: list[dict[str, Any]]) -> None:
        notifier = Notifier([(Recipient("a", url, **settings), Endpoint(url))])
        notifier.start()
        notifier.queue_event(STARTED, describe_event(STARTED, diagnose(snapshot([])), 1), server)
        async with asyncio.timeout(20):
            while not bodies:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        notifier.stop()

    with Receiving(answer(200)) as there:
        asyncio.run(whole(there.url, there.bodies))
        return there.bodies[0]


@pytest.fixture(autouse=True)
def no_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    monkeypatch.setattr(module, "_NAMESPACE", tmp_path / "namespace")


def test_outside_of_kubernetes_there_is_no_namespace() -> None:
    assert told(None)["k8s_namespace"] is None


def test_the_namespace_is_that_of_the_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("by-file\n")
    assert told(None)["k8s_namespace"] == "by-file"
    monkeypatch.setenv("POD_NAMESPACE", "by-variable")
    assert told(None)["k8s_namespace"] == "by-variable"
    assert told(None, k8s_namespace="by-configuration")["k8s_namespace"] == "by-configuration"


def test_the_service_is_the_servers_name() -> None:
    assert told("shop")["service"] == "shop"
    assert told(None)["service"] == "postgres"
    assert told("shop", service="checkout")["service"] == "checkout"


def test_receiver_without_the_event_is_not_notified() -> None:
    async def whole() -> None:
        notifier = Notifier(
            [(Recipient("a", "http://localhost:1/", events=("ended",)), Endpoint("http://localhost:1/"))]
        )
        notifier.start()
        notifier.queue_event(STARTED, describe_event(STARTED, diagnose(snapshot([])), 1), None)
        assert notifier.waiting.events == 0
        notifier.stop()

    asyncio.run(whole())


def secret(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_an_address_and_a_token_of_files(tmp_path: Path) -> None:
    url, token = secret(tmp_path / "url", "https://a.example/x?y\n"), secret(tmp_path / "token", " zq7 \n")
    [(_, found)] = resolve_recipients([Recipient("a", url_file=url, token_file=token)])
    assert found == Endpoint("https://a.example/x?y", "zq7")
    assert repr(found) == "Address(a.example)"


@pytest.mark.parametrize("text", ["", "zq7", "https://u:zq7@a/", "https://a/\nhttps://zq7/", "https://a/zq7\x00", "é"])
def test_a_file_that_holds_no_address(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\[0\]\.url_file: .*expected one line") as caught:
        resolve_recipients([Recipient("a", url_file=secret(tmp_path / "url", text))])
    assert "zq7" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "zq7 zq8", "zq7\nzq8", "é"])
def test_a_file_that_holds_no_token(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\[0\]\.token_file: .*expected one line") as caught:
        resolve_recipients([Recipient("a", "http://a/", token_file=secret(tmp_path / "token", text))])
    assert "zq7" not in str(caught.value)


def test_a_routing_key_of_a_file_and_the_address_of_pagerduty(tmp_path: Path) -> None:
    key = secret(tmp_path / "key", "zq7\n")
    [(_, found)] = resolve_recipients([Recipient("a", format="pagerduty", routing_key_file=key)])
    assert found == Endpoint("https://events.pagerduty.com/v2/enqueue", None, "zq7")
    assert "zq7" not in repr(found)
    with pytest.raises(ConfigError, match=r"notify\[0\]\.routing_key_file: .*expected one line"):
        resolve_recipients([Recipient("a", format="pagerduty", routing_key_file=secret(tmp_path / "bad", "zq7 8"))])


def test_a_file_that_other_users_may_read_or_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"notify\[0\]\.url_file: .* chmod o="):
        resolve_recipients([Recipient("a", url_file=secret(tmp_path / "url", "http://a/", 0o644))])
    with pytest.raises(ConfigError, match=r"notify\[0\]\.url_file: .*cannot be read"):
        resolve_recipients([Recipient("a", url_file=str(tmp_path / "none"))])
