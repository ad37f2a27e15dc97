"""JSON Schemas: the files beside the manual are those of the code, and each output is valid against its own."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from pgdoctor.agent.http.incidents import _FILES as FILES
from pgdoctor.diagnosis.diagnose import diagnose
from pgdoctor.incidents.incident_log import KIND
from pgdoctor.incidents.snapshot_archive import pack_diagnosis
from pgdoctor.journal.store import Journal
from pgdoctor.mitigation import rehearsal
from pgdoctor.render.schemas import OUTPUTS, schema_to_json
from tests.agent.conftest import agent, lone_agent
from tests.agent.running import RunningAgent
from tests.cli.conftest import RULES, holder, rules, waiter
from tests.cli.test_bad_input import complains, pgdoctor
from tests.cli.test_incidents import ID, SERVER, act, at, blocked, course
from tests.cli.test_read import LOG
from tests.cli.test_score import scored
from tests.docs.generating import schema_files
from tests.scenes import Client, Scene

__all__ = ["agent", "holder", "lone_agent", "rules", "waiter"]


def check(name: str, text: str) -> Any:
    """The value of a JSON text, which is valid; all its fields are named in the schema."""
    value, schema = json.loads(text), json.loads(schema_to_json(name))
    jsonschema.Draft202012Validator(schema).validate(value)
    strict = json.loads(json.dumps(schema))
    for definition in strict.get("$defs", {}).values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    jsonschema.Draft202012Validator(strict).validate(value)
    return value


@pytest.mark.parametrize("path", schema_files(), ids=lambda path: path.stem)
def test_file_is_the_schema_of_the_code(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == schema_files()[path], "make docs writes it"


def test_no_other_file_is_beside_them() -> None:
    [folder] = {path.parent for path in schema_files()}
    assert {path.stem for path in folder.iterdir()} == {*OUTPUTS, "openapi"}


@pytest.mark.parametrize("name", OUTPUTS)
def test_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_to_json(name)))
    assert pgdoctor("schema", name).stdout == schema_to_json(name)


def test_unknown_schema_names_those_that_there_are() -> None:
    complains(pgdoctor("schema", "diagnosis"), 2, "there is no schema 'diagnosis'", "diagnose, triage")
    assert all(name in pgdoctor("schema").stdout for name in OUTPUTS)


def test_health_is_valid_in_every_state(agent: Callable[..., RunningAgent], scene: Scene) -> None:
    up, down = agent(scene.dsn), agent("postgresql://app@127.0.0.1:1/shop")
    up.wait_for("up", 1)
    for running, status in ((up, "UP"), (down, "DOWN")):
        assert check("health", running.get("/health").text)["status"] == "UP"
        assert check("health_deep", running.get("/health/deep").text)["status"] == status


def test_description_of_the_endpoints_names_every_route(lone_agent: RunningAgent) -> None:
    described = lone_agent.get("/openapi.json").json()
    assert described == json.loads(pgdoctor("schema", "openapi").stdout)
    served = {f"/incidents/{{id}}/{name}" for name in FILES}
    for path in set(described["paths"]) - served:
        filled = path.replace("{name}", "concepts").replace("{id}", "abc")
        allowed = lone_agent.get(filled).status_code
        assert allowed != 405 or "post" in described["paths"][path]
    assert served <= set(described["paths"])


def test_broken_output_is_not_valid(scene: Scene) -> None:
    value = json.loads(pgdoctor("diagnose", "--dsn", scene.dsn, "--format", "json").stdout)
    del value["waits"]
    with pytest.raises(jsonschema.ValidationError, match="'waits' is a required property"):
        check("diagnose", json.dumps(value))


def test_outputs_about_a_server_are_valid(scene: Scene, rules: Path, holder: Client, waiter: Client) -> None:
    about = ("--dsn", scene.dsn, "--format", "json")
    assert check("diagnose", pgdoctor("diagnose", *about).stdout)["blocked_sessions"] == 1
    assert check("triage", pgdoctor("triage", *about).stdout)["roots"]
    assert check("holders", pgdoctor("holders", "public.orders", *about).stdout)["locks"]
    assert check("lock_table", pgdoctor("holders", *about).stdout)["capacity"]
    assert check("mitigate", pgdoctor("mitigate", "--config", str(rules), *about).stdout)["decisions"]
    judged = pgdoctor("mitigate", "--config", str(rules), "--pid", str(holder.pid), *about).stdout
    assert check("mitigate_pid", judged)
    assert check("signal", pgdoctor("terminate", str(holder.pid), "--yes", *about).stdout)["outcome"] == "released"
    assert check("signal", pgdoctor("cancel", "1073741823", "--yes", *about).stdout)["outcome"] == "no_such_session"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """A journal with an incident, an action and a score."""
    path = tmp_path / "journal.db"
    with closing(Journal.open(path)) as opened:
        for each in course():
            opened.append(SERVER, KIND, each.id, msgspec.json.encode(each), each.at)
        for seconds in (1, 61):
            opened.keep(SERVER, ID, pack_diagnosis(diagnose(blocked(seconds))), at(seconds))
        act(opened, "enforce")
        score = scored(1)
        opened.append(SERVER, rehearsal.KIND, score.decision, msgspec.json.encode(score), score.at)
    return path


def test_outputs_about_a_journal_are_valid(journal: Path, tmp_path: Path) -> None:
    config = tmp_path / "pgdoctor.toml"
    config.write_text(f'[journal]\npath = "{journal}"\n{RULES}')
    about = ("--config", str(config), "--format", "json")
    for name, words in (
        ("incidents", ("incidents", "list")),
        ("incident_report", ("incidents", "report")),
        ("replay", ("incidents", "replay")),
        ("replay_summary", ("incidents", "replay", "--summary")),
        ("patterns", ("incidents", "patterns")),
        ("score", ("mitigate", "score")),
    ):
        assert check(name, pgdoctor(*words, *about).stdout), name


def test_output_about_a_log_is_valid(tmp_path: Path) -> None:
    (tmp_path / "postgresql.log").write_text(LOG)
    assert check("log", pgdoctor("read", str(tmp_path / "postgresql.log"), "--format", "json").stdout)["incidents"]
