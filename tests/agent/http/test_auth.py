"""Who gets an answer, once a token or a password is asked for; and what is refused as one."""

import base64
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pgdoctor.agent.http.auth import load_access, missing_protections
from pgdoctor.agent.http.rejections import REASONS
from pgdoctor.config.config import HttpSettings
from pgdoctor.errors import ConfigError
from tests.agent.conftest import NOBODY
from tests.agent.running import RunningAgent, series
from tests.agent.test_process import refuses, start
from tests.scenes.client import wait_until

TOKEN = "zq7-token-of-the-test"
PASSWORD = "zq7:password of the tést"
PATHS = ("/", "/metrics", "/health/deep", "/diagnosis", "/nothing", "/health/", "//health", "/health/../metrics")


def secret_file(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory):
    """An agent that asks for a token or a user's password."""
    folder = tmp_path_factory.mktemp("guarded")
    token = secret_file(folder / "token", f"{TOKEN}\n")
    users = secret_file(folder / "users", f"# who may look\n\nada:{PASSWORD}\nbob:another one of the test\n")
    tables = f'[http]\ntoken_file = "{token}"\nbasic_auth_file = "{users}"\n'
    with RunningAgent(NOBODY, folder / "pgdoctor.toml", more=tables) as running:
        yield running
        assert "zq7" not in str(running.lines)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


WRONG = {
    "nothing": [],
    "an empty header": [""],
    "no value": ["Bearer"],
    "another token": ["Bearer zq7-token-of-the-tesu"],
    "a part of the token": [f"Bearer {TOKEN[:-1]}"],
    "a longer token": [f"Bearer {TOKEN}x"],
    "the token alone": [TOKEN],
    "the token as another scheme": [f"Token {TOKEN}"],
    "the token as a password": [basic("ada", TOKEN)],
    "a password as the token": [f"Bearer ada:{PASSWORD}".encode()],
    "an unknown user": [basic("eve", PASSWORD)],
    "another user's password": [basic("bob", PASSWORD)],
    "no password": [basic("ada", "")],
    "a comment as a user": [basic("# who may look", "")],
    "no base64": ["Basic %%%"],
    "two headers": ["Bearer wrong", f"Bearer {TOKEN}"],
    "bytes": [b"Bearer \xff\xfe"],
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG)
def test_request_without_the_secret_gets_nothing(guarded, given):
    with httpx.Client(base_url=f"http://127.0.0.1:{guarded.port}", timeout=5) as client:
        for path in PATHS:
            answer = client.get(path, headers=[("Authorization", each) for each in given])
            assert answer.status_code == 401, path
            assert answer.json() == {"error": "unauthorized"}
            assert answer.headers.get_list("www-authenticate") == [
                'Bearer realm="pgdoctor"',
                'Basic realm="pgdoctor", charset="UTF-8"',
            ]


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic("ada", PASSWORD)])
def test_request_with_the_secret_is_answered(guarded, given):
    for path, status in {"/metrics": 200, "/": 200, "/health/deep": 503, "/diagnosis": 503, "/nothing": 404}.items():
        assert guarded.get(path, authorization=given.encode()).status_code == status


@pytest.mark.parametrize("order", ["/mitigation/disarm", "/webhook"])
def test_no_other_way_of_writing_a_path_goes_around_its_token(guarded, lone_agent, order):
    """To the router the line end after a path is none."""
    for path in (f"{order}%0A", f"{order}%0a?reason=x", f"/.{order}", f"{order}/", order.replace("/", "%2F")):
        for agent, given in ((lone_agent, {}), (guarded, {"authorization": basic("ada", PASSWORD).encode()})):
            answer = agent.ask("POST", path, **given)
            assert answer.status_code in (401, 403, 404), path
    assert "mitigation disarmed" not in [line["event"] for line in (*lone_agent.lines, *guarded.lines)]


def test_health_is_open_to_all_clients_and_says_nothing(guarded):
    assert guarded.get("/health").json().keys() == {"status", "service", "version"}


def test_refusals_are_counted_by_a_closed_set_of_reasons(guarded):
    def refused() -> dict[str, float]:
        page = series(guarded.get("/metrics", authorization=f"Bearer {TOKEN}").text)
        return {name: value for name, value in page.items() if name.startswith("pgdoctor_http_refused_total")}

    before = refused()
    assert before.keys() == {f'pgdoctor_http_refused_total{{reason="{reason}"}}' for reason in REASONS}
    guarded.get("/metrics")
    unauthorized = 'pgdoctor_http_refused_total{reason="unauthorized"}'
    assert refused() == before | {unauthorized: before[unauthorized] + 1}


def test_a_new_secret_is_taken_at_sighup_and_a_broken_one_is_not(agent, tmp_path):
    token = tmp_path / "token"
    secret_file(token, TOKEN)
    watching = agent(NOBODY, more=f'[http]\ntoken_file = "{token}"\n')
    new = "zq7-another-token-of-the-test"

    def status(secret: str) -> int:
        return watching.get("/metrics", authorization=f"Bearer {secret}").status_code

    secret_file(token, new)
    assert (status(TOKEN), status(new)) == (200, 401)
    watching.send(signal.SIGHUP)
    wait_until(lambda: status(new) == 200)
    assert status(TOKEN) == 401
    secret_file(token, "zq7-short")
    watching.send(signal.SIGHUP)
    wait_until(lambda: "http.token_file" in str(watching.lines))
    assert (status(TOKEN), status(new)) == (401, 200)
    assert "zq7" not in str(watching.lines)


BROKEN = {
    "no such file": ("token_file", None, 0o600, "cannot be read: No such file"),
    "an empty token": ("token_file", "\n", 0o600, "at least 16"),
    "a short token": ("token_file", "zq7-fifteen-cha\n", 0o600, "at least 16"),
    "a token of two lines": ("token_file", f"{TOKEN}\n{TOKEN}\n", 0o600, "one line"),
    "a token with umlauts": ("token_file", "zq7-tökén-of-the-test\n", 0o600, "ASCII"),
    "a token for all to read": ("token_file", TOKEN, 0o644, "chmod o="),
    "no users": ("basic_auth_file", "# nobody\n", 0o600, "user:password"),
    "a user without a password": ("basic_auth_file", f"ada:{PASSWORD}\nzq7bob\n", 0o600, "line 2"),
    "a short password": ("basic_auth_file", "ada:zq7fifteenchars\n", 0o600, "line 1"),
    "no user": ("basic_auth_file", f":{PASSWORD}\n", 0o600, "line 1"),
    "users for all to read": ("basic_auth_file", f"ada:{PASSWORD}\n", 0o604, "chmod o="),
}


@pytest.mark.parametrize(("key", "text", "mode", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line_that_does_not_quote_it(tmp_path, key, text, mode, said):
    path = tmp_path / "secret"
    if text is not None:
        secret_file(path, text, mode)
    with pytest.raises(ConfigError) as caught:
        load_access(HttpSettings(**{key: str(path)}))
    message = str(caught.value)
    assert message.startswith(f"http.{key}: {path}")
    assert said in message
    assert "\n" not in message
    assert "zq7" not in message


def test_an_agent_does_not_start_with_a_broken_file(tmp_path):
    config = tmp_path / "pgdoctor.toml"
    config.write_text(f'[http]\ntoken_file = "{tmp_path / "none"}"\n')
    refuses(
        start("--dsn", NOBODY, "--listen", "127.0.0.1:0", "--config", str(config)), "http.token_file", "No such file"
    )


def test_open_address_without_a_secret_is_a_warning(tmp_path):
    bare = load_access(HttpSettings())
    for host in ("127.0.0.1", "127.3.4.5", "::1"):
        assert missing_protections(host, bare) == []
    for host in ("0.0.0.0", "::", "192.0.2.1", "fe80::1%eth0"):
        assert [each.split()[0] for each in missing_protections(host, bare)] == ["authentication", "TLS"]
    token = secret_file(tmp_path / "token", TOKEN)
    assert [
        each.split()[0] for each in missing_protections("0.0.0.0", load_access(HttpSettings(token_file=token)))
    ] == ["TLS"]


def test_the_log_says_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "pgdoctor", "agent", "--dsn", NOBODY, "--listen", "0.0.0.0:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        said = [json.loads(process.stderr.readline()) for _ in range(3)]
        process.terminate()
        process.stderr.read()
    assert [line["event"] for line in said] == [
        "listening",
        *["HTTP is reachable from other machines without protection"] * 2,
    ]
    assert [line["missing"].split()[0] for line in said[1:]] == ["authentication", "TLS"]


def test_nothing_of_the_secrets_is_in_the_process_list(guarded):
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no /proc here")
    for name in ("cmdline", "environ"):
        assert "zq7" not in Path(f"/proc/{guarded.pid}/{name}").read_text()


def test_h79_a_foreign_host_name_gets_no_page(tmp_path):
    """DNS rebinding: a page of another user, whose name has come to lead to this agent, reads the diagnosis."""
    tables = '[http]\nallowed_hosts = ["DB1.example"]\nexternal_url = "https://Proxy.example/db1/"\n'
    with RunningAgent(NOBODY, tmp_path / "pgdoctor.toml", more=tables) as running:
        own = (f"127.0.0.1:{running.port}", "10.2.3.4:9899", "[::1]:9899", "localhost", "LOCALHOST:1", "db1.example:80")
        own += ("proxy.example",)
        for host in (*own, f"{socket.gethostname()}:9899"):
            assert running.get("/", host=host).status_code == 200, host
            assert running.get("/diagnosis", host=host).status_code == 503, host
        for host in (
            "evil.example",
            "evil.example:9899",
            "127.0.0.1.evil.example",
            "db1.example.evil",
            "localhost.evil",
        ):
            for path in ("/", "/diagnosis", "/explain/agent", "/nothing"):
                answer = running.get(path, host=host)
                assert answer.status_code == 421, (host, path)
                assert "allowed_hosts under [http]" in answer.json()["error"]
            assert running.get("/metrics", host=host).status_code == 200
            assert running.get("/health", host=host).status_code == 200
        assert 'http_refused_total{reason="host"}' in running.get("/metrics").text


def test_with_credentials_any_host_name_will_do(guarded):
    """No browser sends them to a name that it was not given them for."""
    assert guarded.get("/", authorization=f"Bearer {TOKEN}", host="pgdoctor.monitoring.svc:9899").status_code == 200
