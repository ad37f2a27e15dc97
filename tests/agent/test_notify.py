"""Receivers of a real agent are notified of a real incident, and the agent never waits for them."""

import json
import signal
import subprocess
import sys

import pytest

from tests.agent.running import SOON, RunningAgent
from tests.notify.receiving import BAD, Receiving, answer, hang, nobody
from tests.scenes.client import wait_until

SECRET = "zq7hunter2"
TOKEN = "token-of-the-test-zq7"


def table(name: str, url: str, *more: str) -> str:
    return "\n".join(["[[notify]]", f'name = "{name}"', f'url = "{url}"', *more, ""])


def polls(agent: RunningAgent) -> float:
    return agent.metric("poll_duration_seconds_count")


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v text)")
    scene.admin.execute("insert into orders values (1, 'x'), (2, 'x')")


@pytest.mark.usefixtures("orders")
def test_an_incident_from_its_start_to_its_end(scene, agent, tmp_path):
    url_file, token_file = tmp_path / "url", tmp_path / "token"
    with Receiving(answer(200)) as there:
        url_file.write_text(f"{there.url}\n")
        token_file.write_text(f"{TOKEN}\n")
        for secret in (url_file, token_file):
            secret.chmod(0o600)
        watching = agent(
            scene.dsn,
            more=f'[[notify]]\nname = "oncall"\nurl_file = "{url_file}"\ntoken_file = "{token_file}"\n'
            'service = "shop"\nk8s_namespace = "prod"\n',
        )
        watching.wait_for("up", 1)
        holder = scene.client(f"update orders set v = '{SECRET}' where id = 1")
        waiter = scene.client().block(f"update orders set v = '{SECRET}' where id = 1 and v <> '{SECRET}'")
        wait_until(lambda: len(there.bodies) == 1, 60)
        # Another one comes to lead it, by its wider reach.
        other = scene.client("update orders set v = 'y' where id = 2")
        other.start(f"select pg_sleep(60), '{SECRET}'")
        behind = [scene.client().block("update orders set v = 'z' where id = 2") for _ in range(2)]
        wait_until(lambda: len(there.bodies) == 2, 60)
        other.close()
        for each in behind[:1]:
            each.close()
        holder.run("commit")
        waiter.finish()
        behind[1].close()
        wait_until(lambda: len(there.bodies) == 3, 60)
        watching.wait_for('notifications_total{outcome="delivered"}', 3)
        metrics, lines = watching.metrics(), watching.lines

    started, changed, ended = there.bodies
    assert [body["status"] for body in there.bodies] == ["firing", "firing", "resolved"]
    assert len({body["alertId"] for body in there.bodies}) == 1
    assert started.keys() == {
        *("alertId", "status", "severity", "metric", "threshold", "actualValue", "service", "k8s_namespace"),
        *("mitigationAction", "timestamp", "diagnosis", "summary", "link"),
    }
    assert started["alertId"] == next(line["incident"] for line in lines if line["event"] == "incident started")
    assert (started["severity"], started["metric"], started["threshold"]) == ("warning", "pgdoctor_blocked_sessions", 1)
    # A poll may come before the second of the two is behind the other one.
    assert [body["actualValue"] for body in there.bodies] in ([1, 2, 0], [1, 3, 0])
    assert {(body["service"], body["k8s_namespace"]) for body in there.bodies} == {("shop", "prod")}
    assert started["mitigationAction"] == f"terminate {holder.pid}"
    assert changed["mitigationAction"] == f"cancel {other.pid}"
    assert ended["mitigationAction"] == "none"
    assert f"root {holder.pid} (idle_in_transaction)" in started["summary"]
    assert started["timestamp"] < changed["timestamp"] < ended["timestamp"]
    assert started["diagnosis"]["blockers"][0]["class"] == "idle_in_transaction"
    assert changed["diagnosis"]["blockers"][0]["class"] == "long_query"
    assert ended["diagnosis"]["waits"] == []
    [wait] = started["diagnosis"]["waits"]
    assert wait["blocked_statement"] == "update orders set v = ? where id = ? and v <> ?"

    assert all(f"Authorization: Bearer {TOKEN}" in head.split("\r\n") for head in there.heads)
    assert SECRET not in json.dumps(there.bodies)
    assert not [line for line in lines if "secret-path" in str(line) or TOKEN in str(line)]
    assert metrics["pgdoctor_notifications_queued"] == 0
    assert metrics['pgdoctor_notify_breaker_open{receiver="oncall"}'] == 0


@pytest.mark.long
@pytest.mark.deadline(120)
@pytest.mark.usefixtures("orders")
def test_of_a_hiccup_receiver_without_interest_is_not_reported(scene, agent):
    with Receiving(answer(200)) as chat, Receiving(answer(200)) as everybody:
        watching = agent(
            scene.dsn, more=table("chat", chat.url, 'min_duration = "6s"') + table("everybody", everybody.url)
        )
        watching.wait_for("up", 1)
        for number, lasts in ((1, False), (2, True)):
            holder = scene.client("update orders set v = 'y' where id = 1")
            waiter = scene.client().block("update orders set v = 'z' where id = 1")
            wait_until(lambda n=number: len({each["alertId"] for each in everybody.bodies}) == n, 60)
            if lasts:
                wait_until(lambda: chat.bodies, 60)
            holder.run("commit")
            waiter.finish()
            waiter.run("commit")
            wait_until(lambda n=number: [each["status"] for each in everybody.bodies].count("resolved") == n, 60)
        wait_until(lambda: chat.bodies[-1]["status"] == "resolved", 60)
        lasting = {each["incident"] for each in watching.lines if each.get("seconds", 0) >= 6 and "peak" in each}
    assert {each["alertId"] for each in chat.bodies} == lasting
    assert {each["status"] for each in chat.bodies} == {"firing", "resolved"}
    # As it is by then, and not as it began.
    began = next(each for each in everybody.bodies if each["alertId"] in lasting)
    assert chat.bodies[0]["timestamp"] > began["timestamp"]
    assert chat.bodies[0]["diagnosis"]["waits"][0]["wait_seconds"] >= 6


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_bad_receivers_hold_up_neither_polls_nor_others_nor_the_end(scene, agent):
    with Receiving(answer(204)) as good:
        bad = [Receiving(manner) for manner in BAD]
        patient = 'timeout = "1h"'
        config = [table(f"bad{place}", each.url, patient) for place, each in enumerate(bad)]
        watching = agent(scene.dsn, more="".join([*config, table("nobody", nobody()), table("good", good.url)]))
        for each in bad:
            each.__enter__()
        watching.wait_for("up", 1)
        for number in range(2):
            holder = scene.client("update orders set v = 'a' where id = 1")
            waiter = scene.client().block("update orders set v = 'b' where id = 1")
            wait_until(lambda so_far=number: len(good.bodies) == 2 * so_far + 1, 60)
            holder.run("commit")
            waiter.finish()
            waiter.run("commit")
            wait_until(lambda so_far=number: len(good.bodies) == 2 * so_far + 2, 60)
        wait_until(lambda: all(each.bodies for each in bad), 60)
        # They still hang, and the polls go on.
        assert watching.metric("notifications_queued") >= 2
        before = polls(watching)
        wait_until(lambda: polls(watching) >= before + 10, 60)
        assert watching.metric("notifications_queued") >= 2
        assert watching.get("/health").status_code == 200
        seconds, status = watching.end()
        assert status == 0
        assert seconds < SOON
        assert any(line["event"] == "shutdown: undelivered notifications dropped" for line in watching.lines)
        for each in bad:
            each.__exit__()


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_a_receiver_of_500_is_notified_when_it_is_well_again(scene, agent):
    with Receiving(*[answer(500)] * 5, answer(200)) as there:
        quick = ('first_pause = "100ms"', 'max_pause = "100ms"', 'breaker_pause = "1s"')
        watching = agent(scene.dsn, more=table("oncall", there.url, *quick))
        watching.wait_for("up", 1)
        holder = scene.client("update orders set v = 'a' where id = 1")
        waiter = scene.client().block("update orders set v = 'b' where id = 1")
        watching.wait_for('notify_breaker_open{receiver="oncall"}', 1)
        holder.run("commit")
        waiter.finish()
        watching.wait_for('notifications_total{outcome="delivered"}', 2)
        assert watching.metric('notify_breaker_open{receiver="oncall"}') == 0
        assert [body["status"] for body in there.bodies] == ["firing"] * 6 + ["resolved"]
        events = [line["event"] for line in watching.lines]
        assert "circuit breaker of a receiver opened: half of the latest calls failed" in events
        assert "notifications are delivered again" in events


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_receivers_come_and_go_with_a_reload(scene, agent):
    with Receiving(hang) as old, Receiving(answer(200)) as new:
        watching = agent(scene.dsn, more=table("old", old.url, 'events = ["started"]'))
        config = watching.config.read_text()
        watching.wait_for("up", 1)
        holder = scene.client("update orders set v = 'a' where id = 1")
        waiter = scene.client().block("update orders set v = 'b' where id = 1")
        wait_until(lambda: old.bodies)

        watching.configure(config.replace(old.url, "no address"))
        watching.send(signal.SIGHUP)
        watching.wait_for("config_reload_success", 0)
        assert watching.metric("notifications_queued") == 1

        watching.configure(config.replace('"old"', '"new"').replace(old.url, new.url).replace("started", "ended"))
        watching.send(signal.SIGHUP)
        watching.wait_for("config_reload_success", 1)
        assert watching.metric('notifications_total{outcome="dropped"}') == 1
        assert 'notify_breaker_open{receiver="old"}' not in watching.metrics()
        holder.run("commit")
        waiter.finish()
        wait_until(lambda: new.bodies, 60)
        assert [body["status"] for body in new.bodies] == ["resolved"]
        assert len(old.bodies) == 1


def test_without_receivers_nothing_that_sends_is_loaded(lone_agent):
    code = "import sys, pgdoctor.agent.process; print(sorted({'httpcore', 'tenacity', 'httpx'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
    assert lone_agent.metric('notifications_total{outcome="delivered"}') == 0
    assert lone_agent.metric("notifications_queued") == 0
