"""Alerts that come in: they ask for a poll and for nothing else, whatever is in them and however often they come."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdoctor.agent.http.inbound_alert import InboundAlert, NoAlert, read_alert
from tests.agent.conftest import NOBODY
from tests.agent.http.test_auth import TOKEN, secret_file
from tests.agent.running import RunningAgent
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

SENDER = "zq7-token-of-the-sender"

#: As Alertmanager 0.27 writes it.
GROUP: dict[str, Any] = {
    "receiver": "pgdoctor",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "PgdoctorBlockedSessions", "instance": "127.0.0.1:9899", "severity": "critical"},
            "annotations": {"summary": "12 sessions blocked"},
            "startsAt": "2026-05-22T23:10:00.123Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": "c6c2fd1a5f1d1e1b",
        }
    ],
    "groupLabels": {"alertname": "PgdoctorBlockedSessions"},
    "commonLabels": {"alertname": "PgdoctorBlockedSessions"},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager:9093",
    "version": "4",
    "groupKey": '{}:{alertname="PgdoctorBlockedSessions"}',
    "truncatedAlerts": 0,
}

CONTRACT: dict[str, Any] = {
    "alertId": "a-1",
    "status": "firing",
    "severity": "critical",
    "metric": "pgdoctor_blocked_sessions",
    "threshold": 5,
    "actualValue": 12.0,
    "service": "shop",
    "k8s_namespace": "prod",
    "mitigationAction": "terminate 4711",
    "timestamp": "2026-05-22T23:10:00Z",
}


@pytest.mark.parametrize(
    ("alert", "kind"),
    [
        (GROUP, "alertmanager"),
        (GROUP | {"newInVersion5": [1]}, "alertmanager"),
        (CONTRACT, "contract"),
        (CONTRACT | {"threshold": "5s", "actualValue": None, "diagnosis": {"waits": []}}, "contract"),
        ({"alertId": "a", "status": "firing"}, "contract"),
    ],
)
def test_both_formats_are_understood(alert: dict[str, Any], kind: Any) -> None:
    assert read_alert(json.dumps(alert).encode()) == InboundAlert(kind, is_resolved=False)
    assert read_alert(json.dumps(alert | {"status": "resolved"}).encode()) == InboundAlert(kind, is_resolved=True)


#: What is sent, and what its refusal says.
WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "not UTF-8": (b'{"alertId": "\xff"}', "not UTF-8"),
    "a list": (b"[]", "expected an object"),
    "an empty object": (b"{}", "a key is missing"),
    "half an object": (b'{"alertId": "a", "status"', "not JSON"),
    "two objects": (b'{"alertId": "a", "status": "firing"} {}', "not JSON"),
    "too deep": (b'{"a":' * 12_000, "nested too deeply"),
    "too deep a list": (b"[" * 60_000, "nested too deeply"),
    "no number": (b'{"alertId": "a", "status": "firing", "threshold": NaN}', "NaN is not JSON"),
    "infinity": (b'{"alertId": "a", "status": "firing", "threshold": -Infinity}', "-Infinity is not JSON"),
    "a huge number": (b'{"alertId": "a", "status": "firing", "threshold": 1e999}', "too big"),
    "a long number": (b'{"alertId": "a", "status": "firing", "threshold": ' + b"9" * 5_000 + b"}", "too many digits"),
    "a key twice": (b'{"alertId": "a", "alertId": "b", "status": "firing"}', "twice"),
    "a number for an id": (b'{"alertId": 1, "status": "firing"}', "$.alertId"),
    "no status": (b'{"alertId": "a"}', "status"),
    "a bool for a number": (b'{"alertId": "a", "status": "firing", "threshold": true}', "$.threshold"),
    "a list for a name": (b'{"alertId": "a", "status": "firing", "k8s_namespace": []}', "$.k8s_namespace"),
    "no time": (b'{"alertId": "a", "status": "firing", "timestamp": "yesterday"}', "$.timestamp"),
    "half of a surrogate pair": (b'{"alertId": "a", "status": ["\\ud800"]}', "$.status"),
    "half a surrogate pair in a key": (
        b'{"alertId": "a", "status": "firing", "\\ud800": 1}',
        "half of a surrogate pair",
    ),
    "another version": (json.dumps(GROUP | {"version": "\ud800"}).encode(), "$.version"),
    "a number for a version": (json.dumps(GROUP | {"version": 4}).encode(), "$.version"),
    "no alerts": (json.dumps(GROUP | {"alerts": None}).encode(), "$.alerts"),
    "an alert of text": (json.dumps(GROUP | {"alerts": ["firing"]}).encode(), "$.alerts[0]"),
    "a label of a number": (b'{"version":"4","status":"firing","alerts":[{"status":"f","labels":{"a":1}}]}', "labels"),
}


@pytest.fixture(scope="module")
def receiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """An agent with a token for alerts and another one for everything else."""
    folder = tmp_path_factory.mktemp("receiving")
    sender, other = secret_file(folder / "sender", SENDER), secret_file(folder / "other", TOKEN)
    more = f'[webhook]\ntoken_file = "{sender}"\n[http]\ntoken_file = "{other}"\n'
    with RunningAgent(NOBODY, folder / "pgdoctor.toml", more=more) as running:
        yield running
        assert "zq7" not in str(running.lines)


def post(agent: RunningAgent, body: object, token: str = SENDER, path: str = "/webhook") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"http://127.0.0.1:{agent.port}{path}", content=content, headers=headers, timeout=5)


def received(agent: RunningAgent) -> dict[str, float]:
    page = agent.get("/metrics", authorization=f"Bearer {TOKEN}").text
    found = [line.rpartition(" ") for line in page.splitlines() if line.startswith("pgdoctor_webhook_received_total")]
    return {name.partition('"')[2].removesuffix('"}'): float(value) for name, _, value in found}


@pytest.mark.parametrize(("body", "said"), WRONG.values(), ids=WRONG)
def test_body_without_an_alert_is_refused_with_the_reason(receiving: RunningAgent, body: bytes, said: str) -> None:
    before = received(receiving)
    answer = post(receiving, body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert received(receiving) == before | {"invalid": before["invalid"] + 1}


def test_a_megabyte_is_not_read(receiving: RunningAgent) -> None:
    assert post(receiving, b'"' + b"x" * 1_000_000 + b'"').status_code == 413


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from([*CONTRACT, *GROUP, "labels"]) | st.text(), inner)
        ),
    )
)
def test_json_of_any_kind_is_an_alert_or_refused_in_words(value: Any) -> None:
    try:
        said = read_alert(json.dumps(value).encode()).kind
    except NoAlert as error:
        said = str(error)
    assert said.isprintable()


@given(st.binary())
def test_bytes_of_any_kind_are_refused_in_words(body: bytes) -> None:
    with pytest.raises(NoAlert):
        read_alert(body)


@pytest.mark.parametrize("token", ["", "wrong", SENDER[:-1], SENDER + "x", TOKEN])
def test_request_without_the_token_is_rejected(receiving: RunningAgent, token: str) -> None:
    before = received(receiving)
    answer = post(receiving, CONTRACT, token)
    assert (answer.status_code, answer.json()) == (401, {"error": "unauthorized"})
    assert answer.headers.get_list("www-authenticate") == ['Bearer realm="pgdoctor"']
    assert received(receiving) == before


def test_the_token_of_the_webhook_opens_nothing_else(receiving: RunningAgent) -> None:
    for path in ("/metrics", "/", "/diagnosis"):
        assert receiving.get(path, authorization=f"Bearer {SENDER}").status_code == 401


def test_only_post_is_answered(receiving: RunningAgent) -> None:
    answer = receiving.get("/webhook", authorization=f"Bearer {SENDER}")
    assert (answer.status_code, answer.json()) == (405, {"error": "allowed methods: POST"})


def test_without_a_token_there_is_no_webhook(lone_agent: RunningAgent) -> None:
    for token in ("", SENDER):
        answer = post(lone_agent, CONTRACT, token)
        assert answer.status_code == 404
        assert "token_file under [webhook]" in answer.json()["error"]


def test_a_new_token_is_taken_at_sighup(agent: Callable[..., RunningAgent], tmp_path: Any) -> None:
    file = tmp_path / "sender"
    secret_file(file, SENDER)
    receiving = agent(NOBODY, more=f'[webhook]\ntoken_file = "{file}"\n')
    assert post(receiving, CONTRACT).status_code == 202
    secret_file(file, TOKEN)
    receiving.send(signal.SIGHUP)
    wait_until(lambda: post(receiving, CONTRACT, TOKEN).status_code == 202)
    assert post(receiving, CONTRACT).status_code == 401


def test_an_alert_is_answered_with_what_it_has_set_off(receiving: RunningAgent) -> None:
    assert post(receiving, GROUP | {"status": "resolved"}).json() == {
        "evaluated": False,
        "reason": "the alert is resolved: no poll needed",
    }
    wait_until(lambda: post(receiving, GROUP).json() == {"evaluated": True})


@pytest.mark.parametrize("alert", [GROUP, CONTRACT])
def test_h48_a_hundred_alerts_are_one_poll_and_change_no_action(
    scene: Scene, agent: Callable[..., RunningAgent], tmp_path: Any, alert: dict[str, Any]
) -> None:
    """Between two polls, half a minute apart: the first of a hundred brings a poll, the others nothing."""
    token = secret_file(tmp_path / "sender", SENDER)
    rules = """
        mode = "dry_run"\nmin_samples = 1\nstartup_grace = "0s"\nallow_short_waits = true
        [[mitigation.rules]]
        name = "idle"\nclass = "idle_in_transaction"\naction = "terminate"\nmin_wait = "30s"\nmin_session_age = "0s"
    """
    # The one poll may come before any session has waited for long.
    more = f'wait_threshold = "0s"\n[webhook]\ntoken_file = "{token}"\n[mitigation]\n{rules}'
    watching = agent(scene.dsn, interval="30s", more=more)
    watching.wait_for("up", 1)
    scene.admin.execute("create table t ()")
    holder: Client = scene.client("lock table t")
    scene.client().block("select from t")
    polls = watching.metric("poll_duration_seconds_count")
    with httpx.Client(headers={"Authorization": f"Bearer {SENDER}"}, timeout=5) as sender:
        answers = [sender.post(f"http://127.0.0.1:{watching.port}/webhook", json=alert) for _ in range(100)]
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json()["evaluated"] for answer in answers] == [True] + [False] * 99
    watching.wait_for("blocked_sessions", 1)
    assert watching.metric("poll_duration_seconds_count") == polls + 1
    assert not [line for line in watching.lines if line["event"] == "mitigation intent"]
    assert holder.run("select 1") == [(1,)]
