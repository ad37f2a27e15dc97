"""How it starts, what it answers beside the incident, how it reloads and ends."""

import base64
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pgdoctor import __version__
from pgdoctor.cli.agent import command
from pgdoctor.config import config
from tests.agent.conftest import NOBODY
from tests.agent.running import SOON, series
from tests.forked import pgdoctor
from tests.scenes.client import wait_until


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return pgdoctor("agent", *arguments)


def refuses(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert result.stderr.startswith("pgdoctor: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert "hunter2" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_port_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refuses(start("--dsn", NOBODY, "--listen", address), address, "in use")


@pytest.mark.parametrize(
    "address", ["9899", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "::1:9899", "192.0.2.1:0"]
)
def test_an_address_that_is_none(address):
    refuses(start("--dsn", NOBODY, "--listen", address), "listen", address, "HOST:PORT" if address[0] != "1" else "")


def test_a_dsn_that_does_not_parse():
    refuses(start("--dsn", "postgresql://app:hunter2 of the test", "--listen", "127.0.0.1:0"), "DSN is not valid")


def test_a_broken_configuration(tmp_path: Path):
    config = tmp_path / "pgdoctor.toml"
    config.write_text("[agent]\nintervall = '1s'\n")
    refuses(start("--dsn", NOBODY, "--listen", "127.0.0.1:0", "--config", str(config)), "agent.intervall")


def interval_when_started(environment: dict[str, str], file: str, tmp_path: Path, *flags: str) -> float:
    """The interval that an agent says it polls at, which is given by environment, file and flags."""
    config = tmp_path / "pgdoctor.toml"
    config.write_text(file)
    arguments = ["--config", str(config), "--listen", "127.0.0.1:0", *flags]
    process = subprocess.Popen(
        [sys.executable, "-m", "pgdoctor", "agent", *arguments],
        env={**os.environ, "PGDOCTOR_DSN": NOBODY, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        return json.loads(process.stderr.readline())["interval"]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_flag_beats_a_variable_beats_the_file(tmp_path: Path):
    file, variable, flag = '[agent]\ninterval = "2s"', {"PGDOCTOR_INTERVAL": "3s"}, ("--interval", "4s")
    assert interval_when_started({}, file, tmp_path) == 2
    assert interval_when_started(variable, file, tmp_path) == 3
    assert interval_when_started(variable, file, tmp_path, *flag) == 4


def test_a_flag_stays_above_the_file_at_a_reload(agent):
    watching = agent(NOBODY, interval="1h", arguments=("--interval", "300ms"))
    watching.wait_for("poll_interval_seconds", 0.3)
    watching.configure('[agent]\ninterval = "1h"\ndeadline = "2s"')
    watching.send(signal.SIGHUP)
    watching.wait_for_lines("configuration reloaded")
    polled = watching.metric("last_poll_timestamp_seconds")
    wait_until(lambda: watching.metric("last_poll_timestamp_seconds") > polled + 0.5)
    assert watching.metric("poll_interval_seconds") == 0.3


def test_another_interval_holds_at_once(agent):
    watching = agent(NOBODY, interval="1h")
    watching.wait_for("poll_interval_seconds", 3600)
    watching.configure('[agent]\ninterval = "100ms"')
    watching.send(signal.SIGHUP)
    watching.wait_for("poll_interval_seconds", 0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), " info pgdoctor.agent.process configuration reloaded mode=off"),
        (("--log-format", "json"), '"event":"configuration reloaded"'),
    ],
)
def test_another_log_format_holds_at_once_unless_a_flag_says_how(agent, arguments, words):
    watching = agent(NOBODY, arguments=arguments)
    watching.configure('[log]\nformat = "text"')
    watching.send(signal.SIGHUP)
    wait_until(lambda: any(words in line for line in watching.said), what=words)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("--interval", "5"), {}, ('--interval = "5"', "with a unit")),
        (("--interval", "1ms"), {}, ('--interval = "1ms"', "at least 100ms")),
        ((), {"PGDOCTOR_WAIT_THRESHOLD": "x"}, ('PGDOCTOR_WAIT_THRESHOLD = "x"', "with a unit")),
        (("--max-server-share", "2"), {}, ('--max-server-share = "2"', "at most 1")),
        (("--max-server-share", "nan"), {"PGDOCTOR_DEADLINE": "1"}, ("--max-server-share", "PGDOCTOR_DEADLINE")),
    ],
)
def test_a_wrong_option_is_said_in_the_words_of_the_file(monkeypatch, arguments, environment, words):
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    refuses(start("--dsn", NOBODY, *arguments), *words)


def test_every_key_of_the_agent_is_a_flag_and_a_variable():
    options = {name: option for option in command.params for name in (*option.opts, option.envvar)}
    for field in msgspec.structs.fields(config.AgentSettings):
        assert options[f"--{field.name.replace('_', '-')}"] is options[f"PGDOCTOR_{field.name.upper()}"]


def test_every_series_is_there_without_a_server(scene, agent, lone_agent):
    first = lone_agent.metrics()
    up = agent(scene.dsn)
    up.wait_for("up", 1)
    assert up.metrics().keys() == first.keys()
    for name in (
        'blockers{class="migration"}',
        'connections{state="idle in transaction (aborted)"}',
        'connection_state{state="auth_failed"}',
        'actions_refused_total{reason="min_wait"}',
        'poll_duration_seconds_bucket{le="+Inf"}',
        "log_messages_dropped_total",
    ):
        assert first[f"pgdoctor_{name}"] == 0
    assert first[f'pgdoctor_build_info{{version="{__version__}"}}'] == 1


def test_openmetrics_by_content_negotiation(lone_agent):
    plain = lone_agent.get("/metrics", accept="text/html")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    open_metrics = lone_agent.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")
    assert series(plain.text).keys() == series(open_metrics.text).keys()


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x.y", "text/plain;version=;", ",;=,", "\xff"]
)
def test_a_strange_accept_header_is_no_error(lone_agent, accept):
    assert lone_agent.get("/metrics", accept=accept.encode("latin-1")).status_code == 200


def test_other_paths_and_methods(lone_agent):
    for path in ("/nothing", "/metrics/", "/health/deep/x", "/%2e%2e/etc/passwd", "/docs"):
        assert lone_agent.get(path).status_code == 404
    for path in ("/", "/metrics", "/health", "/health/deep", "/diagnosis"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert lone_agent.ask(method, path).status_code == 405
        assert lone_agent.ask("HEAD", path).text == ""


def test_head_is_get_without_the_body(lone_agent):
    for path in ("/", "/metrics", "/health", "/health/deep", "/diagnosis", "/nothing"):
        whole, head = lone_agent.get(path), lone_agent.ask("HEAD", path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert int(head.headers["content-length"]) > 0


def test_page_has_a_strict_content_security_policy(lone_agent):
    answer = lone_agent.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        [own] = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert answer.text.count(f"<{kind}") == 1
    assert " style=" not in answer.text
    assert "server" not in answer.headers


def test_a_client_that_says_nothing_or_half_of_it_is_not_in_the_way(agent):
    watching = agent(NOBODY)
    address = ("127.0.0.1", watching.port)
    silent = [socket.create_connection(address) for _ in range(20)]
    for each in silent[::2]:
        each.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    huge = socket.create_connection(address)
    huge.settimeout(5)
    try:
        huge.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
        assert huge.recv(100).startswith(b"HTTP/1.1 400")
    except ConnectionError:
        # The connection was closed with half of it unread.
        pass
    assert watching.get("/metrics").status_code == 200
    assert watching.end()[0] < SOON
    for each in (*silent, huge):
        each.close()


def test_sighup_reloads_and_a_broken_file_disarms(scene, agent):
    armed = '[mitigation]\nmode = "enforce"\n[[mitigation.rules]]\nname = "a"\nclass = "migration"\naction = "cancel"\n'
    watching = agent(scene.dsn, more=armed)
    watching.wait_for("config_reload_success", 1)
    watching.configure("[agent]\ninterval = 1\n")
    watching.send(signal.SIGHUP)
    watching.wait_for("config_reload_success", 0)
    assert "DISARMED" in watching.get("/").text
    watching.wait_for_polls(3)
    watching.configure('[agent]\ninterval = "100ms"\ndeadline = "2s"\n')
    watching.send(signal.SIGHUP)
    watching.wait_for("config_reload_success", 1)
    watching.polls_until("up", 1)
    assert "DISARMED" not in watching.get("/").text
    told = [line for line in watching.wait_for_lines("configuration reloaded") if "reload" in line["event"]]
    assert [line["level"] for line in told] == ["error", "info"]
    assert "agent.interval" in told[0]["error"]


#: Read by Python when it starts: a resolver that does not answer.
HANGING_RESOLVER = """
import pathlib, socket, time
resolve = socket.getaddrinfo
def hang(host, *arguments, **options):
    if host == "hangs":
        pathlib.Path({begun!r}).touch()
        time.sleep(60)
    return resolve(host, *arguments, **options)
socket.getaddrinfo = hang
"""


def test_name_lookup_that_hangs_does_not_delay_the_end(tmp_path):
    begun = tmp_path / "begun"
    (tmp_path / "sitecustomize.py").write_text(HANGING_RESOLVER.format(begun=str(begun)))
    command = [sys.executable, "-m", "pgdoctor", "agent", "--listen", "127.0.0.1:0", "--dsn", "host=hangs dbname=shop"]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, stderr=subprocess.PIPE) as hanging:
        try:
            wait_until(begun.exists, 30)
            hanging.terminate()
            assert b'"stopped"' in hanging.communicate(timeout=SOON)[1]
            assert hanging.returncode == 0
        finally:
            hanging.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_during_the_start_ends_the_same_way(tmp_path, number):
    config = tmp_path / "pgdoctor.toml"
    os.mkfifo(config)
    starting = subprocess.Popen([sys.executable, "-m", "pgdoctor", "agent", "--config", config], stderr=subprocess.PIPE)
    # Opens as soon as it reads its configuration, which has no end.
    with config.open("w"):
        starting.send_signal(number)
        assert starting.communicate(timeout=10)[1] == b""
    assert starting.returncode == 0
