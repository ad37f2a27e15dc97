"""`pgdoctor mitigate`: shows before it does, and does nothing without rules, the mode and `--execute`."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import RULES
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.scenes import Client, Scene


def test_without_a_configuration_it_only_says_what_could_be_done_by_hand(
    scene: Scene, holder: Client, waiter: Client
) -> None:
    result = pgdoctor("mitigate", "--dsn", scene.dsn)
    assert (result.returncode, result.stderr) == (0, "")
    assert "No rule allows an action: there is no configuration" in result.stdout
    assert f"By hand: terminate {holder.pid} frees 1 session at once" in result.stdout
    assert waiter.busy


def test_execute_without_a_configuration_is_wrong_usage(scene: Scene) -> None:
    complains(pgdoctor("mitigate", "--execute", "--dsn", scene.dsn), 2, "--execute", "there is no configuration")


def test_execute_without_rules_is_wrong_usage(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text('[mitigation]\nmode = "enforce"')
    result = pgdoctor("mitigate", "--execute", "--dsn", scene.dsn, "--config", str(tmp_path / "empty.toml"))
    complains(result, 2, "empty.toml has no [[mitigation.rules]]")


@pytest.mark.parametrize("mode", ["off", "observe", "dry_run"])
def test_execute_needs_the_configuration_to_say_enforce(
    scene: Scene, rules: Path, holder: Client, waiter: Client, mode: str
) -> None:
    rules.write_text(RULES.replace("enforce", mode))
    result = pgdoctor("mitigate", "--execute", "--dsn", scene.dsn, "--config", str(rules))
    complains(result, 2, 'mode = "enforce"', f'the mode is "{mode}"')
    assert waiter.busy


def test_a_wrong_configuration_is_one_line(scene: Scene, rules: Path) -> None:
    rules.write_text(RULES + "min_waits = 3")
    complains(pgdoctor("mitigate", "--dsn", scene.dsn, "--config", str(rules)), 2, "mitigation.rules[0].min_waits")


def test_no_server_is_one_line(rules: Path) -> None:
    for more in ((), ("--execute",)):
        complains(pgdoctor("mitigate", "--dsn", "host=127.0.0.1 port=1", "--config", str(rules), *more), 3, "refused")


def test_plan_is_shown_and_no_session_is_signalled(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    result = pgdoctor("mitigate", "--dsn", scene.dsn, "--config", str(rules))
    assert result.returncode == 0
    [line] = [line for line in result.stdout.splitlines() if str(holder.pid) in line]
    assert line.split()[:7] == [
        str(holder.pid),
        "idle_in_transaction",
        "public.orders",
        "idle",
        "terminate",
        "1",
        "yes;",
    ]
    assert waiter.busy


def test_the_plan_says_what_speaks_against_it(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    rules.write_text(RULES + 'min_age = "1h"\n')
    result = pgdoctor("mitigate", "--dsn", scene.dsn, "--config", str(rules))
    assert "no: min_age: its transaction has been open for" in result.stdout


def test_the_plan_as_json(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    result = pgdoctor("mitigate", "--dsn", scene.dsn, "--format", "json", PGDOCTOR_CONFIG=str(rules))
    facts = json.loads(result.stdout)
    [decision] = facts["decisions"]
    assert (decision["pid"], decision["class"], decision["rule"]) == (holder.pid, "idle_in_transaction", "idle")
    assert (decision["action"], decision["frees"], decision["approved"]) == ("terminate", 1, True)
    assert {verdict["objection"] for verdict in decision["verdicts"]} == {None}
    assert "4711" not in result.stdout


def test_execute_releases_and_says_so_before_and_after(
    scene: Scene, rules: Path, holder: Client, waiter: Client
) -> None:
    result = pgdoctor("mitigate", "--execute", "--dsn", scene.dsn, "--config", str(rules))
    assert result.returncode == 0
    said = f"terminate {holder.pid} (idle_in_transaction, rule idle): released 1 session in"
    assert result.stdout.startswith(said)
    assert result.stdout.endswith("No session is blocked.\n")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["event"] for event in events] == ["mitigation intent", "mitigation outcome"]
    assert {event["pid"] for event in events} == {holder.pid}
    assert "4711" not in result.stderr
    waiter.finish()


def test_execute_that_releases_no_session_fails(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    """It is a superuser's session."""
    agent = scene.role("agent", "pg_monitor", "pg_signal_backend")
    asked = ("--execute", "--pid", str(holder.pid), "--format", "json", "--config", str(rules))
    result = pgdoctor("mitigate", *asked, "--dsn", agent)
    assert result.returncode == 1
    facts = json.loads(result.stdout)
    assert facts["actions"] == []
    [said] = [each for each in facts["decisions"][0]["verdicts"] if each["guard"] == "not_permitted"]
    _, _, statement = said["objection"].partition("run as a superuser: ")
    assert statement.startswith("SELECT ")
    assert "pg_catalog.pg_terminate_backend(" in statement
    assert waiter.busy
