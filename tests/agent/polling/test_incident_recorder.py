"""What a real agent records of a real incident, and what it still knows after its end."""

import json
import os
import re
import signal
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from pgdoctor.incidents.incident_log import KIND
from pgdoctor.journal.store import Journal
from tests.forked import pgdoctor
from tests.notify.receiving import Receiving, answer
from tests.scenes.client import wait_until

SECRET = "zq7hunter2"
CARD = "4929123456789123"


def state() -> Path:
    """The folder of the journal."""
    return Path(os.environ["XDG_STATE_HOME"]) / "pgdoctor"


def listed() -> list[dict]:
    return json.loads(pgdoctor("incidents", "list", "--format", "json").stdout)


@pytest.fixture
def orders(scene):
    scene.admin.execute("create table orders (id int primary key, v text, customer_id int)")
    scene.admin.execute("insert into orders select g, 'x', g from generate_series(1, 20000) g")
    scene.admin.execute("analyze orders")


@pytest.mark.usefixtures("orders")
def test_an_incident_is_written_down_and_can_be_judged_again(scene, agent, tmp_path):
    rule = '[[mitigation.rules]]\nname = "idle"\nclass = "idle_in_transaction"\naction = "terminate"\n'
    watching = agent(scene.dsn, more=f'[mitigation]\nmode = "observe"\n{rule}')
    watching.wait_for("up", 1)
    holder = scene.client(
        f"update orders set v = '{SECRET}' where id = 7", f"select '{SECRET}', {CARD}", application_name="reporting"
    )
    waiters = [scene.client().block(f"update orders set v = '{SECRET}' where id = 7 and v <> '{CARD}'")]
    watching.wait_for("blocked_sessions", 1)
    for _ in range(3):
        waiters.append(scene.client().block(f"update orders set v = E'\\'{SECRET}' where id = 7"))
    waiters.append(scene.client(application_name="deploy").block(f"alter table orders add c text default '{SECRET}'"))
    watching.wait_for("blocked_sessions", 5)
    live = watching.get("/diagnosis").json()
    for each in waiters:
        each.close()
    holder.run("commit")
    wait_until(lambda: any(line["event"] == "incident ended" for line in watching.lines), 10)
    wait_until(lambda: listed()[0]["event"] == "ended", 10)

    [entry] = listed()
    assert entry["id"] == next(line["incident"] for line in watching.lines if line["event"] == "incident ended")
    assert (entry["classes"], entry["peak"], entry["relation"]) == (["idle_in_transaction"], 5, "public.orders")
    assert entry["recommendation"] == f"terminate {holder.pid}"
    assert entry["longest_wait"] >= 0.1
    assert entry["seconds"] > 0
    assert watching.metric("journal_up") == 1

    shown = pgdoctor("incidents", "show", entry["id"])
    assert shown.returncode == 0
    assert f"{holder.pid} idle_in_transaction  public.orders  5 blocked" in shown.stdout
    assert "1 session blocked" in shown.stdout
    told = pgdoctor("incidents", "report")
    assert f"PID {holder.pid} on `public.orders`" in told.stdout
    assert "| `deploy` " in told.stdout
    again = pgdoctor("incidents", "replay", "--exit-code", "--config", str(watching.config), "--format", "json")
    assert again.returncode == 0, again.stdout
    found = json.loads(again.stdout)
    assert [each["changes"] for each in found] == [[]] * len(found)
    assert len(found) >= 2
    worst = max(found, key=lambda each: each["blocked"])
    verdicts = [(each["node"], each["class"], each["root"], each["relation"]) for each in worst["verdicts"]]
    assert verdicts == [(each["pid"], each["class"], each["root"], each["relation"]) for each in live["blockers"]]
    decision = next(each for each in worst["plan"]["decisions"] if each["rule"] == "idle")
    assert {each["guard"] for each in decision["verdicts"] if each["objection"]} >= {"min_wait"}

    watching.end()
    for text in (shown.stdout, told.stdout, again.stdout, json.dumps(entry)):
        assert SECRET not in text
        assert CARD not in text
    for file in state().iterdir():
        content = file.read_bytes()
        assert b"zq7" not in content, file
        assert CARD[:6].encode() not in content, file
    # Nor in what the snapshots are packed into; the tests of the archive look into them.
    assert b"orders" in b"".join(file.read_bytes() for file in state().iterdir())


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_a_new_agent_knows_the_last_incidents(scene, agent):
    first = agent(scene.dsn)
    first.wait_for("up", 1)
    holder = scene.client("update orders set v = 'a' where id = 1")
    waiter = scene.client().block("update orders set v = 'b' where id = 1")
    first.wait_for("blocked_sessions", 1)
    holder.run("commit")
    waiter.finish()
    wait_until(lambda: "event" in str(listed()) and listed()[0]["event"] == "ended", 10)
    first.end()
    # What a newer version may have written takes nothing else with it.
    with closing(Journal.open(next(state().glob("*.db")))) as journal:
        [server] = {record.server for record in journal.fetch_records(kinds=(KIND,))}
        journal.append(server, KIND, "x", b'{"event": "teapot"}', datetime.now(UTC))

    second = agent(scene.dsn)
    wait_until(lambda: "up to 1 session blocked" in second.get("/").text, 10)
    second.wait_for_lines("past incidents skipped: damaged, or of another version")
    assert second.metric('incidents_total{class="idle_in_transaction"}') == 0
    assert len(listed()) == 1


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_incident_that_ends_while_no_agent_runs_is_closed(scene, agent):
    with Receiving(answer(200)) as there:
        told = f'[[notify]]\nname = "oncall"\nurl = "{there.url}"\n'
        first = agent(scene.dsn, more=told)
        first.wait_for("up", 1)
        holder = scene.client("update orders set v = 'a' where id = 1")
        waiter = scene.client().block("update orders set v = 'b' where id = 1")
        wait_until(lambda: there.bodies, 10)
        wait_until(lambda: listed(), 10)
        first.send(signal.SIGKILL)
        wait_until(lambda: not first.running)
        holder.run("commit")
        waiter.finish()
        waiter.run("commit")

        scene.client("update orders set v = 'a' where id = 2", application_name="another")
        scene.client().block("update orders set v = 'b' where id = 2")
        second = agent(scene.dsn, more=told)
        second.wait_for("blocked_sessions", 1)
        wait_until(lambda: len(there.bodies) == 3, 10)
        wait_until(lambda: len(listed()) == 2, 10)
    old = there.bodies[0]["alertId"]
    assert [(body["alertId"] == old, body["status"]) for body in there.bodies] == [
        (True, "firing"),
        (True, "resolved"),
        (False, "firing"),
    ]
    wait_until(lambda: listed()[1]["event"] == "observed")
    assert [(each["event"], each["unseen"]) for each in listed()] == [("ended", True), ("observed", False)]


@pytest.mark.usefixtures("orders")
def test_ongoing_incident_is_listed_as_of_the_latest_snapshot(scene, agent):
    watching = agent(scene.dsn)
    watching.wait_for("up", 1)
    scene.client("update orders set v = 'a' where id = 1")
    scene.client().block("update orders set v = 'b' where id = 1")
    watching.wait_for("blocked_sessions", 1)
    wait_until(lambda: listed())
    for _ in range(2):
        scene.client().block("update orders set v = 'c' where id = 1")
    wait_until(lambda: listed()[0]["peak"] == 3)
    [first] = listed()
    wait_until(lambda: listed()[0]["seconds"] > first["seconds"] + 1)
    [last] = listed()
    assert (last["event"], last["blocked"], last["id"]) == ("observed", 3, first["id"])
    assert last["longest_wait"] > first["longest_wait"] + 0.9
    assert last["blocked_seconds"] > first["blocked_seconds"] + 2.5
    assert len(incident_records()) == 2
    told = pgdoctor("incidents", "report").stdout
    assert "ongoing, " in told
    assert "last snapshot so far: 3 sessions blocked" in told


@pytest.mark.long
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures("orders")
def test_incident_that_outlives_the_agent_is_continued(scene, agent, ending):
    with Receiving(answer(200)) as there:
        told = f'[[notify]]\nname = "oncall"\nurl = "{there.url}"\n'
        first = agent(scene.dsn, more=told)
        first.wait_for("up", 1)
        holder = scene.client("update orders set v = 'a' where id = 1")
        waiters = [scene.client().block("update orders set v = 'b' where id = 1") for _ in range(3)]
        first.wait_for("blocked_sessions", 3)
        wait_until(lambda: listed() and listed()[0]["peak"] == 3 and listed()[0]["blocked_seconds"] > 2)
        first.send(ending)
        wait_until(lambda: not first.running)
        [left] = listed()
        assert (left["event"], left["peak"]) == ("observed", 3)
        assert left["longest_wait"] >= left["seconds"] > 0.5

        second = agent(scene.dsn, more=told)
        second.wait_for_lines("incident continued")
        wait_until(lambda: listed()[0]["seconds"] > left["seconds"] + 1)
        wait_until(lambda: listed()[0]["blocked_seconds"] > left["blocked_seconds"])
        assert second.metric('incidents_total{class="idle_in_transaction"}') == 0
        for each in waiters:
            each.close()
        holder.run("commit")
        wait_until(lambda: [each["event"] for each in listed()] == ["ended"])
        wait_until(lambda: len(there.bodies) == 2)
    [ended] = listed()
    assert (ended["id"], ended["peak"], ended["unseen"]) == (left["id"], 3, False)
    assert ended["seconds"] > left["seconds"] + 1
    assert ended["blocked_seconds"] > left["blocked_seconds"]
    assert [(body["alertId"], body["status"]) for body in there.bodies] == [
        (left["id"], "firing"),
        (left["id"], "resolved"),
    ]
    assert [each["event"] for each in incident_records()] == ["started", "continued", "ended"]
    assert "a new agent found it still open" in pgdoctor("incidents", "show").stdout


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_migration_that_retries_is_one_incident_that_names_it(scene, agent):
    with Receiving(answer(200)) as there:
        watching = agent(scene.dsn, more=f'[[notify]]\nname = "oncall"\nurl = "{there.url}"\n')
        watching.wait_for("up", 1)
        scene.client("select from orders", application_name="export")
        migrating = scene.client("set lock_timeout = '900ms'", application_name="rails-migrate", autocommit=True)
        for attempt in range(3):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                migrating.run(f"alter table orders add c int default {CARD[:9]}")
            watching.wait_for("blocked_sessions", 0)
            if attempt == 0:
                watching.wait_for_lines("incident ended")
            watching.wait_for_polls(4)
        watching.wait_for_lines("incident recurred")
        wait_until(lambda: listed()[0]["attempts"] == 3)
        [entry] = listed()
        told = pgdoctor("incidents", "report").stdout
        statuses = [body["status"] for body in there.bodies]
    assert entry["request"]["application"] == "rails-migrate"
    assert entry["request"]["statement"] == "alter table orders add c int default ?"
    assert entry["request"]["relation"] == "public.orders"
    assert 0.1 < entry["request"]["waited"] < 0.95
    assert re.search(r"at least 3 times in .*alter table orders add c int default \\?\? by .*rails-migrate", told)
    assert statuses == ["firing", "resolved", "firing"]


def incident_records() -> list[dict]:
    with closing(Journal.open(next(state().glob("*.db")))) as journal:
        return [json.loads(record.body) for record in journal.fetch_records(kinds=(KIND,))]


@pytest.mark.long
@pytest.mark.usefixtures("orders")
def test_without_a_journal_everything_else_goes_on(scene, agent):
    state().parent.mkdir(exist_ok=True)
    state().write_text("a file where the folder should be")
    with Receiving(answer(200)) as there:
        watching = agent(scene.dsn, more=f'[[notify]]\nname = "oncall"\nurl = "{there.url}"\n')
        watching.wait_for("up", 1)
        for number in range(2):
            holder = scene.client("update orders set v = 'a' where id = 1")
            waiter = scene.client().block("update orders set v = 'b' where id = 1")
            watching.wait_for("blocked_sessions", 1)
            holder.run("commit")
            waiter.finish()
            waiter.run("commit")
            wait_until(lambda so_far=number: len(there.bodies) == 2 * so_far + 2, 10)
        watching.wait_for("journal_up", 0)
        assert [body["status"] for body in there.bodies] == ["firing", "resolved"] * 2
        assert [line["event"] for line in watching.lines].count("the journal cannot be used") == 1


@pytest.mark.long
def test_actions_of_mitigation_are_part_of_the_incident(scene, agent):
    rule = (
        'name = "idle"\nclass = "idle_in_transaction"\naction = "terminate"\nmin_wait = "300ms"\nmin_session_age = "0s"'
    )
    quick = 'min_samples = 2\nstartup_grace = "0s"\nallow_short_waits = true\nallow_superuser = true'
    watching = agent(
        scene.dsn,
        more=f'[mitigation]\nmode = "enforce"\n{quick}\n[[mitigation.rules]]\n{rule}\n',
        arguments=("--enforce",),
    )
    watching.wait_for("up", 1)
    scene.admin.execute("create table t ()")
    holder = scene.client("lock table t")
    waiter = scene.client().block("select from t")
    waiter.finish()
    watching.wait_for('actions_total{action="terminate",outcome="released",rule="idle"}', 1)
    wait_until(lambda: [each["event"] for each in listed()] == ["ended"], 10)
    said = f"terminate {holder.pid} (idle_in_transaction, rule idle): released 1 session"
    assert said in pgdoctor("incidents", "show").stdout
    assert "did nothing" not in pgdoctor("incidents", "show").stdout
