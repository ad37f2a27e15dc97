"""`pgdoctor mcp` with the SDK's own client: over both transports, with a real server and a live incident."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdoctor.render.schemas import OUTPUTS
from pgdoctor.topics import load_manual
from tests.agent.running import RunningAgent
from tests.cli.conftest import RULES, holder, rules, waiter
from tests.cli.test_read import LOG
from tests.mcp.clients import PATIENCE, ask, call, over_http, over_stdio, refusal, serving_http
from tests.scenes import Client as Session
from tests.scenes import Scene

__all__ = ["holder", "rules", "waiter"]

pytestmark = pytest.mark.deadline(240)

READING = {"triage", "diagnose", "holders", "plan", "incidents", "incident_report", "explain"}

Connecting = Callable[[], AbstractAsyncContextManager[Client]]


async def look_around(connect: Connecting, holder: Session, waiter: Session) -> None:
    async with connect() as client:
        assert {each.name for each in (await client.list_tools()).tools} == READING
        diagnosis = (await call(client, "diagnose")).facts
        assert diagnosis["blocked_sessions"] == 1
        [blocker] = diagnosis["blockers"]
        assert (blocker["pid"], blocker["class"], blocker["recommended"]) == (
            holder.pid,
            "idle_in_transaction",
            "terminate",
        )
        assert blocker["client_text"]["relation"] == "public.orders"
        assert diagnosis["waiting"][0]["example_pids"] == [waiter.pid]
        assert diagnosis["recommendation"]["frees_at_once"] == 1
        assert (await call(client, "triage")).facts["roots"][0]["pid"] == holder.pid
        holders = (await call(client, "holders", relation="public.orders")).facts
        assert {each["pid"] for each in holders["sessions"]} >= {holder.pid, waiter.pid}
        assert (await call(client, "holders", pid=holder.pid)).facts["sessions"][0]["pid"] == holder.pid
        [decision] = (await call(client, "plan")).facts["decisions"]
        assert (decision["pid"], decision["rule"], decision["action"]) == (holder.pid, "idle", "terminate")
        assert "idle_in_transaction" in (await call(client, "explain", topic="idle_in_transaction")).facts["text"]


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.long)])
def test_live_incident_over_stdio(scene: Scene, rules: Path, holder: Session, waiter: Session, mode: str) -> None:
    arguments = ("--dsn", scene.dsn, "--config", str(rules))
    work = look_around(lambda: over_stdio(*arguments, mode=mode), holder, waiter)
    asyncio.run(asyncio.wait_for(work, PATIENCE))
    assert holder.run("select 1") == [(1,)]


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.long)])
def test_live_incident_over_http(
    scene: Scene, rules: Path, tmp_path: Path, holder: Session, waiter: Session, mode: str
) -> None:
    with serving_http(tmp_path, "--dsn", scene.dsn, "--config", str(rules)) as url:
        asyncio.run(asyncio.wait_for(look_around(lambda: over_http(url, mode), holder, waiter), PATIENCE))
    assert holder.run("select 1") == [(1,)]


def test_each_tool_has_schemas_and_says_that_it_only_reads(scene: Scene, tmp_path: Path) -> None:
    [listed] = ask(
        scene.dsn, lambda client: client.list_tools(), arguments=("--logs", str(tmp_path), "--allow-proposals")
    )
    tools = {each.name: each for each in listed.tools}
    assert tools.keys() == READING | {"read_log", "propose_signal"}
    assert {f"mcp_{name}" for name in tools} == {name for name in OUTPUTS if name.startswith("mcp_")}
    for name, tool in tools.items():
        assert tool.input_schema["type"] == tool.output_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations.read_only_hint is (name != "propose_signal")
        assert tool.annotations.destructive_hint is False
    # What a client shows its model of all tools: names, descriptions, arguments.
    shown = json.dumps([(each.name, each.description, each.input_schema) for each in listed.tools])
    assert len(shown) / 3.5 < 1_800


@pytest.mark.long
def test_manual_is_there_as_resources_and_in_parts(scene: Scene) -> None:
    async def read(client: Client) -> None:
        resources = {each.uri for each in (await client.list_resources()).resources}
        assert {f"pgdoctor://manual/{topic}" for topic in load_manual()} <= resources
        assert {"pgdoctor://manual/migration", "pgdoctor://manual/kill_switch"} <= resources
        page = await client.read_resource("pgdoctor://manual/mitigation")
        whole = page.contents[0].text
        first = (await call(client, "explain", topic="mitigation")).facts
        parts = [
            (await call(client, "explain", topic="mitigation", part=number + 1)).facts["text"]
            for number in range(first["parts"])
        ]
        assert "".join(parts) == whole
        assert max(map(len, parts)) <= 6_000
        assert "has no part" in await refusal(client, "explain", topic="mitigation", part=1_000)
        assert "migration" in (await call(client, "explain")).facts["topics"]["class"]
        metric = (await call(client, "explain", topic="pgdoctor_blocked_sessions")).facts
        assert "pgdoctor_blocked_sessions" in metric["text"]
        with pytest.raises(MCPError, match="there is no topic"):
            await client.read_resource("pgdoctor://manual/../../etc/passwd")

    ask(scene.dsn, read)


@pytest.mark.long
def test_recorded_incident_is_listed_and_reported(
    scene: Scene, tmp_path: Path, holder: Session, waiter: Session
) -> None:
    with RunningAgent(scene.dsn, tmp_path / "agent.toml") as agent:
        agent.wait_for("blocked_sessions", 1.0)
        holder.run("commit")
        waiter.finish()
        agent.wait_for("incident_duration_seconds_count", 1.0)

    async def read(client: Client) -> None:
        listed = (await call(client, "incidents", since="1h")).facts
        assert listed["incidents_total"] == 1
        [incident] = listed["incidents"]
        assert (incident["classes"], incident["ongoing"]) == (["idle_in_transaction"], False)
        report = (await call(client, "incident_report")).facts
        assert (report["id"], report["peak_blocked"]) == (incident["id"], 1)
        assert report["roots"][0]["pid"] == holder.pid
        assert report == (await call(client, "incident_report", id=incident["id"])).facts
        assert "no incident" in await refusal(client, "incident_report", id="elsewhere")

    ask(scene.dsn, read)


@pytest.mark.long
def test_without_a_journal_it_says_so_and_makes_none(scene: Scene, tmp_path: Path) -> None:
    journal = tmp_path / "state" / "journal.db"

    async def read(client: Client) -> None:
        assert "there is no journal" in await refusal(client, "incidents")
        await call(client, "plan")

    ask(scene.dsn, read, arguments=("--journal", str(journal)))
    assert not journal.exists()


def test_log_is_read(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "postgresql.log").write_text(LOG)

    async def read(client: Client) -> None:
        [listed] = (await call(client, "read_log")).facts["files"]
        assert (listed["name"], listed["bytes"]) == ("postgresql.log", len(LOG.encode()))
        log = (await call(client, "read_log", file="postgresql.log")).facts
        assert log["incidents_total"] == len(log["incidents"]) > 0
        assert log["incidents"][0]["blockers"]
        whole = str(tmp_path / "postgresql.log")
        assert log | {"file": whole} == (await call(client, "read_log", file=whole)).facts

    ask(scene.dsn, read, arguments=("--logs", str(tmp_path)))


@pytest.mark.long
def test_configured_server_is_chosen(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = conninfo_to_dict(scene.dsn)
    monkeypatch.setenv("PGPASSWORD", str(parts.pop("password", "")))
    config = tmp_path / "pgdoctor.toml"
    config.write_text(f'[[servers]]\nname = "a"\ndsn = "{make_conninfo(**parts)}"\n{RULES}')

    async def run() -> Any:
        async with over_stdio("--config", str(config)) as client:
            return (await call(client, "diagnose")).facts

    assert asyncio.run(run())["server"]["client_text"]["database"] == scene.admin.info.dbname
