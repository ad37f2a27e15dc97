"""What a person says to `pgdoctor mitigate`: ask about one session, approve, stop, go on, read what was done."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent.running import RunningAgent
from tests.cli.conftest import RULES
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until


def mitigate(scene: Scene, rules: Path, *arguments: str) -> str:
    """Type it; what it says."""
    done = pgdoctor("mitigate", *arguments, "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    assert done.returncode == 0, done
    return done.stdout


def audit(rules: Path, *arguments: str) -> list[dict[str, Any]]:
    done = pgdoctor("mitigate", "audit", "--format", "json", "--config", str(rules), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_one_session_is_answered_with_every_guard_and_what_it_frees(
    scene: Scene,
    rules: Path,
    holder: Client,
    waiter: Client,
) -> None:
    said = mitigate(scene, rules, "--pid", str(holder.pid))
    assert said.splitlines()[0] == (
        f"{holder.pid} is idle_in_transaction on public.orders. "
        "Rule idle would terminate it; but it is a superuser's session, which only a superuser may signal."
    )
    assert f"frees 1 at once ({waiter.pid})" in said
    assert "a forecast" in said
    assert re.search(r"budget +yes +actions_per_interval 0 of 1", said)
    assert "4711" not in said
    assert waiter.busy


@pytest.mark.long
def test_one_session_as_json(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    facts = json.loads(mitigate(scene, rules, "--pid", str(holder.pid), "--format", "json"))
    assert facts["decision"]["approved"]
    assert facts["cut"]["released"] == [waiter.pid]
    assert {"guard", "objection", "value"} == facts["decision"]["verdicts"][0].keys()


@pytest.mark.long
def test_one_session_that_a_guard_protects(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    rules.write_text(RULES + 'min_age = "1h"\n')
    said = mitigate(scene, rules, "--pid", str(holder.pid))
    assert "Rule idle would terminate it; objections: min_age, " in said.splitlines()[0]
    done = pgdoctor("mitigate", "--execute", "--pid", str(holder.pid), "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    assert done.returncode == 1
    assert "min_age" in done.stdout
    assert waiter.busy


@pytest.mark.long
def test_session_that_blocks_none_is_one_clear_line(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    alone = scene.client("select 1")
    [(checkpointer,)] = scene.admin.execute(
        "select pid from pg_stat_activity where backend_type = 'checkpointer'"
    ).fetchall()
    ours = scene.client(application_name="pgdoctor")
    expected = {
        alone.pid: "no session waits for it, so a signal would free no session",
        waiter.pid: f"no session waits for it; it waits itself, for {holder.pid}",
        checkpointer: "it is checkpointer: pgdoctor signals only client sessions",
        ours.pid: "it is another pgdoctor's session; such sessions are never signalled",
        2_000_000_000: "there is no such session at this server",
    }
    for pid, said in expected.items():
        assert mitigate(scene, rules, "--pid", str(pid)) == f"{pid}: {said}.\n"
    complains(pgdoctor("mitigate", "--pid", "0", "--dsn", scene.dsn), 2, "--pid")


@pytest.mark.long
def test_execute_with_a_pid_acts_on_no_other_session(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    scene.admin.execute("insert into orders values (2, 0)")
    other = scene.client("update orders set v = 1 where id = 2")
    others_waiter = scene.client().block("update orders set v = 2 where id = 2")
    for pid, status in ((other.pid, 0), (2_000_000_000, 1)):
        done = pgdoctor("mitigate", "--execute", "--pid", str(pid), "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
        assert done.returncode == status, done
    others_waiter.finish()
    assert waiter.busy
    holder.run("commit")


@pytest.mark.long
def test_an_approval_is_asked_for_given_and_used_once_more_judged(
    scene: Scene,
    rules: Path,
    holder: Client,
    waiter: Client,
) -> None:
    rules.write_text(RULES.replace("cooldown", "require_approval = true\ncooldown"))
    execute = ("mitigate", "--execute", "--config", str(rules))
    done = pgdoctor(*execute, PGDOCTOR_DSN=scene.dsn)
    assert done.returncode == 0
    assert waiter.busy, "to type --execute is nobody's approval"
    [name] = set(re.findall(r"pgdoctor mitigate approve ([\w-]+)", " ".join(done.stdout.split())))
    complains(
        pgdoctor("mitigate", "approve", "4711-1-cancel", "--config", str(rules), PGDOCTOR_DSN=scene.dsn),
        2,
        "no decision 4711-1-cancel waits",
        name,
    )
    assert name in mitigate(scene, rules, "--pid", str(holder.pid)).splitlines()[0]
    said = mitigate(scene, rules, "approve", name, "--by", "ada")
    assert said.startswith(f"Approved for 1m: terminate {holder.pid} (idle_in_transaction, rule idle)")
    done = pgdoctor(*execute, PGDOCTOR_DSN=scene.dsn)
    assert "released 1 session" in done.stdout
    waiter.finish()
    approval = audit(rules)[0]
    assert (approval["kind"], approval["by"], approval["decision"]) == ("approval", "ada", name)


@pytest.mark.long
def test_approval_of_a_terminate_is_of_one_transaction_and_expires(
    scene: Scene,
    rules: Path,
    holder: Client,
    waiter: Client,
) -> None:
    rules.write_text(RULES.replace("cooldown", 'require_approval = true\napproval_ttl = "1s"\ncooldown'))
    [decision] = json.loads(mitigate(scene, rules, "--format", "json"))["decisions"]
    assert decision["state"] == "pending_approval"
    mitigate(scene, rules, "approve", decision["id"])
    scene.wait_until(
        lambda: json.loads(mitigate(scene, rules, "--format", "json"))["decisions"][0]["state"] == "pending_approval",
        20,
    )
    assert waiter.busy
    # The transaction goes on, and the decision about it.
    holder.run("select 1")
    mitigate(scene, rules, "approve", decision["id"])
    holder.run("commit")
    waiter.finish()
    complains(
        pgdoctor("mitigate", "approve", decision["id"], "--config", str(rules), PGDOCTOR_DSN=scene.dsn),
        2,
        "no decision",
    )


def test_disarm_holds_for_every_agent_until_an_operator_arms(
    scene: Scene,
    rules: Path,
    holder: Client,
    waiter: Client,
) -> None:
    journal = mitigate(scene, rules, "disarm", "--reason", "hands off", "--by", "ada").split()[-1].rstrip(".")
    assert Path(journal).is_file()
    assert "kill_switch: disarmed by ada: hands off" in " ".join(mitigate(scene, rules).split())
    done = pgdoctor("mitigate", "--execute", "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    assert waiter.busy, done
    said = mitigate(scene, rules, "--dsn", scene.dsn, "arm", "--reason", "go on")
    assert "Armed again; it was disarmed by ada: hands off." in said
    pgdoctor("mitigate", "--execute", "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    waiter.finish()


def test_a_disarm_that_no_agent_will_hear_says_so(scene: Scene, rules: Path) -> None:
    """The agent runs as another user, and its journal is not where this user's is."""
    mitigate(scene, rules)
    disarm = ("mitigate", "disarm", "--reason", "hands off", "--config", str(rules))
    done = pgdoctor(*disarm, PGDOCTOR_DSN=scene.dsn)
    assert done.returncode == 0
    assert "no agent that may act has used this journal for this server" in done.stderr
    with RunningAgent(scene.dsn, rules.parent / "agent.toml", more=RULES) as agent:
        agent.wait_for("up", 1)
        wait_until(lambda: pgdoctor(*disarm, PGDOCTOR_DSN=scene.dsn).stderr == "", 20)


def test_user_without_a_name_can_disarm(scene: Scene, rules: Path) -> None:
    """In a container an agent runs with any number as its user."""
    program = "import pwd; pwd.getpwuid = {}.__getitem__; from pgdoctor.cli import cli; cli()"
    unnamed = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")
    done = subprocess.run(
        [sys.executable, "-c", program, "mitigate", "disarm", "--reason", "hands off", "--config", str(rules)],
        env={**os.environ, **unnamed, "PGDOCTOR_DSN": scene.dsn},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert f"uid-{os.getuid()}@" in mitigate(scene, rules, "audit")


def test_a_mark_on_a_server_without_a_name_holds_there_and_is_in_no_journal(scene: Scene, rules: Path) -> None:
    dsn = scene.role("somebody", "pg_monitor")
    scene.admin.execute("revoke execute on function pg_control_system() from public, pg_monitor")
    done = pgdoctor("mitigate", "disarm", "--reason", "x", "--config", str(rules), PGDOCTOR_DSN=dsn)
    assert done.returncode == 0
    assert "sees it. Not recorded in a journal." in done.stdout
    assert "pg_control_system() TO" in done.stderr


@pytest.mark.long
def test_remaining_brakes_are_listed(scene: Scene, rules: Path, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    rules.write_text(RULES.replace("cooldown", f'kill_switch_file = "{tmp_path}/stop"\ncooldown'))
    assert "Mitigation was not disarmed." in (said := mitigate(scene, rules, "arm", "--reason", "just so"))
    assert "Still no session is signalled: the kill-switch file" in said
    assert "Maintenance until" in mitigate(scene, rules, "maintenance", "--for", "30m", "--reason", "index build")
    assert "maintenance until" in mitigate(scene, rules, "arm", "--reason", "again")
    assert "The maintenance window is closed." in mitigate(scene, rules, "maintenance", "--end")
    assert "There was no maintenance window." in mitigate(scene, rules, "maintenance", "--end")


@pytest.mark.long
def test_a_reset_closes_the_breaker_and_is_written_down(
    scene: Scene,
    rules: Path,
    holder: Client,
    waiter: Client,
) -> None:
    rules.write_text(RULES.replace("cooldown", "breaker.recurrence = 1\ncooldown"))
    for _ in range(2):
        done = pgdoctor("mitigate", "--execute", "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
        assert "recurrence: occurrence 1" in " ".join(done.stdout.split())
    rules.write_text(RULES)
    assert "The breaker is closed; it was open: occurrence" in mitigate(scene, rules, "reset", "--reason", "I looked")
    assert "The breaker was closed." in mitigate(scene, rules, "reset", "--reason", "once more")
    pgdoctor("mitigate", "--execute", "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    waiter.finish()
    kinds = [each["kind"] for each in audit(rules)]
    assert kinds == ["opening", "reset", "reset", "intent", "outcome"]


def test_the_audit_has_all_that_was_decided_and_what_came_of_it(
    scene: Scene,
    rules: Path,
    holder: Client,
    waiter: Client,
) -> None:
    pgdoctor("mitigate", "--execute", "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    intent, outcome = audit(rules, "--since", "1h")
    assert intent["identity"] == outcome["identity"]
    assert intent["identity"]["pid"] == holder.pid
    for each in (intent, outcome):
        assert (each["rule"], each["class"], each["signal"]) == ("idle", "idle_in_transaction", "terminate")
        assert each["decision"] == f"{holder.pid}-{each['decision'].split('-')[1]}-terminate"
        assert each["budgets"]["terminates_per_hour"] in (4, 5)
    assert {verdict["guard"] for verdict in intent["verdicts"]} > {"budget", "leader", "kill_switch", "min_wait"}
    assert all(verdict["value"] for verdict in intent["verdicts"] if verdict["guard"] == "budget")
    assert intent["evidence"]
    assert outcome["outcome"] == "released"
    assert outcome["seconds"] >= 0
    assert "4711" not in json.dumps([intent, outcome])
    table = " ".join(pgdoctor("mitigate", "audit", "--config", str(rules)).stdout.split())
    what = f"terminate {holder.pid} (idle_in_transaction on public.orders, rule idle)"
    assert f"{what} of postgres@{scene.admin.info.dbname}, to free 1" in table
    assert f"{what}: released" in table
    waiter.finish()


@pytest.mark.long
def test_an_empty_audit_and_wrong_words(rules: Path) -> None:
    assert audit(rules) == []
    assert "No records in this period" in pgdoctor("mitigate", "audit", "--config", str(rules)).stdout
    complains(pgdoctor("mitigate", "audit", "--since", "24"), 2, "--since '24'", "unit")


WRONG = {
    "no reason": (("disarm",), "--reason"),
    "an empty reason": (("arm", "--reason", " "), "one line"),
    "a reason of two lines": (("reset", "--reason", "a\nb"), "one line"),
    "no length": (("maintenance", "--reason", "a"), "--for 30m"),
    "a length and its end": (("maintenance", "--for", "1h", "--end"), "or --end"),
    "a length without a unit": (("maintenance", "--for", "30", "--reason", "a"), "with a unit"),
    "no length at all": (("maintenance", "--for", "0s", "--reason", "a"), "expected more than 0s"),
    "no reason for maintenance": (("maintenance", "--for", "30m"), "needs a reason"),
    "no decision": (("approve",), "ID"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    complains(pgdoctor("mitigate", *arguments, "--dsn", "host=127.0.0.1 port=1"), 2, said)


@pytest.mark.long
def test_no_server_and_no_journal_are_one_line(scene: Scene, rules: Path, tmp_path: Path) -> None:
    disarm = ("mitigate", "disarm", "--reason", "stop")
    complains(pgdoctor(*disarm, "--dsn", "host=127.0.0.1 port=1"), 3, "refused")
    (tmp_path / "file").touch()
    rules.write_text(f'[journal]\npath = "{tmp_path}/file/journal.db"\n')
    done = pgdoctor(*disarm, "--dsn", scene.dsn, "--config", str(rules))
    assert done.returncode == 0, "the panic button needs no journal"
    assert "this takes effect at the server, but is not in the journal: " in done.stderr


def test_h61_disarm_by_a_superuser_reaches_the_role_of_the_agent_and_needs_no_journal(
    scene: Scene, rules: Path, tmp_path: Path
) -> None:
    """A person types it on a laptop; the agent runs elsewhere, as a role of its own."""
    dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
    disarm = ("mitigate", "disarm", "--reason", "hands off", "--by", "ada")
    said = pgdoctor(*disarm, "--dsn", dsn)
    assert "Every pgdoctor that connects as agent sees it." in said.stdout
    assert "nor connected" not in said.stderr
    assert "warning: no agent that may act has used this journal for this server or connected as agent." in said.stderr
    assert "No session is signalled: disarmed by ada: hands off." in pgdoctor("mitigate", "--dsn", dsn).stdout
    there = pgdoctor("mitigate", "--dsn", scene.dsn).stdout
    assert "disarmed by ada: hands off (pgdoctors that connect as agent)" in there
    armed = pgdoctor("mitigate", "arm", "--reason", "go on", "--dsn", scene.dsn)
    assert "Armed again; it was disarmed by ada: hands off." in armed.stdout
    assert "connects as agent sees it" in armed.stdout
    assert "No session is signalled" not in pgdoctor("mitigate", "--dsn", dsn).stdout


def test_h61_disarm_of_several_servers_tells_each_and_says_which_failed(
    scene: Scene, rules: Path, tmp_path: Path
) -> None:
    (tmp_path / "dsn").write_text(scene.dsn)
    (tmp_path / "dsn").chmod(0o600)
    servers = f'[[servers]]\nname = "shop"\ndsn_file = "{tmp_path}/dsn"\n[[servers]]\nname = "ledger"\n'
    rules.write_text(f'{servers}dsn = "host=127.0.0.1 port=1"\n{RULES}')
    done = pgdoctor("mitigate", "disarm", "--reason", "hands off", "--config", str(rules))
    assert done.returncode == 3
    assert done.stdout.startswith("shop: Disarmed: no session is signalled until")
    assert "ledger: error: " in done.stderr
    assert "hands off" in pgdoctor("mitigate", "--dsn", scene.dsn).stdout


def test_h64_disarm_over_a_record_that_cannot_be_read_says_how_to_begin_again(scene: Scene, rules: Path) -> None:
    scene.admin.execute("alter role current_user set application_name = 'stop'")
    done = pgdoctor("mitigate", "disarm", "--reason", "x", "--config", str(rules), PGDOCTOR_DSN=scene.dsn)
    complains(done, 2, "no session is signalled at this server", "RESET application_name")
    shown = mitigate(scene, rules)
    assert "No session is signalled: the shared record" in shown
    assert scene.admin.execute("show application_name").fetchone() == ("scene admin",)
