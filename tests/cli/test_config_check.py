"""What `config check` says of a sound file. H57: a file is "sound", and does what no user meant."""

from pathlib import Path

import pytest

from tests.forked import pgdoctor
from tests.scenes import Scene

EVERYTHING = """
[[mitigation.rules]]
name = "all"
class = ["migration", "maintenance", "unindexed_scan", "long_query", "idle_in_transaction", "explicit_lock",
    "advisory_lock"]
action = "terminate"
"""
NO_BRAKES = """
[mitigation]
cooldown = "0s"
startup_grace = "0s"
min_samples = 1
max_actions_per_5m = 1000000
max_actions_per_hour = 1000000
max_terminates_per_hour = 1000000
max_per_fingerprint_per_hour = 1000000
max_roots = 1000000
max_blocked_fraction = 1.0
protect_defaults = false
[mitigation.breaker]
open_after_ineffective = 1000000
open_after_errors = 1000000
recurrence = 1000000
open_on_worsening = false
"""
TOKEN = "[http]\ntoken_file = '{0}'\n[webhook]\ntoken_file = '{1}'\n"


def check(tmp_path: Path, text: str, *options: str) -> tuple[int, str, str]:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(text, encoding="utf-8")
    done = pgdoctor("config", "check", str(file), *options)
    return done.returncode, done.stdout, done.stderr


def secret(tmp_path: Path, name: str, text: str) -> Path:
    file = tmp_path / name
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_h57_each_rule_is_said_in_a_sentence(tmp_path: Path) -> None:
    status, said, _ = check(tmp_path, f'{EVERYTHING}[[mitigation.protect]]\nusename = ["billing"]\nmember_of = ["dba"]')
    assert status == 0
    assert "rule all: any user, any application, seven classes, terminate after 15s if it blocks 1 session" in said
    assert "protected: user billing; or member of dba" in said


def test_h57_a_careful_file_is_warned_of_nothing(tmp_path: Path) -> None:
    assert check(tmp_path, EVERYTHING + 'usename = ["app"]')[::2] == (0, "")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (EVERYTHING, "rule all matches every session of its classes"),
        (NO_BRAKES, "all brakes are off: cooldown"),
        ("[mitigation]\nmin_samples = 1", "1 brake off: min_samples"),
        ('[mitigation]\narmed_until = "2020-01-01T00:00:00Z"', "armed_until has passed"),
        ("[mitigation]\nallow_unresolved_protections = true", "allow_unresolved_protections = true"),
        ('[[mitigation.protect]]\napplication_name = ["app%"]', "looks like a pattern"),
    ],
)
def test_h57_dangerous_setting_is_a_warning(tmp_path: Path, text: str, warning: str) -> None:
    status, _, said = check(tmp_path, text)
    assert status == 0
    assert "warning: " in said
    assert warning in said


def test_h57_one_token_for_two_purposes_is_a_warning(tmp_path: Path) -> None:
    one, same, other = (secret(tmp_path, name, text * 20) for name, text in (("a", "x"), ("b", "x"), ("c", "y")))
    for second, is_warned in ((one, True), (same, True), (other, False)):
        _, _, said = check(tmp_path, TOKEN.format(one, second))
        assert ("http.token_file and webhook.token_file are the same token" in said) == is_warned
        assert "xxxx" not in said


def test_h57_a_bearer_token_over_plain_http_is_a_warning(tmp_path: Path) -> None:
    token = secret(tmp_path, "token", "x" * 20)
    listening = f"[agent]\nlisten = '{{}}:9899'\n[http]\ntoken_file = '{token}'\n"
    assert "clear text" in check(tmp_path, listening.format("0.0.0.0"))[2]
    assert check(tmp_path, listening.format("127.0.0.1"))[2] == ""
    notify = f"[[notify]]\nname = 'a'\nurl = '{{}}://a.example/x'\ntoken_file = '{token}'\n"
    assert "clear text" in check(tmp_path, notify.format("http"))[2]
    assert check(tmp_path, notify.format("https"))[2] == ""
    pager = f"[[notify]]\nname = 'a'\nformat = 'pagerduty'\nrouting_key_file = '{token}'\n"
    assert "routing key travels in clear text" in check(tmp_path, pager + "url = 'http://a.example/x'")[2]
    assert check(tmp_path, pager)[2] == ""


def test_h55_names_that_mean_nothing_at_a_server_are_warnings(tmp_path: Path, scene: Scene) -> None:
    scene.role("billing")
    scene.admin.execute("create table ledger (id int)")
    text = (
        '[[mitigation.protect]]\nusename = ["billing", "biling"]\nrelation = ["public.ledger", "public.leger"]\n'
        + EVERYTHING
        + 'usename = ["ap"]\n'
    )
    status, _, said = check(tmp_path, text, "--dsn", scene.dsn)
    assert status == 0
    assert said.count("warning: ") == 3
    assert 'warning: mitigation.protect[0].usename "biling": there is no such role' in said
    assert "warning: mitigation.protect[0].relation public.leger: there is no such relation in" in said
    assert 'warning: mitigation.rules[0].usename "ap": there is no such role' in said
