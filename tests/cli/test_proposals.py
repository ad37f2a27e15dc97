"""Signals that an assistant proposes: filed by `pgdoctor mcp --allow-proposals`, answered by a person."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from mcp import Client as Assistant

from pgdoctor.journal.location import default_path
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation.audit_records import PROPOSALS
from tests.cli.conftest import holder, waiter
from tests.cli.test_bad_input import complains
from tests.forked import pgdoctor
from tests.live.terminal import Terminal
from tests.mcp.clients import ask, call, refusal
from tests.scenes import Client, Scene

__all__ = ["holder", "waiter"]

pytestmark = pytest.mark.deadline(240)

#: A wait that counts is five times this: guards leave the server's own search for deadlocks its time.
_SHORT = "[mitigation]\nallow_short_waits = true\ncooldown = '0s'\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "pgdoctor.toml"
    file.write_text(_SHORT)
    return file


def propose(scene: Scene, config: Path, pid: int, signal: str = "terminate") -> dict[str, Any]:
    """File a proposal; the answer to the assistant."""

    async def file(client: Assistant) -> dict[str, Any]:
        answer = await call(client, "propose_signal", signal=signal, pid=pid, reason="it blocks the checkout")
        assert isinstance(answer.facts, dict)
        return answer.facts

    [facts] = ask(scene.dsn, file, arguments=("--config", str(config), "--allow-proposals"))
    assert isinstance(facts, dict)
    return facts


def refused(scene: Scene, config: Path, pid: int, signal: str = "terminate") -> str:
    """What the assistant is notified of a proposal that is not filed."""

    async def file(client: Assistant) -> str:
        return await refusal(client, "propose_signal", signal=signal, pid=pid, reason="why not")

    [said] = ask(scene.dsn, file, arguments=("--config", str(config), "--allow-proposals"))
    return str(said)


def answer(scene: Scene, config: Path, *words: str) -> tuple[int, str]:
    """The exit status and the output of a person's answer."""
    done = pgdoctor("mitigate", *words, "--config", str(config), "--dsn", scene.dsn)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def listed(scene: Scene, config: Path, *words: str) -> list[dict[str, Any]]:
    done = pgdoctor("mitigate", "proposals", "--format", "json", "--config", str(config), "--dsn", scene.dsn, *words)
    assert done.returncode == 0, done
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def audited(config: Path) -> list[dict[str, Any]]:
    done = pgdoctor("mitigate", "audit", "--format", "json", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_proposal_is_filed_approved_and_recorded(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    filed = propose(scene, config, holder.pid)
    assert filed["approve_with"] == f"pgdoctor mitigate approve {filed['id']}"
    assert (filed["signal"], filed["pid"], filed["frees_at_once"]) == ("terminate", holder.pid, 1)
    assert waiter.busy
    assert holder.run("select 1") == [(1,)]
    assert propose(scene, config, holder.pid)["id"] == filed["id"], "it is the same proposal"
    [shown] = listed(scene, config)
    assert (shown["state"], shown["proposal"]["id"]) == ("open", filed["id"])
    assert shown["proposal"]["reason"] == "it blocks the checkout"
    assert (
        "it blocks the checkout"
        in pgdoctor("mitigate", "proposals", "--config", str(config), "--dsn", scene.dsn).stdout
    )
    status, said = answer(scene, config, "approve", filed["id"], "--yes", "--by", "ada@example")
    assert status == 0, said
    assert "says (not verified): it blocks the checkout" in said
    assert f"terminate {holder.pid}: released 1 session in" in said
    waiter.finish()
    with pytest.raises(psycopg.OperationalError):
        holder.run("select 1")
    kinds = [each["kind"] for each in audited(config)]
    assert kinds == ["proposal", "proposal_closed", "person_intent", "person_outcome"]
    assert audited(config)[1]["by"] == audited(config)[2]["by"] == "ada@example"
    assert [each["state"] for each in listed(scene, config, "--all")] == ["approved"]
    done = pgdoctor("mitigate", "approve", filed["id"], "--yes", "--config", str(config), "--dsn", scene.dsn)
    complains(done, 2, f"proposal {filed['id']} is approved by ada@example")
    assert "approved by ada@example" in pgdoctor("mitigate", "audit", "--config", str(config)).stdout


@pytest.mark.long
def test_rejected_proposal_sends_nothing(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    filed = propose(scene, config, holder.pid)
    assert answer(scene, config, "reject", filed["id"], "--reason", "the report is needed")[0] == 0
    status, said = answer(scene, config, "approve", filed["id"], "--yes")
    assert status == 2
    assert f"proposal {filed['id']} is rejected" in said
    assert audited(config)[-1]["reason"] == "the report is needed"
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


@pytest.mark.long
def test_approval_is_judged_again_by_every_guard(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    filed = propose(scene, config, holder.pid)
    config.write_text(f'{_SHORT}[[mitigation.protect]]\nstate = ["idle in transaction"]\n')
    status, said = answer(scene, config, "approve", filed["id"], "--yes")
    assert status == 1
    assert "not sent: protected: state idle in transaction" in said
    config.write_text(_SHORT)
    assert answer(scene, config, "disarm", "--reason", "test")[0] == 0
    status, said = answer(scene, config, "approve", filed["id"], "--yes")
    assert status == 1
    assert "not sent: disarmed by" in said
    assert holder.run("select 1") == [(1,)]
    assert [each["kind"] for each in audited(config)].count("proposal_refused") == 2
    assert answer(scene, config, "arm", "--reason", "test")[0] == 0
    assert answer(scene, config, "approve", filed["id"], "--yes")[0] == 0
    waiter.finish()


@pytest.mark.long
def test_session_that_has_moved_on_is_not_signalled(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    filed = propose(scene, config, holder.pid)
    holder.run("commit")
    waiter.finish()
    waiter.run("commit")
    holder.run("update orders set v = 3 where id = 1")
    again = scene.client().block("update orders set v = 4 where id = 1")
    status, said = answer(scene, config, "approve", filed["id"], "--yes")
    assert status == 1
    assert "the session has moved on since the proposal" in said
    assert holder.run("select 1") == [(1,)]
    assert again.busy


@pytest.mark.long
def test_expired_proposal_cannot_be_approved(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    filed = propose(scene, config, holder.pid)
    # Ten minutes earlier by the clock of the server, which is that of the record.
    with closing(Journal.open(default_path(os.environ))) as opened:
        [record] = opened.fetch_records(kinds=PROPOSALS)
        body = msgspec.json.decode(record.body) | {"at": "2026-01-01T00:00:00Z", "id": "p-00000000"}
        opened.append(record.server, record.kind, "p-00000000", msgspec.json.encode(body), record.at)
    assert [each["state"] for each in listed(scene, config, "--all")] == ["open", "expired"]
    status, said = answer(scene, config, "approve", "p-00000000", "--yes")
    assert (status, said) == (2, "pgdoctor: proposal p-00000000 is expired")
    assert waiter.busy
    assert filed["id"] in answer(scene, config, "approve", "p-nothing", "--yes")[1]


@pytest.mark.long
def test_session_that_guards_refuse_is_not_proposed(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    assert "no session waits for it" in refused(scene, config, scene.client("select 1").pid)
    assert "there is no such session" in refused(scene, config, 2**30)
    assert "does not react to a cancel" in refused(scene, config, holder.pid, "cancel")
    config.write_text(f'{_SHORT}[[mitigation.protect]]\nstate = ["idle in transaction"]\n')
    assert "protected: state idle in transaction" in refused(scene, config, holder.pid)
    config.write_text("")
    said = refused(scene, config, scene.client("select 1", application_name="psql").pid)
    assert "no session waits for it" in said
    assert listed(scene, config, "--all") == []


@pytest.mark.long
def test_a_person_is_asked_at_a_terminal(scene: Scene, config: Path, holder: Client, waiter: Client) -> None:
    filed = propose(scene, config, holder.pid)
    done = pgdoctor("mitigate", "approve", filed["id"], "--config", str(config), "--dsn", scene.dsn)
    complains(done, 2, "needs a terminal for its confirmation; in scripts give --yes")
    words = ("approve", filed["id"], "--config", str(config))
    terminal = Terminal(*words, command="mitigate", columns=100, lines=40, PGDOCTOR_DSN=scene.dsn)
    try:
        terminal.until("not verified")
        terminal.press("\r")
        terminal.until("not sent.")
    finally:
        terminal.close()
    assert holder.run("select 1") == [(1,)]
    assert waiter.busy


@pytest.mark.long
def test_only_a_few_proposals_are_open_at_once(scene: Scene, config: Path) -> None:
    scene.admin.execute("create table t (id int primary key); insert into t select generate_series(1, 6)")
    holders = [scene.client(f"update t set id = id where id = {number}") for number in range(1, 7)]
    for number in range(1, 7):
        scene.client().block(f"update t set id = id where id = {number}")
    config.write_text(_SHORT + "max_roots = 100\n")

    async def file(client: Assistant) -> list[str]:
        for each in holders[:5]:
            await call(client, "propose_signal", signal="terminate", pid=each.pid, reason="x")
        return [await refusal(client, "propose_signal", signal="terminate", pid=holders[5].pid, reason="x")]

    [[said]] = ask(scene.dsn, file, arguments=("--config", str(config), "--allow-proposals"))
    assert "5 proposals are open; a person has to answer them first" in said
    assert len(listed(scene, config)) == 5
