"""Each brake, set while the agent acts: it releases waiters; then no session is signalled any more."""

import contextlib
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdoctor.demo.throwaway_server import ThrowawayServer
from tests.agent.http.test_auth import TOKEN, secret_file
from tests.agent.running import RunningAgent
from tests.forked import pgdoctor
from tests.scenes import Client, Scene
from tests.scenes.client import wait_until

RULES = """
[mitigation]
mode = "enforce"
kill_switch_file = "{folder}/stop"
min_samples = 1
startup_grace = "0s"
cooldown = "0s"
allow_short_waits = true
max_actions_per_5m = 100
max_actions_per_hour = 100
max_terminates_per_hour = 100
max_per_fingerprint_per_hour = 100
breaker.recurrence = 100
breaker.open_on_worsening = false
{more}
[[mitigation.rules]]
name = "idle"
class = "idle_in_transaction"
action = "terminate"
min_wait = "100ms"
min_session_age = "0s"
"""


def tables(folder: Path, more: str = "") -> str:
    return f'[http]\ntoken_file = "{folder.parent}/token"\n' + RULES.format(folder=folder, more=more)


def started(agent: RunningAgent) -> RunningAgent:
    """An agent that asks for the token, once it sees the server."""
    agent._client.headers["Authorization"] = f"Bearer {TOKEN}"
    agent.wait_for("up", 1)
    return agent


def configure(agent: RunningAgent, more: str) -> None:
    """Have an agent take another configuration."""
    agent.configure('[agent]\ninterval = "200ms"\ndeadline = "1s"\nmax_server_share = 1.0\n' + more)
    reloads = sum(line["event"] == "configuration reloaded" for line in agent.lines)
    agent.send(signal.SIGHUP)
    agent.wait_for_lines("configuration reloaded", reloads + 1)


def fill(dsn: str, taken: contextlib.ExitStack) -> None:
    """Take connections until there is none left."""
    while True:
        taken.enter_context(psycopg.connect(dsn))


@dataclass
class Rolling:
    """An agent that acts, and an application that gives it cause to."""

    scene: Scene
    agent: RunningAgent
    folder: Path
    victims: list[Client] = field(default_factory=list)
    waiters: list[Client] = field(default_factory=list)

    def arrive(self) -> None:
        """One more is idle in its transaction while a session waits."""
        row = len(self.victims)
        holder = self.scene.client(f"insert into orders values ({row})", user="app")
        self.waiters.append(self.scene.client(user="app", autocommit=True).block(f"insert into orders values ({row})"))
        self.victims.append(holder)

    def alive(self) -> set[int]:
        rows = self.scene.admin.execute(
            "select pid from pg_stat_activity where pid = any(%s)", [[each.pid for each in self.victims]]
        ).fetchall()
        return {pid for (pid,) in rows}

    def configure(self, more: str, servers: str = "") -> None:
        """Take another configuration, as after an edit."""
        configure(self.agent, servers + tables(self.folder, more))

    def command(self, *arguments: str) -> str:
        """Type a command beside the agent, on its journal."""
        done = pgdoctor("mitigate", *arguments, "--config", str(self.agent.config), PGDOCTOR_DSN=self.scene.dsn)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def post(self, path: str, token: str = TOKEN) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.post(f"http://127.0.0.1:{self.agent.port}{path}", headers=headers, timeout=5)

    def refused(self, reason: str) -> float:
        return self.agent.metric(f'actions_refused_total{{reason="{reason}"}}')

    def stands_still(self) -> None:
        """Victims come and go on being there."""
        # A signal that was past its last check when the brake was pulled is not the next one.
        self.agent.wait_for_polls(2)
        self.arrive()
        before = self.alive()
        assert self.victims[-1].pid in before
        self.arrive()
        self.agent.wait_for_polls(6)
        assert self.alive() == before | {self.victims[-1].pid}

    def rolls(self) -> None:
        """The waiter is released."""
        try:
            wait_until(lambda: not any(waiter.busy for waiter in self.waiters), 20, "everybody released")
        except AssertionError:
            print(*self.agent.lines, sep="\n")
            raise
        wait_until(lambda: not self.alive(), 20, "the holders have ended")


@pytest.fixture
def roll(scene: Scene, agent: Callable[..., RunningAgent], tmp_path: Path) -> Rolling:
    """It has just released a waiter, and two more have come."""
    scene.admin.execute("create table orders (id int primary key)")
    scene.role("app", "all on orders")
    folder = tmp_path / "run"
    folder.mkdir()
    secret_file(tmp_path / "token", TOKEN)
    dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
    running = started(agent(dsn, more=tables(folder), arguments=("--enforce",)))
    rolling = Rolling(scene, running, folder)
    rolling.arrive()
    rolling.rolls()
    rolling.arrive()
    rolling.arrive()
    return rolling


def test_the_kill_switch_file(roll: Rolling) -> None:
    stop = roll.folder / "stop"
    stop.touch()
    roll.stands_still()
    assert roll.refused("kill_switch") > 0
    assert "kill-switch file" in roll.agent.get("/").text
    stop.unlink()
    roll.rolls()


@pytest.mark.long
def test_the_folder_of_the_kill_switch_file_goes_away(roll: Rolling) -> None:
    away = roll.folder.with_name("away")
    roll.folder.rename(away)
    roll.stands_still()
    away.rename(roll.folder)
    roll.rolls()


def test_an_order_over_http(roll: Rolling) -> None:
    answer = roll.post("/mitigation/disarm?reason=we+fail+over")
    assert answer.json() == {"disarmed": True, "recorded": True, "until": 'pgdoctor mitigate arm --reason "…"'}
    roll.stands_still()
    assert roll.refused("kill_switch") > 0
    assert "we fail over" in roll.agent.get("/").text
    assert "it was disarmed by POST /mitigation/disarm: we fail over" in roll.command("arm", "--reason", "it is done")
    roll.rolls()


@pytest.mark.long
def test_sigusr1(roll: Rolling) -> None:
    roll.agent.send(signal.SIGUSR1)
    roll.agent.wait_for_lines("mitigation disarmed")
    roll.stands_still()
    assert "SIGUSR1" in roll.command("arm", "--reason", "all clear")
    roll.rolls()


def test_sigusr1_holds_after_a_restart_also_where_no_poll_came_in_between(
    scene: Scene, agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    """As an operator stops it: first the signal, then systemctl restart."""
    (tmp_path / "run").mkdir()
    secret_file(tmp_path / "token", TOKEN)
    running = started(agent(scene.dsn, interval="50s", more=tables(tmp_path / "run")))
    running.send(signal.SIGUSR1)
    running.wait_for_lines("mitigation disarmed")
    running.end()
    assert "SIGUSR1 was sent" in pgdoctor("mitigate", "audit", "--config", str(running.config)).stdout


def test_a_fault_of_ours_in_a_reload_disarms_too(lone_agent: RunningAgent) -> None:
    """Whatever is in the file, who reloads a broken one does not go on with what it allowed before."""
    sound = lone_agent.config.read_text()
    lone_agent.configure(f"[mitigation]\nmax_roots = {'9' * 5000}\n")
    lone_agent.send(signal.SIGHUP)
    lone_agent.wait_for_lines("configuration not reloaded, mitigation disarmed")
    lone_agent.configure(sound)
    lone_agent.send(signal.SIGHUP)
    lone_agent.wait_for("config_reload_success", 1)


@pytest.mark.long
def test_a_command_beside_it(roll: Rolling) -> None:
    assert "no session is signalled until" in roll.command("disarm", "--reason", "wait for me", "--by", "ada")
    roll.stands_still()
    assert "disarmed by ada: wait for me" in roll.agent.get("/").text
    roll.command("arm", "--reason", "I am here")
    roll.rolls()


@pytest.mark.long
def test_a_maintenance_mark(roll: Rolling) -> None:
    assert "Maintenance until" in roll.command("maintenance", "--for", "1h", "--reason", "index build")
    roll.stands_still()
    assert roll.refused("maintenance_mark") > 0
    assert "The maintenance window is closed" in roll.command("maintenance", "--end")
    roll.rolls()


@pytest.mark.long
def test_a_maintenance_mark_ends_by_itself(roll: Rolling) -> None:
    before = roll.refused("maintenance_mark")
    roll.command("maintenance", "--for", "3s", "--reason", "a short one")
    roll.arrive()
    roll.rolls()
    assert roll.refused("maintenance_mark") >= before


@pytest.mark.long
def test_the_right_is_revoked(roll: Rolling) -> None:
    roll.scene.admin.execute("revoke pg_signal_backend from agent")
    roll.stands_still()
    assert roll.refused("may_signal") > 0
    roll.scene.admin.execute("grant pg_signal_backend to agent")
    roll.rolls()


@pytest.mark.long
def test_armed_until_is_over(roll: Rolling) -> None:
    roll.configure(f'armed_until = "{datetime.now(UTC).isoformat()}"')
    roll.stands_still()
    assert "armed_until was" in roll.agent.get("/").text
    assert roll.agent.metric('mitigation_mode{mode="dry_run"}') == 1
    roll.configure("")
    roll.rolls()


@pytest.mark.long
def test_h34_a_configuration_that_breaks_or_vanishes(roll: Rolling) -> None:
    sound = roll.agent.config.read_text()
    roll.agent.configure("[mitigation")
    roll.agent.send(signal.SIGHUP)
    roll.agent.wait_for("config_reload_success", 0)
    roll.stands_still()
    roll.agent.config.unlink()
    roll.agent.send(signal.SIGHUP)
    roll.agent.wait_for_lines("configuration not reloaded, mitigation disarmed", 2)
    roll.agent.wait_for_polls(3)
    assert {victim.pid for victim in roll.victims[-2:]} <= roll.alive()
    assert roll.agent.metric('mitigation_mode{mode="observe"}') == 1
    roll.agent.configure(sound)
    roll.agent.send(signal.SIGHUP)
    roll.agent.wait_for("config_reload_success", 1)
    roll.rolls()


@pytest.mark.long
def test_h21_it_acts_when_all_other_connections_are_taken(
    own_server: Callable[..., ThrowawayServer], agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    """Over the connection that it has held since before."""
    (tmp_path / "run").mkdir()
    secret_file(tmp_path / "token", TOKEN)
    with Scene(own_server(max_connections=12).dsn) as scene, contextlib.ExitStack() as taken:
        scene.admin.execute("create table orders (id int primary key)")
        app = scene.role("app", "all on orders")
        dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
        running = started(agent(dsn, more=tables(tmp_path / "run"), arguments=("--enforce",)))
        running.wait_for("leader", 1)
        running.send(signal.SIGUSR1)
        running.wait_for_lines("mitigation disarmed")
        roll = Rolling(scene, running, tmp_path / "run")
        roll.arrive()
        with pytest.raises(psycopg.OperationalError, match=r"(slots|clients)"):
            fill(app, taken)
        running.wait_for("blocked_sessions", 1)
        roll.command("arm", "--reason", "all is taken")
        roll.rolls()


@pytest.mark.long
def test_a_disarm_while_the_server_is_down_holds_when_it_is_back(
    own_server: Callable[..., ThrowawayServer], agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    """Which server that is the agent does not know yet; it is recorded as soon as it does."""
    (tmp_path / "run").mkdir()
    secret_file(tmp_path / "token", TOKEN)
    server = own_server()
    with Scene(server.dsn) as scene:
        scene.admin.execute("create table orders (id int primary key)")
        scene.role("app", "all on orders")
        dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
        scene.admin.execute("alter role agent nologin")
        running = agent(dsn, more=tables(tmp_path / "run"), arguments=("--enforce",))
        running._client.headers["Authorization"] = f"Bearer {TOKEN}"
        roll = Rolling(scene, running, tmp_path / "run")
        assert roll.post("/mitigation/disarm?reason=not+now").json()["recorded"] is False
        scene.admin.execute("alter role agent login")
        running.wait_for("up", 1)
        roll.stands_still()
        assert "not now" in roll.command("arm", "--reason", "now")
        roll.rolls()


@pytest.mark.long
def test_a_person_agrees_to_each_action(roll: Rolling) -> None:
    roll.configure("require_approval = true")
    roll.stands_still()
    asked = re.findall(r"pgdoctor mitigate approve ([\w-]+)", roll.agent.get("/").text)
    assert {int(each.partition("-")[0]) for each in asked} == roll.alive()
    said = str([line for line in roll.agent.lines if line["event"] == "mitigation refused"])
    assert all(f"pgdoctor mitigate approve {each}" in said for each in asked)
    before = roll.alive()
    assert "Approved for 1m" in roll.command("approve", asked[0], "--by", "ada")
    wait_until(lambda: roll.alive() == before - {int(asked[0].partition("-")[0])}, 10)
    roll.agent.wait_for_polls(5)
    assert len(roll.alive()) == len(before) - 1
    roll.configure("")
    roll.rolls()


@pytest.mark.long
def test_a_disarm_outlives_the_process(roll: Rolling, agent: Callable[..., RunningAgent]) -> None:
    assert roll.post("/mitigation/disarm").json()["recorded"]
    roll.agent.end()
    dsn = make_conninfo(roll.scene.dsn, user="agent", password="secret of a scene")
    roll.agent = started(agent(dsn, more=tables(roll.folder), arguments=("--enforce",)))
    roll.stands_still()
    roll.command("arm", "--reason", "the new one may")
    roll.rolls()


def test_without_the_second_key_it_is_a_dry_run_and_says_so(
    roll: Rolling, agent: Callable[..., RunningAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    roll.agent.send(signal.SIGUSR1)
    roll.agent.wait_for_lines("mitigation disarmed")
    roll.agent.wait_for_polls(2)
    roll.agent.end()
    roll.command("arm", "--reason", "by the next one")
    dsn = make_conninfo(roll.scene.dsn, user="agent", password="secret of a scene")
    roll.agent = started(agent(dsn, more=tables(roll.folder)))
    lapsed = "mitigation is only a dry run: enforce needs the flag --enforce"
    roll.agent.wait_for_lines(lapsed)
    [said] = [line for line in roll.agent.lines if line["event"] == lapsed]
    assert (said["level"], said["missing"]) == ("warning", "--enforce")
    before = roll.alive()
    roll.agent.wait_for('actions_total{action="terminate",outcome="would_act",rule="idle"}', len(before))
    assert roll.alive() == before
    assert "DRY RUN ONLY" in roll.agent.get("/").text
    roll.agent.end()
    monkeypatch.setenv("PGDOCTOR_ENFORCE", "true")
    roll.agent = started(agent(dsn, more=tables(roll.folder)))
    roll.agent.wait_for_lines("mitigation is armed: sessions are cancelled and terminated by the rules")
    roll.rolls()


@pytest.mark.long
def test_the_order_needs_the_bearer_token_and_nothing_a_browser_sends(roll: Rolling, tmp_path: Path) -> None:
    for token in ("", "wrong"):
        assert roll.post("/mitigation/disarm", token).status_code == 401
    url = f"http://127.0.0.1:{roll.agent.port}/mitigation/disarm"
    assert httpx.post(url, auth=("ada", TOKEN)).status_code == 401
    assert roll.agent.get("/mitigation/disarm").status_code == 405
    assert roll.post("/mitigation/disarm?reason=" + "x" * 501).status_code == 400
    assert roll.post("/mitigation/disarm?reason=two%0Alines").status_code == 400
    roll.rolls()


def test_without_a_token_there_is_no_such_order(lone_agent: RunningAgent) -> None:
    answer = httpx.post(f"http://127.0.0.1:{lone_agent.port}/mitigation/disarm")
    assert answer.status_code == 403
    assert "token_file under [http]" in answer.json()["error"]


def test_where_the_journal_cannot_be_written_the_process_remembers(
    scene: Scene, agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    secret_file(tmp_path / "token", TOKEN)
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    journal = f'[journal]\npath = "{tmp_path}/file/journal.db"\n'
    running = started(agent(scene.dsn, more=journal + tables(tmp_path / "run"), arguments=("--enforce",)))
    rolling = Rolling(scene, running, tmp_path / "run")
    assert rolling.post("/mitigation/disarm").json()["recorded"] is False
    assert "Stopped, no session is signalled" in running.get("/").text


SHOP = '[[servers]]\nname = "shop"\ndsn_file = "{folder}/dsn"\n'
LEDGER = '[[servers]]\nname = "ledger"\ndsn = "host=127.0.0.1 port=1"\n'


def test_a_server_that_is_added_after_the_order_stands_still_too_until_an_operator_has_armed(
    scene: Scene, agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    secret_file(tmp_path / "token", TOKEN)
    (tmp_path / "dsn").write_text(scene.dsn)
    shop = SHOP.format(folder=tmp_path)
    watching = agent(None, more=shop + tables(tmp_path / "run"), arguments=("--enforce",))
    watching._client.headers["Authorization"] = f"Bearer {TOKEN}"
    watching.wait_for('up{server="shop"}', 1)
    roll = Rolling(scene, watching, tmp_path / "run")
    assert roll.post("/mitigation/disarm?reason=audit").json()["recorded"]

    roll.configure("", servers=shop + LEDGER)
    assert "Stopped, no session is signalled" in watching.get("/?server=ledger").text
    roll.configure("", servers=shop)

    roll.command("arm", "--reason", "the audit is over")
    wait_until(lambda: "Stopped, no session is signalled" not in watching.get("/").text)
    roll.configure("", servers=shop + LEDGER)
    assert "Stopped, no session is signalled" not in watching.get("/?server=ledger").text


def test_a_server_that_is_added_after_sigusr1_stands_still_too(
    agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    secret_file(tmp_path / "token", TOKEN)
    shop = LEDGER.replace("ledger", "shop")
    watching = agent(None, more=shop + tables(tmp_path / "run"), arguments=("--enforce",))
    watching._client.headers["Authorization"] = f"Bearer {TOKEN}"
    watching.send(signal.SIGUSR1)
    watching.wait_for_lines("mitigation disarmed")
    configure(watching, shop + LEDGER + tables(tmp_path / "run"))
    assert "Stopped, no session is signalled" in watching.get("/?server=ledger").text


def test_h61_one_command_stops_agents_with_separate_journals(
    scene: Scene, agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    """A pair on two machines: the leader dies, and the other one has never heard of the disarm by any journal."""
    scene.admin.execute("create table orders (id int primary key)")
    scene.role("app", "all on orders")
    dsn = scene.role("agent", "pg_monitor", "pg_signal_backend")
    (tmp_path / "run").mkdir()
    secret_file(tmp_path / "token", TOKEN)
    pair = []
    for name in ("one", "other"):
        journal = f'[journal]\npath = "{tmp_path}/{name}.db"\n'
        running = agent(dsn, more=journal + tables(tmp_path / "run"), arguments=("--enforce",))
        pair.append(started(running))
    leader = wait_until(lambda: next((each for each in pair if each.metric("leader") == 1), None), 20)
    [follower] = [each for each in pair if each is not leader]
    typed = ("--reason", "we fail over", "--dsn", scene.dsn)
    wait_until(lambda: leader.metric("shared_record_up") == 1, 20)
    elsewhere = {"XDG_STATE_HOME": str(tmp_path / "elsewhere")}
    marked = "select from pg_db_role_setting where setrole = 'agent'::regrole and setconfig::text ~ 'is_used'"
    wait_until(lambda: scene.admin.execute(marked).fetchall(), 20, "the agent's mark")
    done = pgdoctor("mitigate", "disarm", *typed, **elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert "connects as agent sees it" in done.stdout

    roll = Rolling(scene, follower, tmp_path / "run")
    roll.arrive()
    for each in pair:
        each.wait_for("mitigation_disarmed", 1, 20)
        each.wait_for_lines("mitigation disarmed at the server")
        assert "we fail over" in each.get("/").text
    leader.end(signal.SIGKILL)
    follower.wait_for("leader", 1, 20)
    roll.stands_still()
    assert follower.metric('actions_refused_total{reason="kill_switch"}') > 0
    assert pgdoctor("mitigate", "arm", *typed, **elsewhere).returncode == 0
    roll.rolls()
